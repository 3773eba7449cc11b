//! The nodes, and what is taken on each: by pods that are bound, and by pods that we decided on a moment ago.
//!
//! 1. A pod stands on at most one node. Its end (Succeeded, Failed) frees what it had; so does its deletion.
//! 2. An assumed pod counts like a bound one until the watch confirms it or the binding failed ([`Cluster::forget`]).
//! 3. A pod that waits for the room of others is nominated on at most one node, and stands nowhere.
//! 4. Pods of a node that is not known (yet) are remembered, and the node is no candidate.
//!
//! Kubernetes: backend/cache/cache.go, backend/queue/nominator.go. `Differs:` no snapshot is copied, since decisions
//! and changes happen in one thread.

mod budget;
mod node;
mod placed;
mod pods;

pub use budget::{Budget, Tally};
pub use node::NodeState;
pub use placed::{DISRUPTION_TARGET, Ending, PREEMPTION_BY_SCHEDULER, Placed, Shape, Standing};
pub use pods::Pods;

use crate::demand::Demand;
use crate::terms::{Labels, NO_LABELS};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use objects::key::ObjectKey;
use objects::pool::Pool;
use placed::uid_of;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Nodes and pods, kept up to date change by change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    nodes: BTreeMap<String, NodeState>,
    /// Where each pod stands.
    pods: Pods,
    /// Where each pod waits that was promised a node.
    nominated: Pods,
    /// Pods on nodes that want something of other pods.
    bonded: Pods,
    shapes: Pool<Shape>,
    budgets: BTreeMap<ObjectKey, Budget>,
    /// Labels of namespaces.
    namespaces: BTreeMap<String, Labels>,
    /// Nodes that have a Node object.
    known: usize,
}

impl Cluster {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a node in, or its newer version.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let Some(name) = node.metadata.name.clone() else { return };
        let state = self.nodes.entry(name).or_default();
        self.known += usize::from(state.node.is_none());
        state.set(node);
    }

    /// A node is gone; its pods still count, should it come back before they go.
    pub fn remove_node(&mut self, name: &str) {
        let Some(state) = self.nodes.get_mut(name) else { return };
        self.known -= usize::from(state.unset());
        self.drop_if_empty(name);
    }

    /// Takes a namespace in, or its newer version.
    pub fn set_namespace(&mut self, namespace: &Namespace) {
        let Some(name) = namespace.metadata.name.clone() else { return };
        self.namespaces.insert(name, namespace.metadata.labels.clone().unwrap_or_default());
    }

    /// A namespace is gone.
    pub fn remove_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// A namespace's labels; of one that is not known (yet), none.
    pub fn namespace_labels(&self, name: &str) -> &Labels {
        self.namespaces.get(name).unwrap_or(&NO_LABELS)
    }

    /// Takes a budget in, or its newer version.
    pub fn set_budget(&mut self, budget: &PodDisruptionBudget) {
        let key = ObjectKey::of(&budget.metadata);
        match Budget::read(budget) {
            Some(budget) => drop(self.budgets.insert(key, budget)),
            None => self.remove_budget(&key),
        }
    }

    /// A budget is gone.
    pub fn remove_budget(&mut self, key: &ObjectKey) {
        self.budgets.remove(key);
    }

    /// Takes a pod in, or its newer version, wherever it stands now. A pod that waits takes nothing.
    pub fn add_pod(&mut self, pod: &Pod) {
        self.add_pod_taking(pod, || Demand::of(pod));
    }

    /// The same, for who knows what it takes.
    pub fn add_pod_taking(&mut self, pod: &Pod, demand: impl FnOnce() -> Demand) {
        let Some(key) = key_of(pod) else { return };
        match objects::pod::node_name(pod) {
            // What has ended holds nothing (Kubernetes: eventhandlers.go).
            _ if objects::pod::is_terminal(pod) => self.remove_pod(&key),
            Some(node) => {
                let placed = Placed::new(pod, demand(), node, Standing::Confirmed, &mut self.shapes);
                self.place(placed);
            }
            // The watch may lag behind our own decision: only another pod of the same name ends it.
            None if self.is_assumed(&key, uid_of(pod)) => {}
            None => self.take_waiting(key, pod),
        }
    }

    /// A pod is gone.
    pub fn remove_pod(&mut self, key: &ObjectKey) {
        self.lift(key);
        self.end_nomination(key);
    }

    /// Counts a pod on the node that was decided for it.
    pub fn assume(&mut self, pod: &Pod, node: &str) {
        if key_of(pod).is_some() {
            let placed = Placed::new(pod, Demand::of(pod), node, Standing::Assumed, &mut self.shapes);
            self.place(placed);
        }
    }

    /// The binding failed: what was assumed is free again. A pod that is bound stays.
    pub fn forget(&mut self, key: &ObjectKey) {
        if self.pods.get(key).is_some_and(|placed| placed.standing == Standing::Assumed) {
            self.lift(key);
        }
    }

    /// Promises a waiting pod the room that is about to be made on a node. One that has a node waits for nothing.
    pub fn nominate(&mut self, pod: &Pod, node: &str) {
        if key_of(pod).is_some_and(|key| !self.pods.contains(&key)) {
            let placed = Placed::new(pod, Demand::of(pod), node, Standing::Assumed, &mut self.shapes);
            self.promise(placed);
        }
    }

    /// The promise is withdrawn.
    pub fn end_nomination(&mut self, key: &ObjectKey) {
        let Some(placed) = self.nominated.take(key) else { return };
        if let Some(state) = self.nodes.get_mut(&placed.node) {
            state.nominated.take(key);
        }
        self.drop_if_empty(&placed.node);
    }

    /// A pod is to go for a more important one: it counts until it is gone, and nobody else is chosen in its stead.
    pub fn evict(&mut self, key: &ObjectKey) {
        self.restate(key, Ending::Evicted);
    }

    /// The eviction failed.
    pub fn spare(&mut self, key: &ObjectKey) {
        self.restate(key, Ending::Stays);
    }

    /// Counts evictions against all budgets.
    pub fn tally(&self) -> Tally<'_> {
        Tally::new(&self.budgets)
    }

    /// Nodes that have a Node object.
    pub fn node_count(&self) -> usize {
        self.known
    }

    /// A node that has a Node object.
    pub fn node(&self, name: &str) -> Option<(&str, &NodeState)> {
        let (name, state) = self.nodes.get_key_value(name)?;
        state.node.is_some().then_some((name.as_str(), state))
    }

    /// All of them, in the order of names.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &NodeState)> {
        let known = self.nodes.iter().filter(|(_, state)| state.node.is_some());
        known.map(|(name, state)| (name.as_str(), state))
    }

    /// Where a pod is counted.
    pub fn placed(&self, key: &ObjectKey) -> Option<&Arc<Placed>> {
        self.pods.get(key)
    }

    /// Where a pod waits for the room of others.
    pub fn nominated(&self, key: &ObjectKey) -> Option<&Arc<Placed>> {
        self.nominated.get(key)
    }

    /// Pods on nodes that want something of other pods.
    pub fn bonded(&self) -> &Pods {
        &self.bonded
    }

    /// The pods that `state` has (1) or lacks (-1) of those that stand on this node.
    pub fn difference<'a>(&'a self, state: &'a NodeState) -> Vec<(i64, &'a Arc<Placed>)> {
        let name = state.object().and_then(|node| node.metadata.name.as_deref()).unwrap_or_default();
        let Some((_, now)) = self.node(name).filter(|(_, now)| !std::ptr::eq(*now, state)) else {
            return Vec::new();
        };
        let beyond = |one: &'a NodeState, other: &'a NodeState, sign: i64| {
            let beyond = one.pods().iter().filter(|placed| !other.pods().contains(&placed.key));
            beyond.map(move |placed| (sign, placed))
        };
        beyond(state, now, 1).chain(beyond(now, state, -1)).collect()
    }

    fn place(&mut self, mut placed: Placed) {
        if let Some(before) = self.pods.get(&placed.key) {
            // Until the watch shows the deletion that we asked for.
            if before.ending == Ending::Evicted && placed.ending == Ending::Stays && before.uid == placed.uid
            {
                placed.ending = Ending::Evicted;
            }
            if **before == placed {
                return;
            }
        }
        self.remove_pod(&placed.key);
        let placed = Arc::new(placed);
        self.nodes.entry(placed.node.clone()).or_default().take(placed.clone());
        if placed.shape.terms.is_some() {
            self.bonded.put(placed.clone());
        }
        self.pods.put(placed);
    }

    /// The other way round.
    fn lift(&mut self, key: &ObjectKey) {
        let Some(placed) = self.pods.take(key) else { return };
        self.bonded.take(key);
        if let Some(state) = self.nodes.get_mut(&placed.node) {
            state.release(key);
        }
        self.drop_if_empty(&placed.node);
    }

    fn take_waiting(&mut self, key: ObjectKey, pod: &Pod) {
        self.lift(&key);
        let named = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref());
        let named = named.filter(|node| !node.is_empty() && !objects::pod::is_terminating(pod));
        let ours = self
            .nominated
            .get(&key)
            .is_some_and(|before| before.standing == Standing::Assumed && before.uid == uid_of(pod));
        match named {
            Some(node) => {
                let placed = Placed::new(pod, Demand::of(pod), node, Standing::Confirmed, &mut self.shapes);
                self.promise(placed);
            }
            // The watch may lag behind our own decision.
            None if ours => {}
            None => self.end_nomination(&key),
        }
    }

    fn promise(&mut self, placed: Placed) {
        self.end_nomination(&placed.key);
        let placed = Arc::new(placed);
        self.nodes.entry(placed.node.clone()).or_default().nominated.put(placed.clone());
        self.nominated.put(placed);
    }

    fn restate(&mut self, key: &ObjectKey, ending: Ending) {
        let Some(placed) = self.pods.get(key) else { return };
        let changed = Arc::new(Placed { ending, ..Placed::clone(placed) });
        self.pods.put(changed.clone());
        if self.bonded.contains(key) {
            self.bonded.put(changed.clone());
        }
        if let Some(state) = self.nodes.get_mut(&changed.node) {
            state.pods.put(changed);
        }
    }

    fn is_assumed(&self, key: &ObjectKey, uid: &str) -> bool {
        self.pods.get(key).is_some_and(|placed| placed.standing == Standing::Assumed && placed.uid == uid)
    }

    fn drop_if_empty(&mut self, name: &str) {
        if self.nodes.get(name).is_some_and(NodeState::is_unused) {
            self.nodes.remove(name);
        }
    }
}

/// How the scheduler points at a pod; none without a name.
pub fn key_of(pod: &Pod) -> Option<ObjectKey> {
    pod.metadata.name.as_ref()?;
    Some(ObjectKey::of(&pod.metadata))
}
