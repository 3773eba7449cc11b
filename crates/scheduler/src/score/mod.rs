//! Which of the nodes that take a pod is best.
//!
//! Every rule gives 0 to [`BEST`]; weights are upstream's. Ties go to the node with fewer pods, then to the first
//! name, so that the answer is a function of its arguments. A pinned pod has one candidate and costs nothing here.
//! Kubernetes: apis/config/v1/default_plugins.go (weights), framework/plugins/noderesources.

pub mod balanced_allocation;
pub mod inter_pod_affinity;
pub mod least_allocated;
pub mod node_affinity;
pub mod pod_topology_spread;
pub mod spread;
pub mod taint_toleration;

use crate::Asking;
use crate::cluster::NodeState;
use std::cmp::Reverse;

/// The highest score of one rule. Kubernetes: `MaxNodeScore`.
pub const BEST: i128 = 100;

/// A node that takes the pod.
pub type Candidate<'c> = (&'c str, &'c NodeState);

/// A rule over all candidates at once, since some compare them: one score each, in their order.
type Rule = fn(&Asking<'_>, &[Candidate<'_>]) -> Vec<i128>;

/// Rules with their weights.
const RULES: [(i128, Rule); 7] = [
    (3, taint_toleration::scores),
    (2, node_affinity::scores),
    (2, spread::scores),
    (2, pod_topology_spread::scores),
    (2, inter_pod_affinity::scores),
    (1, least_allocated::scores),
    (1, balanced_allocation::scores),
];

/// The best of the candidates, if there is any.
pub fn best<'c>(asking: &Asking<'_>, candidates: &[Candidate<'c>]) -> Option<&'c str> {
    if let [(only, _)] = candidates {
        return Some(only);
    }
    let mut sums = vec![0; candidates.len()];
    for (weight, rule) in RULES {
        for (sum, score) in sums.iter_mut().zip(rule(asking, candidates)) {
            *sum += weight * score;
        }
    }
    let ranked = candidates.iter().zip(sums);
    let first = ranked.min_by_key(|((name, node), sum)| (Reverse(*sum), node.pods().len(), *name))?;
    Some(first.0.0)
}

/// Scales counts to 0..=[`BEST`] against the highest of them. Kubernetes: plugins/helper/normalize_score.go.
fn share_of_highest(counts: &[i128]) -> Vec<i128> {
    match counts.iter().copied().max() {
        None | Some(..=0) => vec![0; counts.len()],
        Some(highest) => counts.iter().map(|count| BEST * count / highest).collect(),
    }
}

/// The same the other way round: nothing counted is best.
fn share_below_highest(counts: &[i128]) -> Vec<i128> {
    share_of_highest(counts).into_iter().map(|share| BEST - share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_scaled_to_the_highest() {
        assert_eq!(share_of_highest(&[0, 1, 4]), [0, 25, 100]);
        assert_eq!(share_below_highest(&[0, 1, 4]), [100, 75, 0]);
        assert_eq!(share_below_highest(&[0, 0]), [100, 100]);
        assert_eq!(share_of_highest(&[]), Vec::<i128>::new());
    }
}
