//! One pod, one node, what runs there already, and why the pod is refused.

use super::*;
use serde_json::{Value, json};

fn node(change: Value) -> Node {
    let mut node = json!({"metadata": {"name": "n1", "labels": {"disk": "ssd"}}, "spec": {"taints": []},
        "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "3"}, "conditions": []}});
    merge(&mut node, change);
    serde_json::from_value(node).unwrap()
}

fn pod(change: Value) -> Pod {
    let mut pod =
        json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1", "containers": [{"name": "c"}]}});
    merge(&mut pod, change);
    serde_json::from_value(pod).unwrap()
}

fn merge(into: &mut Value, change: Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            change.into_iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, change) => *into = change,
    }
}

/// `Reason: message` of the refusal, or who has to go; empty for a pod that is simply taken.
fn check(change_pod: Value, change_node: Value, others: &[Value], expected: &str) {
    let others: Vec<Arc<Pod>> = others.iter().map(|other| Arc::new(pod(other.clone()))).collect();
    let shown = change_pod.to_string();
    let found = match super::check(&pod(change_pod), &node(change_node), &others) {
        Ok(victims) if victims.is_empty() => String::new(),
        Ok(victims) => {
            let names = victims.iter().filter_map(|victim| victim.metadata.name.as_deref());
            format!("for it go {}", names.collect::<Vec<_>>().join(", "))
        }
        Err(Rejection { reason, message }) => format!("{reason}: {message}"),
    };
    assert_eq!(found, expected, "{shown}");
}

fn asks(cpu: &str) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
}

fn port(port: u16) -> Value {
    json!({"spec": {"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": port}]}]}})
}

#[test]
fn a_pod_that_does_not_fit_is_refused_with_the_numbers() {
    // NP-14.
    let none = || json!({});
    check(none(), none(), &[], "");
    check(asks("600m"), none(), &[asks("400m")], "");
    check(
        asks("700m"),
        none(),
        &[asks("400m")],
        "OutOfcpu: Pod was rejected: Node didn't have enough resource: cpu, requested: 700, used: 400, capacity: 1000",
    );
    check(
        none(),
        none(),
        &[none(), none(), none()],
        "OutOfpods: Pod was rejected: Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3",
    );
}

#[test]
fn a_pod_that_does_not_belong_here_is_refused_by_name_of_the_rule() {
    // NP-14: NoSchedule does not count any more, and static pods are not asked about taints.
    let none = || json!({});
    let refused = |name: &str, why: &str| format!("{name}: Pod was rejected: Predicate {name} failed: {why}");
    let elsewhere = json!({"spec": {"nodeName": "n2"}});
    check(elsewhere, none(), &[], &refused("NodeName", "node(s) didn't match the requested node name"));
    let taken = refused("NodePorts", "node(s) didn't have free ports for the requested pod ports");
    check(port(80), none(), &[port(80)], &taken);
    check(port(80), none(), &[port(81)], "");
    let mismatch = refused("NodeAffinity", "node(s) didn't match Pod's node affinity/selector");
    check(json!({"spec": {"nodeSelector": {"disk": "hdd"}}}), none(), &[], &mismatch);
    check(json!({"spec": {"nodeSelector": {"disk": "ssd"}}}), none(), &[], "");
    let taint = |effect: &str| json!({"spec": {"taints": [{"key": "k", "effect": effect}]}});
    let untolerated = refused("TaintToleration", "node(s) had taints that the pod didn't tolerate");
    check(none(), taint("NoExecute"), &[], &untolerated);
    check(none(), taint("NoSchedule"), &[], "");
    let is_static = json!({"metadata": {"annotations": {"kubernetes.io/config.source": "file"}}});
    check(is_static, taint("NoExecute"), &[], "");
    let tolerant = json!({"spec": {"tolerations": [{"key": "k", "operator": "Exists"}]}});
    check(tolerant, taint("NoExecute"), &[], "");
}

#[test]
fn under_pressure_only_critical_pods_are_taken() {
    // NP-15.
    let under = |pressures: &[&str]| {
        let conditions: Vec<Value> =
            pressures.iter().map(|pressure| json!({"type": pressure, "status": "True"})).collect();
        json!({"status": {"conditions": conditions}})
    };
    let refused =
        |pressures: &str| format!("Evicted: Pod was rejected: The node had condition: [{pressures}]. ");
    let daemon = || {
        json!({"spec": {"tolerations": [
        {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "node.kubernetes.io/disk-pressure", "operator": "Exists", "effect": "NoSchedule"}]}})
    };
    check(daemon(), under(&["DiskPressure"]), &[], &refused("DiskPressure"));
    check(daemon(), under(&["PIDPressure"]), &[], &refused("PIDPressure"));
    let both = ["MemoryPressure", "DiskPressure"];
    check(daemon(), under(&both), &[], &refused("DiskPressure MemoryPressure"));
    check(daemon(), under(&["MemoryPressure"]), &[], "");
    check(json!({}), under(&["MemoryPressure"]), &[], &refused("MemoryPressure"));
    check(asks("1m"), under(&["MemoryPressure"]), &[], "");
    check(asks("1m"), under(&["DiskPressure"]), &[], &refused("DiskPressure"));
    check(
        json!({"spec": {"priority": 1_999_999_999}}),
        under(&both),
        &[],
        &refused("DiskPressure MemoryPressure"),
    );
    check(json!({"spec": {"priority": 2_000_000_000}}), under(&both), &[], "");
    let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}});
    check(mirror, under(&both), &[], "");
    let calm = json!({"status": {"conditions": [{"type": "DiskPressure", "status": "False"}]}});
    check(json!({}), calm, &[], "");
}

/// A pod with a name, a priority, and requests; limits, too, make it Guaranteed.
fn named(name: &str, priority: i64, cpu: &str, guaranteed: bool) -> Value {
    let requests = if cpu.is_empty() { json!({}) } else { json!({"cpu": cpu, "memory": "1Mi"}) };
    let limits = if guaranteed { requests.clone() } else { json!({}) };
    json!({"metadata": {"name": name}, "spec": {"priority": priority,
        "containers": [{"name": "c", "resources": {"requests": requests, "limits": limits}}]}})
}

#[test]
fn a_critical_pod_pushes_aside_as_little_as_possible() {
    // NP-14, NP-15; Kubernetes: preemption_test.go.
    const CRITICAL: i64 = 2_000_001_000;
    let asks = |cpu: &str| named("critical", CRITICAL, cpu, false);
    let node = || json!({"status": {"allocatable": {"pods": "9"}}});
    let others = [
        named("nothing", 0, "", false),
        named("small", 0, "100m", false),
        named("large", 0, "400m", false),
        named("guaranteed", 0, "300m", true),
        named("also-critical", CRITICAL, "200m", false),
    ];
    check(asks("100m"), node(), &others, "for it go small");
    check(asks("300m"), node(), &others, "for it go large");
    check(asks("450m"), node(), &others, "for it go large, small");
    check(asks("600m"), node(), &others, "for it go large, guaranteed");
    check(
        asks("900m"),
        node(),
        &others,
        "UnexpectedAdmissionError: Pod was rejected: Unexpected error while attempting to recover from admission \
         failure: preemption: error finding a set of pods to preempt: no set of running pods found to reclaim \
         resources: [(res: cpu, q: 100), ]",
    );
    let one_place = json!({"status": {"allocatable": {"pods": "5"}}});
    check(named("critical", CRITICAL, "", false), one_place, &others, "for it go nothing");
    check(
        named("ordinary", 1_000_000_000, "100m", false),
        node(),
        &others,
        "OutOfcpu: Pod was rejected: Node didn't have enough resource: cpu, requested: 100, used: 1000, capacity: 1000",
    );
    let mut elsewhere = asks("100m");
    elsewhere["spec"]["nodeSelector"] = json!({"disk": "hdd"});
    let why = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
    check(elsewhere, node(), &others, &format!("NodeAffinity: Pod was rejected: {why}"));
}
