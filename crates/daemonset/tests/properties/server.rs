//! An API server in a few lines, and the passing of time: what a plan's actions make of a small cluster.

use crate::support::{World, typed};
use daemonset::plan::Action;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use objects::pod;
use serde_json::json;
use std::collections::BTreeSet;

/// Does what an API server would do.
pub fn act(world: &mut World, action: &Action, id: &str, time: Timestamp) {
    let ours = || Some(vec![objects::owner::controller_reference("apps/v1", "DaemonSet", "d", "d-uid")]);
    let owners = |claim: daemonset::Change| match claim {
        daemonset::Change::Adopt => ours(),
        daemonset::Change::Release => None,
    };
    let pods = world.pods.iter_mut();
    match action {
        Action::ConfirmAlive => {}
        Action::ClaimPod { name, claim, .. } => pods
            .filter(|pod| {
                pod.metadata.name.as_ref() == Some(name) && pod.metadata.namespace.as_deref() == Some("ns")
            })
            .for_each(|pod| pod.metadata.owner_references = owners(*claim)),
        Action::RelabelPod { uid, hash, .. } => {
            pods.filter(|pod| pod.metadata.uid.as_ref() == Some(uid)).for_each(|pod| {
                let labels = pod.metadata.labels.get_or_insert_default();
                labels.insert("controller-revision-hash".to_string(), hash.clone());
            });
        }
        Action::DeletePod { uid, .. } => world.pods.retain(|pod| pod.metadata.uid.as_ref() != Some(uid)),
        Action::CreatePod { node, pod } => {
            let mut pod: Pod = typed(pod.clone());
            pod.metadata.name = Some(format!("d-{id}"));
            pod.metadata.uid = Some(format!("d-{id}-uid"));
            pod.metadata.creation_timestamp = Some(Time(time));
            pod.spec.get_or_insert_default().node_name = Some(node.clone());
            world.pods.push(pod);
        }
        Action::RaiseCollisionCount { to } => {
            world.daemon_set.status.get_or_insert_default().collision_count = Some(*to);
        }
        Action::WriteStatus(status) => world.daemon_set.status = Some((**status).clone()),
        revision => act_on_revisions(world, revision, ours()),
    }
}

fn act_on_revisions(
    world: &mut World,
    action: &Action,
    ours: Option<Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference>>,
) {
    match action {
        Action::ClaimRevision { name, claim: daemonset::Change::Adopt, .. } => {
            named_revision(world, name).metadata.owner_references = ours;
        }
        Action::ClaimRevision { name, .. } => named_revision(world, name).metadata.owner_references = None,
        Action::LabelRevision { name, hash } => {
            let labels = named_revision(world, name).metadata.labels.get_or_insert_default();
            labels.insert("controller-revision-hash".to_string(), hash.clone());
        }
        Action::NumberRevision { name, revision } => named_revision(world, name).revision = *revision,
        Action::DeleteRevision { uid, .. } => {
            world.revisions.retain(|revision| revision.metadata.uid.as_ref() != Some(uid));
        }
        Action::CreateRevision(new) => {
            let mut object = new.object.clone();
            object["metadata"]["uid"] = json!(format!("{}-uid", new.name));
            world.revisions.push(typed(object));
        }
        other => panic!("not an action on revisions: {other}"),
    }
}

fn named_revision<'a>(
    world: &'a mut World,
    name: &str,
) -> &'a mut k8s_openapi::api::apps::v1::ControllerRevision {
    let mut revisions = world.revisions.iter_mut();
    revisions.find(|revision| revision.metadata.name.as_deref() == Some(name)).expect("a known revision")
}

/// Time passes: ending pods end, pods of dead nodes are collected, all others become ready.
pub fn heal(world: &mut World, time: Timestamp) {
    let nodes: BTreeSet<String> = world.nodes.iter().filter_map(|node| node.metadata.name.clone()).collect();
    world.pods.retain(|pod| {
        !pod::is_terminating(pod) && pod::node_name(pod).is_none_or(|node| nodes.contains(node))
    });
    for pod in world.pods.iter_mut().filter(|pod| !pod::is_terminal(pod)) {
        let pinned = pod.spec.as_ref().and_then(|spec| objects::node_affinity::target_node(spec).ok());
        let node = pinned.filter(|node| nodes.contains(*node)).map(str::to_string);
        pod.spec.get_or_insert_default().node_name = node;
        let since = time - SignedDuration::from_mins(20);
        pod.status = typed(json!({
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}],
        }));
    }
}
