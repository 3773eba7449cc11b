//! The more a pod and those around it like each other, by their preferred terms and by what others require, the better.
//!
//! Kubernetes: plugins/interpodaffinity/scoring.go.

use super::{BEST, Candidate};
use crate::Asking;
use crate::cluster::Placed;
use crate::terms::{Labels, Term, labels_of};
use std::collections::BTreeMap;

/// What it is worth to be where a label has a value.
type Worth = BTreeMap<(String, String), i128>;

pub(super) fn scores(asking: &Asking<'_>, candidates: &[Candidate<'_>]) -> Vec<i128> {
    let worth = worth(asking);
    let of = |labels: &Labels| {
        let here = |((key, value), _): &(&(String, String), &i128)| labels.get(key) == Some(value);
        worth.iter().filter(here).map(|(_, worth)| worth).sum::<i128>()
    };
    let sums: Vec<i128> =
        candidates.iter().map(|(_, node)| node.object().map_or(0, |node| of(labels_of(node)))).collect();
    let (least, most) = (sums.iter().min().copied().unwrap_or(0), sums.iter().max().copied().unwrap_or(0));
    sums.iter().map(|sum| if most > least { BEST * (sum - least) / (most - least) } else { 0 }).collect()
}

fn worth(asking: &Asking<'_>) -> Worth {
    let (cluster, around) = (asking.cluster, &asking.around);
    let mut worth = Worth::new();
    let mut add = |weight: i64, term: &Term, placed: &Placed| {
        let node = cluster.node(&placed.node).and_then(|(_, node)| node.object());
        if let Some(value) = node.and_then(|node| labels_of(node).get(&term.topology_key)) {
            *worth.entry((term.topology_key.clone(), value.clone())).or_default() += i128::from(weight);
        }
    };
    if !around.terms.preferred.is_empty() {
        let selects = |term: &Term, placed: &Placed| {
            let namespace = &placed.key.namespace;
            term.selects(namespace, cluster.namespace_labels(namespace), &placed.shape.labels)
        };
        for placed in cluster.nodes().flat_map(|(_, node)| node.pods().iter()) {
            let liked = around.terms.preferred.iter().filter(|(_, term)| selects(term, placed));
            liked.for_each(|(weight, term)| add(*weight, term, placed));
        }
    }
    for placed in cluster.bonded().iter() {
        let theirs = placed.shape.terms.iter().flat_map(|terms| terms.towards_newcomers());
        let liked = theirs.filter(|(_, term)| around.is_selected_by(term));
        liked.for_each(|(weight, term)| add(weight, term, placed));
    }
    worth
}
