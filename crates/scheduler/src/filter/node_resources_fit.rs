//! What a pod asks for must be free, resource by resource; every one that is short is named.
//!
//! Kubernetes: plugins/noderesources/fit.go `fitsRequest` of 1.33, where a shortage always counts as one that
//! fewer pods could cure, even when the node is too small when empty.

use super::{Plugin, Refusal};
use crate::Asking;
use crate::cluster::NodeState;
use crate::why::TOO_MANY_PODS;

pub(super) fn refuses(asking: &Asking<'_>, node: &NodeState) -> Option<Refusal> {
    let mut reasons = Vec::new();
    if node.pods().len() as i128 + 1 > node.allocatable("pods") {
        reasons.push(TOO_MANY_PODS.to_string());
    }
    for (resource, amount) in asking.demand.resources.iter().filter(|(name, _)| is_counted(name)) {
        if amount > 0 && amount > node.allocatable(resource) - node.requested(resource) {
            reasons.push(format!("Insufficient {resource}"));
        }
    }
    (!reasons.is_empty()).then(|| Refusal::of_pods(Plugin::NodeResourcesFit, reasons))
}

/// Resources that nodes offer: the three everybody has, huge pages, and extended ones with a domain.
fn is_counted(resource: &str) -> bool {
    matches!(resource, "cpu" | "memory" | "ephemeral-storage")
        || resource.starts_with("hugepages-")
        || resource.contains('/')
}
