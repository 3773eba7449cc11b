//! Pods that must be near a pod, or must not be.
//!
//! 1. Only for a pod that has such terms itself other nodes are looked at; for all others it is enough to ask the pods
//!    that have terms ([`Cluster::bonded`]).
//! 2. What was counted over the cluster is corrected by the difference between the node in question and the node as it
//!    is, so that victims count as gone and promised pods as come.
//! 3. The first pod that wants to be near its own kind may go anywhere.
//!
//! Kubernetes: plugins/interpodaffinity/filtering.go.

use super::{Cure, Plugin, Refusal};
use crate::Asking;
use crate::cluster::{Cluster, NodeState, Placed};
use crate::terms::{Labels, NO_LABELS, Term, Terms, labels_of};
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;

const NOT_NEAR: &str = "node(s) didn't match pod affinity rules";
const TOO_NEAR: &str = "node(s) didn't match pod anti-affinity rules";
const KEPT_AWAY: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

/// The pods around, as far as they concern one that asks.
#[derive(Debug)]
pub struct Around<'a> {
    /// The pod's own terms.
    pub terms: Terms,
    namespace: &'a str,
    labels: &'a Labels,
    namespace_labels: &'a Labels,
    tally: Tally,
}

/// How many pods or terms speak of the nodes with one value of one label.
type Counts = BTreeMap<(String, String), i64>;

#[derive(Debug, Default)]
struct Tally {
    /// Pods that all affinity terms of the pod select.
    near: Counts,
    /// Pods that an anti-affinity term of the pod selects.
    avoided: Counts,
    /// Anti-affinity terms of others that select the pod.
    repelling: Counts,
}

impl<'a> Around<'a> {
    /// Looks around for a pod.
    pub fn of(pod: &'a Pod, cluster: &'a Cluster) -> Self {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut around = Self {
            terms: Terms::of(pod).unwrap_or_default(),
            namespace,
            labels: pod.metadata.labels.as_ref().unwrap_or(&NO_LABELS),
            namespace_labels: cluster.namespace_labels(namespace),
            tally: Tally::default(),
        };
        let mut tally = Tally::default();
        if around.terms.affinity.is_empty() && around.terms.anti_affinity.is_empty() {
            for placed in cluster.bonded().iter() {
                let node = cluster.node(&placed.node).and_then(|(_, node)| node.object());
                node.iter().for_each(|node| around.count(&mut tally, cluster, placed, labels_of(node), 1));
            }
        } else {
            for (_, state) in cluster.nodes() {
                let Some(node) = state.object() else { continue };
                let pods = state.pods().iter();
                pods.for_each(|placed| around.count(&mut tally, cluster, placed, labels_of(node), 1));
            }
        }
        around.tally = tally;
        around
    }

    /// Whether a term, of this pod or of another, selects this pod.
    pub fn is_selected_by(&self, term: &Term) -> bool {
        term.selects(self.namespace, self.namespace_labels, self.labels)
    }

    fn count(&self, tally: &mut Tally, cluster: &Cluster, placed: &Placed, node: &Labels, sign: i64) {
        let namespace = &placed.key.namespace;
        let about = cluster.namespace_labels(namespace);
        let selects = |term: &&Term| term.selects(namespace, about, &placed.shape.labels);
        let near = &self.terms.affinity;
        if !near.is_empty() && near.iter().all(|term| selects(&term)) {
            near.iter().for_each(|term| add(&mut tally.near, term, node, sign));
        }
        let avoided = self.terms.anti_affinity.iter().filter(selects);
        avoided.for_each(|term| add(&mut tally.avoided, term, node, sign));
        let theirs = placed.shape.terms.iter().flat_map(|terms| &terms.anti_affinity);
        let repelling = theirs.filter(|term| self.is_selected_by(term));
        repelling.for_each(|term| add(&mut tally.repelling, term, node, sign));
    }

    /// What changes by the pods that a node lacks or has beyond those that the cluster has there.
    fn difference(&self, cluster: &Cluster, state: &NodeState, node: &Labels) -> Tally {
        let mut tally = Tally::default();
        for (sign, placed) in cluster.difference(state) {
            self.count(&mut tally, cluster, placed, node, sign);
        }
        tally
    }
}

pub(super) fn refuses(asking: &Asking<'_>, state: &NodeState) -> Option<Refusal> {
    let (around, node) = (&asking.around, labels_of(state.object()?));
    let change = around.difference(asking.cluster, state, node);
    let refusal = |reason: &str, cure| {
        Some(Refusal { by: Plugin::InterPodAffinity, reasons: vec![reason.into()], cure })
    };
    let total = |counts: fn(&Tally) -> &Counts, term: &Term| {
        let of = |tally| at(counts(tally), term, node);
        of(&around.tally) + of(&change)
    };
    let near = &around.terms.affinity;
    if !near.iter().all(|term| node.contains_key(&term.topology_key)) {
        return refusal(NOT_NEAR, Cure::AnotherNode);
    }
    if near.iter().any(|term| total(|tally| &tally.near, term) <= 0) {
        let nobody = sum(&around.tally.near) + sum(&change.near) == 0;
        if !(nobody && near.iter().all(|term| around.is_selected_by(term))) {
            return refusal(NOT_NEAR, Cure::AnotherNode);
        }
    }
    if around.terms.anti_affinity.iter().any(|term| total(|tally| &tally.avoided, term) > 0) {
        return refusal(TOO_NEAR, Cure::FewerPods);
    }
    match keep_away(&around.tally.repelling, &change.repelling, node) {
        true => refusal(KEPT_AWAY, Cure::FewerPods),
        false => None,
    }
}

/// Whether pods around, with this change, want the pod nowhere near this node.
fn keep_away(repelling: &Counts, change: &Counts, node: &Labels) -> bool {
    let one = |counts: &Counts, pair: &(String, String)| counts.get(pair).copied().unwrap_or(0);
    let pairs = repelling.keys().chain(change.keys());
    pairs
        .filter(|(key, value)| node.get(key) == Some(value))
        .any(|pair| one(repelling, pair) + one(change, pair) > 0)
}

fn add(counts: &mut Counts, term: &Term, node: &Labels, sign: i64) {
    if let Some(value) = node.get(&term.topology_key) {
        *counts.entry((term.topology_key.clone(), value.clone())).or_default() += sign;
    }
}

fn at(counts: &Counts, term: &Term, node: &Labels) -> i64 {
    let pair = node.get(&term.topology_key).map(|value| (term.topology_key.clone(), value.clone()));
    pair.and_then(|pair| counts.get(&pair)).copied().unwrap_or(0)
}

fn sum(counts: &Counts) -> i64 {
    counts.values().sum()
}
