//! Whether one node takes one pod: one rule a file, with upstream's names and texts.
//!
//! The rules are asked in upstream's order and the first refusal stands, because that is the one users read.
//! Kubernetes: apis/config/v1/default_plugins.go (the order), framework/plugins/*.

pub mod inter_pod_affinity;
pub mod node_affinity;
pub mod node_name;
pub mod node_ports;
pub mod node_resources_fit;
pub mod node_unschedulable;
pub mod pod_topology_spread;
pub mod taint_toleration;

use crate::Asking;
use crate::cluster::NodeState;
use k8s_openapi::api::core::v1::Node;
use std::borrow::Cow;

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
    /// Constraints on how pods of a kind are spread.
    PodTopologySpread,
    /// Required affinity and anti-affinity between pods.
    InterPodAffinity,
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
            Self::PodTopologySpread => "PodTopologySpread",
            Self::InterPodAffinity => "InterPodAffinity",
        }
    }

    /// Whether it reads pods of other nodes, so that a change there can help here.
    pub fn looks_around(self) -> bool {
        matches!(self, Self::PodTopologySpread | Self::InterPodAffinity)
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
/// first: they count as if their victims were gone. But nobody may count on their company, so that the pod must fit
/// without them, too. Kubernetes: `RunFilterPluginsWithNominatedPods`.
pub fn refuses(asking: &Asking<'_>, state: &NodeState) -> Option<Refusal> {
    let node = state.object()?;
    let of_node: [fn(&Asking<'_>, &Node) -> Option<Refusal>; 4] =
        [node_unschedulable::refuses, node_name::refuses, taint_toleration::refuses, node_affinity::refuses];
    let of_pods: [fn(&Asking<'_>, &NodeState) -> Option<Refusal>; 4] = [
        node_ports::refuses,
        node_resources_fit::refuses,
        pod_topology_spread::refuses,
        inter_pod_affinity::refuses,
    ];
    let among = |state: &NodeState| of_pods.iter().find_map(|refuses| refuses(asking, state));
    of_node.iter().find_map(|refuses| refuses(asking, node)).or_else(|| {
        match state.beside(&asking.key, asking.demand.priority) {
            Cow::Borrowed(state) => among(state),
            Cow::Owned(fuller) => among(&fuller).or_else(|| among(state)),
        }
    })
}
