//! Node selector and required node affinity: which nodes come into question, and whether one of them matches.
//!
//! A pod whose every term names nodes in `matchFields` is looked at on these nodes only. Daemon pods are made
//! so (EL-30), which is why a large cluster costs them nothing.
//! Kubernetes: plugins/nodeaffinity/node_affinity.go, PreFilter and Filter.

use super::{Plugin, Refusal};
use crate::Asking;
use k8s_openapi::api::core::v1::{Node, NodeSelectorTerm, PodSpec};
use std::collections::BTreeSet;

/// The pod's terms exclude each other.
pub const CONFLICT: &str = "pod affinity terms conflict";

const NAME_FIELD: &str = "metadata.name";

/// Which nodes come into question at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eligible {
    /// Some term names no node.
    All,
    /// Only these; they need not exist.
    Named(BTreeSet<String>),
    /// Every term asks for two different nodes at once.
    Conflict,
}

/// What the pod's terms say about names.
pub fn eligible(spec: &PodSpec) -> Eligible {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    let Some(required) = required else { return Eligible::All };
    // Terms are alternatives: one that names no node leaves all.
    let named: Option<Vec<_>> = required.node_selector_terms.iter().map(names).collect();
    match named {
        None => Eligible::All,
        Some(terms) if terms.is_empty() => Eligible::All,
        Some(terms) => {
            let union: BTreeSet<String> = terms.into_iter().flatten().collect();
            if union.is_empty() { Eligible::Conflict } else { Eligible::Named(union) }
        }
    }
}

/// The names that one term leaves; none if it speaks of no names.
fn names(term: &NodeSelectorTerm) -> Option<BTreeSet<String>> {
    let fields = term.match_fields.iter().flatten();
    let named = fields.filter(|field| field.key == NAME_FIELD && field.operator == "In");
    // Requirements of one term hold together.
    named
        .map(|field| field.values.iter().flatten().cloned().collect::<BTreeSet<String>>())
        .reduce(|left, right| left.intersection(&right).cloned().collect())
}

pub(super) fn refuses(asking: &Asking<'_>, node: &Node) -> Option<Refusal> {
    let reason = "node(s) didn't match Pod's node affinity/selector";
    let matches = objects::node_affinity::required_matches(asking.spec, node);
    (!matches).then(|| Refusal::of_node(Plugin::NodeAffinity, reason))
}
