//! What does the status say? (ST)
//!
//! 1. The numbers are the [`Tally`]'s; the collision count and conditions of others are others' work and are kept (ST-9,
//!    ST-10).
//! 2. Nothing is written when nothing changed (ST-13).
//!
//! Kubernetes: `updateDaemonSetStatus`, `storeDaemonSetStatus`.
//! Differs: our [`conditions`](mod@crate::conditions) are there as well, and a change of one of them is written. And
//! `observedGeneration` is always the generation that was planned for. Upstream keeps the old one while a write of its own
//! is unseen (MG-1.6), because it then counts and does nothing else; here such a write counts as done, the numbers are of
//! the new template, and the rest of the plan goes on.

use crate::conditions;
use crate::snapshot::Subject;
use crate::tally::Tally;
use k8s_openapi::api::apps::v1::{DaemonSetCondition, DaemonSetStatus};

/// The status with these numbers and conditions.
pub(crate) fn status(
    subject: &Subject<'_>,
    tally: Tally,
    conditions: Vec<DaemonSetCondition>,
) -> DaemonSetStatus {
    DaemonSetStatus {
        desired_number_scheduled: tally.desired,
        current_number_scheduled: tally.current,
        number_misscheduled: tally.misscheduled,
        number_ready: tally.ready,
        updated_number_scheduled: Some(tally.updated),
        number_available: Some(tally.available),
        number_unavailable: Some(tally.desired - tally.available),
        observed_generation: Some(subject.generation),
        collision_count: subject.daemon_set.status.as_ref().and_then(|old| old.collision_count),
        conditions: Some(conditions),
    }
}

/// Whether the status has to be written (ST-13). Absent counts read as zero.
pub(crate) fn differs(subject: &Subject<'_>, new: &DaemonSetStatus) -> bool {
    let old = subject.daemon_set.status.as_ref();
    let behind = old.and_then(|old| old.observed_generation).unwrap_or_default() < subject.generation;
    behind || old.map(numbers).unwrap_or_default() != numbers(new) || conditions::differ(old, new)
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
