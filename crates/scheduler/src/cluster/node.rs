//! One node: what it offers, and what its pods take of it.
//!
//! 1. What is taken is the sum over the pods, whatever the order in which they came and went.
//! 2. A pod that waits here for the end of others ([`NodeState::nominated`]) is not in these sums; who asks decides
//!    whether it counts ([`NodeState::beside`]).
//!
//! Kubernetes: framework/types.go `NodeInfo`, backend/queue/nominator.go.

use super::{Placed, Pods};
use crate::amounts::Amounts;
use k8s_openapi::api::core::v1::Node;
use objects::key::ObjectKey;
use objects::pod::HostPort;
use objects::quantity::Amount;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeState {
    pub(super) node: Option<Arc<Node>>,
    allocatable: Amounts,
    requested: Amounts,
    scored: Amounts,
    /// How many pods have a port: more than one after a mistake of somebody else, so a count.
    ports: BTreeMap<HostPort, usize>,
    pub(super) pods: Pods,
    pub(super) nominated: Pods,
}

impl NodeState {
    /// Its Node object; some for every node that [`Cluster`] hands out.
    pub fn object(&self) -> Option<&Node> {
        self.node.as_deref()
    }

    /// What the node offers of a resource.
    pub fn allocatable(&self, resource: &str) -> i128 {
        self.allocatable.of(resource)
    }

    /// What its pods ask for of a resource.
    pub fn requested(&self, resource: &str) -> i128 {
        self.requested.of(resource)
    }

    /// The same, with a little for pods that ask for nothing: for scores.
    pub fn scored(&self, resource: &str) -> i128 {
        self.scored.of(resource)
    }

    /// Its pods.
    pub fn pods(&self) -> &Pods {
        &self.pods
    }

    /// Ports that its pods have.
    pub fn taken_ports(&self) -> impl Iterator<Item = &HostPort> {
        self.ports.keys()
    }

    /// Pods that wait here until those that were evicted for them are gone.
    pub fn nominated(&self) -> &Pods {
        &self.nominated
    }

    /// This node as a pod of this key and priority finds it: waiting pods of at least its priority have their room
    /// already. Kubernetes: runtime/framework.go `addGENominatedPods`.
    pub fn beside(&self, key: &ObjectKey, priority: i32) -> Cow<'_, Self> {
        let before = |placed: &&Arc<Placed>| placed.key != *key && placed.shape.demand.priority >= priority;
        let mut first = self.nominated.iter().filter(before).peekable();
        if first.peek().is_none() {
            return Cow::Borrowed(self);
        }
        let mut fuller = self.clone();
        first.for_each(|placed| fuller.take(placed.clone()));
        Cow::Owned(fuller)
    }

    pub(super) fn is_unused(&self) -> bool {
        self.node.is_none() && self.pods.is_empty() && self.nominated.is_empty()
    }

    pub(super) fn unset(&mut self) -> bool {
        self.allocatable.clear();
        self.node.take().is_some()
    }

    pub(super) fn set(&mut self, node: Arc<Node>) {
        let offered = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        // A quantity that nobody can read offers nothing; the API server lets none in.
        let readable = offered
            .into_iter()
            .flatten()
            .filter_map(|(name, quantity)| Some((name.clone(), Amount::parse(&quantity.0).ok()?)));
        self.allocatable = Amounts::read(readable);
        self.node = Some(node);
    }

    /// Counts a pod in.
    pub(crate) fn take(&mut self, placed: Arc<Placed>) {
        let demand = &placed.shape.demand;
        self.requested.add(&demand.resources);
        self.scored.add(&demand.scored);
        for port in &demand.ports {
            *self.ports.entry(port.clone()).or_default() += 1;
        }
        self.pods.put(placed);
    }

    /// Counts a pod out.
    pub(crate) fn release(&mut self, key: &ObjectKey) {
        let Some(placed) = self.pods.take(key) else { return };
        let demand = &placed.shape.demand;
        self.requested.subtract(&demand.resources);
        self.scored.subtract(&demand.scored);
        for port in &demand.ports {
            if let Some(count) = self.ports.get_mut(port) {
                *count -= 1;
            }
        }
        self.ports.retain(|_, count| *count > 0);
    }
}
