//! Whether one node takes one pod: one rule a file, with upstream's names and texts.
//!
//! The rules are asked in upstream's order and the first refusal stands, because that is the one users read.
//! Kubernetes: apis/config/v1/default_plugins.go (the order), framework/plugins/*.

pub mod node_affinity;
pub mod node_name;
pub mod node_ports;
pub mod node_resources_fit;
pub mod node_unschedulable;
pub mod taint_toleration;

use crate::Asking;
use crate::cluster::NodeState;
use k8s_openapi::api::core::v1::Node;

/// A rule, by upstream's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plugin {
    /// `spec.unschedulable`.
    NodeUnschedulable,
    /// `spec.nodeName`.
    NodeName,
    /// Taints with NoSchedule and NoExecute.
    TaintToleration,
    /// Node selector and required node affinity.
    NodeAffinity,
    /// Host ports.
    NodePorts,
    /// Resources and the number of pods.
    NodeResourcesFit,
}

impl Plugin {
    /// As it stands in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::NodeUnschedulable => "NodeUnschedulable",
            Self::NodeName => "NodeName",
            Self::TaintToleration => "TaintToleration",
            Self::NodeAffinity => "NodeAffinity",
            Self::NodePorts => "NodePorts",
            Self::NodeResourcesFit => "NodeResourcesFit",
        }
    }
}

/// Why a node does not take a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Whose rule.
    pub by: Plugin,
    /// Upstream's texts, at least one.
    pub reasons: Vec<String>,
    /// Whether fewer pods on the node would change it.
    pub cure: Cure,
}

/// Whether fewer pods on the node would change a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cure {
    /// They might. Kubernetes: `Unschedulable`.
    FewerPods,
    /// It lies in the node itself. Kubernetes: `UnschedulableAndUnresolvable`.
    AnotherNode,
}

impl Refusal {
    fn of_node(by: Plugin, reason: impl Into<String>) -> Self {
        Self { by, reasons: vec![reason.into()], cure: Cure::AnotherNode }
    }

    fn of_pods(by: Plugin, reasons: Vec<String>) -> Self {
        Self { by, reasons, cure: Cure::FewerPods }
    }
}

/// The first rule that refuses; none if the pod may go there. Pods that wait there with at least its priority come
/// first: they count as if their victims were gone. Kubernetes: `RunFilterPluginsWithNominatedPods`.
pub fn refuses(asking: &Asking<'_>, state: &NodeState) -> Option<Refusal> {
    let node = state.object()?;
    let of_node: [fn(&Asking<'_>, &Node) -> Option<Refusal>; 4] =
        [node_unschedulable::refuses, node_name::refuses, taint_toleration::refuses, node_affinity::refuses];
    let state = state.beside(&asking.key, asking.demand.priority);
    of_node
        .iter()
        .find_map(|refuses| refuses(asking, node))
        .or_else(|| node_ports::refuses(asking, &state))
        .or_else(|| node_resources_fit::refuses(asking, &state))
}
