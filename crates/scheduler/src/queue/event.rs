//! What happens in a cluster, seen by a pod that waits: could it change the answer?
//!
//! Each rule is woken by what it reads, and a pod that names its nodes only by events of these nodes.
//! Kubernetes: `EventsToRegister` of each plugin, with its queueing hints.

use crate::cluster::Placed;
use crate::demand::Demand;
use crate::filter::Plugin;
use crate::filter::node_affinity::Eligible;
use crate::why::{TOO_MANY_PODS, Unschedulable};
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Something that may let a waiting pod find a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterEvent {
    /// A node came.
    NodeAdded {
        /// Its name.
        node: String,
    },
    /// A node changed in something that rules read.
    NodeChanged {
        /// Its name.
        node: String,
        /// In what.
        changes: NodeChanges,
    },
    /// A pod left a node, its end set free what it had, or the promise of the node was withdrawn from it.
    PodRemoved {
        /// What it had, and where.
        pod: Arc<Placed>,
    },
    /// A pod got a node, or other labels: others may want to be near it, or it evens out how they are spread.
    PodPlaced {
        /// What it has, and where.
        pod: Arc<Placed>,
    },
    /// A node is gone, and with it perhaps the emptiest place of a spread.
    NodeRemoved {
        /// Its name.
        node: String,
    },
    /// The waiting pod itself changed while it was tried.
    PodChanged,
}

/// A pod that waits, as far as events concern it.
#[derive(Debug)]
pub struct Interest {
    /// The nodes that come into question.
    pub pins: Eligible,
    /// What it would take.
    pub demand: Demand,
}

/// What of a node changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeChanges {
    /// Labels.
    pub labels: bool,
    /// Taints.
    pub taints: bool,
    /// What it offers.
    pub allocatable: bool,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
}

impl ClusterEvent {
    /// What a newer version of a node means for those who wait; none for a mere heartbeat.
    pub fn between(old: Option<&Node>, new: &Node) -> Option<Self> {
        let node = new.metadata.name.clone()?;
        let Some(old) = old else { return Some(Self::NodeAdded { node }) };
        let changes = NodeChanges {
            labels: labels(old) != labels(new),
            taints: taints(old) != taints(new),
            allocatable: allocatable(old) != allocatable(new),
            unschedulable: unschedulable(old) != unschedulable(new),
        };
        (changes != NodeChanges::default()).then_some(Self::NodeChanged { node, changes })
    }

    /// What the difference between two states of one pod means for those who wait.
    pub fn of_pod(before: Option<&Arc<Placed>>, after: Option<&Arc<Placed>>) -> Vec<Self> {
        let same = before.zip(after).is_some_and(|(before, after)| {
            let (new, old) = (&after.shape, &before.shape);
            (&after.node, &new.demand, &new.labels) == (&before.node, &old.demand, &old.labels)
        });
        if same {
            return Vec::new();
        }
        let removed = before.map(|pod| Self::PodRemoved { pod: pod.clone() });
        removed.into_iter().chain(after.map(|pod| Self::PodPlaced { pod: pod.clone() })).collect()
    }

    /// The node where it happened; none if that is everywhere.
    pub fn node(&self) -> Option<&str> {
        match self {
            Self::NodeAdded { node } | Self::NodeRemoved { node } | Self::NodeChanged { node, .. } => {
                Some(node)
            }
            Self::PodRemoved { pod } | Self::PodPlaced { pod } => Some(&pod.node),
            Self::PodChanged => None,
        }
    }

    /// Whether it could change this refusal of a pod. A refusal by no rule is open to any change.
    pub fn concerns(&self, waiting: &Interest, why: &Unschedulable) -> bool {
        let here = match (self.node(), &waiting.pins) {
            (Some(node), Eligible::Named(names)) => names.contains(node),
            _ => true,
        };
        let helps =
            |plugin: &Plugin| (here || plugin.looks_around()) && self.is_read_by(*plugin, waiting, why);
        (here && why.refused_by.is_empty()) || why.refused_by.iter().any(helps)
    }

    fn is_read_by(&self, plugin: Plugin, waiting: &Interest, why: &Unschedulable) -> bool {
        match self {
            Self::NodeAdded { .. } | Self::PodChanged => true,
            Self::NodeRemoved { .. } => plugin == Plugin::PodTopologySpread,
            Self::PodPlaced { .. } => plugin.looks_around(),
            Self::PodRemoved { pod } => match plugin {
                Plugin::NodePorts => frees_port(pod, &waiting.demand),
                Plugin::NodeResourcesFit => {
                    frees_resource(pod, &waiting.demand) || why.reasons.contains_key(TOO_MANY_PODS)
                }
                plugin => plugin.looks_around(),
            },
            Self::NodeChanged { changes, .. } => match plugin {
                Plugin::NodeUnschedulable => changes.unschedulable,
                Plugin::TaintToleration => changes.taints,
                Plugin::NodeAffinity | Plugin::InterPodAffinity => changes.labels,
                Plugin::PodTopologySpread => changes.labels || changes.taints,
                Plugin::NodeResourcesFit => changes.allocatable,
                Plugin::NodeName | Plugin::NodePorts => false,
            },
        }
    }
}

fn frees_port(gone: &Placed, wanted: &Demand) -> bool {
    gone.shape.demand.ports.iter().any(|freed| wanted.ports.iter().any(|port| port.conflicts(freed)))
}

fn frees_resource(gone: &Placed, wanted: &Demand) -> bool {
    wanted.resources.iter().any(|(resource, _)| gone.shape.demand.resources.of(resource) != 0)
}

fn labels(node: &Node) -> Option<&BTreeMap<String, String>> {
    node.metadata.labels.as_ref()
}

fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

fn allocatable(node: &Node) -> Option<&BTreeMap<String, Quantity>> {
    node.status.as_ref().and_then(|status| status.allocatable.as_ref())
}

fn unschedulable(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false)
}
