//! The emptier the node would be, the better.
//!
//! Kubernetes: plugins/noderesources/least_allocated.go, cpu and memory with equal weight.

use super::{BEST, Candidate};
use crate::Asking;
use crate::cluster::NodeState;

pub(super) fn scores(asking: &Asking<'_>, candidates: &[Candidate<'_>]) -> Vec<i128> {
    let free = |node: &NodeState| (share_free(asking, node, "cpu") + share_free(asking, node, "memory")) / 2;
    candidates.iter().map(|(_, node)| free(node)).collect()
}

fn share_free(asking: &Asking<'_>, node: &NodeState, resource: &str) -> i128 {
    let offered = node.allocatable(resource);
    let asked = asking.demand.scored.of(resource);
    let free = offered - node.scored(resource) - asked;
    if offered <= 0 || free <= 0 { 0 } else { free * BEST / offered }
}
