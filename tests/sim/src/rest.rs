//! At rest: is the cluster what its users asked for?
//!
//! Asked of the store itself, in two ways. [`daemonset::plan`] made from it, with nothing in memory, must want nothing,
//! and its status must be the written one. And, without that function: on every node that wants a daemon there is
//! exactly one live pod of the newest template, on every other none that could be there; and what has no owner is gone.

use crate::clock;
use crate::invariants::conditions::{Three, said};
use crate::invariants::{Look, placement, surges};
use crate::truth::{Set, Truth};
use crate::words;
use daemonset::{Backoff, Placement, Snapshot, Unseen};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use objects::owner::controller_of;
use objects::pod;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is not as it should be; nothing when the cluster is at rest.
pub(crate) fn complaints(truth: &Truth) -> Vec<String> {
    let sets = truth.sets.now().map(|(_, set)| set);
    let mut complaints: Vec<String> = sets.flat_map(|set| of_set(truth, set)).collect();
    complaints.extend(orphans(truth));
    complaints.extend(namespaces(truth));
    complaints
}

/// What ends has come to its end, and left nothing behind.
fn namespaces(truth: &Truth) -> Vec<String> {
    let ends = |namespace: &Namespace| namespace.metadata.deletion_timestamp.is_some();
    let ending = truth.namespaces.now().filter(|(_, namespace)| ends(namespace));
    let ending = ending.map(|(name, _)| format!("namespace {name} has not come to its end"));
    let all = truth.pods.now().map(|(key, _)| key);
    let all =
        all.chain(truth.sets.now().map(|(key, _)| key)).chain(truth.revisions.now().map(|(key, _)| key));
    let is_lost = |key: &&String| {
        let namespace = key.split('/').next().unwrap_or_default();
        truth.namespaces.get(namespace).is_none()
    };
    ending.chain(all.filter(is_lost).map(|key| format!("{key} is in a namespace that is gone"))).collect()
}

fn of_set(truth: &Truth, set: &Arc<Set>) -> Vec<String> {
    let name = set.object.metadata.name.clone().unwrap_or_default();
    if set.object.metadata.deletion_timestamp.is_some() {
        return vec![format!("{name} has not come to its end")];
    }
    let mut complaints: Vec<String> =
        truth.nodes.now().filter_map(|(_, node)| on_node(truth, set, node)).collect();
    let nothing = (Backoff::default(), Unseen::default());
    let plan = daemonset::plan(&snapshot(truth, set, &nothing), clock::now());
    complaints.extend(plan.actions.iter().map(|action| format!("{name}: the plan wants to {action}")));
    complaints.extend(plan.problems.iter().map(|problem| format!("{name}: {problem}")));
    complaints.extend(conditions(set).map(|what| format!("{name}: {what}")));
    complaints
}

/// What the conditions get wrong, held against the numbers alone: at rest no node is silent and nothing is on its way.
fn conditions(set: &Set) -> Option<&'static str> {
    let status = set.object.status.as_ref()?;
    let Some(three) = Three::of(status) else { return Some("one of the three conditions is missing") };
    let said = [three.progressing, three.available, three.degraded].map(|condition| said(condition).0);
    let desired = status.desired_number_scheduled;
    let (updated, available) = (status.updated_number_scheduled, status.number_available);
    let serves = available.unwrap_or_default() == desired;
    match said {
        _ if serves && updated.unwrap_or_default() == desired => {
            (said != [false, true, false]).then_some("all is done, and the conditions do not say so")
        }
        [_, false, _] if serves => Some("every node has its daemon, and Available is False"),
        [false, true, _] if !serves => Some("a daemon is missing, and Available is True"),
        _ => None,
    }
}

/// The plan's input, as the store has it.
pub(crate) fn snapshot<'a>(truth: &'a Truth, set: &'a Set, memory: &'a (Backoff, Unseen)) -> Snapshot<'a> {
    let namespace = set.object.metadata.namespace.as_deref();
    let pods = truth.pods.now().map(|(_, pod)| pod.as_ref());
    let revisions = truth.revisions.now().map(|(_, revision)| revision.as_ref());
    Snapshot {
        daemon_set: &set.object,
        raw: &set.json,
        nodes: truth.nodes.now().map(|(_, node)| node.as_ref()).collect(),
        pods: pods.filter(|pod| pod.metadata.namespace.as_deref() == namespace).collect(),
        revisions: revisions.filter(|revision| revision.metadata.namespace.as_deref() == namespace).collect(),
        backoff: &memory.0,
        unseen: &memory.1,
    }
}

/// What is wrong with a set's pods on a node.
fn on_node(truth: &Truth, set: &Set, node: &Node) -> Option<String> {
    let (name, uid) = (objects::node::name(node), set.object.metadata.uid.as_deref());
    let is_here = |pod: &&Arc<Pod>| {
        Look::owner(pod).is_some_and(|(_, owner)| Some(owner.as_str()) == uid)
            && words::target(pod) == name
            && !(pod::is_terminal(pod) && pod::is_terminating(pod))
    };
    let here: Vec<&Arc<Pod>> = truth.pods.now().map(|(_, pod)| pod).filter(is_here).collect();
    let live = here.len();
    // A surge that cannot end, because one of the two does not serve, leaves both.
    let is_surge = live == 2 && surges(set) && !here.iter().all(|pod| pod::is_ready(pod));
    let is_right = match placement(set, node)? {
        Placement::Run => live == 1 || is_surge,
        Placement::Stay(_) => live <= 1 || is_surge,
        Placement::Leave(_) => live == 0,
    };
    let set = set.object.metadata.name.clone().unwrap_or_default();
    (!is_right).then(|| format!("{live} pods of {set} on {name}"))
}

/// Pods and revisions whose owner is gone.
fn orphans(truth: &Truth) -> Vec<String> {
    let uids: BTreeSet<&str> =
        truth.sets.now().filter_map(|(_, set)| set.object.metadata.uid.as_deref()).collect();
    let lost = |meta| {
        controller_of(meta).is_some_and(|owner| owner.kind == "DaemonSet" && !uids.contains(&*owner.uid))
    };
    let pods = truth.pods.now().filter(|(_, pod)| lost(&pod.metadata)).map(|(key, _)| format!("pod {key}"));
    let revisions = truth
        .revisions
        .now()
        .filter(|(_, revision)| lost(&revision.metadata))
        .map(|(key, _)| format!("revision {key}"));
    pods.chain(revisions).map(|what| format!("{what} has lost its owner and is still there")).collect()
}
