//! The more weight of the pod's preferred node terms a node matches, the better.
//!
//! Kubernetes: plugins/nodeaffinity/node_affinity.go `Score`.

use super::{Candidate, share_of_highest};
use crate::Asking;
use k8s_openapi::api::core::v1::{Node, NodeSelector, PreferredSchedulingTerm};

pub(super) fn scores(asking: &Asking<'_>, candidates: &[Candidate<'_>]) -> Vec<i128> {
    let affinity = asking.spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let preferred =
        affinity.and_then(|node| node.preferred_during_scheduling_ignored_during_execution.as_deref());
    let terms: Vec<(i128, NodeSelector)> = preferred.unwrap_or_default().iter().map(selector).collect();
    let sum = |node: &Node| {
        let matched = terms.iter().filter(|(_, terms)| objects::node_affinity::terms_match(terms, node));
        matched.map(|(weight, _)| weight).sum()
    };
    let sums = candidates.iter().map(|(_, node)| node.object().map_or(0, sum));
    share_of_highest(&sums.collect::<Vec<_>>())
}

fn selector(term: &PreferredSchedulingTerm) -> (i128, NodeSelector) {
    (i128::from(term.weight), NodeSelector { node_selector_terms: vec![term.preference.clone()] })
}
