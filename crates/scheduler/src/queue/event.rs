//! What happens in a cluster, seen by a pod that waits: could it change the answer?
//!
//! Each rule is woken by what it reads, and a pod that names its nodes only by events of these nodes.
//! Kubernetes: `EventsToRegister` of each plugin.

use crate::filter::Plugin;
use crate::filter::node_affinity::Eligible;
use k8s_openapi::api::core::v1::{Node, Taint};
use std::collections::{BTreeMap, BTreeSet};

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
    /// A pod left a node, or its end set free what it had.
    PodRemoved {
        /// From where.
        node: String,
    },
    /// The waiting pod itself changed while it was tried.
    PodChanged,
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

    /// Whether it could change a refusal by these rules, for a pod that may go to these nodes. A refusal by no
    /// rule is open to any change.
    pub fn concerns(&self, refused_by: &BTreeSet<Plugin>, pins: &Eligible) -> bool {
        let here = match (self.node(), pins) {
            (Some(node), Eligible::Named(names)) => names.contains(node),
            _ => true,
        };
        here && (refused_by.is_empty() || refused_by.iter().any(|plugin| self.is_read_by(*plugin)))
    }

    fn node(&self) -> Option<&str> {
        match self {
            Self::NodeAdded { node } | Self::NodeChanged { node, .. } | Self::PodRemoved { node } => {
                Some(node)
            }
            Self::PodChanged => None,
        }
    }

    fn is_read_by(&self, plugin: Plugin) -> bool {
        match self {
            Self::NodeAdded { .. } | Self::PodChanged => true,
            Self::PodRemoved { .. } => matches!(plugin, Plugin::NodePorts | Plugin::NodeResourcesFit),
            Self::NodeChanged { changes, .. } => match plugin {
                Plugin::NodeUnschedulable => changes.unschedulable,
                Plugin::TaintToleration => changes.taints,
                Plugin::NodeAffinity => changes.labels,
                Plugin::NodeResourcesFit => changes.allocatable,
                Plugin::NodeName | Plugin::NodePorts => false,
            },
        }
    }
}

fn labels(node: &Node) -> Option<&BTreeMap<String, String>> {
    node.metadata.labels.as_ref()
}

fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

fn allocatable(
    node: &Node,
) -> Option<&BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>> {
    node.status.as_ref().and_then(|status| status.allocatable.as_ref())
}

fn unschedulable(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false)
}
