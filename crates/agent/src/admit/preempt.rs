//! PURE. Whom a critical pod pushes aside when the node has no room for it (NP-14, NP-15).
//!
//! 1. Only pods that are not critical themselves, or of lower priority, have to go.
//! 2. As few Guaranteed pods as possible, then as few Burstable, then as few BestEffort: each time the one whose requests
//!    come nearest to what is still missing, and of two equally near the smaller one.
//!
//! Kubernetes: pkg/kubelet/preemption/preemption.go.

use super::{Lack, is_critical, request};
use crate::status;
use k8s_openapi::api::core::v1::Pod;
use std::fmt::Write as _;
use std::sync::Arc;

/// `status.reason` and the reason of the event of a pod that was pushed aside.
pub const REASON: &str = "Preempting";
/// `status.message` of a pod that was pushed aside.
pub const MESSAGE: &str = "Preempted in order to admit critical pod";

/// What is missing of one resource: more than zero.
#[derive(Debug, Clone, PartialEq)]
struct Missing {
    resource: String,
    amount: i128,
}

/// The pods that have to go so that nothing is missing any more, or what still is.
pub(super) fn whom(pod: &Pod, others: &[Arc<Pod>], lacks: &[Lack]) -> Result<Vec<Arc<Pod>>, String> {
    let missing: Vec<Missing> = lacks
        .iter()
        .map(|lack| Missing {
            resource: lack.resource.clone(),
            amount: lack.used + lack.requested - lack.capacity,
        })
        .collect();
    let of_class = |class: &str| -> Vec<Arc<Pod>> {
        let of = |other: &&Arc<Pod>| other.spec.as_ref().map_or("BestEffort", status::qos) == class;
        others.iter().filter(|other| may_push(pod, other)).filter(of).cloned().collect()
    };
    let (best_effort, burstable, guaranteed) =
        (of_class("BestEffort"), of_class("Burstable"), of_class("Guaranteed"));
    // Each class is asked for what all below it together cannot give.
    let guaranteed = nearest(guaranteed, left(&missing, best_effort.iter().chain(&burstable)))?;
    let burstable = nearest(burstable, left(&missing, best_effort.iter().chain(&guaranteed)))?;
    let best_effort = nearest(best_effort, left(&missing, burstable.iter().chain(&guaranteed)))?;
    Ok(best_effort.into_iter().chain(burstable).chain(guaranteed).collect())
}

/// Kubernetes: pkg/kubelet/types/pod_update.go `Preemptable`.
fn may_push(pod: &Pod, other: &Pod) -> bool {
    let priority = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.priority);
    is_critical(pod) && !is_critical(other)
        || priority(pod).zip(priority(other)).is_some_and(|(pod, other)| pod > other)
}

/// What is missing when these are gone.
fn left<'a>(missing: &[Missing], gone: impl Iterator<Item = &'a Arc<Pod>> + Clone) -> Vec<Missing> {
    let after = |missing: &Missing| {
        let freed: i128 = gone.clone().map(|pod| request(pod, &missing.resource)).sum();
        Missing { resource: missing.resource.clone(), amount: missing.amount - freed }
    };
    missing.iter().map(after).filter(|missing| missing.amount > 0).collect()
}

fn nearest(mut pods: Vec<Arc<Pod>>, mut missing: Vec<Missing>) -> Result<Vec<Arc<Pod>>, String> {
    let mut chosen = Vec::new();
    while !missing.is_empty() {
        let ranked = pods.iter().enumerate().map(|(index, pod)| (index, distance(&missing, pod), size(pod)));
        let first = ranked.min_by(|a, b| a.1.total_cmp(&b.1).then(a.2.cmp(&b.2)));
        let Some((index, ..)) = first else { return Err(words(&missing)) };
        let pod = pods.swap_remove(index);
        missing = left(&missing, [&pod].into_iter());
        chosen.push(pod);
    }
    Ok(chosen)
}

/// How much would still be missing, each resource by its share.
fn distance(missing: &[Missing], pod: &Pod) -> f64 {
    let share = |missing: &Missing| {
        let rest = (missing.amount - request(pod, &missing.resource)).max(0);
        (rest as f64 / missing.amount as f64).powi(2)
    };
    missing.iter().map(share).sum()
}

fn size(pod: &Pod) -> (i128, i128) {
    (request(pod, "memory"), request(pod, "cpu"))
}

fn words(missing: &[Missing]) -> String {
    let mut words = String::from("no set of running pods found to reclaim resources: [");
    for Missing { resource, amount } in missing {
        // Writing into a text cannot fail.
        let _ = write!(words, "(res: {resource}, q: {amount}), ");
    }
    words + "]"
}
