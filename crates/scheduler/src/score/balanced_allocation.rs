//! The nearer cpu and memory are to each other in use, the better: no node is left with only one of them.
//!
//! Kubernetes: plugins/noderesources/balanced_allocation.go; of two resources the standard deviation is half
//! their distance.

use super::{BEST, Candidate};
use crate::Asking;
use crate::cluster::NodeState;

/// Shares are counted in ten thousandths.
const WHOLE: i128 = 10_000;

pub(super) fn scores(asking: &Asking<'_>, candidates: &[Candidate<'_>]) -> Vec<i128> {
    let balance = |node: &NodeState| {
        let distance = (share_used(asking, node, "cpu") - share_used(asking, node, "memory")).abs();
        BEST * (WHOLE - distance / 2) / WHOLE
    };
    candidates.iter().map(|(_, node)| balance(node)).collect()
}

fn share_used(asking: &Asking<'_>, node: &NodeState, resource: &str) -> i128 {
    let asked = asking.demand.resources.of(resource);
    let used = node.requested(resource) + asked;
    match node.allocatable(resource) {
        offered if offered > 0 => (used * WHOLE / offered).clamp(0, WHOLE),
        _ => WHOLE,
    }
}
