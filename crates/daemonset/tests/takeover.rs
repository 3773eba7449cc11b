//! TK-5: what taking over means is read off the plan, and compared with what the other controller was about to do.

mod support;

use daemonset::{Takeover, takeover};
use serde_json::{Value, json};
use support::{Case, World, merged, now};

/// The other controller has counted two nodes with a daemon each; `more` is merged over that.
fn world(more: Value, there: &str) -> World {
    let counted = json!({"desiredNumberScheduled": 2, "currentNumberScheduled": 2, "updatedNumberScheduled": 2,
        "numberReady": 2, "numberAvailable": 2, "observedGeneration": 1});
    let case: Value = serde_saphyr::from_str(there).unwrap();
    let mut case: Case = serde_json::from_value(case).unwrap();
    case.daemon_set = merged(json!({"status": counted}), &more);
    World::of(&case)
}

#[track_caller]
fn check(more: Value, there: &str, expected: &[&str]) {
    let world = world(more, there);
    let born = |node: &str| (node == "new").then(now);
    let found = Takeover::of(&world.daemon_set, &world.plan(), born);
    let lines =
        |word: &str, all: &[String]| all.iter().map(|line| format!("{word}: {line}")).collect::<Vec<_>>();
    let lines = [
        lines("change", &found.changes),
        lines("later", &found.later),
        lines("unannounced", &found.unannounced),
        lines("disputed", found.disputed.as_slice()),
    ];
    assert_eq!(lines.concat(), expected);
    assert_eq!(found.changes_nothing(), expected.is_empty());
}

fn writer(name: &str, at: &str) -> Value {
    json!({"manager": name, "subresource": "status", "time": format!("2026-01-01T{at}Z")})
}

const THREE: &str = "{nodes: [n1, n2, n3], pods: [{name: a, node: n1}, {name: b, node: n2}]}";
const OLD: &str =
    "{revisions: [{hash: old, number: 1, template: {spec: {hostPID: true}}}, {hash: cur, number: 2}],
    nodes: [n1, n2], pods: [{name: a, node: n1, hash: old}, {name: b, node: n2, hash: old}]}";

#[test]
fn what_is_as_the_other_controller_left_it_stays() {
    // TK-1, TK-5.
    check(Value::Null, "{nodes: [n1, n2], pods: [{name: a, node: n1}, {name: b, node: n2}]}", &[]);
}

#[test]
fn a_pod_where_none_was_missing_waits_for_an_agreement() {
    // TK-5.
    let told = [
        "change: create pod on n3",
        "unannounced: create pods on 1 nodes, where it counted 0 without one: n3",
    ];
    check(Value::Null, THREE, &told);
    check(json!({"status": {"desiredNumberScheduled": 3}}), THREE, &told[..1]);
}

#[test]
fn a_node_that_is_newer_than_the_status_may_get_its_daemon() {
    // TK-5.
    let there = THREE.replace("n3", "new");
    let written = json!({"metadata": {"managedFields": [writer("kube-controller-manager", "11:00:00")]}});
    check(written, &there, &["change: create pod on new"]);
}

#[test]
fn a_delete_from_a_node_that_was_wanted_waits_for_an_agreement() {
    // TK-5.
    let there = THREE.replace("n2, n3", "{name: n2, taints: ['a=b:NoExecute']}");
    let deleted = "change: delete pod b on n2: not wanted here: the node's taint a=b:NoExecute is not tolerated; \
                   this toleration would allow it: {key: \"a\", operator: Equal, value: \"b\", effect: NoExecute}";
    let told = "unannounced: delete pods from 1 nodes, where it counted 0 that want none: b";
    check(Value::Null, &there, &[deleted, told]);
    check(json!({"status": {"numberMisscheduled": 1}}), &there, &[deleted]);
}

#[test]
fn a_rollout_under_way_goes_on_and_one_that_was_none_is_disputed() {
    // TK-5.
    let waits = "later: n2: pod b is outdated and waits until enough others are available";
    let rolls = json!({"status": {"updatedNumberScheduled": 0}});
    check(rolls, OLD, &["change: delete pod a on n1: outdated", waits]);
    let disputed = "disputed: the controller before counted more daemons as up to date; outdated: a, b";
    check(Value::Null, OLD, &[disputed]);
    let agreed = json!({"metadata": {"annotations": {takeover::AGREED_ANNOTATION: "true"}}});
    check(agreed, OLD, &["change: delete pod a on n1: outdated", waits]);
}

#[test]
fn who_had_it_last_decides_and_a_new_or_changed_one_was_nobodys() {
    // TK-5.
    let pending = |more: Value| takeover::is_pending(&world(more, THREE).daemon_set, "us");
    let ours = json!({"status": {"conditions": [{"type": "Progressing", "status": "False"}]}});
    let written =
        |writers: [Value; 2]| pending(merged(ours.clone(), &json!({"metadata": {"managedFields": writers}})));
    assert!(pending(Value::Null));
    assert!(!pending(ours.clone()));
    assert!(!written([writer("them", "10:00:00"), writer("us", "11:00:00")]));
    assert!(written([writer("them", "11:00:01"), writer("us", "11:00:00")]), "they had it again since");
    assert!(!pending(json!({"status": {"observedGeneration": 0}})));
    assert!(!pending(json!({"metadata": {"generation": 2}})));
    assert!(!pending(json!({"metadata": {"annotations": {takeover::AGREED_ANNOTATION: "true"}}})));
}

#[test]
fn what_is_left_alone_keeps_its_numbers_and_says_why_once() {
    // TK-5.
    let mut world = world(Value::Null, THREE);
    let left = |world: &World| {
        Takeover::of(&world.daemon_set, &world.plan(), |_| None).left_alone(&world.daemon_set, now())
    };
    let plan = left(&world);
    assert_eq!((plan.actions.len(), plan.news.len()), (1, 1), "{plan}");
    assert_eq!((plan.status.desired_number_scheduled, plan.status.current_number_scheduled), (2, 2));
    world.daemon_set.status = Some(plan.status);
    assert!(takeover::is_pending(&world.daemon_set, "us"));
    assert_eq!(left(&world).actions, []);
}
