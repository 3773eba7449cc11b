//! A cordoned node takes only pods that tolerate it.
//!
//! Kubernetes: plugins/nodeunschedulable/node_unschedulable.go. The node lifecycle puts a taint of the same
//! meaning on the node; this rule also holds in the moment before it does.

use super::{Plugin, Refusal};
use crate::Asking;
use k8s_openapi::api::core::v1::{Node, Taint};

const TAINT: &str = "node.kubernetes.io/unschedulable";

pub(super) fn refuses(asking: &Asking<'_>, node: &Node) -> Option<Refusal> {
    let cordoned = node.spec.as_ref()?.unschedulable? && !is_tolerated(asking);
    cordoned.then(|| Refusal::of_node(Plugin::NodeUnschedulable, "node(s) were unschedulable"))
}

fn is_tolerated(asking: &Asking<'_>) -> bool {
    let taint = Taint { key: TAINT.into(), effect: "NoSchedule".into(), ..Taint::default() };
    let mut tolerations = asking.spec.tolerations.iter().flatten();
    tolerations.any(|toleration| objects::taints::tolerates(toleration, &taint))
}
