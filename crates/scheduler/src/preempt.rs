//! Whether pushing less important pods aside would make room, as the second half of the message says.
//!
//! `Differs:` nobody is evicted. Where upstream would evict, the answer names the nodes ([`Preemption::Would`])
//! and the pod waits; the message then ends after its first half, as upstream's does in that moment.
//! Kubernetes: framework/preemption/preemption.go, plugins/defaultpreemption/default_preemption.go.

use crate::Asking;
use crate::cluster::{Cluster, NodeState};
use crate::filter::{self, Cure};
use crate::why::{Diagnosis, Histogram};

/// What eviction could do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preemption {
    /// It would make room on these nodes.
    Would(Vec<String>),
    /// It would not, for these reasons, node by node.
    WouldNot(Histogram),
    /// The pod does not want it.
    Never,
}

const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// Looks at the nodes where fewer pods could help.
pub fn consider(asking: &Asking<'_>, cluster: &Cluster, diagnosis: &Diagnosis<'_>) -> Preemption {
    if asking.spec.preemption_policy.as_deref() == Some("Never") {
        return Preemption::Never;
    }
    let mut would = Vec::new();
    let mut reasons = Histogram::default();
    for (name, _) in diagnosis.refusals().filter(|(_, refusal)| refusal.cure == Cure::FewerPods) {
        let Some((_, node)) = cluster.node(name) else { continue };
        match after_eviction(asking, node) {
            Ok(()) => would.push(name.to_string()),
            Err(refused) => reasons.count_all(refused),
        }
    }
    if !would.is_empty() {
        return Preemption::Would(would);
    }
    reasons.count(NOT_HELPFUL, cluster.node_count() - reasons.nodes());
    Preemption::WouldNot(reasons)
}

/// Whether the pod fits once all less important ones are gone, or upstream's reasons why not.
fn after_eviction(asking: &Asking<'_>, node: &NodeState) -> Result<(), Vec<String>> {
    let is_victim = |priority: i32| priority < asking.demand.priority;
    if !node.pods().values().any(|placed| is_victim(placed.demand.priority)) {
        return Err(vec![NO_VICTIMS.into()]);
    }
    match filter::refuses(asking, &node.without(|placed| is_victim(placed.demand.priority))) {
        None => Ok(()),
        Some(refusal) => Err(refusal.reasons),
    }
}
