//! PURE. May this pod run here, and does it fit? Asked once, when it arrives (NP-14).
//!
//! The scheduler asked before, but pods can be bound by anybody, and the node may have changed in between. Checked in
//! kubelet's order: pressure on the node (NP-15), resources, node name, host ports, node selector and affinity, NoExecute
//! taints (NoSchedule taints do not matter any more). A refused pod becomes Failed.
//!
//! Kubernetes: pkg/kubelet/lifecycle/predicate.go, pkg/kubelet/eviction/eviction_manager.go `Admit`.

use crate::plan::Rejection;
use crate::status;
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use objects::quantity::Amount;
use objects::taints::Effect;
use objects::{node_affinity, pod as pods, taints};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Pods of this source are not asked about taints: they belong to the node's owner.
const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
/// The server's picture of a static pod carries this.
const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
/// The lowest of the priorities that Kubernetes keeps for itself: `system-cluster-critical`.
const SYSTEM_CRITICAL: i32 = 2_000_000_000;
const MEMORY_PRESSURE: &str = "MemoryPressure";
const MEMORY_TAINT: &str = "node.kubernetes.io/memory-pressure";
/// Conditions that say that the node is short of something.
const PRESSURES: &[&str] = &["DiskPressure", MEMORY_PRESSURE, "PIDPressure"];

/// Whether `pod` may run on `node` beside `others`.
pub fn check(pod: &Pod, node: &Node, others: &[Arc<Pod>]) -> Result<(), Rejection> {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    bears_pressure(pod, spec, node)?;
    fits(spec, node, others)?;
    predicate(
        "NodeName",
        "node(s) didn't match the requested node name",
        spec.node_name == node.metadata.name,
    )?;
    predicate(
        "NodePorts",
        "node(s) didn't have free ports for the requested pod ports",
        ports_are_free(spec, others),
    )?;
    predicate(
        "NodeAffinity",
        "node(s) didn't match Pod's node affinity/selector",
        node_affinity::required_matches(spec, node),
    )?;
    predicate(
        "TaintToleration",
        "node(s) had taints that the pod didn't tolerate",
        tolerates(pod, spec, node),
    )
}

/// While the node is short of something it takes critical pods only; short of nothing but memory also those that ask for
/// memory or say that they tolerate it, as every daemon does (EL-20).
fn bears_pressure(pod: &Pod, spec: &PodSpec, node: &Node) -> Result<(), Rejection> {
    let under: Vec<&str> = PRESSURES.iter().copied().filter(|pressure| is_under(node, pressure)).collect();
    if under.is_empty() || is_critical(pod) {
        return Ok(());
    }
    if under == [MEMORY_PRESSURE] && (status::qos(spec) != "BestEffort" || tolerates_memory_pressure(spec)) {
        return Ok(());
    }
    let message = format!("Pod was rejected: The node had condition: [{}]. ", under.join(" "));
    Err(Rejection { reason: "Evicted".into(), message })
}

fn is_under(node: &Node, pressure: &str) -> bool {
    objects::node::condition(node, pressure).is_some_and(|condition| condition.status == "True")
}

fn tolerates_memory_pressure(spec: &PodSpec) -> bool {
    let effect = Effect::NoSchedule.as_str().to_string();
    let taint = Taint { key: MEMORY_TAINT.into(), effect, ..Taint::default() };
    spec.tolerations.iter().flatten().any(|toleration| taints::tolerates(toleration, &taint))
}

/// Static pods, their mirrors, and pods of the system's own priorities.
pub fn is_critical(pod: &Pod) -> bool {
    let is_mirror = pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(CONFIG_MIRROR));
    let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default();
    is_static(pod) || is_mirror || priority >= SYSTEM_CRITICAL
}

fn predicate(name: &str, description: &str, holds: bool) -> Result<(), Rejection> {
    if holds {
        return Ok(());
    }
    let message = format!("Pod was rejected: Predicate {name} failed: {description}");
    Err(Rejection { reason: name.into(), message })
}

fn fits(spec: &PodSpec, node: &Node, others: &[Arc<Pod>]) -> Result<(), Rejection> {
    let empty = BTreeMap::new();
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref()).unwrap_or(&empty);
    let count = i128::try_from(others.len()).unwrap_or(i128::MAX);
    let pods = whole(allocatable.get("pods"));
    if allocatable.contains_key("pods") && count + 1 > pods {
        return Err(lack("pods", 1, count, pods));
    }
    for (resource, asked) in pods::requests(spec) {
        let in_units = |amount: &Amount| {
            if resource == "cpu" { amount.milli() } else { amount.value() }
        };
        let requested = in_units(&asked);
        if requested == 0 {
            continue;
        }
        let of = |pod: &Arc<Pod>| {
            let requests = pod.spec.as_ref().map(pods::requests).unwrap_or_default();
            requests.get(&resource).map_or(0, in_units)
        };
        let used: i128 = others.iter().map(of).sum();
        let capacity = allocatable.get(&resource).and_then(|quantity| Amount::parse(&quantity.0).ok());
        let capacity = capacity.as_ref().map_or(0, in_units);
        if used + requested > capacity {
            return Err(lack(&resource, requested, used, capacity));
        }
    }
    Ok(())
}

fn whole(quantity: Option<&Quantity>) -> i128 {
    let amount = quantity.and_then(|quantity| Amount::parse(&quantity.0).ok());
    amount.map_or(0, |amount| amount.value())
}

fn lack(resource: &str, requested: i128, used: i128, capacity: i128) -> Rejection {
    Rejection {
        reason: format!("OutOf{resource}"),
        message: format!(
            "Pod was rejected: Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, \
             capacity: {capacity}"
        ),
    }
}

fn ports_are_free(spec: &PodSpec, others: &[Arc<Pod>]) -> bool {
    let wanted = pods::host_ports(spec);
    let taken = others.iter().filter_map(|pod| pod.spec.as_ref()).flat_map(pods::host_ports);
    taken.into_iter().all(|taken| wanted.iter().all(|wanted| !wanted.conflicts(&taken)))
}

fn is_static(pod: &Pod) -> bool {
    let source = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(CONFIG_SOURCE));
    source.is_some_and(|source| source != "api")
}

fn tolerates(pod: &Pod, spec: &PodSpec, node: &Node) -> bool {
    if is_static(pod) {
        return true;
    }
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    taints::untolerated(taints, tolerations, &[Effect::NoExecute]).is_none()
}

#[cfg(test)]
mod tests;
