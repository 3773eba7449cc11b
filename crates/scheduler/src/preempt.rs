//! Whom to evict so that a pod fits: on which node, and which of the less important pods there.
//!
//! 1. Only pods of lower priority are victims.
//! 2. The set is minimal: with any one of the victims back, the pod would not fit. The most important are spared
//!    first, and before them those whose going would violate a budget.
//! 3. Of several nodes the one where least is lost. A pinned pod has one, and costs nothing for the others.
//! 4. Nobody is chosen twice: while a pod waits for its victims, it evicts no others.
//!
//! `Differs:` upstream begins its search at a random node; here the answer is a function of its arguments.
//! Kubernetes: framework/preemption/preemption.go, plugins/defaultpreemption/default_preemption.go.

use crate::Asking;
use crate::cluster::{Ending, NodeState, Placed};
use crate::filter::{self, Cure};
use crate::why::{Diagnosis, Histogram};
use jiff::Timestamp;
use objects::key::ObjectKey;
use std::cmp::Reverse;
use std::sync::Arc;

/// What eviction could do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preemption {
    /// It makes room.
    Evict(Eviction),
    /// It would not, for these reasons, node by node.
    WouldNot(Histogram),
    /// The pod may not evict anybody now, because of this.
    NotEligible(&'static str),
}

/// Room that can be made on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    /// Where.
    pub node: String,
    /// Who has to go, the most important first; at least one.
    pub victims: Vec<Victim>,
    /// How many of them violate a budget.
    pub violations: usize,
    /// Less important pods that were promised this node. The promise is withdrawn.
    pub displaced: Vec<ObjectKey>,
}

/// One who has to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Victim {
    /// Its name.
    pub key: ObjectKey,
    /// Which pod of this name.
    pub uid: String,
    /// If it goes anyhow, nothing is to be done.
    pub ending: Ending,
}

const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";
const POLICY_NEVER: &str = "not eligible due to preemptionPolicy=Never.";
const VICTIMS_LEAVE: &str = "not eligible due to a terminating pod on the nominated node.";

/// Nodes to compare before one is chosen: this many, or a tenth of those that come into question.
/// Kubernetes: minCandidateNodesAbsolute, minCandidateNodesPercentage.
const CANDIDATES: usize = 100;

/// Looks at the nodes where fewer pods could help.
pub fn consider(asking: &Asking<'_>, diagnosis: &Diagnosis<'_>) -> Preemption {
    if let Some(reason) = not_eligible(asking, diagnosis) {
        return Preemption::NotEligible(reason);
    }
    let hopeful = diagnosis.refusals().filter(|(_, refusal)| refusal.cure == Cure::FewerPods);
    let enough = CANDIDATES.max(hopeful.clone().count() / 10);
    let (mut candidates, mut reasons) = (Vec::new(), Histogram::default());
    for (name, _) in hopeful {
        let Some((name, node)) = asking.cluster.node(name) else { continue };
        match Candidate::on(asking, name, node) {
            Ok(candidate) => candidates.push(candidate),
            Err(refused) => reasons.count_all(refused),
        }
        if candidates.len() >= enough && candidates.iter().any(|candidate| candidate.violations == 0) {
            break;
        }
    }
    match candidates.into_iter().min_by_key(Candidate::loss) {
        Some(best) => Preemption::Evict(best.eviction(asking)),
        None => {
            reasons.count(NOT_HELPFUL, asking.cluster.node_count() - reasons.nodes());
            Preemption::WouldNot(reasons)
        }
    }
}

fn not_eligible(asking: &Asking<'_>, diagnosis: &Diagnosis<'_>) -> Option<&'static str> {
    if asking.spec.preemption_policy.as_deref() == Some("Never") {
        return Some(POLICY_NEVER);
    }
    let promised = asking.cluster.nominated(&asking.key)?.node.as_str();
    // The node has become impossible: waiting for its pods is of no use.
    if diagnosis.cure_of(promised) == Cure::AnotherNode {
        return None;
    }
    let (_, node) = asking.cluster.node(promised)?;
    let leaves = |placed: &Arc<Placed>| is_lower(asking, placed) && placed.ending == Ending::Evicted;
    node.pods().iter().any(leaves).then_some(VICTIMS_LEAVE)
}

fn is_lower(asking: &Asking<'_>, placed: &Placed) -> bool {
    placed.shape.demand.priority < asking.demand.priority
}

/// A node on which the pod fits once some are gone.
struct Candidate<'c> {
    name: &'c str,
    node: &'c NodeState,
    /// The most important first; never empty.
    victims: Vec<&'c Arc<Placed>>,
    violations: usize,
}

impl<'c> Candidate<'c> {
    /// Chooses the victims, or says in upstream's words why the pod would not fit without any of them.
    fn on(asking: &Asking<'_>, name: &'c str, node: &'c NodeState) -> Result<Self, Vec<String>> {
        let mut lower: Vec<_> = node.pods().iter().filter(|placed| is_lower(asking, placed)).collect();
        if lower.is_empty() {
            return Err(vec![NO_VICTIMS.into()]);
        }
        let mut rest = node.clone();
        lower.iter().for_each(|placed| rest.release(&placed.key));
        if let Some(refusal) = filter::refuses(asking, &rest) {
            return Err(refusal.reasons);
        }
        lower.sort_by_key(importance);
        let mut tally = asking.cluster.tally();
        let (violating, harmless): (Vec<_>, Vec<_>) =
            lower.into_iter().partition(|placed| tally.violates(placed));
        let mut victims = not_spared(asking, &mut rest, violating);
        let violations = victims.len();
        victims.extend(not_spared(asking, &mut rest, harmless));
        victims.sort_by_key(importance);
        Ok(Self { name, node, victims, violations })
    }

    /// What is lost: less is better, and the first name decides where all is equal.
    /// Kubernetes: `pickOneNodeForPreemption`.
    fn loss(&self) -> (usize, Option<i32>, i128, usize, Reverse<Option<Timestamp>>) {
        let priorities = || self.victims.iter().map(|placed| placed.shape.demand.priority);
        let highest = priorities().max();
        // Counted from the lowest, so that many unimportant pods weigh more than one of them.
        let sum = priorities().map(|priority| i128::from(priority) - i128::from(i32::MIN)).sum();
        let highest_only = self.victims.iter().filter(|placed| Some(placed.shape.demand.priority) == highest);
        let earliest = highest_only.map(|placed| start(placed)).min();
        (self.violations, highest, sum, self.victims.len(), Reverse(earliest))
    }

    fn eviction(self, asking: &Asking<'_>) -> Eviction {
        let victim = |placed: &&Arc<Placed>| Victim {
            key: placed.key.clone(),
            uid: placed.uid.clone(),
            ending: placed.ending,
        };
        let promised = self.node.nominated().iter();
        let displaced = promised.filter(|placed| placed.key != asking.key && is_lower(asking, placed));
        Eviction {
            node: self.name.into(),
            victims: self.victims.iter().map(victim).collect(),
            violations: self.violations,
            displaced: displaced.map(|placed| placed.key.clone()).collect(),
        }
    }
}

/// Puts back, one after the other, whoever leaves enough room; the others have to go.
fn not_spared<'c>(
    asking: &Asking<'_>,
    node: &mut NodeState,
    pods: Vec<&'c Arc<Placed>>,
) -> Vec<&'c Arc<Placed>> {
    let mut has_to_go = |placed: &Arc<Placed>| {
        node.take(placed.clone());
        let refused = filter::refuses(asking, node).is_some();
        if refused {
            node.release(&placed.key);
        }
        refused
    };
    pods.into_iter().filter(|pod| has_to_go(pod)).collect()
}

/// The order in which pods are spared: by priority, then by how long they run.
/// Kubernetes: util/utils.go `MoreImportantPod`; the key is ours, so that ties have one answer.
fn importance(placed: &&Arc<Placed>) -> (Reverse<i32>, Timestamp, ObjectKey) {
    (Reverse(placed.shape.demand.priority), start(placed), placed.key.clone())
}

/// Who has not begun yet begins later than all others.
fn start(placed: &Placed) -> Timestamp {
    placed.started.unwrap_or(Timestamp::MAX)
}
