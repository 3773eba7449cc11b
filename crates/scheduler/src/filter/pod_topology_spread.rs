//! Pods of one kind are spread over places: no place may have many more of them than the emptiest.
//!
//! 1. Only a pod with such constraints (whenUnsatisfiable: DoNotSchedule) looks at other nodes.
//! 2. Counted are pods of its namespace that the constraint selects and that nobody has told to go, on nodes that have
//!    the labels of all constraints and that the constraint's policies include.
//!
//! Kubernetes: plugins/podtopologyspread/filtering.go, common.go.

use super::{Cure, Plugin, Refusal};
use crate::Asking;
use crate::cluster::{Cluster, Ending, NodeState, Placed};
use crate::terms::{Labels, NO_LABELS, labels_of, selector_with};
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, TopologySpreadConstraint};
use objects::selector::{Operator, Selector};
use objects::taints::{Effect, untolerated};
use std::collections::BTreeMap;

const TOO_MANY: &str = "node(s) didn't match pod topology spread constraints";
const NO_LABEL: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

/// One constraint of a pod, with what it counts.
#[derive(Debug)]
pub struct Constraint {
    key: String,
    max_skew: i64,
    min_domains: usize,
    selector: Option<Selector>,
    /// The policies: whether nodes that the pod could not go to count not.
    honors_affinity: bool,
    honors_taints: bool,
    /// 1 if the pod itself will count.
    itself: i64,
    /// Pods by the label's value; zero where a node has it.
    pods: BTreeMap<String, i64>,
}

impl Constraint {
    /// All constraints of one kind.
    pub fn all_of(pod: &Pod, spec: &PodSpec, cluster: &Cluster, when: &str) -> Vec<Self> {
        let own = pod.metadata.labels.as_ref().unwrap_or(&NO_LABELS);
        let wanted = spec.topology_spread_constraints.iter().flatten();
        let wanted = wanted.filter(|constraint| constraint.when_unsatisfiable == when);
        let mut constraints: Vec<Self> = wanted.map(|constraint| Self::read(constraint, own)).collect();
        if constraints.is_empty() {
            return constraints;
        }
        let keys: Vec<String> = constraints.iter().map(|constraint| constraint.key.clone()).collect();
        for (_, state) in cluster.nodes() {
            let Some(node) = state.object() else { continue };
            let labels = labels_of(node);
            if !keys.iter().all(|key| labels.contains_key(key)) {
                continue;
            }
            for constraint in constraints.iter_mut().filter(|constraint| constraint.includes(spec, node)) {
                let Some(value) = labels.get(&constraint.key) else { continue };
                let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
                let counted = state.pods().iter().filter(|placed| constraint.counts(namespace, placed));
                let counted = counted.count() as i64;
                *constraint.pods.entry(value.clone()).or_default() += counted;
            }
        }
        constraints
    }

    fn read(constraint: &TopologySpreadConstraint, own: &Labels) -> Self {
        let keys = constraint.match_label_keys.iter().flatten().map(|key| (key, Operator::In));
        let selector = selector_with(constraint.label_selector.as_ref(), keys, own);
        Self {
            key: constraint.topology_key.clone(),
            max_skew: i64::from(constraint.max_skew),
            min_domains: constraint.min_domains.and_then(|least| usize::try_from(least).ok()).unwrap_or(1),
            itself: i64::from(selector.as_ref().is_some_and(|selector| selector.matches(own))),
            selector,
            honors_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honors_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
            pods: BTreeMap::new(),
        }
    }

    fn includes(&self, spec: &PodSpec, node: &Node) -> bool {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        let tolerations = spec.tolerations.as_deref().unwrap_or_default();
        let effects = [Effect::NoSchedule, Effect::NoExecute];
        (!self.honors_affinity || objects::node_affinity::required_matches(spec, node))
            && (!self.honors_taints || untolerated(taints, tolerations, &effects).is_none())
    }

    fn counts(&self, namespace: &str, placed: &Placed) -> bool {
        placed.key.namespace == namespace
            && placed.ending == Ending::Stays
            && self.selector.as_ref().is_some_and(|selector| selector.matches(&placed.shape.labels))
    }

    /// How many pods it counts where this node is.
    pub fn pods_near(&self, node: &Labels) -> Option<i64> {
        self.pods.get(node.get(&self.key)?).copied()
    }

    /// How many more there would be than in the emptiest place, with the pod itself, and `change` others.
    fn skew(&self, value: &str, change: i64) -> i64 {
        let here = self.pods.get(value).copied().unwrap_or(0) + change;
        let of = |(other, count): (&String, &i64)| if other == value { here } else { *count };
        let emptiest = self.pods.iter().map(of).min().unwrap_or(i64::from(i32::MAX));
        let emptiest = if self.pods.len() < self.min_domains { 0 } else { emptiest };
        here + self.itself - emptiest
    }
}

pub(super) fn refuses(asking: &Asking<'_>, state: &NodeState) -> Option<Refusal> {
    let node = state.object()?;
    let refusal = |reason: &str, cure| {
        Some(Refusal { by: Plugin::PodTopologySpread, reasons: vec![reason.into()], cure })
    };
    for constraint in &asking.spread {
        let Some(value) = labels_of(node).get(&constraint.key) else {
            return refusal(NO_LABEL, Cure::AnotherNode);
        };
        let counted = asking.cluster.difference(state).into_iter();
        let counted = counted.filter(|(_, placed)| constraint.counts(&asking.key.namespace, placed));
        let change =
            if constraint.includes(asking.spec, node) { counted.map(|(sign, _)| sign).sum() } else { 0 };
        if constraint.skew(value, change) > constraint.max_skew {
            return refusal(TOO_MANY, Cure::FewerPods);
        }
    }
    None
}
