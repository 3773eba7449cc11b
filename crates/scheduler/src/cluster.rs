//! The nodes, and what is taken on each: by pods that are bound, and by pods that we decided on a moment ago.
//!
//! 1. What is taken on a node is the sum over its pods, whatever the order in which they came and went.
//! 2. A pod stands on at most one node. Its end (Succeeded, Failed) frees what it had; so does its deletion.
//! 3. An assumed pod counts like a bound one until the watch confirms it or the binding failed ([`Cluster::forget`]).
//! 4. Pods of a node that is not known (yet) are remembered, and the node is no candidate.
//!
//! Kubernetes: backend/cache/cache.go, framework/types.go `NodeInfo`. `Differs:` no snapshot is copied, since
//! decisions and changes happen in one thread.

use crate::demand::{Amounts, Demand, amounts};
use k8s_openapi::api::core::v1::{Node, Pod};
use objects::key::ObjectKey;
use objects::pod::HostPort;
use objects::quantity::Amount;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Nodes and pods, kept up to date change by change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    nodes: BTreeMap<String, NodeState>,
    /// Where each pod stands.
    pods: BTreeMap<ObjectKey, Arc<Placed>>,
    /// Nodes that have a Node object.
    known: usize,
}

/// One node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeState {
    node: Option<Arc<Node>>,
    allocatable: Amounts,
    requested: Amounts,
    scored: Amounts,
    /// How many pods have a port: more than one after a mistake of somebody else, so a count.
    ports: BTreeMap<HostPort, usize>,
    pods: BTreeMap<ObjectKey, Arc<Placed>>,
}

/// A pod on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Which node.
    pub node: String,
    /// Which pod of this name.
    pub uid: String,
    /// Its controller's uid, for the spread.
    pub owner: Option<String>,
    /// What it takes.
    pub demand: Demand,
    /// Whether the API server has said so.
    pub standing: Standing,
}

/// How sure we are that a pod stands where we count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// We decided it; the binding is under way.
    Assumed,
    /// It has `spec.nodeName`.
    Bound,
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
        self.known -= usize::from(state.node.take().is_some());
        state.allocatable.clear();
        self.drop_if_empty(name);
    }

    /// Takes a pod in, or its newer version, wherever it stands now. A pod that waits takes nothing.
    pub fn add_pod(&mut self, pod: &Pod) {
        let Some(key) = key_of(pod) else { return };
        match objects::pod::node_name(pod).filter(|node| !node.is_empty()) {
            // What has ended holds nothing (Kubernetes: eventhandlers.go).
            _ if objects::pod::is_terminal(pod) => self.remove_pod(&key),
            Some(node) => self.place(key, Placed::new(pod, node, Standing::Bound)),
            // The watch may lag behind our own decision: only another pod of the same name ends it.
            None if self.is_assumed(&key, uid_of(pod)) => {}
            None => self.remove_pod(&key),
        }
    }

    /// A pod is gone.
    pub fn remove_pod(&mut self, key: &ObjectKey) {
        let Some(placed) = self.pods.remove(key) else { return };
        if let Some(state) = self.nodes.get_mut(&placed.node) {
            state.release(key);
        }
        self.drop_if_empty(&placed.node);
    }

    /// Counts a pod on the node that was decided for it.
    pub fn assume(&mut self, pod: &Pod, node: &str) {
        if let Some(key) = key_of(pod) {
            self.place(key, Placed::new(pod, node, Standing::Assumed));
        }
    }

    /// The binding failed: what was assumed is free again. A pod that is bound stays.
    pub fn forget(&mut self, key: &ObjectKey) {
        if self.pods.get(key).is_some_and(|placed| placed.standing == Standing::Assumed) {
            self.remove_pod(key);
        }
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
    pub fn placed(&self, key: &ObjectKey) -> Option<&Placed> {
        self.pods.get(key).map(Arc::as_ref)
    }

    fn place(&mut self, key: ObjectKey, placed: Placed) {
        if self.pods.get(&key).is_some_and(|before| **before == placed) {
            return;
        }
        self.remove_pod(&key);
        let placed = Arc::new(placed);
        self.nodes.entry(placed.node.clone()).or_default().take(key.clone(), placed.clone());
        self.pods.insert(key, placed);
    }

    fn is_assumed(&self, key: &ObjectKey, uid: &str) -> bool {
        self.pods.get(key).is_some_and(|placed| placed.standing == Standing::Assumed && placed.uid == uid)
    }

    fn drop_if_empty(&mut self, name: &str) {
        if self.nodes.get(name).is_some_and(|state| state.node.is_none() && state.pods.is_empty()) {
            self.nodes.remove(name);
        }
    }
}

impl NodeState {
    /// Its Node object; some for every node that [`Cluster`] hands out.
    pub fn object(&self) -> Option<&Node> {
        self.node.as_deref()
    }

    /// What the node offers of a resource.
    pub fn allocatable(&self, resource: &str) -> i128 {
        self.allocatable.get(resource).copied().unwrap_or(0)
    }

    /// What its pods ask for of a resource.
    pub fn requested(&self, resource: &str) -> i128 {
        self.requested.get(resource).copied().unwrap_or(0)
    }

    /// The same, with a little for pods that ask for nothing: for scores.
    pub fn scored(&self, resource: &str) -> i128 {
        self.scored.get(resource).copied().unwrap_or(0)
    }

    /// Its pods.
    pub fn pods(&self) -> &BTreeMap<ObjectKey, Arc<Placed>> {
        &self.pods
    }

    /// Ports that its pods have.
    pub fn taken_ports(&self) -> impl Iterator<Item = &HostPort> {
        self.ports.keys()
    }

    /// This node as it would be without some of its pods.
    pub fn without(&self, leaves: impl Fn(&Placed) -> bool) -> Self {
        let mut rest = self.clone();
        for (key, _) in self.pods.iter().filter(|(_, placed)| leaves(placed)) {
            rest.release(key);
        }
        rest
    }

    fn set(&mut self, node: Arc<Node>) {
        let offered = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        // A quantity that nobody can read offers nothing; the API server lets none in.
        let readable = offered
            .into_iter()
            .flatten()
            .filter_map(|(name, quantity)| Some((name.clone(), Amount::parse(&quantity.0).ok()?)));
        self.allocatable = amounts(readable);
        self.node = Some(node);
    }

    fn take(&mut self, key: ObjectKey, placed: Arc<Placed>) {
        add(&mut self.requested, &placed.demand.resources);
        add(&mut self.scored, &placed.demand.scored);
        for port in &placed.demand.ports {
            *self.ports.entry(port.clone()).or_default() += 1;
        }
        self.pods.insert(key, placed);
    }

    fn release(&mut self, key: &ObjectKey) {
        let Some(placed) = self.pods.remove(key) else { return };
        subtract(&mut self.requested, &placed.demand.resources);
        subtract(&mut self.scored, &placed.demand.scored);
        for port in &placed.demand.ports {
            if let Some(count) = self.ports.get_mut(port) {
                *count -= 1;
            }
        }
        self.ports.retain(|_, count| *count > 0);
    }
}

impl Placed {
    fn new(pod: &Pod, node: &str, standing: Standing) -> Self {
        let controller = objects::owner::controller_of(&pod.metadata);
        Self {
            node: node.into(),
            uid: uid_of(pod).into(),
            owner: controller.map(|owner| owner.uid.clone()),
            demand: Demand::of(pod),
            standing,
        }
    }
}

/// How the scheduler points at a pod; none without a name.
pub fn key_of(pod: &Pod) -> Option<ObjectKey> {
    pod.metadata.name.as_ref()?;
    Some(ObjectKey::of(&pod.metadata))
}

fn uid_of(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        *sum.entry(name.clone()).or_default() += amount;
    }
}

fn subtract(sum: &mut Amounts, less: &Amounts) {
    for (name, amount) in less {
        *sum.entry(name.clone()).or_default() -= amount;
    }
    // Zero and absent are the same, so that sums compare equal however they came about.
    sum.retain(|_, amount| *amount != 0);
}
