//! The queue on a clock of our own.

use super::*;
use crate::filter::Plugin;
use k8s_openapi::api::core::v1::Node;
use serde_json::json;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn pod(name: &str, spec: serde_json::Value) -> Arc<Pod> {
    let metadata = json!({"name": name, "namespace": "d", "uid": format!("uid-{name}")});
    Arc::new(serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap())
}

fn plain(name: &str) -> Arc<Pod> {
    pod(name, json!({"containers": []}))
}

fn pinned(name: &str, node: &str) -> Arc<Pod> {
    let fields = json!([{"key": "metadata.name", "operator": "In", "values": [node]}]);
    let terms = json!({"nodeSelectorTerms": [{"matchFields": fields}]});
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}});
    pod(name, json!({"containers": [], "affinity": affinity}))
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("d", name)
}

fn refused_by(plugins: &[Plugin]) -> Unschedulable {
    Unschedulable {
        message: String::new(),
        reasons: BTreeMap::new(),
        refused_by: plugins.iter().copied().collect(),
        nomination: crate::Nomination::Unchanged,
    }
}

fn pop(queue: &mut Queue, now: i64) -> Option<String> {
    queue.pop(at(now)).map(|attempt| attempt.key.name)
}

/// A pod of this spec leaves a node.
fn removed(node: &str, mut spec: serde_json::Value) -> ClusterEvent {
    spec["nodeName"] = node.into();
    let mut cluster = crate::Cluster::new();
    cluster.add_pod(&pod("gone", spec));
    ClusterEvent::of_pod(cluster.placed(&key("gone")), None).remove(0)
}

fn node_changed(node: &str, changes: NodeChanges) -> ClusterEvent {
    ClusterEvent::NodeChanged { node: node.into(), changes }
}

const TAINTS: NodeChanges =
    NodeChanges { taints: true, labels: false, allocatable: false, unschedulable: false };
const LABELS: NodeChanges =
    NodeChanges { taints: false, labels: true, allocatable: false, unschedulable: false };

#[test]
fn important_pods_come_first_then_daemons_then_the_longest_waiting() {
    // OPP-6.
    let mut queue = Queue::default();
    let mut daemon = Pod::clone(&plain("daemon"));
    daemon.metadata.owner_references =
        Some(vec![objects::owner::controller_reference("apps/v1", "DaemonSet", "ds", "uid-ds")]);
    queue.push(plain("early"), at(0));
    queue.push(plain("late"), at(2));
    // Two that a restart finds: who was created first goes first, though it was listed last.
    for (name, created) in [("younger", "2026-01-02T00:00:00Z"), ("older", "2026-01-01T00:00:00Z")] {
        let mut listed = Pod::clone(&plain(name));
        listed.metadata.creation_timestamp = Some(serde_json::from_value(json!(created)).unwrap());
        queue.push(Arc::new(listed), at(1));
    }
    queue.push(Arc::new(daemon), at(3));
    queue.push(pod("critical", json!({"containers": [], "priority": 2_000_001_000})), at(4));
    let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue, 5)).collect();
    assert_eq!(order, ["critical", "daemon", "early", "late", "older", "younger"]);
    assert_eq!(queue.len(), 6, "they are in flight, not gone");
}

#[test]
fn errors_are_retried_after_a_doubling_back_off_of_at_most_ten_seconds() {
    let mut queue = Queue::default();
    queue.push(plain("p"), at(0));
    let mut now = 0;
    let mut waits = Vec::new();
    for number in 1..=7 {
        let attempt = queue.pop(at(now)).unwrap();
        assert_eq!(attempt.number, number);
        queue.error(&attempt.key, at(now));
        let next = queue.next_wake().unwrap().as_second();
        assert_eq!(pop(&mut queue, next - 1), None);
        waits.push(next - now);
        now = next;
    }
    assert_eq!(waits, [1, 2, 4, 8, 10, 10, 10]);
}

#[test]
fn an_unschedulable_pod_sleeps_until_what_refused_it_changes() {
    let mut queue = Queue::default();
    queue.push(plain("p"), at(0));
    queue.pop(at(0)).unwrap();
    queue.failed(&key("p"), refused_by(&[Plugin::TaintToleration]), at(0));
    for event in [node_changed("n1", LABELS), removed("n1", json!({"containers": []}))] {
        queue.wake(&event, at(20));
        assert_eq!(pop(&mut queue, 20), None, "{event:?}");
    }
    queue.wake(&node_changed("n1", TAINTS), at(20));
    assert_eq!(pop(&mut queue, 20), Some("p".into()), "its back-off has long passed");
}

/// Whether the end of one pod wakes another that was refused by this rule.
fn check_hint(plugin: Plugin, waits: serde_json::Value, gone: serde_json::Value, expected: bool) {
    let mut queue = Queue::default();
    queue.push(pod("p", waits.clone()), at(0));
    queue.pop(at(0)).unwrap();
    queue.failed(&key("p"), refused_by(&[plugin]), at(0));
    queue.wake(&removed("n1", gone.clone()), at(20));
    assert_eq!(pop(&mut queue, 20).is_some(), expected, "{plugin:?} {waits} {gone}");
}

#[test]
fn the_end_of_a_pod_wakes_those_who_lack_what_it_had() {
    let port =
        |port: u16| json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": port}]}]});
    let asks =
        |resource: &str| json!({"containers": [{"name": "c", "resources": {"requests": {resource: "1"}}}]});
    check_hint(Plugin::NodePorts, port(80), port(80), true);
    check_hint(Plugin::NodePorts, port(80), port(81), false);
    check_hint(Plugin::NodePorts, port(80), asks("cpu"), false);
    check_hint(Plugin::NodeResourcesFit, asks("cpu"), asks("cpu"), true);
    check_hint(Plugin::NodeResourcesFit, asks("cpu"), asks("memory"), false);
    check_hint(Plugin::NodeResourcesFit, asks("example.com/gpu"), asks("cpu"), false);
    check_hint(Plugin::TaintToleration, asks("cpu"), asks("cpu"), false);
}

#[test]
fn a_pod_that_comes_wakes_those_who_look_around_even_if_they_are_pinned_elsewhere() {
    let ClusterEvent::PodRemoved { pod } = removed("n2", json!({"containers": []})) else { unreachable!() };
    let placed = ClusterEvent::of_pod(None, Some(&pod)).remove(0);
    for (plugin, expected) in [
        (Plugin::InterPodAffinity, true),
        (Plugin::PodTopologySpread, true),
        (Plugin::NodeResourcesFit, false),
        (Plugin::NodePorts, false),
    ] {
        let mut queue = Queue::default();
        queue.push(pinned("p", "n1"), at(0));
        queue.pop(at(0)).unwrap();
        queue.failed(&key("p"), refused_by(&[Plugin::NodeAffinity, plugin]), at(0));
        queue.wake(&placed, at(20));
        assert_eq!(pop(&mut queue, 20).is_some(), expected, "{plugin:?}");
    }
    assert_eq!(ClusterEvent::of_pod(Some(&pod), Some(&pod)), [], "nothing has changed");
}

#[test]
fn any_pod_frees_a_place_where_there_were_too_many() {
    let mut queue = Queue::default();
    queue.push(plain("p"), at(0));
    queue.pop(at(0)).unwrap();
    let mut why = refused_by(&[Plugin::NodeResourcesFit]);
    why.reasons.insert("Too many pods".into(), 1);
    queue.failed(&key("p"), why, at(0));
    queue.wake(&removed("n1", json!({"containers": []})), at(20));
    assert_eq!(pop(&mut queue, 20), Some("p".into()));
}

#[test]
fn a_failed_eviction_is_tried_again_after_the_back_off() {
    let mut queue = Queue::default();
    queue.push(plain("p"), at(0));
    queue.pop(at(0)).unwrap();
    queue.failed(&key("p"), refused_by(&[Plugin::NodeResourcesFit]), at(0));
    queue.reconsider(&key("p"), at(0));
    assert_eq!((pop(&mut queue, 0), queue.next_wake()), (None, Some(at(1))));
    assert_eq!(pop(&mut queue, 1), Some("p".into()));
    queue.reconsider(&key("p"), at(1));
    assert_eq!(pop(&mut queue, 1), None, "it is in flight");
}

#[test]
fn a_wake_up_waits_for_the_rest_of_the_back_off() {
    let mut queue = Queue::default();
    queue.push(plain("p"), at(0));
    for now in [0, 10] {
        queue.pop(at(now)).unwrap();
        queue.failed(&key("p"), refused_by(&[Plugin::TaintToleration]), at(now));
        queue.wake(&node_changed("n1", TAINTS), at(now));
        assert_eq!(pop(&mut queue, now), None);
    }
    assert_eq!(queue.next_wake(), Some(at(12)), "two failures: two seconds");
    assert_eq!(pop(&mut queue, 12), Some("p".into()));
}

#[test]
fn a_pinned_pod_is_woken_only_by_its_node() {
    let mut queue = Queue::default();
    queue.push(pinned("p", "n1"), at(0));
    queue.pop(at(0)).unwrap();
    queue.failed(&key("p"), refused_by(&[Plugin::NodeAffinity, Plugin::TaintToleration]), at(0));
    queue.wake(&ClusterEvent::NodeAdded { node: "n2".into() }, at(5));
    queue.wake(&node_changed("n2", TAINTS), at(5));
    assert_eq!(pop(&mut queue, 5), None);
    queue.wake(&ClusterEvent::NodeAdded { node: "n1".into() }, at(5));
    assert_eq!(pop(&mut queue, 5), Some("p".into()));
}

#[test]
fn an_event_during_the_attempt_is_not_lost() {
    let mut queue = Queue::default();
    queue.push(plain("p"), at(0));
    queue.pop(at(0)).unwrap();
    queue.wake(&node_changed("n1", TAINTS), at(0));
    queue.failed(&key("p"), refused_by(&[Plugin::TaintToleration]), at(0));
    assert_eq!(queue.next_wake(), Some(at(1)), "back-off instead of sleep");
    assert_eq!(pop(&mut queue, 1), Some("p".into()));
}

#[test]
fn nobody_sleeps_for_ever() {
    let mut queue = Queue::default();
    queue.push(plain("p"), at(0));
    queue.pop(at(0)).unwrap();
    queue.failed(&key("p"), refused_by(&[Plugin::NodePorts]), at(0));
    assert_eq!(queue.next_wake(), Some(at(300)));
    assert_eq!(pop(&mut queue, 299), None);
    assert_eq!(pop(&mut queue, 300), Some("p".into()));
}

#[test]
fn our_own_status_patch_wakes_nobody_but_another_spec_does() {
    let mut queue = Queue::default();
    queue.push(plain("p"), at(0));
    queue.pop(at(0)).unwrap();
    queue.failed(&key("p"), refused_by(&[Plugin::TaintToleration]), at(0));
    let mut patched = Pod::clone(&plain("p"));
    patched.metadata.resource_version = Some("7".into());
    patched.status = serde_json::from_value(json!({"phase": "Pending"})).unwrap();
    queue.push(Arc::new(patched), at(30));
    assert_eq!(pop(&mut queue, 30), None);
    let tolerant = json!({"containers": [], "tolerations": [{"operator": "Exists"}]});
    queue.push(pod("p", tolerant.clone()), at(30));
    let attempt = queue.pop(at(30)).unwrap();
    assert_eq!(attempt.pod, pod("p", tolerant));
}

#[test]
fn a_bound_or_deleted_pod_is_gone_from_every_place() {
    let mut queue = Queue::default();
    for name in ["active", "back-off", "in-flight", "asleep"] {
        queue.push(plain(name), at(0));
    }
    for _ in 0..4 {
        queue.pop(at(0)).unwrap();
    }
    queue.error(&key("back-off"), at(0));
    queue.failed(&key("asleep"), refused_by(&[]), at(0));
    queue.remove(&key("active"));
    queue.push(plain("active"), at(1));
    for name in ["active", "back-off", "in-flight", "asleep"] {
        queue.remove(&key(name));
    }
    assert!(queue.is_empty());
    assert_eq!((queue.next_wake(), pop(&mut queue, 1_000)), (None, None));
    queue.failed(&key("in-flight"), refused_by(&[]), at(0));
    assert!(queue.is_empty(), "a late answer brings nobody back");
}

#[test]
fn another_pod_of_the_same_name_starts_anew() {
    let mut queue = Queue::default();
    queue.push(plain("p"), at(0));
    queue.pop(at(0)).unwrap();
    queue.failed(&key("p"), refused_by(&[Plugin::NodePorts]), at(0));
    let mut next = Pod::clone(&plain("p"));
    next.metadata.uid = Some("other".into());
    queue.push(Arc::new(next), at(1));
    assert_eq!(queue.pop(at(1)).map(|attempt| attempt.number), Some(1));
}

#[test]
fn a_heartbeat_is_no_event_and_a_new_label_is() {
    let node = |value: serde_json::Value| -> Node { serde_json::from_value(value).unwrap() };
    let old = node(json!({"metadata": {"name": "n1", "resourceVersion": "1"}}));
    let beat = node(json!({"metadata": {"name": "n1", "resourceVersion": "2"}, "status": {"images": []}}));
    let label = node(json!({"metadata": {"name": "n1", "labels": {"disk": "ssd"}}}));
    assert_eq!(ClusterEvent::between(Some(&old), &beat), None);
    assert_eq!(ClusterEvent::between(Some(&old), &label), Some(node_changed("n1", LABELS)));
    assert_eq!(ClusterEvent::between(None, &old), Some(ClusterEvent::NodeAdded { node: "n1".into() }));
}
