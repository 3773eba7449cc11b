//! Which nodes are alive, and what follows for their pods.
//!
//! ```text
//! leases, heartbeats ─▶ health: Ready=Unknown after the grace ─▶ taints ─▶ eviction: pods that do not tolerate them
//!                                                            └─▶ pods of the node: Ready=False (NP-4)
//! ```
//! 1. Signs of life are noted as they come and cost nothing else; all nodes are looked over once per period, in memory.
//! 2. Taints follow the conditions at once (NP-2), NoExecute for silence only at a [`pace`] that survives a broken network.
//! 3. Silence is measured on our own clock, so that nodes' clocks do not matter; after a start every node has its full grace.
//!
//! Kubernetes: `nodelifecycle/node_lifecycle_controller.go`, `tainteviction`.

mod eviction;
mod health;
mod marks;
mod pace;
mod taints;

use crate::caches::{BY_NODE, Change, Pod, Watched};
use crate::events::{self, Recorder};
use crate::reconcile::{Next, Queue, work};
use crate::{Shared, act, tolerate};
use eviction::Fate;
use futures::FutureExt as _;
use health::{Grace, Pulse, Readiness};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::{PartialObjectMeta, Status};
use marks::Marks;
use objects::key::ObjectKey;
use objects::pod;
use serde_json::json;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Kinds that this loop reads.
pub(crate) const READS: &[Watched] = &[Watched::Nodes, Watched::Pods, Watched::Leases];

/// Nodes at a time: a fleet that starts has a thousand taints to take off.
const WORKERS: usize = 32;
const COALESCE: Duration = Duration::from_millis(10);
/// Where nodes keep their leases.
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// Nodes younger than this are told of as new; older ones were there before we came.
const NEWBORN: Duration = Duration::from_secs(60);

/// What is remembered between two looks.
#[derive(Default)]
struct Memory {
    /// What each node said last, and when we heard it.
    heard: BTreeMap<String, (Pulse, Instant)>,
    granted: pace::Granted,
    /// Nodes whose pods may be evicted now.
    evicting: Vec<String>,
    /// When a NoExecute taint without a time was first seen.
    first_seen: BTreeMap<String, Timestamp>,
    marks: Marks,
}

struct Loop {
    shared: Arc<Shared>,
    queue: Queue<String>,
    memory: Mutex<Memory>,
    recorder: Recorder,
    evictor: Recorder,
}

/// Watches over nodes, for ever.
pub(crate) async fn run(shared: Arc<Shared>) -> Infallible {
    let recorder = shared.recorder.named("node-controller");
    let evictor = shared.recorder.named("taint-eviction-controller");
    let (queue, memory) = (Queue::new(COALESCE), Mutex::default());
    let this = Arc::new(Loop { shared: shared.clone(), queue, memory, recorder, evictor });
    this.clone().listen();
    shared.synced(READS).await;
    let (never, ()) =
        futures::join!(work(&this.queue, WORKERS, |name| this.reconcile(name)), this.look_over());
    never
}

impl Loop {
    fn listen(self: Arc<Self>) {
        let caches = &self.shared.caches;
        let this = self.clone();
        caches.nodes.listen(move |change| this.node_changed(change));
        let this = self.clone();
        caches.leases.listen(move |change| {
            if change.key().namespace == LEASE_NAMESPACE {
                this.hear(&change.key().name);
            }
        });
        let this = self.clone();
        caches.pods.listen(move |change| {
            let node = change.new.and_then(|pod| pod::node_name(pod));
            // Pods matter only where something is wrong with the node.
            if let Some(name) = node.filter(|name| this.node(name).is_some_and(|node| troubles_pods(&node))) {
                this.queue.add(name.to_string());
            }
        });
    }

    fn node_changed(&self, change: &Change<'_, Node>) {
        let name = change.key().name;
        self.hear(&name);
        match (change.old, change.new) {
            (old, Some(new)) => {
                tell_of(&self.recorder, old.map(Arc::as_ref), new, self.shared.now());
                if old.is_none_or(|old| differs(old, new)) {
                    self.queue.add(name);
                }
            }
            (Some(old), None) => {
                let text = format!("Node {name} event: Removing Node {name} from Controller");
                self.recorder.normal(events::reference(old.as_ref()), "RemovingNode", text);
                let mut memory = self.memory();
                memory.heard.remove(&name);
                memory.first_seen.remove(&name);
                memory.marks.forget(&name);
            }
            (None, None) => {}
        }
    }

    /// Notes a sign of life, if it is one.
    fn hear(&self, name: &str) {
        let node = self.node(name);
        let lease = self.shared.caches.leases.get(&ObjectKey::new(LEASE_NAMESPACE, name));
        if node.is_none() {
            return;
        }
        let pulse = Pulse::of(node.as_deref(), lease.as_deref());
        let mut memory = self.memory();
        if memory.heard.get(name).is_none_or(|(before, _)| *before != pulse) {
            memory.heard.insert(name.to_string(), (pulse, Instant::now()));
        }
    }

    /// Once per period: who is overdue, and who may be evicted now?
    async fn look_over(&self) {
        let mut ticks = tokio::time::interval(self.shared.config.node_period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (nodes, now) = (self.shared.caches.nodes.all(), self.shared.now());
            let granted = {
                let mut memory = self.memory();
                let (granted, new) = pace::grant(&nodes, &memory.granted, now);
                memory.granted = new;
                memory.evicting.clone_from(&granted);
                granted
            };
            let is_overdue = |node: &Node| {
                health::overdue(node, self.silence(objects::node::name(node)), self.grace(), now).is_some()
            };
            let overdue = nodes
                .iter()
                .filter(|node| is_overdue(node))
                .map(|node| objects::node::name(node).to_string());
            overdue.chain(granted).for_each(|name| self.queue.add(name));
        }
    }

    async fn reconcile(&self, name: String) -> Result<Next, kube::Error> {
        let Some(node) = self.node(&name) else { return Ok(Next::Rest) };
        let now = self.shared.now();
        if let Some(conditions) = health::overdue(&node, self.silence(&name), self.grace(), now) {
            tracing::warn!(node = name, "a node has fallen silent");
            let patch = json!({"status": {"conditions": conditions}});
            self.patch_node(&node, Some("status"), patch).await?;
            // Its event brings the rest.
            return Ok(Next::Rest);
        }
        let eviction = pace::eviction(&self.memory().evicting, &name);
        if let Some(taints) = taints::wanted(&node, eviction, now) {
            self.patch_node(&node, None, json!({"spec": {"taints": taints}})).await?;
            return Ok(Next::Rest);
        }
        let pods = self.shared.caches.pods.by(BY_NODE, &name);
        let again = self.mark_not_ready(&node, &pods, now).await?;
        Ok(self.evict(&node, &pods, now).await?.sooner(again))
    }

    /// NP-4.
    async fn mark_not_ready(&self, node: &Node, pods: &[Arc<Pod>], now: Timestamp) -> kube::Result<Next> {
        let name = objects::node::name(node);
        if Readiness::of(node) == Readiness::Ready {
            self.memory().marks.forget(name);
            return Ok(Next::Rest);
        }
        let (mut due, mut next) = (Vec::new(), Next::Rest);
        for pod in pods.iter().filter(|pod| is_ready_no_more(node, pod)) {
            match self.memory().marks.wait(name, uid(pod), Instant::now()) {
                Duration::ZERO => due.push(pod),
                wait => next = next.sooner(Next::After(wait)),
            }
        }
        let calls = due.into_iter().map(|pod| self.mark_one(name, pod, now).boxed()).collect();
        act::in_parallel(calls).await.into_iter().collect::<kube::Result<()>>()?;
        Ok(next)
    }

    async fn mark_one(&self, node: &str, pod: &Pod, now: Timestamp) -> kube::Result<()> {
        let condition = json!({"type": "Ready", "status": "False", "lastTransitionTime": now});
        self.patch_pod_status(pod, json!({"conditions": [condition]})).await?;
        self.memory().marks.note(node, uid(pod), Instant::now());
        self.recorder.warning(events::reference(pod), "NodeNotReady", "Node is not ready".to_string());
        Ok(())
    }

    async fn evict(&self, node: &Node, pods: &[Arc<Pod>], now: Timestamp) -> kube::Result<Next> {
        let (no_execute, since) = self.no_execute(node, now);
        let (mut leaving, mut next) = (Vec::new(), Next::Rest);
        for pod in pods.iter().filter(|pod| !pod::is_terminating(pod)) {
            match eviction::fate(pod, &no_execute, since) {
                Fate::Stays => {}
                Fate::LeavesAt(at) if at <= now => leaving.push(pod),
                Fate::LeavesAt(at) => {
                    let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                    next = next.sooner(Next::After(wait));
                }
            }
        }
        let calls = leaving.into_iter().map(|pod| self.evict_one(pod, now).boxed()).collect();
        act::in_parallel(calls).await.into_iter().collect::<kube::Result<()>>()?;
        Ok(next)
    }

    /// The node's NoExecute taints, and since when those count that do not say so.
    fn no_execute(&self, node: &Node, now: Timestamp) -> (Vec<Taint>, Timestamp) {
        let name = objects::node::name(node);
        let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        let no_execute: Vec<Taint> =
            taints.filter(|taint| taint.effect == taints::NO_EXECUTE).cloned().collect();
        let mut memory = self.memory();
        if no_execute.is_empty() {
            memory.first_seen.remove(name);
            return (no_execute, now);
        }
        let since = *memory.first_seen.entry(name.to_string()).or_insert(now);
        (no_execute, since)
    }

    async fn evict_one(&self, pod: &Arc<Pod>, now: Timestamp) -> kube::Result<()> {
        let key = ObjectKey::of(&pod.metadata);
        let about = events::reference(pod.as_ref());
        self.evictor.normal(about, "TaintManagerEviction", format!("Marking for deletion Pod {key}"));
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint", "lastTransitionTime": now
        });
        self.patch_pod_status(pod, json!({"conditions": [condition]})).await?;
        tolerate(self.pods(&key.namespace).delete(&key.name, &act::of_uid(uid(pod))).await, is_settled)?;
        Ok(())
    }

    async fn patch_pod_status(&self, pod: &Pod, status: serde_json::Value) -> kube::Result<()> {
        let key = ObjectKey::of(&pod.metadata);
        let patch = Patch::Strategic(json!({"metadata": {"uid": pod.metadata.uid}, "status": status}));
        let outcome =
            self.pods(&key.namespace).patch_status(&key.name, &PatchParams::default(), &patch).await;
        tolerate(outcome, is_settled).map(|_| ())
    }

    /// Refused when the node has been written meanwhile: then the run is repeated with its newer state.
    async fn patch_node(
        &self,
        node: &Node,
        subresource: Option<&str>,
        mut patch: serde_json::Value,
    ) -> kube::Result<()> {
        let (name, params) = (objects::node::name(node), PatchParams::default());
        patch["metadata"] = json!({"resourceVersion": node.metadata.resource_version});
        let api = Api::<PartialObjectMeta<Node>>::all(self.shared.client.clone());
        let patch = Patch::Merge(patch);
        let outcome = match subresource {
            Some(subresource) => api.patch_subresource(subresource, name, &params, &patch).await,
            None => api.patch(name, &params, &patch).await,
        };
        tolerate(outcome, Status::is_not_found).map(|_| ())
    }

    fn pods(&self, namespace: &str) -> Api<PartialObjectMeta<Pod>> {
        Api::namespaced(self.shared.client.clone(), namespace)
    }

    fn node(&self, name: &str) -> Option<Arc<Node>> {
        self.shared.caches.nodes.get(&ObjectKey::new("", name))
    }

    fn silence(&self, name: &str) -> Duration {
        self.memory().heard.get(name).map(|(_, at)| at.elapsed()).unwrap_or_default()
    }

    fn grace(&self) -> Grace {
        Grace { known: self.shared.config.node_grace, new: self.shared.config.node_startup_grace }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell_of(recorder: &Recorder, old: Option<&Node>, new: &Node, now: Timestamp) {
    let name = objects::node::name(new);
    let age = new.metadata.creation_timestamp.as_ref().map(|born| now.duration_since(born.0));
    let is_new = age.is_some_and(|age| age.unsigned_abs() < NEWBORN);
    match old {
        None if is_new => {
            let text = format!("Node {name} event: Registered Node {name} in Controller");
            recorder.normal(events::reference(new), "RegisteredNode", text);
        }
        Some(old) if Readiness::of(old) == Readiness::Ready && Readiness::of(new) != Readiness::Ready => {
            let text = format!("Node {name} status is now: NodeNotReady");
            recorder.normal(events::reference(new), "NodeNotReady", text);
        }
        _ => {}
    }
}

/// Whether two versions of a node differ in what this loop decides on; heartbeats alone do not.
fn differs(old: &Node, new: &Node) -> bool {
    let spec = |node: &Node| node.spec.as_ref().map(|spec| (spec.taints.clone(), spec.unschedulable));
    let statuses = |node: &Node| -> Vec<(String, String)> {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.map(|condition| (condition.type_.clone(), condition.status.clone())).collect()
    };
    old.metadata.uid != new.metadata.uid || spec(old) != spec(new) || statuses(old) != statuses(new)
}

/// Whether a node's pods have to be looked at.
fn troubles_pods(node: &Node) -> bool {
    let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    Readiness::of(node) != Readiness::Ready || taints.any(|taint| taint.effect == taints::NO_EXECUTE)
}

/// Whether the pod says Ready though its node is not. A node that says NotReady itself still speaks for its pods: only
/// those count that became ready before (otherwise node and controller would quarrel).
fn is_ready_no_more(node: &Node, pod: &Pod) -> bool {
    let since = |time: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| time.map(|time| time.0);
    let Some(ready) = pod::condition(pod, "Ready").filter(|ready| ready.status == "True") else {
        return false;
    };
    match Readiness::of(node) {
        Readiness::Ready => false,
        // A node that has never spoken has not fallen silent.
        Readiness::Unknown => objects::node::condition(node, "Ready").is_some(),
        Readiness::NotReady => {
            let node_since =
                objects::node::condition(node, "Ready").and_then(|c| since(c.last_transition_time.as_ref()));
            since(ready.last_transition_time.as_ref()) < node_since
        }
    }
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// The object is gone, or has changed and brings an event.
fn is_settled(status: &Status) -> bool {
    status.is_not_found() || status.is_conflict()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_of_an_unready_node_are_marked_once() {
        let node = |status: &str, since: &str| -> Node {
            let ready = json!({"type": "Ready", "status": status, "lastTransitionTime": since});
            serde_json::from_value(json!({"status": {"conditions": [ready]}})).unwrap()
        };
        let pod = |status: &str, since: &str| -> Pod {
            let ready = json!({"type": "Ready", "status": status, "lastTransitionTime": since});
            serde_json::from_value(json!({"status": {"conditions": [ready]}})).unwrap()
        };
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
        for (node, pod, expected) in [
            (node("True", late), pod("True", early), false),
            (node("Unknown", early), pod("True", late), true),
            (node("Unknown", late), pod("False", early), false),
            (node("False", late), pod("True", early), true),
            (node("False", early), pod("True", late), false),
        ] {
            assert_eq!(is_ready_no_more(&node, &pod), expected, "{node:?} {pod:?}");
        }
        assert!(!is_ready_no_more(&Node::default(), &pod("True", early)));
    }

    #[test]
    fn a_heartbeat_is_no_change() {
        let node = |beat: &str, status: &str, cordoned: bool| -> Node {
            let ready = json!({"type": "Ready", "status": status, "lastHeartbeatTime": beat});
            serde_json::from_value(
                json!({"spec": {"unschedulable": cordoned}, "status": {"conditions": [ready]}}),
            )
            .unwrap()
        };
        let (a, b) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:10Z");
        assert!(!differs(&node(a, "True", false), &node(b, "True", false)));
        assert!(differs(&node(a, "True", false), &node(a, "False", false)));
        assert!(differs(&node(a, "True", false), &node(a, "True", true)));
    }
}
