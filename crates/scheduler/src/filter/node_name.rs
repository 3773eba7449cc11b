//! A pod that names its node goes nowhere else.
//!
//! Such a pod is bound already and does not come here, except by a client's question. Kubernetes:
//! plugins/nodename/node_name.go.

use super::{Plugin, Refusal};
use crate::Asking;
use k8s_openapi::api::core::v1::Node;

pub(super) fn refuses(asking: &Asking<'_>, node: &Node) -> Option<Refusal> {
    let wanted = asking.spec.node_name.as_deref().filter(|name| !name.is_empty())?;
    let other = node.metadata.name.as_deref() != Some(wanted);
    other.then(|| Refusal::of_node(Plugin::NodeName, "node(s) didn't match the requested node name"))
}
