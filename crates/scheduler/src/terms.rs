//! What pods want of other pods: affinity and anti-affinity, read once.
//!
//! A term selects pods by namespace and labels, and speaks of all nodes that have the same value of one label. A term
//! that cannot be read selects nobody; the API server lets none in.
//! Kubernetes: framework/types.go `AffinityTerm`; matchLabelKeys as the API server merges them into the selector.

use k8s_openapi::api::core::v1::{Affinity, Node, Pod, PodAffinityTerm, WeightedPodAffinityTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use objects::selector::{Operator, Requirement, Selector};
use std::collections::{BTreeMap, BTreeSet};

/// Labels of a pod, a node or a namespace.
pub type Labels = BTreeMap<String, String>;

/// No labels.
pub static NO_LABELS: Labels = Labels::new();

/// A node's labels.
pub fn labels_of(node: &Node) -> &Labels {
    node.metadata.labels.as_ref().unwrap_or(&NO_LABELS)
}

/// What a required affinity of another pod is worth, for scores. Kubernetes: hardPodAffinityWeight.
const REQUIRED_WEIGHT: i64 = 1;

/// One term.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term {
    /// Nodes with the same value of this label count as one place.
    pub topology_key: String,
    namespaces: BTreeSet<String>,
    namespace_selector: Option<Selector>,
    selector: Option<Selector>,
}

/// All terms of a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Terms {
    /// There must be such a pod.
    pub affinity: Vec<Term>,
    /// There must be none.
    pub anti_affinity: Vec<Term>,
    /// The more, the better; below zero the fewer.
    pub preferred: Vec<(i64, Term)>,
}

impl Terms {
    /// None for a pod that wants nothing of others.
    pub fn of(pod: &Pod) -> Option<Self> {
        let Affinity { pod_affinity, pod_anti_affinity, .. } = pod.spec.as_ref()?.affinity.as_ref()?;
        let read = |terms: &Option<Vec<PodAffinityTerm>>| {
            terms.iter().flatten().map(|term| Term::read(term, pod)).collect::<Vec<_>>()
        };
        let weighted = |terms: &Option<Vec<WeightedPodAffinityTerm>>, sign: i64| {
            let terms = terms.iter().flatten();
            terms
                .map(|term| (sign * i64::from(term.weight), Term::read(&term.pod_affinity_term, pod)))
                .collect::<Vec<_>>()
        };
        let mut found = Self::default();
        if let Some(near) = pod_affinity {
            found.affinity = read(&near.required_during_scheduling_ignored_during_execution);
            found.preferred = weighted(&near.preferred_during_scheduling_ignored_during_execution, 1);
        }
        if let Some(far) = pod_anti_affinity {
            found.anti_affinity = read(&far.required_during_scheduling_ignored_during_execution);
            found.preferred.extend(weighted(&far.preferred_during_scheduling_ignored_during_execution, -1));
        }
        (found != Self::default()).then_some(found)
    }

    /// What a pod with these terms would like of a newcomer, each term with its weight.
    pub fn towards_newcomers(&self) -> impl Iterator<Item = (i64, &Term)> {
        let required = self.affinity.iter().map(|term| (REQUIRED_WEIGHT, term));
        required.chain(self.preferred.iter().map(|(weight, term)| (*weight, term)))
    }
}

impl Term {
    fn read(term: &PodAffinityTerm, pod: &Pod) -> Self {
        let own = pod.metadata.labels.as_ref().unwrap_or(&NO_LABELS);
        let keys = term.match_label_keys.iter().flatten().map(|key| (key, Operator::In));
        let others = term.mismatch_label_keys.iter().flatten().map(|key| (key, Operator::NotIn));
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.extend(pod.metadata.namespace.clone());
        }
        let read = |selector: &LabelSelector| Selector::from_label_selector(selector).ok();
        Self {
            topology_key: term.topology_key.clone(),
            namespaces,
            namespace_selector: term.namespace_selector.as_ref().and_then(read),
            selector: selector_with(term.label_selector.as_ref(), keys.chain(others), own),
        }
    }

    /// Whether it speaks of this pod, in a namespace with these labels.
    pub fn selects(&self, namespace: &str, namespace_labels: &Labels, labels: &Labels) -> bool {
        let by_label = |selector: &Selector| selector.matches(namespace_labels);
        let here =
            self.namespaces.contains(namespace) || self.namespace_selector.as_ref().is_some_and(by_label);
        here && self.selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }
}

/// A selector that is narrowed to the pod's own values of some labels. None selects nobody.
pub fn selector_with<'k>(
    selector: Option<&LabelSelector>,
    keys: impl Iterator<Item = (&'k String, Operator)>,
    own: &Labels,
) -> Option<Selector> {
    let selector = Selector::from_label_selector(selector?).ok()?;
    let mut requirements = selector.requirements().to_vec();
    for (key, operator) in keys {
        if let Some(value) = own.get(key) {
            requirements.extend(Requirement::new(key, operator, [value.clone()]).ok());
        }
    }
    Some(Selector::new(requirements))
}
