//! PURE. May this pod run here, and does it fit? Asked once, when it arrives (NP-14).
//!
//! The scheduler asked before, but pods can be bound by anybody, and the node may have changed in between. Checked in
//! kubelet's order: pressure on the node (NP-15), resources, node name, host ports, node selector and affinity, NoExecute
//! taints (NoSchedule taints do not matter any more). A refused pod becomes Failed. A critical pod is not refused for want
//! of room as long as others can make it ([`preempt`]).
//!
//! Kubernetes: pkg/kubelet/lifecycle/predicate.go, pkg/kubelet/eviction/eviction_manager.go `Admit`.

pub mod preempt;

use crate::heartbeat::{DISK_PRESSURE, MEMORY_PRESSURE, PID_PRESSURE};
use crate::plan::Rejection;
use crate::status;
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Taint};
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
const MEMORY_TAINT: &str = "node.kubernetes.io/memory-pressure";
/// Conditions that say that the node is short of something.
const PRESSURES: &[&str] = &[DISK_PRESSURE, MEMORY_PRESSURE, PID_PRESSURE];

/// Whether `pod` may run on `node` beside `others`, and which of these have to go for it: none, unless it is critical.
pub fn check(pod: &Pod, node: &Node, others: &[Arc<Pod>]) -> Result<Vec<Arc<Pod>>, Rejection> {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    bears_pressure(pod, spec, node)?;
    let lacks = lacks(spec, node, others);
    match lacks.first() {
        Some(lack) if !is_critical(pod) => return Err(lack.rejection()),
        _ => {}
    }
    suits(pod, spec, node, others)?;
    preempt::whom(pod, others, &lacks).map_err(|why| Rejection {
        reason: "UnexpectedAdmissionError".into(),
        message: format!(
            "Pod was rejected: Unexpected error while attempting to recover from admission failure: preemption: \
             error finding a set of pods to preempt: {why}"
        ),
    })
}

/// Everything that room does not cure.
fn suits(pod: &Pod, spec: &PodSpec, node: &Node, others: &[Arc<Pod>]) -> Result<(), Rejection> {
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

/// A resource of which the node has not enough.
#[derive(Debug, Clone, PartialEq)]
struct Lack {
    resource: String,
    requested: i128,
    used: i128,
    capacity: i128,
}

/// Everything that the node has too little of, in the order in which kubelet names it.
fn lacks(spec: &PodSpec, node: &Node, others: &[Arc<Pod>]) -> Vec<Lack> {
    let empty = BTreeMap::new();
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref()).unwrap_or(&empty);
    let pods = ("pods".to_string(), 1);
    let pods = allocatable.contains_key("pods").then_some(pods);
    let asked = pods::requests(spec).into_iter().map(|(resource, amount)| {
        let requested = in_units(&resource, &amount);
        (resource, requested)
    });
    let lack = |(resource, requested): (String, i128)| {
        let used = others.iter().map(|pod| request(pod, &resource)).sum();
        let capacity = allocatable.get(&resource).and_then(|quantity| Amount::parse(&quantity.0).ok());
        let capacity = capacity.map_or(0, |amount| in_units(&resource, &amount));
        let lack = Lack { resource, requested, used, capacity };
        (requested > 0 && used + requested > capacity).then_some(lack)
    };
    pods.into_iter().chain(asked).filter_map(lack).collect()
}

/// What a pod takes of a resource: thousandths of `cpu`, one of `pods`, bytes or pieces of others.
fn request(pod: &Pod, resource: &str) -> i128 {
    if resource == "pods" {
        return 1;
    }
    let requests = pod.spec.as_ref().map(pods::requests).unwrap_or_default();
    requests.get(resource).map_or(0, |amount| in_units(resource, amount))
}

fn in_units(resource: &str, amount: &Amount) -> i128 {
    if resource == "cpu" { amount.milli() } else { amount.value() }
}

impl Lack {
    fn rejection(&self) -> Rejection {
        let Self { resource, requested, used, capacity } = self;
        Rejection {
            reason: format!("OutOf{resource}"),
            message: format!(
                "Pod was rejected: Node didn't have enough resource: {resource}, requested: {requested}, \
                 used: {used}, capacity: {capacity}"
            ),
        }
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
