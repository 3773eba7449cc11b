//! Caches with some DaemonSets, one change of something else, and who was woken by it.

use super::*;
use crate::caches::Pod;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// Three sets in one namespace, one in another: `a` and `b` select `app=x`, `other` selects `app=y`, `all` has an empty
/// selector. `b` runs on nodes with `disk=ssd` only, `other` tolerates the taint `k`.
fn sets() -> Vec<Whole<DaemonSet>> {
    let ssd = json!({"nodeSelector": {"disk": "ssd"}, "containers": []});
    let tolerant = json!({"tolerations": [{"key": "k", "operator": "Exists"}], "containers": []});
    let plain = json!({"containers": []});
    vec![
        set("ns", "a", json!({"matchLabels": {"app": "x"}}), plain.clone()),
        set("ns", "b", json!({"matchLabels": {"app": "x"}}), ssd),
        set("ns", "all", json!({}), plain.clone()),
        set("ns", "other", json!({"matchLabels": {"app": "y"}}), tolerant),
        set("far", "a", json!({"matchLabels": {"app": "x"}}), plain),
    ]
}

fn set(namespace: &str, name: &str, selector: Value, pod: Value) -> Whole<DaemonSet> {
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": pod});
    let set = json!({"metadata": {"namespace": namespace, "name": name, "uid": format!("uid-{namespace}-{name}")},
        "spec": {"selector": selector, "template": template}});
    serde_json::from_value(set).unwrap()
}

/// A pod's or revision's metadata; the owner as `kind/name/uid`, if any.
fn meta(version: &str, app: &str, owner: &str) -> Value {
    let mut meta = json!({"namespace": "ns", "name": "p", "uid": "p", "resourceVersion": version});
    if !app.is_empty() {
        meta["labels"] = json!({ "app": app });
    }
    if let [kind, name, uid] = owner.split('/').collect::<Vec<_>>()[..] {
        meta["ownerReferences"] =
            json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}]);
    }
    meta
}

fn ending(mut meta: Value) -> Value {
    meta["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    meta
}

const A: &str = "DaemonSet/a/uid-ns-a";
const B: &str = "DaemonSet/b/uid-ns-b";

type Log = Arc<Mutex<Vec<String>>>;

fn world() -> (Caches, Log) {
    let (caches, log) = (Caches::default(), Log::default());
    sets().into_iter().for_each(|set| caches.daemonsets.apply(set));
    let note = |log: &Log, woken: BTreeSet<ObjectKey>| {
        log.lock().unwrap().extend(woken.iter().map(|key| format!("{}/{}", key.namespace, key.name)));
    };
    let (heard, seen) = (log.clone(), caches.clone());
    caches.pods.listen(move |change| note(&heard, by_dependent(&seen, change)));
    let (heard, seen) = (log.clone(), caches.clone());
    caches.revisions.listen(move |change| note(&heard, by_revision(&seen, change)));
    let (heard, seen) = (log.clone(), caches.clone());
    caches.nodes.listen(move |change| note(&heard, by_node(&seen, change)));
    (caches, log)
}

/// Shows the states of one pod one after the other, null for its end; who is woken by the last.
fn check_pod(states: &[Value], expected: &[&str]) {
    let (caches, log) = world();
    let pod = |meta: &Value| -> Pod { serde_json::from_value(json!({ "metadata": meta })).unwrap() };
    let mut last = None;
    for state in states {
        log.lock().unwrap().clear();
        match (state.is_null(), &last) {
            (true, Some(before)) => caches.pods.remove(pod(before)),
            _ => caches.pods.apply(pod(state)),
        }
        last = Some(state.clone());
    }
    assert_eq!(*log.lock().unwrap(), expected, "{states:?}");
}

#[test]
fn a_new_pod_wakes_its_owner_or_whoever_could_adopt_it() {
    // WE-4, WE-14, OW-10, OW-12, TE-34 AddPod and AddPodOrphan.
    check_pod(&[meta("1", "x", A)], &["ns/a"]);
    check_pod(&[meta("1", "none", A)], &["ns/a"]);
    check_pod(&[ending(meta("1", "x", A))], &["ns/a"]);
    check_pod(&[meta("1", "x", "")], &["ns/a", "ns/b"]);
    check_pod(&[meta("1", "y", "")], &["ns/other"]);
    check_pod(&[meta("1", "z", "")], &[]);
    check_pod(&[meta("1", "", "")], &[]);
    check_pod(&[ending(meta("1", "x", ""))], &[]);
    for stranger in
        ["DaemonSet/a/uid-of-a-predecessor", "DaemonSet/gone/uid", "ReplicaSet/a/uid-ns-a", "Node/n1/u"]
    {
        check_pod(&[meta("1", "x", stranger)], &[]);
    }
}

#[test]
fn a_changed_pod_wakes_old_and_new_owner() {
    // WE-5, WE-6, OW-11, TE-34 UpdatePod, OrphanSameLabels, OrphanWithNewLabels, ChangeControllerRef, ControllerRefRemoved.
    check_pod(&[meta("1", "x", A), meta("1", "x", A)], &[]);
    check_pod(&[meta("1", "x", A), meta("2", "x", A)], &["ns/a"]);
    check_pod(&[meta("1", "x", A), ending(meta("2", "x", A))], &["ns/a"]);
    check_pod(&[meta("1", "x", A), meta("2", "x", B)], &["ns/a", "ns/b"]);
    check_pod(&[meta("1", "x", A), meta("2", "x", "")], &["ns/a", "ns/b"]);
    check_pod(&[meta("1", "x", A), meta("2", "y", "")], &["ns/a", "ns/other"]);
    check_pod(&[meta("1", "x", ""), meta("2", "x", "")], &[]);
    check_pod(&[meta("1", "z", ""), meta("2", "x", "")], &["ns/a", "ns/b"]);
    check_pod(&[meta("1", "x", ""), meta("2", "x", A)], &["ns/a"]);
}

#[test]
fn a_pod_that_goes_wakes_its_owner_and_nobody_else() {
    // WE-7, WE-15, TE-34 DeletePod and DeletePodOrphan, TE-32 DeleteNoDaemonPod.
    check_pod(&[meta("1", "x", A), Value::Null], &["ns/a"]);
    check_pod(&[ending(meta("1", "x", A)), Value::Null], &["ns/a"]);
    check_pod(&[meta("1", "x", ""), Value::Null], &[]);
    check_pod(&[meta("1", "x", "ReplicaSet/r/u"), Value::Null], &[]);
    check_pod(&[meta("1", "x", "DaemonSet/a/uid-of-a-predecessor"), Value::Null], &[]);
}

#[test]
fn revisions_wake_as_pods_do() {
    // WE-8, WE-9, WE-10, BUG-10: a new revision wakes its owner too.
    let check = |states: &[Value], expected: &[&str]| {
        let (caches, log) = world();
        let revision = |meta: &Value| -> ControllerRevision {
            serde_json::from_value(json!({"metadata": meta, "revision": 1})).unwrap()
        };
        for (index, state) in states.iter().enumerate() {
            log.lock().unwrap().clear();
            match state.is_null() {
                true => caches.revisions.remove(revision(&states[index - 1])),
                false => caches.revisions.apply(revision(state)),
            }
        }
        assert_eq!(*log.lock().unwrap(), expected, "{states:?}");
    };
    check(&[meta("1", "x", A)], &["ns/a"]);
    check(&[meta("1", "x", "")], &["ns/a", "ns/b"]);
    check(&[ending(meta("1", "x", ""))], &[]);
    check(&[meta("1", "x", A), meta("1", "x", A)], &[]);
    check(&[meta("1", "x", A), meta("2", "x", A)], &["ns/a"]);
    check(&[meta("1", "x", A), meta("2", "x", B)], &["ns/a", "ns/b"]);
    check(&[meta("1", "x", ""), meta("2", "x", "")], &[]);
    check(&[meta("1", "z", ""), meta("2", "x", "")], &["ns/a", "ns/b"]);
    check(&[meta("1", "x", A), Value::Null], &["ns/a"]);
    check(&[meta("1", "x", ""), Value::Null], &[]);
    // Its successor has used it, and needs one of its own now.
    let left = meta("1", "x", "DaemonSet/a/uid-of-a-predecessor");
    check(std::slice::from_ref(&left), &[]);
    check(&[left, Value::Null], &["ns/a"]);
    check(&[meta("1", "x", "DaemonSet/gone/uid"), Value::Null], &[]);
}

fn node(version: &str, labels: Value, taints: Value) -> Value {
    json!({"metadata": {"name": "n1", "uid": "n1", "resourceVersion": version, "labels": labels}, "spec": {"taints": taints}})
}

fn taint(effect: &str) -> Value {
    json!([{"key": "k", "value": "v", "effect": effect}])
}

/// Shows the states of one node; who is woken by the last.
fn check_node(states: &[Value], expected: &[&str]) {
    let (caches, log) = world();
    let node = |node: &Value| -> Node { serde_json::from_value(node.clone()).unwrap() };
    for (index, state) in states.iter().enumerate() {
        log.lock().unwrap().clear();
        match state.is_null() {
            true => caches.nodes.remove(node(&states[index - 1])),
            false => caches.nodes.apply(node(state)),
        }
    }
    assert_eq!(*log.lock().unwrap(), expected, "{states:?}");
}

const PLAIN: [&str; 4] = ["far/a", "ns/a", "ns/all", "ns/other"];
const ALL: [&str; 5] = ["far/a", "ns/a", "ns/all", "ns/b", "ns/other"];

#[test]
fn a_new_node_wakes_who_wants_it() {
    // WE-11, TE-32 AddNode.
    check_node(&[node("1", json!({}), json!([]))], &PLAIN);
    check_node(&[node("1", json!({"disk": "ssd"}), json!([]))], &ALL);
    check_node(&[node("1", json!({}), taint("NoSchedule"))], &["ns/other"]);
}

#[test]
fn a_node_that_comes_again_wakes_whose_pods_are_there() {
    // NP-13, WE-11: `b` does not want it, but its pod is misscheduled from now on.
    let (caches, log) = world();
    let pod = json!({"metadata": meta("1", "x", B), "spec": {"nodeName": "n1", "containers": []}});
    caches.pods.apply(serde_json::from_value(pod).unwrap());
    log.lock().unwrap().clear();
    caches.nodes.apply(serde_json::from_value(node("1", json!({}), taint("NoSchedule"))).unwrap());
    assert_eq!(*log.lock().unwrap(), ["ns/b", "ns/other"]);
}

#[test]
fn a_node_that_goes_wakes_all() {
    // WE-12, NP-11, BUG-4: upstream wakes nobody, and its status stays stale.
    check_node(&[node("1", json!({}), json!([])), Value::Null], &ALL);
}

#[test]
fn a_changed_node_wakes_whose_placement_changes() {
    // WE-13, WE-16, WE-16b, NP-1, NX-2, TE-32 UpdateNode.
    let plain = || node("1", json!({}), json!([]));
    let mut roomier = node("2", json!({}), json!([]));
    roomier["status"] =
        json!({"allocatable": {"cpu": "64"}, "conditions": [{"type": "Ready", "status": "False"}]});
    roomier["spec"]["unschedulable"] = true.into();
    roomier["metadata"]["annotations"] = json!({"a": "b"});
    check_node(&[plain(), roomier], &[]);
    check_node(&[plain(), node("2", json!({"zone": "z"}), json!([]))], &[]);
    check_node(&[plain(), node("2", json!({"disk": "ssd"}), json!([]))], &["ns/b"]);
    check_node(&[node("1", json!({"disk": "ssd"}), json!([])), node("2", json!({}), json!([]))], &["ns/b"]);
    check_node(&[plain(), node("2", json!({}), taint("PreferNoSchedule"))], &[]);
}

#[test]
fn no_transition_is_missed_with_or_without_pods() {
    // BUG-11, NX-6, NX-7, NP-5, NP-9: no pod is in the cache, and yet the numbers of all these change.
    let plain = || node("1", json!({}), json!([]));
    let intolerant = ["far/a", "ns/a", "ns/all"];
    check_node(&[plain(), node("2", json!({}), taint("NoSchedule"))], &intolerant);
    check_node(&[plain(), node("2", json!({}), taint("NoExecute"))], &intolerant);
    check_node(
        &[node("1", json!({}), taint("NoSchedule")), node("2", json!({}), taint("NoExecute"))],
        &intolerant,
    );
    check_node(&[node("1", json!({}), taint("NoSchedule")), node("2", json!({}), json!([]))], &intolerant);
}
