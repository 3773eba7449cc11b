//! What must not cost more in a large cluster: a pinned pod, and an event of one node (OPP-6, OPP-7).
//!
//! Compared are medians in a small and in a large cluster. A pass over all nodes would be a hundred times as long; less
//! than [`ALLOWED`] times is no pass.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use scheduler::queue::{ClusterEvent, NodeChanges, Queue};
use scheduler::{Cluster, Decision, Unschedulable, pick};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SMALL: usize = 30;
const LARGE: usize = 3_000;
/// Deeper trees and colder caches are not a pass.
const ALLOWED: u32 = 15;
const RUNS: usize = 201;

fn node(number: usize) -> Node {
    serde_json::from_value(json!({
        "metadata": {"name": format!("n{number}"), "labels": {"kubernetes.io/hostname": format!("n{number}")}},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}}
    }))
    .unwrap()
}

fn pod(name: &str, cpu: &str, node: Option<usize>, pin: Option<usize>) -> Pod {
    let terms = pin.map(|pin| {
        let fields = json!([{"key": "metadata.name", "operator": "In", "values": [format!("n{pin}")]}]);
        let required = json!({"nodeSelectorTerms": [{"matchFields": fields}]});
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}})
    });
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "d", "uid": name},
        "spec": {
            "nodeName": node.map(|node| format!("n{node}")), "affinity": terms, "priority": i32::from(pin.is_some()),
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]
        }
    }))
    .unwrap()
}

fn cluster(nodes: usize) -> Cluster {
    let mut cluster = Cluster::new();
    for number in 0..nodes {
        cluster.set_node(Arc::new(node(number)));
        for name in ["a", "b", "c"] {
            cluster.add_pod(&pod(&format!("{name}{number}"), "1", Some(number), None));
        }
    }
    cluster
}

fn median(mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let begin = Instant::now();
            run();
            begin.elapsed()
        })
        .collect();
    times.sort();
    times[RUNS / 2]
}

fn check(what: &str, measure: impl Fn(usize) -> Duration) {
    let (small, large) = (measure(SMALL), measure(LARGE));
    println!("{what}: {small:?} of {SMALL} nodes, {large:?} of {LARGE}");
    assert!(large < small * ALLOWED, "{what}: {small:?} of {SMALL} nodes, {large:?} of {LARGE}");
}

#[test]
fn a_pinned_pod_costs_the_same_in_a_large_cluster() {
    let decided = |nodes: usize, cpu: &str| {
        let (cluster, pinned) = (cluster(nodes), pod("daemon", cpu, None, Some(7)));
        median(|| {
            std::hint::black_box(pick(&pinned, &cluster));
        })
    };
    check("a place", |nodes| decided(nodes, "1"));
    check("a victim", |nodes| decided(nodes, "2"));
    check("a refusal", |nodes| decided(nodes, "5"));
}

#[test]
fn an_event_of_a_node_costs_nothing_for_those_who_wait_for_others() {
    let woken = |nodes: usize| {
        let (mut queue, now, cluster) = (Queue::default(), Timestamp::UNIX_EPOCH, cluster(nodes));
        for number in 0..nodes {
            queue.push(Arc::new(pod(&format!("p{number}"), "5", None, Some(number))), now);
        }
        while let Some(attempt) = queue.pop(now) {
            let Decision::Unschedulable(why) = pick(&attempt.pod, &cluster) else { unreachable!() };
            queue.failed(&attempt.key, Unschedulable::clone(&why), now);
        }
        let changes = NodeChanges { taints: true, ..NodeChanges::default() };
        let event = ClusterEvent::NodeChanged { node: "n7".into(), changes };
        median(|| queue.wake(&event, now))
    };
    check("an event", woken);
}
