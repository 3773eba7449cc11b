//! PURE. Which taints does a node's state ask for? (NP-2)
//!
//! 1. Only the taints of this table are added or removed; those of others stay as they are, in their order.
//! 2. The NoExecute taints evict pods, so they are added only when the [pace](super::pace) allows; they are taken off at
//!    once.
//!
//! Kubernetes: `doNoScheduleTaintingPass`, `processTaintBaseEviction`.

use super::health::Readiness;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use objects::node;

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Condition that is True → its taint.
const CONDITIONS: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
];
const NO_SCHEDULE: &str = "NoSchedule";
pub(super) const NO_EXECUTE: &str = "NoExecute";

/// Whether pods may be evicted from this node now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Eviction {
    /// The NoExecute taint may be added.
    Allowed,
    /// Not now; one that is there stays.
    Withheld,
}

/// All taints as they should be; none if they are so already.
pub(super) fn wanted(node: &Node, eviction: Eviction, now: Timestamp) -> Option<Vec<Taint>> {
    let current = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let wanted = keys(node, eviction, &current);
    let is_kept = |taint: &Taint| !is_ours(taint) || wanted.iter().any(|w| is(taint, w));
    let mut taints: Vec<Taint> = current.iter().filter(|taint| is_kept(taint)).cloned().collect();
    for (key, effect) in &wanted {
        if !taints.iter().any(|taint| is(taint, &(key, effect))) {
            let (key, effect) = (key.to_string(), effect.to_string());
            taints.push(Taint { key, effect, value: None, time_added: Some(Time(now)) });
        }
    }
    (taints != current).then_some(taints)
}

/// Whether the node's state asks for a NoExecute taint that it does not have yet.
pub(super) fn awaits_eviction(node: &Node) -> bool {
    let current = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    silence_key(node).is_some_and(|key| !current.into_iter().any(|taint| is(taint, &(key, NO_EXECUTE))))
}

fn keys(node: &Node, eviction: Eviction, current: &[Taint]) -> Vec<(&'static str, &'static str)> {
    let mut wanted = Vec::new();
    if let Some(key) = silence_key(node) {
        wanted.push((key, NO_SCHEDULE));
        // From one kind of silence to the other is no new eviction.
        let evicts = |taint: &Taint| {
            taint.effect == NO_EXECUTE && matches!(taint.key.as_str(), NOT_READY | UNREACHABLE)
        };
        if eviction == Eviction::Allowed || current.iter().any(evicts) {
            wanted.push((key, NO_EXECUTE));
        }
    }
    for (condition, key) in CONDITIONS {
        if node::condition(node, condition).is_some_and(|condition| condition.status == "True") {
            wanted.push((key, NO_SCHEDULE));
        }
    }
    if node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)) {
        wanted.push((UNSCHEDULABLE, NO_SCHEDULE));
    }
    wanted
}

/// A node without any Ready condition counts as not ready until its grace is over.
fn silence_key(node: &Node) -> Option<&'static str> {
    match Readiness::of(node) {
        Readiness::Ready => None,
        Readiness::NotReady => Some(NOT_READY),
        Readiness::Unknown if node::condition(node, "Ready").is_none() => Some(NOT_READY),
        Readiness::Unknown => Some(UNREACHABLE),
    }
}

fn is_ours(taint: &Taint) -> bool {
    let silence = matches!(taint.key.as_str(), NOT_READY | UNREACHABLE);
    let state = CONDITIONS.iter().any(|(_, key)| taint.key == *key) || taint.key == UNSCHEDULABLE;
    match taint.effect.as_str() {
        NO_SCHEDULE => silence || state,
        NO_EXECUTE => silence,
        _ => false,
    }
}

fn is(taint: &Taint, (key, effect): &(&str, &str)) -> bool {
    taint.key == *key && taint.effect == *effect
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(ready: Value, spec: Value, eviction: Eviction) -> Option<Vec<String>> {
        let node: Node =
            serde_json::from_value(json!({"spec": spec, "status": {"conditions": ready}})).unwrap();
        let taints = wanted(&node, eviction, Timestamp::UNIX_EPOCH)?;
        Some(taints.iter().map(objects::taints::text).collect())
    }

    fn ready(status: &str) -> Value {
        json!([{"type": "Ready", "status": status}])
    }

    fn with(taints: &[(&str, &str)]) -> Value {
        let taints: Vec<Value> =
            taints.iter().map(|(key, effect)| json!({"key": key, "effect": effect})).collect();
        json!({ "taints": taints })
    }

    #[test]
    fn the_state_asks_for_its_taints() {
        use Eviction::{Allowed, Withheld};
        assert_eq!(check(ready("True"), json!({}), Allowed), None);
        assert_eq!(
            check(ready("True"), with(&[(NOT_READY, "NoSchedule"), ("mine", "NoExecute")]), Withheld)
                .unwrap(),
            ["mine:NoExecute"]
        );
        let (both, one) = (
            ["node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"],
            &["node.kubernetes.io/not-ready:NoSchedule"],
        );
        assert_eq!(check(ready("False"), json!({}), Allowed).unwrap(), both);
        assert_eq!(check(ready("False"), json!({}), Withheld).unwrap(), one);
        assert_eq!(check(json!([]), json!({}), Withheld).unwrap(), one);
        assert_eq!(
            check(ready("Unknown"), with(&[(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]), Withheld)
                .unwrap(),
            ["node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"]
        );
        assert_eq!(
            check(ready("True"), json!({"unschedulable": true}), Allowed).unwrap(),
            ["node.kubernetes.io/unschedulable:NoSchedule"]
        );
        let pressed =
            json!([{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "True"}]);
        assert_eq!(
            check(pressed, json!({}), Allowed).unwrap(),
            ["node.kubernetes.io/disk-pressure:NoSchedule"]
        );
    }

    #[test]
    fn each_condition_has_its_taint_and_what_others_set_stays() {
        // NP-2.
        for (condition, key) in [
            ("MemoryPressure", "memory-pressure"),
            ("DiskPressure", "disk-pressure"),
            ("PIDPressure", "pid-pressure"),
            ("NetworkUnavailable", "network-unavailable"),
        ] {
            let conditions = |status: &str| json!([{"type": "Ready", "status": "True"}, {"type": condition, "status": status}]);
            let taint = format!("node.kubernetes.io/{key}");
            let there = with(&[(&taint, "NoSchedule")]);
            let wanted = check(conditions("True"), json!({}), Eviction::Allowed);
            assert_eq!(wanted.unwrap(), [format!("{taint}:NoSchedule")]);
            assert_eq!(check(conditions("True"), there.clone(), Eviction::Allowed), None);
            assert_eq!(check(conditions("False"), there, Eviction::Allowed).unwrap(), [""; 0]);
        }
        let foreign = with(&[
            ("node.cloudprovider.kubernetes.io/uninitialized", "NoSchedule"),
            ("node.kubernetes.io/out-of-service", "NoExecute"),
        ]);
        assert_eq!(check(ready("True"), foreign, Eviction::Allowed), None);
    }

    #[test]
    fn what_is_as_it_should_be_is_left_alone() {
        let spec = with(&[("a", "NoSchedule"), (UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]);
        assert_eq!(check(ready("Unknown"), spec, Eviction::Allowed), None);
        // An administrator's NoExecute taint with a pressure's key is not ours.
        assert_eq!(
            check(
                ready("True"),
                with(&[("node.kubernetes.io/disk-pressure", "NoExecute")]),
                Eviction::Allowed
            ),
            None
        );
    }
}
