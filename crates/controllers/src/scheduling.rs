//! A node for every pod: queue → [`scheduler::pick`] → Binding.
//!
//! 1. Watches keep the [`Cluster`] and the [`Waiting`] pods up to date as they speak; decisions are made one after the
//!    other from these, and bindings are written many at a time.
//! 2. A decided pod counts on its node at once (assumed), so that the next decision sees it; a failed binding frees it.
//! 3. Why a pod goes nowhere is written into its condition `PodScheduled`, and told as `FailedScheduling`.
//! 4. A pod for which others have to go is promised their node (`status.nominatedNodeName`), and waits until they are
//!    gone. They are deleted with their own grace period.
//!
//! Only pods with our scheduler's name are taken. Kubernetes: `pkg/scheduler/schedule_one.go`.

mod calls;
mod state;

use crate::Shared;
use crate::act::in_parallel;
use crate::caches::Watched;
use crate::events::{self, Recorder};
use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use objects::key::ObjectKey;
use scheduler::cluster::Ending;
use scheduler::preempt::{Eviction, Victim};
use scheduler::queue::Attempt;
use scheduler::{Decision, Nomination, Unschedulable};
use serde_json::{Value, json};
use state::{SCHEDULER_NAME, State};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Kinds that this loop reads.
pub(crate) const READS: &[Watched] = &[Watched::Nodes, Watched::Pods, Watched::Budgets, Watched::Namespaces];

/// Bindings, condition writes and evictions in flight.
const CALLS_MAX: usize = 64;

struct Loop {
    shared: Arc<Shared>,
    recorder: Recorder,
    state: Mutex<State>,
    changed: Notify,
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
        let this = self.clone();
        caches.budgets.listen(move |change| this.state().budget_changed(change));
        let this = self.clone();
        caches.namespaces.listen(move |change| this.state().namespace_changed(change));
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
            Decision::Unschedulable(why) => Some(self.leave_waiting(attempt, why).boxed()),
            Decision::Gated => None,
        }
    }

    async fn bind(&self, attempt: Attempt, node: String) {
        let Attempt { key, pod, .. } = attempt;
        match calls::bind(&self.shared.client, &key, &pod, &node).await {
            Ok(()) => {
                self.state().waiting.remove(&key);
                let text = format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
                self.recorder.normal(events::reference(pod.as_ref()), "Scheduled", text);
            }
            Err(error) => {
                tracing::warn!(pod = %key, node, %error, "binding failed");
                self.state().binding_failed(&key, calls::is_final(&error), self.shared.now());
                self.changed.notify_one();
            }
        }
    }

    async fn leave_waiting(&self, attempt: Attempt, why: Unschedulable) {
        let Attempt { key, pod, .. } = attempt;
        self.recorder.warning(events::reference(pod.as_ref()), "FailedScheduling", why.message.clone());
        let status = calls::why_not(&pod, &why.message, &why.nomination, self.shared.now());
        if let Some(status) = status {
            self.patch_status(&key, pod.metadata.uid.as_deref(), status).await;
        }
        if let Nomination::Given(eviction) = why.nomination {
            self.make_room(&key, &pod, eviction).await;
        }
    }

    async fn make_room(&self, key: &ObjectKey, preemptor: &Pod, eviction: Eviction) {
        let victims: Vec<&Victim> =
            eviction.victims.iter().filter(|victim| victim.ending == Ending::Stays).collect();
        tracing::info!(pod = %key, node = eviction.node, victims = victims.len(), "preempting");
        let evict = |victim| self.evict(victim, preemptor, &eviction.node).boxed();
        let outcomes = in_parallel(victims.into_iter().map(evict).collect()).await;
        let spared: Vec<ObjectKey> = outcomes.into_iter().flatten().collect();
        if !spared.is_empty() {
            self.state().eviction_failed(key, &spared, self.shared.now());
            self.changed.notify_one();
        }
        for displaced in &eviction.displaced {
            self.patch_status(displaced, None, json!({"nominatedNodeName": null})).await;
        }
    }

    /// Its name if it could not be evicted.
    async fn evict(&self, victim: &Victim, preemptor: &Pod, node: &str) -> Option<ObjectKey> {
        if let Err(error) = calls::evict(&self.shared.client, victim, self.shared.now()).await {
            tracing::warn!(pod = %victim.key, node, %error, "preemption failed");
            return Some(victim.key.clone());
        }
        let preemptor = preemptor.metadata.uid.as_deref().unwrap_or_default();
        let text = format!("Preempted by pod {preemptor} on node {node}");
        self.recorder.normal(reference(victim), "Preempted", text);
        None
    }

    /// A status that cannot be written is written after the next attempt.
    async fn patch_status(&self, key: &ObjectKey, uid: Option<&str>, status: Value) {
        if let Err(error) = calls::patch_status(&self.shared.client, key, uid, status).await {
            tracing::debug!(pod = %key, %error, "why it waits is not written");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reference(victim: &Victim) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        namespace: Some(victim.key.namespace.clone()),
        name: Some(victim.key.name.clone()),
        uid: Some(victim.uid.clone()),
        ..ObjectReference::default()
    }
}
