//! What a scrape is told of each DaemonSet, from what is in memory.
//!
//! The numbers are those of the status. Why daemons are not available is read off their pods, each of which has one cause.

use super::Loop;
use crate::caches::{BY_OWNER, Pod, Whole};
use crate::metrics::Samples;
use crate::metrics::table::{
    AVAILABLE, DEPTH, DESIRED, LONGEST, PROGRESS, READY, UNAVAILABLE, UNFINISHED, UNLISTED, UPDATED,
};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::Node;
use objects::key::ObjectKey;
use objects::pod::{self, Availability};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::time::Instant;

/// DaemonSets with series of their own.
const LISTED: usize = 500;

/// When something has moved last.
#[derive(Debug, Default)]
pub(super) struct Progress(Mutex<BTreeMap<String, (Numbers, Instant)>>);

/// What moves when there is progress.
type Numbers = [i32; 4];

impl Progress {
    /// Takes note of the status that a plan has.
    pub(super) fn note(&self, uid: &str, status: &DaemonSetStatus) {
        let numbers = [
            status.desired_number_scheduled,
            status.current_number_scheduled,
            status.updated_number_scheduled.unwrap_or_default(),
            status.number_available.unwrap_or_default(),
        ];
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_complete = numbers == [numbers[0]; 4];
        if is_complete || noted.get(uid).is_none_or(|(before, _)| *before != numbers) {
            noted.insert(uid.to_string(), (numbers, Instant::now()));
        }
    }

    pub(super) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// How long nothing has moved though something should.
    fn seconds(&self, uid: &str) -> f64 {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = noted.get(uid).filter(|(numbers, _)| *numbers != [numbers[0]; 4]);
        open.map_or(0.0, |(_, since)| since.elapsed().as_secs_f64())
    }
}

/// Asks the loop at every scrape, as long as it runs.
pub(super) fn gather(this: &Arc<Loop>) {
    let watched: Weak<Loop> = Arc::downgrade(this);
    this.shared.config.metrics.gather(move |samples| {
        if let Some(this) = watched.upgrade() {
            tell(&this, samples);
        }
    });
}

fn tell(this: &Loop, samples: &mut Samples) {
    let all = this.shared.caches.daemonsets.all();
    samples.set(&UNLISTED, &[], all.len().saturating_sub(LISTED) as f64);
    all.iter().take(LISTED).for_each(|seen| tell_of(this, seen, samples));
    let under_way = this.queue.under_way();
    let longest = under_way.iter().max().copied().unwrap_or_default();
    let together: f64 = under_way.iter().map(std::time::Duration::as_secs_f64).sum();
    samples.set(&DEPTH, &[super::QUEUE], this.queue.waiting() as f64);
    samples.set(&UNFINISHED, &[super::QUEUE], together);
    samples.set(&LONGEST, &[super::QUEUE], longest.as_secs_f64());
}

fn tell_of(this: &Loop, seen: &Whole<DaemonSet>, samples: &mut Samples) {
    let meta = &seen.object.metadata;
    let key = ObjectKey::of(meta);
    let labels = [key.namespace.as_str(), key.name.as_str()];
    let status = seen.object.status.clone().unwrap_or_default();
    let numbers = [
        (&DESIRED, status.desired_number_scheduled),
        (&READY, status.number_ready),
        (&UPDATED, status.updated_number_scheduled.unwrap_or_default()),
        (&AVAILABLE, status.number_available.unwrap_or_default()),
    ];
    numbers.iter().for_each(|(metric, number)| samples.set(metric, &labels, f64::from(*number)));
    samples.set(&PROGRESS, &labels, this.progress.seconds(super::uid(meta)));
    let missing = status.desired_number_scheduled - status.current_number_scheduled;
    let mut causes = BTreeMap::from([("missing", usize::try_from(missing).unwrap_or(0))]);
    let caches = &this.shared.caches;
    let min_ready = seen.object.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or_default();
    for pod in caches.pods.by(BY_OWNER, super::uid(meta)) {
        let node = pod::node_name(&pod).and_then(|name| caches.nodes.get(&ObjectKey::new("", name)));
        if let Some(cause) = cause(&pod, node.as_deref(), min_ready, this.shared.now()) {
            *causes.entry(cause).or_default() += 1;
        }
    }
    for (cause, count) in causes.iter().filter(|(cause, count)| **count > 0 || **cause == "missing") {
        samples.set(&UNAVAILABLE, &[labels[0], labels[1], cause], *count as f64);
    }
}

/// Why a daemon is not available; none if it is.
fn cause(pod: &Pod, node: Option<&Node>, min_ready: i32, now: Timestamp) -> Option<&'static str> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    match () {
        () if pod::is_terminating(pod) => Some("terminating"),
        () if pod::is_terminal(pod) => Some("failed"),
        () if pod::node_name(pod).is_none() => Some("unscheduled"),
        () if node.is_some_and(objects::node::is_silent) => Some("node_silent"),
        () if phase.is_none_or(|phase| phase == "Pending") => Some("starting"),
        () if !pod::is_ready(pod) => Some("not_ready"),
        () if pod::is_available(pod, min_ready, now) != Availability::Yes => Some("not_yet_available"),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(pod: Value, node_ready: &str, expected: Option<&str>) {
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let node = json!({"metadata": {"name": "n"}, "status": {"conditions": [{"type": "Ready", "status": node_ready}]}});
        let node: Node = serde_json::from_value(node).unwrap();
        let now = "2026-01-01T12:00:00Z".parse().unwrap();
        assert_eq!(cause(&pod, Some(&node), 30, now), expected, "{pod:?}");
    }

    #[test]
    fn every_daemon_that_is_not_available_has_one_cause() {
        let spec = json!({"nodeName": "n", "containers": []});
        let of = |phase: &str, ready: &str, since: &str| {
            json!({"spec": spec, "status": {"phase": phase,
                "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since}]}})
        };
        check(of("Running", "True", "2026-01-01T11:00:00Z"), "True", None);
        check(of("Running", "True", "2026-01-01T11:59:50Z"), "True", Some("not_yet_available"));
        check(of("Running", "False", "2026-01-01T11:00:00Z"), "True", Some("not_ready"));
        check(of("Pending", "False", "2026-01-01T11:00:00Z"), "True", Some("starting"));
        check(of("Running", "False", "2026-01-01T11:00:00Z"), "Unknown", Some("node_silent"));
        check(of("Failed", "False", "2026-01-01T11:00:00Z"), "True", Some("failed"));
        check(json!({"spec": {"containers": []}}), "True", Some("unscheduled"));
        let ending = json!({"metadata": {"deletionTimestamp": "2026-01-01T11:00:00Z"}, "spec": spec});
        check(ending, "True", Some("terminating"));
    }

    #[tokio::test(start_paused = true)]
    async fn time_runs_only_while_something_is_to_be_done_and_nothing_moves() {
        let progress = Progress::default();
        let status = |available: i32| DaemonSetStatus {
            desired_number_scheduled: 2,
            current_number_scheduled: 2,
            updated_number_scheduled: Some(2),
            number_available: Some(available),
            ..DaemonSetStatus::default()
        };
        let mut seconds = Vec::new();
        for available in [0, 0, 1, 1, 2, 2] {
            progress.note("u", &status(available));
            tokio::time::advance(std::time::Duration::from_secs(10)).await;
            seconds.push(progress.seconds("u"));
        }
        assert_eq!(seconds, [10.0, 20.0, 10.0, 20.0, 0.0, 0.0]);
    }
}
