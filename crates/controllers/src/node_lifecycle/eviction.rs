//! PURE. Which pods must leave a node because of its NoExecute taints, and when? (NP-5, NP-6)
//!
//! A pod that does not tolerate one of them leaves at once; one that tolerates them for some seconds leaves when these
//! are over, counted from the taint or from the pod's arrival, whichever is later.
//! Kubernetes: `tainteviction/taint_eviction.go`. Differs: upstream counts from the moment it first looks.

use crate::caches::Pod;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Taint, Toleration};
use objects::{pod, taints};

/// What becomes of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It may stay.
    Stays,
    /// It leaves then.
    LeavesAt(Timestamp),
}

/// Judges one pod of a node with these NoExecute taints. `since` says from when on a taint counts that does not say so
/// itself.
pub(super) fn fate(pod: &Pod, no_execute: &[Taint], since: Timestamp) -> Fate {
    let tolerations = pod.body().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let ends = no_execute.iter().filter_map(|taint| end(pod, taint, tolerations, since));
    ends.min().map_or(Fate::Stays, Fate::LeavesAt)
}

fn end(pod: &Pod, taint: &Taint, tolerations: &[Toleration], since: Timestamp) -> Option<Timestamp> {
    let start =
        taint.time_added.as_ref().map_or(since, |time| time.0).max(arrival(pod).unwrap_or(Timestamp::MIN));
    // As upstream: the first toleration that matches decides (EL-23).
    match tolerations.iter().find(|toleration| taints::tolerates(toleration, taint)) {
        None => Some(start),
        Some(Toleration { toleration_seconds: None, .. }) => None,
        Some(Toleration { toleration_seconds: Some(seconds), .. }) => {
            Some(start.saturating_add(SignedDuration::from_secs((*seconds).max(0))).unwrap_or(Timestamp::MAX))
        }
    }
}

/// When it was bound to its node.
fn arrival(pod: &Pod) -> Option<Timestamp> {
    let scheduled =
        pod::condition(pod, "PodScheduled").and_then(|condition| condition.last_transition_time.as_ref());
    scheduled.or(pod.metadata.creation_timestamp.as_ref()).map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn taint(key: &str, added: Option<i64>) -> Taint {
        serde_json::from_value(json!({"key": key, "effect": "NoExecute", "timeAdded": added.map(at)}))
            .unwrap()
    }

    fn check(tolerations: Value, born: i64, taints: &[Taint], expected: Fate) {
        let pod = json!({"metadata": {"creationTimestamp": at(born)}, "spec": {"containers": [], "tolerations": tolerations}});
        assert_eq!(fate(&serde_json::from_value(pod).unwrap(), taints, at(500)), expected, "{tolerations}");
    }

    #[test]
    fn pods_leave_when_their_tolerance_ends() {
        use Fate::{LeavesAt, Stays};
        let for_ever = |key: &str| json!([{"key": key, "operator": "Exists", "effect": "NoExecute"}]);
        let for_30 = |key: &str| json!([{"key": key, "operator": "Exists", "tolerationSeconds": 30}]);
        check(json!([]), 0, &[], Stays);
        check(json!([]), 0, &[taint("a", Some(100))], LeavesAt(at(100)));
        check(json!([]), 0, &[taint("a", None)], LeavesAt(at(500)));
        check(for_ever("a"), 0, &[taint("a", Some(100))], Stays);
        check(for_ever("a"), 0, &[taint("a", Some(100)), taint("b", Some(200))], LeavesAt(at(200)));
        check(for_30("a"), 0, &[taint("a", Some(100))], LeavesAt(at(130)));
        // NP-6: the replacement has its own countdown.
        check(for_30("a"), 300, &[taint("a", Some(100))], LeavesAt(at(330)));
        // EL-23: the first match decides.
        let both =
            json!([{"operator": "Exists", "tolerationSeconds": 5}, {"key": "a", "operator": "Exists"}]);
        check(both, 0, &[taint("a", Some(100))], LeavesAt(at(105)));
    }
}
