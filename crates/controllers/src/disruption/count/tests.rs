//! A budget, its pods, and what is allowed.

use super::*;
use serde_json::{Value, json};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn budget(spec: Value, status: Value) -> PodDisruptionBudget {
    let budget = json!({"metadata": {"namespace": "ns", "name": "b", "generation": 2}, "spec": spec, "status": status});
    serde_json::from_value(budget).unwrap()
}

/// `r` ready, `n` not ready, `e` ready and ending, `o` ready and nobody's, `s` ready and of a strange controller.
fn pods(kinds: &str) -> Vec<Arc<Pod>> {
    let pod = |(index, kind): (usize, char)| {
        let owner = match kind {
            'o' => json!([]),
            's' => {
                json!([{"apiVersion": "x/v1", "kind": "Strange", "name": "s", "uid": "s", "controller": true}])
            }
            _ => {
                json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "d", "controller": true}])
            }
        };
        let ready = if kind == 'n' { "False" } else { "True" };
        let pod = json!({"metadata": {"name": format!("p{index}"), "ownerReferences": owner,
            "deletionTimestamp": (kind == 'e').then_some("1970-01-01T00:00:00Z")},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}});
        Arc::new(serde_json::from_value(pod).unwrap())
    };
    kinds.chars().enumerate().map(pod).collect()
}

fn counted(spec: Value, status: Value, kinds: &str) -> Count {
    // The DaemonSet `d` wants ten pods.
    count(&budget(spec, status), &pods(kinds), |owner| (owner.uid == "d").then_some(10), at(1000))
}

/// `expected desired current allowed`.
fn check(spec: Value, kinds: &str, expected: [i32; 4]) {
    let shown = format!("{spec} {kinds}");
    let Count { status, trouble, .. } = counted(spec, json!(null), kinds);
    assert_eq!(trouble, None, "{shown}");
    let found =
        [status.expected_pods, status.desired_healthy, status.current_healthy, status.disruptions_allowed];
    assert_eq!(found, expected, "{shown}");
    assert_eq!(status.observed_generation, Some(2));
    let condition = &status.conditions.unwrap()[0];
    let said = (condition.type_.as_str(), condition.status.as_str(), condition.reason.as_str());
    match status.disruptions_allowed {
        0 => assert_eq!(said, ("DisruptionAllowed", "False", "InsufficientPods")),
        _ => assert_eq!(said, ("DisruptionAllowed", "True", "SufficientPods")),
    }
}

#[test]
fn what_is_healthy_beyond_what_must_be_is_allowed() {
    // NP-16.
    check(json!({"minAvailable": 2}), "rrr", [3, 2, 3, 1]);
    check(json!({"minAvailable": 2}), "rrn", [3, 2, 2, 0]);
    check(json!({"minAvailable": 2}), "rrre", [4, 2, 3, 1]);
    check(json!({"minAvailable": 0}), "", [0, 0, 0, 0]);
    check(json!({"minAvailable": "50%"}), "rrrrrrr", [10, 5, 7, 2]);
    check(json!({"maxUnavailable": 1}), "rrrrrrrrrr", [10, 9, 10, 1]);
    check(json!({"maxUnavailable": 1}), "rrrrrrrrr", [10, 9, 9, 0]);
    check(json!({"maxUnavailable": "15%"}), "rrrrrrrrrr", [10, 8, 10, 2]);
    check(json!({"maxUnavailable": 1}), "oo", [0, 0, 2, 0]);
    check(json!({}), "rr", [0, 0, 2, 0]);
}

#[test]
fn an_eviction_counts_until_it_is_seen_or_forgotten() {
    let evicted = |name: &str, second: i64| {
        json!({"currentHealthy": 3, "desiredHealthy": 2, "disruptionsAllowed": 0, "expectedPods": 3,
            "disruptedPods": {name: at(second)}})
    };
    let spec = || json!({"minAvailable": 2});
    let fresh = counted(spec(), evicted("p0", 950), "rrr");
    assert_eq!((fresh.status.current_healthy, fresh.status.disruptions_allowed), (2, 0));
    assert_eq!(fresh.wake_at, Some(at(1070)));
    for (status, kinds) in [(evicted("p0", 880), "rrr"), (evicted("gone", 990), "rrr")] {
        let forgotten = counted(spec(), status, kinds);
        assert_eq!((forgotten.status.disruptions_allowed, forgotten.status.disrupted_pods), (1, None));
        assert_eq!(forgotten.wake_at, None);
    }
    let seen = counted(spec(), evicted("p0", 990), "err");
    assert_eq!((seen.status.current_healthy, seen.status.disrupted_pods), (2, None));
}

#[test]
fn what_cannot_be_counted_allows_nothing() {
    let before =
        json!({"currentHealthy": 3, "desiredHealthy": 2, "disruptionsAllowed": 1, "expectedPods": 3});
    let Count { status, trouble, .. } = counted(json!({"maxUnavailable": 1}), before.clone(), "rs");
    assert_eq!(trouble, Some(Trouble::NoScale { pod: "p1".into() }));
    assert_eq!((status.disruptions_allowed, status.expected_pods), (0, 3));
    let condition = &status.conditions.unwrap()[0];
    assert_eq!(
        (condition.reason.as_str(), condition.message.as_str()),
        ("SyncFailed", "found no controllers for pod \"p1\"")
    );
    assert_eq!(counted(json!({"minAvailable": 1}), before, "rs").trouble, None, "a number needs no scale");
}
