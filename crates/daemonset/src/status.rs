//! What does the status say? (ST)
//!
//! 1. Only listed nodes count, and on each only its first pod (ST-11, MG-13): with surge that is the old one.
//! 2. Conditions and the collision count are others' work and are kept (ST-9, ST-10).
//! 3. Nothing is written when nothing changed (ST-13).
//!
//! Kubernetes: `updateDaemonSetStatus`, `storeDaemonSetStatus`.

use crate::seats::Seats;
use crate::snapshot::Subject;
use k8s_openapi::api::apps::v1::DaemonSetStatus;

/// The status that these seats make.
pub(crate) fn status(subject: &Subject<'_>, seats: &Seats<'_>) -> DaemonSetStatus {
    let old = subject.daemon_set.status.clone().unwrap_or_default();
    let mut new = DaemonSetStatus {
        observed_generation: Some(subject.generation),
        collision_count: old.collision_count,
        conditions: old.conditions,
        ..DaemonSetStatus::default()
    };
    let (mut updated, mut available) = (0, 0);
    for seat in seats.values().filter(|seat| seat.placement.is_some()) {
        let first = seat.sitters.first();
        if !seat.wanted() {
            new.number_misscheduled += i32::from(first.is_some());
            continue;
        }
        new.desired_number_scheduled += 1;
        if let Some(first) = first {
            new.current_number_scheduled += 1;
            new.number_ready += i32::from(first.is_ready());
            available += i32::from(first.is_available());
            updated += i32::from(first.updated);
        }
    }
    new.updated_number_scheduled = Some(updated);
    new.number_available = Some(available);
    new.number_unavailable = Some(new.desired_number_scheduled - available);
    new
}

/// Whether the status has to be written (ST-13). Absent counts read as zero.
pub(crate) fn differs(subject: &Subject<'_>, new: &DaemonSetStatus) -> bool {
    let old = subject.daemon_set.status.as_ref();
    let behind = old.and_then(|old| old.observed_generation).unwrap_or_default() < subject.generation;
    behind || old.map(numbers).unwrap_or_default() != numbers(new)
}

fn numbers(status: &DaemonSetStatus) -> [i32; 7] {
    [
        status.desired_number_scheduled,
        status.current_number_scheduled,
        status.number_misscheduled,
        status.number_ready,
        status.updated_number_scheduled.unwrap_or_default(),
        status.number_available.unwrap_or_default(),
        status.number_unavailable.unwrap_or_default(),
    ]
}
