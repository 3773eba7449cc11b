//! Why a pod goes nowhere, in the words of kube-scheduler 1.33, letter for letter.
//!
//! Scripts and people search events for these texts. Reasons are counted over nodes and sorted as texts, count
//! first. Kubernetes: framework/types.go `FitError.Error`, preemption.go `Preempt`.

use crate::filter::{Cure, Plugin, Refusal};
use crate::preempt::{Eviction, Preemption};
use std::collections::{BTreeMap, BTreeSet};

/// The reason of a node that holds as many pods as it may.
pub const TOO_MANY_PODS: &str = "Too many pods";

/// A pod that no node takes now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unschedulable {
    /// For the FailedScheduling event and the PodScheduled condition (reason `Unschedulable`).
    pub message: String,
    /// How many nodes gave each reason.
    pub reasons: BTreeMap<String, usize>,
    /// Whose rules refused: what has to change before another attempt is worth it. Empty: any change.
    pub refused_by: BTreeSet<Plugin>,
    /// What to do about it.
    pub nomination: Nomination,
}

/// What becomes of the promise of a node, `status.nominatedNodeName`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nomination {
    /// Nothing.
    Unchanged,
    /// It is withdrawn: nobody's going would help any more.
    Withdrawn,
    /// This node, for which these pods have to go.
    Given(Eviction),
}

impl Unschedulable {
    pub(crate) fn without_nodes() -> Self {
        Self::plain("no nodes available to schedule pods")
    }

    pub(crate) fn without_spec() -> Self {
        Self::plain("the pod has no spec")
    }

    fn plain(message: &str) -> Self {
        Self {
            message: message.into(),
            reasons: BTreeMap::new(),
            refused_by: BTreeSet::new(),
            nomination: Nomination::Unchanged,
        }
    }
}

/// What each node said, before it is put into words.
#[derive(Debug)]
pub struct Diagnosis<'c> {
    refusals: BTreeMap<&'c str, Refusal>,
    scope: Scope,
}

/// Which nodes were asked.
#[derive(Debug, Clone, Copy)]
enum Scope {
    All,
    /// This rule left the others out.
    NarrowedBy(Plugin),
    /// This rule refused for this reason before any node was asked.
    RefusedBy(Plugin, &'static str),
}

impl<'c> Diagnosis<'c> {
    pub(crate) fn of_nodes(refusals: BTreeMap<&'c str, Refusal>, narrowed_by: Option<Plugin>) -> Self {
        Self { refusals, scope: narrowed_by.map_or(Scope::All, Scope::NarrowedBy) }
    }

    pub(crate) fn refused_before_nodes(by: Plugin, reason: &'static str) -> Self {
        Self { refusals: BTreeMap::new(), scope: Scope::RefusedBy(by, reason) }
    }

    /// Node by node.
    pub fn refusals(&self) -> impl Iterator<Item = (&str, &Refusal)> + Clone {
        self.refusals.iter().map(|(name, refusal)| (*name, refusal))
    }

    /// What could help a node; one that was not asked is out of the question.
    pub fn cure_of(&self, node: &str) -> Cure {
        self.refusals.get(node).map_or(Cure::AnotherNode, |refusal| refusal.cure)
    }

    /// Puts it into words.
    pub(crate) fn explain(&self, nodes: usize, preemption: Preemption) -> Unschedulable {
        let reasons = self.histogram(nodes);
        let mut message = format!("0/{nodes} nodes are available:");
        match self.scope {
            Scope::RefusedBy(_, reason) => message.push_str(&format!(" {reason}.")),
            Scope::All | Scope::NarrowedBy(_) => message.push_str(&format!(" {reasons}.")),
        }
        let nomination = match preemption {
            Preemption::Evict(eviction) => Nomination::Given(eviction),
            Preemption::WouldNot(why) => {
                message.push_str(&format!(" preemption: 0/{nodes} nodes are available: {why}."));
                Nomination::Withdrawn
            }
            Preemption::NotEligible(why) => {
                message.push_str(&format!(" preemption: {why}"));
                Nomination::Unchanged
            }
        };
        Unschedulable { message, reasons: reasons.counts, refused_by: self.refused_by(), nomination }
    }

    fn histogram(&self, nodes: usize) -> Histogram {
        let mut histogram = Histogram::default();
        for refusal in self.refusals.values() {
            histogram.count_all(refusal.reasons.clone());
        }
        let others = nodes.saturating_sub(self.refusals.len());
        match self.scope {
            Scope::All => {}
            Scope::NarrowedBy(by) => {
                histogram.count(&format!("node(s) didn't satisfy plugin(s) [{}]", by.name()), others);
            }
            Scope::RefusedBy(_, reason) => histogram.count(reason, others),
        }
        histogram
    }

    fn refused_by(&self) -> BTreeSet<Plugin> {
        let of_nodes = self.refusals.values().map(|refusal| refusal.by);
        let before = match self.scope {
            Scope::All => None,
            Scope::NarrowedBy(by) | Scope::RefusedBy(by, _) => Some(by),
        };
        of_nodes.chain(before).collect()
    }
}

/// Reasons and how many nodes gave them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Histogram {
    counts: BTreeMap<String, usize>,
    nodes: usize,
}

impl Histogram {
    /// One reason of so many nodes.
    pub fn count(&mut self, reason: &str, nodes: usize) {
        if nodes > 0 {
            *self.counts.entry(reason.into()).or_default() += nodes;
            self.nodes += nodes;
        }
    }

    /// All reasons of one node.
    pub fn count_all(&mut self, reasons: Vec<String>) {
        for reason in reasons {
            *self.counts.entry(reason).or_default() += 1;
        }
        self.nodes += 1;
    }

    /// How many nodes were counted.
    pub fn nodes(&self) -> usize {
        self.nodes
    }
}

impl std::fmt::Display for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Sorted with the count in front, as texts: "10 x" before "2 y".
        let mut parts: Vec<String> =
            self.counts.iter().map(|(reason, nodes)| format!("{nodes} {reason}")).collect();
        parts.sort();
        f.write_str(&parts.join(", "))
    }
}
