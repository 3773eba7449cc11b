//! What a script shows of the cluster: DaemonSets, pods, revisions, events, as the store has them.

use crate::truth::Truth;
use crate::words;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use objects::owner::controller_of;
use objects::pod;
use std::sync::Arc;

/// One line a DaemonSet.
pub(super) fn sets(truth: &Truth) -> Vec<String> {
    let sets =
        truth.sets.now().map(|(key, set)| format!("daemonset {key}: {}", words::counters(&set.object)));
    sets.collect()
}

/// One line a pod, by node.
pub(super) fn pods(truth: &Truth) -> Vec<String> {
    let mut pods: Vec<&Arc<Pod>> = truth.pods.now().map(|(_, pod)| pod).collect();
    pods.sort_by_key(|pod| (words::target(pod), pod.metadata.creation_timestamp.as_ref().map(|time| time.0)));
    pods.into_iter().map(|pod| line(pod)).collect()
}

fn line(of: &Pod) -> String {
    let name = of.metadata.name.as_deref().unwrap_or_default();
    let end = if pod::is_terminating(of) { ", is to end" } else { "" };
    let owner = match controller_of(&of.metadata) {
        Some(_) => "",
        None => ", belongs to nobody",
    };
    let bound = if pod::node_name(of).is_some() { "on" } else { "for" };
    format!(
        "{bound} {}: pod {name} (hash {}) {}{end}{owner}",
        words::target(of),
        words::hash(of),
        words::state(of)
    )
}

/// One line a revision, oldest first.
pub(super) fn revisions(truth: &Truth) -> Vec<String> {
    let mut all: Vec<_> = truth.revisions.now().collect();
    all.sort_by_key(|(key, revision)| (revision.revision, (*key).clone()));
    let owner = |meta: &ObjectMeta| match controller_of(meta) {
        Some(owner) => format!("of {}", owner.name),
        None => "of nobody".to_string(),
    };
    let line = |(key, revision): (&String, &Arc<k8s_openapi::api::apps::v1::ControllerRevision>)| {
        format!("revision {key} {}: number {}", owner(&revision.metadata), revision.revision)
    };
    all.into_iter().map(line).collect()
}

/// One line a node.
pub(super) fn nodes(truth: &Truth) -> Vec<String> {
    let line = |(name, node): (&String, &Arc<k8s_openapi::api::core::v1::Node>)| {
        let ready = if objects::node::is_ready(node) { "Ready" } else { "not Ready" };
        let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        let taints: Vec<String> = taints.map(objects::taints::text).collect();
        format!("node {name}: {ready} [{}]", taints.join(","))
    };
    truth.nodes.now().map(line).collect()
}
