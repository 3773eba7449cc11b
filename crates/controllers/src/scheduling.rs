//! A node for every pod: queue → [`scheduler::pick`] → Binding.
//!
//! 1. Watches keep the [`Cluster`] and the [`Waiting`] pods up to date as they speak; decisions are made one after the
//!    other from these, and bindings are written many at a time.
//! 2. A decided pod counts on its node at once (assumed), so that the next decision sees it; a failed binding frees it.
//! 3. Why a pod goes nowhere is written into its condition `PodScheduled`, and told as `FailedScheduling`.
//!
//! Only pods with our scheduler's name are taken. Kubernetes: `pkg/scheduler/schedule_one.go`, `eventhandlers.go`.

use crate::caches::{Change, Watched};
use crate::events::{self, Recorder};
use crate::{Shared, tolerate};
use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{ObjectMeta, PartialObjectMeta, Status};
use objects::key::ObjectKey;
use objects::pod;
use scheduler::cluster::key_of;
use scheduler::queue::{Attempt, ClusterEvent, Queue as Waiting};
use scheduler::{Cluster, Decision, Unschedulable, pick};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Kinds that this loop reads.
pub(crate) const READS: &[Watched] = &[Watched::Nodes, Watched::Pods];

/// The name by which pods ask for us; a pod that asks for nobody gets us too.
const SCHEDULER_NAME: &str = "default-scheduler";
/// Bindings and condition writes in flight.
const CALLS_MAX: usize = 64;

struct Loop {
    shared: Arc<Shared>,
    recorder: Recorder,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    cluster: Cluster,
    waiting: Waiting,
}

/// Binds pods, for ever.
pub(crate) async fn run(shared: Arc<Shared>) -> Infallible {
    let recorder = shared.recorder.named(SCHEDULER_NAME);
    let this =
        Arc::new(Loop { shared: shared.clone(), recorder, state: Mutex::default(), changed: Notify::new() });
    this.clone().listen();
    shared.synced(READS).await;
    this.schedule().await
}

impl Loop {
    fn listen(self: Arc<Self>) {
        let caches = &self.shared.caches;
        let this = self.clone();
        caches.nodes.listen(move |change| {
            this.state().node_changed(change, this.shared.now());
            this.changed.notify_one();
        });
        let this = self.clone();
        caches.pods.listen(move |change| {
            this.state().pod_changed(change, this.shared.now());
            this.changed.notify_one();
        });
    }

    async fn schedule(&self) -> Infallible {
        let mut calls: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        loop {
            while calls.len() < CALLS_MAX {
                let Some((attempt, decision)) = self.state().next(self.shared.now()) else { break };
                if let Some(call) = self.act(attempt, decision) {
                    calls.push(call);
                }
            }
            let is_free = calls.len() < CALLS_MAX;
            let wake = self
                .state()
                .waiting
                .next_wake()
                .map(|at| Duration::try_from(at.duration_since(self.shared.now())));
            let due = async {
                match wake {
                    Some(wait) => tokio::time::sleep(wait.unwrap_or_default()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(()) = calls.next() => {}
                () = self.changed.notified(), if is_free => {}
                () = due, if is_free => {}
            }
        }
    }

    fn act(&self, attempt: Attempt, decision: Decision) -> Option<BoxFuture<'_, ()>> {
        match decision {
            Decision::Node(node) => Some(self.bind(attempt, node).boxed()),
            Decision::Unschedulable(why) => {
                Some(self.say_why(attempt.pod, "Unschedulable", why.message).boxed())
            }
            Decision::Gated => None,
        }
    }

    async fn bind(&self, attempt: Attempt, node: String) {
        let Attempt { key, pod, .. } = attempt;
        match self.post_binding(&key, &pod, &node).await {
            Ok(()) => {
                self.state().waiting.remove(&key);
                let text = format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
                self.recorder.normal(events::reference(pod.as_ref()), "Scheduled", text);
            }
            Err(error) => {
                tracing::warn!(pod = %key, node, %error, "binding failed");
                self.state().binding_failed(&key, &node, is_final(&error), self.shared.now());
                self.changed.notify_one();
            }
        }
    }

    async fn post_binding(&self, key: &ObjectKey, pod: &Pod, node: &str) -> kube::Result<()> {
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(key.name.clone()),
                namespace: Some(key.namespace.clone()),
                uid: pod.metadata.uid.clone(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Node".into()),
                name: Some(node.to_string()),
                ..ObjectReference::default()
            },
        };
        let params = PostParams::default();
        self.api(&key.namespace)
            .create_subresource::<_, Value>("binding", &key.name, &params, &binding)
            .await?;
        Ok(())
    }

    async fn say_why(&self, pod: Arc<Pod>, reason: &str, message: String) {
        self.recorder.warning(events::reference(pod.as_ref()), "FailedScheduling", message.clone());
        if pod::condition(&pod, "PodScheduled")
            .is_some_and(|c| c.status == "False" && c.message.as_ref() == Some(&message))
        {
            return;
        }
        let key = ObjectKey::of(&pod.metadata);
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
            "lastTransitionTime": self.shared.now()
        });
        let patch = Patch::Strategic(
            json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}}),
        );
        let outcome = self.api(&key.namespace).patch_status(&key.name, &PatchParams::default(), &patch).await;
        if let Err(error) = tolerate(outcome, |status: &Status| status.is_not_found() || status.is_conflict())
        {
            tracing::debug!(pod = %key, %error, "the condition PodScheduled is not written");
        }
    }

    fn api(&self, namespace: &str) -> Api<PartialObjectMeta<Pod>> {
        Api::namespaced(self.shared.client.clone(), namespace)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Decides on the next pod, and counts it where it goes.
    fn next(&mut self, now: Timestamp) -> Option<(Attempt, Decision)> {
        let attempt = self.waiting.pop(now)?;
        let decision = pick(&attempt.pod, &self.cluster);
        match &decision {
            Decision::Node(node) => self.cluster.assume(&attempt.pod, node),
            Decision::Unschedulable(why) => self.waiting.failed(&attempt.key, Unschedulable::clone(why), now),
            // A change of the pod brings it back.
            Decision::Gated => self.waiting.remove(&attempt.key),
        }
        Some((attempt, decision))
    }

    fn binding_failed(&mut self, key: &ObjectKey, node: &str, is_final: bool, now: Timestamp) {
        self.cluster.forget(key);
        match is_final {
            true => self.waiting.remove(key),
            false => self.waiting.error(key, now),
        }
        self.waiting.wake(&ClusterEvent::PodRemoved { node: node.to_string() }, now);
    }

    fn node_changed(&mut self, change: &Change<'_, Node>, now: Timestamp) {
        match (change.old, change.new) {
            (old, Some(new)) => {
                self.cluster.set_node(new.clone());
                if let Some(event) = ClusterEvent::between(old.map(Arc::as_ref), new) {
                    self.waiting.wake(&event, now);
                }
            }
            (Some(old), None) => self.cluster.remove_node(objects::node::name(old)),
            (None, None) => {}
        }
    }

    fn pod_changed(&mut self, change: &Change<'_, Pod>, now: Timestamp) {
        let Some(pod) = change.latest() else { return };
        let Some(key) = key_of(pod) else { return };
        match change.new {
            Some(new) => {
                self.cluster.add_pod(new);
                match is_to_be_bound(new) && !self.is_decided(&key, new) {
                    true => self.waiting.push(new.clone(), now),
                    false if pod::node_name(new).is_some() || pod::is_terminating(new) => {
                        self.waiting.remove(&key)
                    }
                    false => {}
                }
            }
            None => {
                self.cluster.remove_pod(&key);
                self.waiting.remove(&key);
            }
        }
        if let Some(node) = freed_node(change) {
            self.waiting.wake(&ClusterEvent::PodRemoved { node: node.to_string() }, now);
        }
    }

    /// Whether the pod has a node already, though the watch does not show it yet.
    fn is_decided(&self, key: &ObjectKey, pod: &Pod) -> bool {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.cluster.placed(key).is_some_and(|placed| placed.uid == uid)
    }
}

/// Whether the pod waits for this scheduler.
fn is_to_be_bound(pod: &Pod) -> bool {
    let asks_for =
        pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or(SCHEDULER_NAME);
    asks_for == SCHEDULER_NAME
        && pod::node_name(pod).is_none()
        && !pod::is_terminating(pod)
        && !pod::is_terminal(pod)
}

/// The node on which a pod has just ended or from which it has gone.
fn freed_node<'a>(change: &Change<'a, Pod>) -> Option<&'a str> {
    let old = change.old.filter(|old| !pod::is_terminal(old))?;
    let has_ended = change.new.is_none_or(|new| pod::is_terminal(new));
    pod::node_name(old).filter(|_| has_ended)
}

/// The pod is gone, or has a node: the watch tells which.
fn is_final(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found() || status.is_conflict())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, node: Option<&str>, phase: &str) -> Arc<Pod> {
        let cpu = json!({"requests": {"cpu": "1"}});
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"namespace": "a", "name": name, "uid": name},
                "spec": {"nodeName": node, "containers": [{"name": "c", "resources": cpu}]},
                "status": {"phase": phase}
            }))
            .unwrap(),
        )
    }

    fn node(name: &str) -> Arc<Node> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name}, "status": {"allocatable": {"cpu": "1", "pods": "10"}}
            }))
            .unwrap(),
        )
    }

    fn added<T>(new: &Arc<T>) -> Change<'_, T> {
        Change { old: None, new: Some(new) }
    }

    fn decided(state: &mut State, now: Timestamp) -> Option<String> {
        state.next(now).map(|(_, decision)| match decision {
            Decision::Node(node) => node,
            Decision::Unschedulable(_) => "nowhere".to_string(),
            Decision::Gated => "gated".to_string(),
        })
    }

    #[test]
    fn a_decision_counts_at_once_and_a_failed_binding_is_tried_again() {
        let (mut state, now) = (State::default(), Timestamp::UNIX_EPOCH);
        state.node_changed(&added(&node("n1")), now);
        let (p, q) = (pod("p", None, "Pending"), pod("q", None, "Pending"));
        state.pod_changed(&added(&p), now);
        state.pod_changed(&added(&q), now);
        assert_eq!(decided(&mut state, now).as_deref(), Some("n1"));
        assert_eq!(decided(&mut state, now).as_deref(), Some("nowhere"));
        // A late event of the decided pod changes nothing.
        state.pod_changed(&Change { old: Some(&p), new: Some(&p) }, now);
        assert_eq!(decided(&mut state, now), None);
        let later = now + jiff::SignedDuration::from_secs(60);
        state.binding_failed(&ObjectKey::new("a", "p"), "n1", true, later);
        assert_eq!(decided(&mut state, later).as_deref(), Some("n1"), "q has the room now");
    }

    #[test]
    fn a_pod_that_ends_makes_room() {
        let (mut state, now) = (State::default(), Timestamp::UNIX_EPOCH);
        state.node_changed(&added(&node("n1")), now);
        let old = pod("old", Some("n1"), "Running");
        state.pod_changed(&added(&old), now);
        state.pod_changed(&added(&pod("p", None, "Pending")), now);
        assert_eq!(decided(&mut state, now).as_deref(), Some("nowhere"));
        let ended = pod("old", Some("n1"), "Succeeded");
        let later = now + jiff::SignedDuration::from_secs(60);
        state.pod_changed(&Change { old: Some(&old), new: Some(&ended) }, later);
        assert_eq!(decided(&mut state, later).as_deref(), Some("n1"));
    }

    #[test]
    fn pods_of_other_schedulers_are_left_alone() {
        let mut other = pod("p", None, "Pending").as_ref().clone();
        other.spec.as_mut().unwrap().scheduler_name = Some("mine".into());
        assert!(!is_to_be_bound(&other));
        assert!(!is_to_be_bound(&pod("p", Some("n1"), "Pending")));
        assert!(is_to_be_bound(&pod("p", None, "Pending")));
    }
}
