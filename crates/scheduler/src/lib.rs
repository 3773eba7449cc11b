//! Which node a pod goes to, and why not the others.
//!
//! [`pick`] is a function of a pod and a [`Cluster`]; the loop that owns both assumes the answer at once
//! ([`Cluster::assume`]), so that the next decision sees it, and binds afterwards. What could not be placed waits
//! in the [`queue`] until something happens that could change the answer.
//!
//! 1. A pod is never given to a node that one of the [`filter`]s refuses.
//! 2. Same pod, same cluster, same answer. `Differs:` upstream draws lots among equal scores.
//! 3. A pod that names its nodes in matchFields (every daemon pod does, EL-30) costs nothing for the others.
//!
//! 4. Where no node takes a pod, the answer says who has to go so that one does ([`preempt`]); the pod then waits with
//!    the promise of that node, and is looked at there first.
//!
//! Kubernetes: pkg/scheduler/schedule_one.go. Not here: volumes with a place, and resource claims, because
//! the API server has neither.

pub mod amounts;
pub mod cluster;
pub mod demand;
pub mod filter;
pub mod preempt;
pub mod queue;
pub mod score;
pub mod terms;
pub mod why;

pub use cluster::Cluster;
pub use why::{Nomination, Unschedulable};

use cluster::NodeState;
use demand::Demand;
use filter::inter_pod_affinity::Around;
use filter::node_affinity::{Eligible, eligible};
use filter::pod_topology_spread::Constraint;
use filter::{Plugin, Refusal};
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use objects::key::ObjectKey;
use std::collections::BTreeMap;
use why::Diagnosis;

/// What is to be done with a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Bind it to this node.
    Node(String),
    /// No node takes it now.
    Unschedulable(Unschedulable),
    /// Somebody holds it back with `spec.schedulingGates`; it is not looked at.
    Gated,
}

/// The message of the PodScheduled condition of a gated pod; its reason is `SchedulingGated`.
pub const GATED_MESSAGE: &str = "Scheduling is blocked due to non-empty scheduling gates";

/// A pod that asks for a node, and what follows from it, worked out once for all nodes.
#[derive(Debug)]
pub struct Asking<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// How it is pointed at.
    pub key: ObjectKey,
    /// Its spec.
    pub spec: &'a PodSpec,
    /// What it would take from a node.
    pub demand: Demand,
    /// Whom it asks.
    pub cluster: &'a Cluster,
    /// What other pods mean to it.
    pub around: Around<'a>,
    /// How it must be spread.
    pub spread: Vec<Constraint>,
}

impl<'a> Asking<'a> {
    /// Reads a pod. None without a spec: such a pod asks for nothing and cannot run.
    pub fn read(pod: &'a Pod, cluster: &'a Cluster) -> Option<Self> {
        let (key, spec) = (ObjectKey::of(&pod.metadata), pod.spec.as_ref()?);
        let around = Around::of(pod, cluster);
        let spread = Constraint::all_of(pod, spec, cluster, "DoNotSchedule");
        Some(Self { pod, key, spec, demand: Demand::of(pod), cluster, around, spread })
    }

    /// The promised node, if it takes the pod now. Kubernetes: `evaluateNominatedNode`.
    fn promised(&self) -> Option<&'a str> {
        let promised = self.cluster.nominated(&self.key)?;
        let (name, node) = self.cluster.node(&promised.node)?;
        filter::refuses(self, node).is_none().then_some(name)
    }
}

/// Picks the node for a pod, or says why there is none and what can be done about it.
pub fn pick(pod: &Pod, cluster: &Cluster) -> Decision {
    let Some(asking) = Asking::read(pod, cluster) else {
        return Decision::Unschedulable(Unschedulable::without_spec());
    };
    if asking.spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()) {
        return Decision::Gated;
    }
    if cluster.node_count() == 0 {
        return Decision::Unschedulable(Unschedulable::without_nodes());
    }
    if let Some(node) = asking.promised() {
        return Decision::Node(node.to_string());
    }
    match eligible(asking.spec) {
        Eligible::All => among(&asking, cluster.nodes(), None),
        Eligible::Named(names) => {
            let nodes = names.iter().filter_map(|name| cluster.node(name));
            among(&asking, nodes, Some(Plugin::NodeAffinity))
        }
        Eligible::Conflict => {
            let diagnosis =
                Diagnosis::refused_before_nodes(Plugin::NodeAffinity, filter::node_affinity::CONFLICT);
            give_up(&asking, &diagnosis)
        }
    }
}

/// Filters, then scores. `narrowed_by` has left the other nodes out of `nodes`.
fn among<'c>(
    asking: &Asking<'_>,
    nodes: impl Iterator<Item = (&'c str, &'c NodeState)>,
    narrowed_by: Option<Plugin>,
) -> Decision {
    let mut fitting = Vec::new();
    let mut refusals: BTreeMap<&str, Refusal> = BTreeMap::new();
    for (name, node) in nodes {
        match filter::refuses(asking, node) {
            None => fitting.push((name, node)),
            Some(refusal) => {
                refusals.insert(name, refusal);
            }
        }
    }
    match score::best(asking, &fitting) {
        Some(best) => Decision::Node(best.to_string()),
        None => give_up(asking, &Diagnosis::of_nodes(refusals, narrowed_by)),
    }
}

fn give_up(asking: &Asking<'_>, diagnosis: &Diagnosis<'_>) -> Decision {
    let preemption = preempt::consider(asking, diagnosis);
    Decision::Unschedulable(diagnosis.explain(asking.cluster.node_count(), preemption))
}
