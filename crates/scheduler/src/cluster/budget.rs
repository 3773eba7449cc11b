//! How many pods of a kind may be missing: PodDisruptionBudgets, as far as the choice of victims reads them.
//!
//! A budget does not forbid an eviction for a more important pod; it makes its pods the last to be chosen.
//! Kubernetes: plugins/defaultpreemption/default_preemption.go `filterPodsWithPDBViolation`.

use super::Placed;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use objects::key::ObjectKey;
use objects::selector::Selector;
use std::collections::{BTreeMap, BTreeSet};

/// A budget that covers pods at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    selector: Selector,
    /// How many more pods may go now.
    allowed: i32,
    /// Pods whose eviction the API server has counted already.
    disrupted: BTreeSet<String>,
}

impl Budget {
    /// None for a budget that covers nobody: its selector is missing, empty or cannot be read.
    pub(super) fn read(budget: &PodDisruptionBudget) -> Option<Self> {
        let selector = budget.spec.as_ref()?.selector.as_ref()?;
        let selector =
            Selector::from_label_selector(selector).ok().filter(|selector| !selector.is_empty())?;
        let status = budget.status.as_ref();
        let disrupted = status.and_then(|status| status.disrupted_pods.as_ref());
        Some(Self {
            selector,
            allowed: status.map_or(0, |status| status.disruptions_allowed),
            disrupted: disrupted.into_iter().flat_map(|pods| pods.keys().cloned()).collect(),
        })
    }

    fn counts(&self, placed: &Placed) -> bool {
        let labels = &placed.shape.labels;
        !labels.is_empty() && self.selector.matches(labels) && !self.disrupted.contains(&placed.key.name)
    }
}

/// Evictions that are counted against budgets one after the other.
#[derive(Debug)]
pub struct Tally<'c> {
    left: Vec<(&'c ObjectKey, &'c Budget, i32)>,
}

impl<'c> Tally<'c> {
    pub(super) fn new(budgets: &'c BTreeMap<ObjectKey, Budget>) -> Self {
        Self { left: budgets.iter().map(|(key, budget)| (key, budget, budget.allowed)).collect() }
    }

    /// Counts one more eviction. Whether it is one more than some budget allows.
    pub fn violates(&mut self, placed: &Placed) -> bool {
        let of_namespace = self.left.iter_mut().filter(|(of, _, _)| of.namespace == placed.key.namespace);
        let mut violated = false;
        for (_, _, left) in of_namespace.filter(|(_, budget, _)| budget.counts(placed)) {
            *left = left.saturating_sub(1);
            violated |= *left < 0;
        }
        violated
    }
}
