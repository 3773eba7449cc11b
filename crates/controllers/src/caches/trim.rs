//! PURE. What the loops do not read of an object, and so do not keep.
//!
//! What no object of a kind is read for is not even decoded ([`Selection`]); the rest is taken off where it depends on the
//! object. A fleet of 1,000 nodes holds thousands of pods and nodes; their environment, volumes, image lists and field owners
//! are most of their weight. Lists are made as short as what they hold: read one by one they have room for four things at
//! least, and a container is large. Of a pod's conditions those stay that somebody asks for ([`CONDITIONS`]). A trimmed object is never written back: loops write patches, or read anew.

use super::Whole;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Affinity, ConfigMap, Namespace, Node, Pod, PodSpec, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use objects::owner::controller_of;
use objects::parts::Parts::{self, All, AllBut, Nothing, Only};
use objects::parts::{Selection, Shown};
use scheduler::cluster::DISRUPTION_TARGET;
use serde_json::Value;

/// Field owners and annotations: nobody reads them.
const METADATA: Parts = AllBut(&[("annotations", Nothing), ("managedFields", Nothing)]);

/// Whether a pod is ready, whether it has been said why it waits, and whether it is being driven away.
const CONDITIONS: [&str; 3] = ["Ready", "PodScheduled", DISRUPTION_TARGET];

/// What is read of a pod.
pub(super) struct OfPod;
/// What is read of a node.
pub(super) struct OfNode;
/// What placement reads of a node.
pub(super) struct OfNodePlace;
/// What is read of a lease.
pub(super) struct OfLease;

/// What placement, scheduling and eviction read: names, labels, owners, affinity, tolerations, requests, ports, phase, reason,
/// conditions, addresses and the promised node. Of the field owners as much as tells who has made it.
impl Selection for OfPod {
    const PARTS: Parts = {
        const MADE: Parts = Only(&[("f:metadata", Only(&[("f:generateName", All)]))]);
        const MAKERS: Parts = Only(&[("manager", All), ("fieldsV1", MADE)]);
        const METADATA: Parts = AllBut(&[("annotations", Nothing), ("managedFields", MAKERS)]);
        const CONTAINER: Parts =
            Only(&[("name", All), ("ports", All), ("resources", All), ("restartPolicy", All)]);
        const SPEC: Parts = AllBut(&[
            ("volumes", Nothing),
            ("ephemeralContainers", Nothing),
            ("securityContext", Nothing),
            ("hostAliases", Nothing),
            ("dnsConfig", Nothing),
            ("imagePullSecrets", Nothing),
            ("containers", CONTAINER),
            ("initContainers", CONTAINER),
        ]);
        const STATUS: Parts = Only(&[
            ("phase", All),
            ("reason", All),
            ("conditions", All),
            ("startTime", All),
            ("nominatedNodeName", All),
            ("hostIP", All),
            ("podIP", All),
            ("podIPs", All),
        ]);
        AllBut(&[("metadata", METADATA), ("spec", SPEC), ("status", STATUS)])
    };
}

/// Images, volumes and capacity go; conditions, addresses, taints and allocatable stay.
impl Selection for OfNode {
    const PARTS: Parts = {
        const STATUS: Parts = AllBut(&[
            ("images", Nothing),
            ("capacity", Nothing),
            ("volumesAttached", Nothing),
            ("volumesInUse", Nothing),
            ("nodeInfo", Nothing),
            ("config", Nothing),
        ]);
        AllBut(&[("metadata", METADATA), ("status", STATUS)])
    };
}

/// Name, labels and taints, and whether it is silent.
impl Selection for OfNodePlace {
    const PARTS: Parts = {
        const SPEC: Parts = Only(&[("taints", All)]);
        AllBut(&[("metadata", METADATA), ("spec", SPEC), ("status", Only(&[("conditions", All)]))])
    };
}

/// A lease is read for its holder and time.
impl Selection for OfLease {
    const PARTS: Parts = AllBut(&[("metadata", METADATA)]);
}

/// See [`OfNode`].
pub(super) fn node(shown: Shown<Node, OfNode>) -> Node {
    snug_node(shown.object)
}

fn snug_node(mut node: Node) -> Node {
    snug_metadata(&mut node.metadata);
    snug(node.spec.as_mut().and_then(|spec| spec.taints.as_mut()));
    if let Some(status) = &mut node.status {
        snug(status.conditions.as_mut());
        snug(status.addresses.as_mut());
    }
    node
}

/// See [`OfNodePlace`].
pub(super) fn node_place(shown: Shown<Node, OfNodePlace>) -> Node {
    let mut node = shown.object;
    if let Some(conditions) = node.status.as_mut().and_then(|status| status.conditions.as_mut()) {
        conditions.retain(|condition| condition.type_ == "Ready");
    }
    snug_node(node)
}

/// See [`OfLease`].
pub(super) fn lease(shown: Shown<Lease, OfLease>) -> Lease {
    shown.object
}

/// See [`OfPod`]; of what that leaves, what is of no use in this pod.
pub(super) fn pod(shown: Shown<Pod, OfPod>) -> Pod {
    let mut pod = shown.object;
    let maker = foreign_maker(&pod.metadata);
    pod.metadata.managed_fields = maker.map(|maker| vec![maker]);
    snug_metadata(&mut pod.metadata);
    if let Some(spec) = &mut pod.spec {
        if spec.node_name.as_ref().is_some_and(|name| !name.is_empty()) {
            bound(spec);
        }
        spec.containers.shrink_to_fit();
        snug(spec.init_containers.as_mut());
        snug(spec.tolerations.as_mut());
    }
    if let Some(status) = &mut pod.status {
        // A single one is the same again.
        status.pod_ips = status.pod_ips.take().filter(|all| all.len() > 1);
        if let Some(conditions) = &mut status.conditions {
            conditions.retain(|condition| CONDITIONS.contains(&condition.type_.as_str()));
        }
        snug(status.conditions.as_mut());
    }
    pod
}

/// Gives back the room that a list does not need.
fn snug<T>(list: Option<&mut Vec<T>>) {
    if let Some(list) = list {
        list.shrink_to_fit();
    }
}

fn snug_metadata(meta: &mut ObjectMeta) {
    snug(meta.owner_references.as_mut());
    snug(meta.finalizers.as_mut());
}

fn metadata(meta: &mut ObjectMeta) {
    meta.managed_fields = None;
    meta.annotations = None;
}

/// Any kind: only its metadata is made smaller.
pub(super) fn only_metadata<K: kube::Resource>(mut object: K) -> K {
    metadata(object.meta_mut());
    object
}

/// Field owners only.
pub(super) fn field_owners<K: kube::Resource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

/// Field owners only, in both forms. Who has written the status, and when, stays: see [`daemonset::takeover`].
pub(super) fn whole<K: kube::Resource>(mut object: Whole<K>) -> Whole<K> {
    let meta = object.object.meta_mut();
    let mut writers = meta.managed_fields.take().unwrap_or_default();
    writers.retain(|entry| entry.subresource.as_deref() == Some("status"));
    writers.iter_mut().for_each(|entry| entry.fields_v1 = None);
    meta.managed_fields = Some(writers).filter(|writers| !writers.is_empty());
    if let Some(metadata) = object.json.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}

/// Who else has made this daemon pod, if the server tells: the one to whom its `generateName` belongs. Our own pods, and those
/// of other kinds, need no room for it.
fn foreign_maker(meta: &ObjectMeta) -> Option<ManagedFieldsEntry> {
    controller_of(meta).filter(|owner| owner.kind == "DaemonSet")?;
    let made = |entry: &&ManagedFieldsEntry| {
        entry.fields_v1.as_ref().is_some_and(|fields| !fields.0["f:metadata"]["f:generateName"].is_null())
    };
    let maker = meta.managed_fields.iter().flatten().find(made)?;
    let is_foreign = maker.manager.as_deref().is_some_and(|manager| manager != crate::MANAGER);
    is_foreign.then(|| ManagedFieldsEntry { fields_v1: None, ..maker.clone() })
}

/// Where it goes is decided. What may drive it away, or keep others away, stays.
fn bound(spec: &mut PodSpec) {
    let ends = |toleration: &Toleration| {
        toleration.effect.as_deref().is_none_or(|effect| effect.is_empty() || effect == "NoExecute")
    };
    if let Some(tolerations) = &mut spec.tolerations {
        tolerations.retain(ends);
    }
    spec.affinity = spec.affinity.take().and_then(|affinity| {
        let among_pods = Affinity { node_affinity: None, ..affinity };
        (among_pods != Affinity::default()).then_some(among_pods)
    });
    spec.node_selector = None;
    spec.topology_spread_constraints = None;
}

/// A namespace is read for its phase and finalizers.
pub(super) fn namespace(namespace: Namespace) -> Namespace {
    only_metadata(namespace)
}

/// The published certificate authority is read as a whole.
pub(super) fn config_map(map: ConfigMap) -> ConfigMap {
    only_metadata(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn trimmed(sent: Value) -> Pod {
        pod(serde_json::from_str(&sent.to_string()).unwrap())
    }

    #[test]
    fn a_trimmed_pod_keeps_what_decisions_read() {
        let trimmed = trimmed(json!({
            "metadata": {"name": "p", "labels": {"a": "b"}, "annotations": {"long": "text"},
                "managedFields": [{"manager": "kubectl"}]},
            "spec": {"nodeName": "n1", "volumes": [{"name": "v"}], "tolerations": [{"operator": "Exists"},
                    {"operator": "Exists", "effect": "NoSchedule"}, {"operator": "Exists", "effect": "NoExecute"}],
                "nodeSelector": {"a": "b"}, "affinity": {"nodeAffinity": {}, "podAntiAffinity": {}},
                "containers": [{"name": "c", "image": "i", "env": [{"name": "E"}], "command": ["x"],
                    "ports": [{"containerPort": 1, "hostPort": 2}], "resources": {"requests": {"cpu": "1"}}}]},
            "status": {"phase": "Running", "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0}],
                "podIPs": [{"ip": "10.0.0.1"}]}
        }));
        let kept: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "labels": {"a": "b"}},
            "spec": {"nodeName": "n1", "tolerations": [{"operator": "Exists"}, {"operator": "Exists", "effect": "NoExecute"}],
                "affinity": {"podAntiAffinity": {}}, "containers": [{"name": "c",
                    "ports": [{"containerPort": 1, "hostPort": 2}], "resources": {"requests": {"cpu": "1"}}}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        }))
        .unwrap();
        assert_eq!(trimmed, kept);
        assert_eq!(trimmed.spec.map(|spec| spec.containers.capacity()), Some(1));
    }

    #[test]
    fn a_pod_that_waits_for_its_node_keeps_what_decides_about_it() {
        let spec = json!({"tolerations": [{"operator": "Exists", "effect": "NoSchedule"}], "nodeSelector": {"a": "b"},
            "affinity": {"nodeAffinity": {}}, "containers": []});
        let full: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
        assert_eq!(trimmed(json!({ "spec": spec })), full);
    }

    #[test]
    fn of_a_daemon_pod_it_stays_known_if_another_has_made_it() {
        let check = |kind: &str, maker: &str, kept: Value| {
            let full = trimmed(json!({"metadata": {"name": "p",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": "d", "uid": "u", "controller": true}],
                "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}},
                    {"manager": maker, "fieldsV1": {"f:metadata": {"f:generateName": {}}}}]}}));
            assert_eq!(json!(full.metadata.managed_fields), kept, "{kind} {maker}");
        };
        check("DaemonSet", "kube-controller-manager", json!([{"manager": "kube-controller-manager"}]));
        check("DaemonSet", crate::MANAGER, Value::Null);
        check("ReplicaSet", "kube-controller-manager", Value::Null);
    }

    #[test]
    fn both_forms_lose_their_field_owners_but_for_those_who_write_the_status() {
        let sent = json!({"metadata": {"name": "d", "managedFields": [{"manager": "kubectl"},
            {"manager": "k", "subresource": "status", "fieldsType": "FieldsV1", "fieldsV1": {"f:status": {}}}]}});
        let seen: Whole<Pod> = whole(serde_json::from_value(sent).unwrap());
        let kept = json!([{"manager": "k", "subresource": "status", "fieldsType": "FieldsV1"}]);
        assert_eq!(json!(seen.object.metadata.managed_fields), kept);
        assert_eq!(seen.json, json!({"metadata": {"name": "d"}}));
        assert_eq!(seen.object.metadata.name.as_deref(), Some("d"));
    }

    #[test]
    fn a_trimmed_node_loses_its_images_and_what_it_had_before_reservations() {
        let sent = json!({
            "metadata": {"name": "n", "labels": {"a": "b"}, "managedFields": [{"manager": "m"}]},
            "status": {"images": [{"names": ["x"]}], "capacity": {"cpu": "2"}, "conditions": [{"type": "Ready", "status": "True"}]}
        });
        let full = node(serde_json::from_str(&sent.to_string()).unwrap());
        let kept = json!({"metadata": {"name": "n", "labels": {"a": "b"}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(full, serde_json::from_value(kept).unwrap());
    }

    #[test]
    fn where_only_daemons_are_placed_a_node_is_its_labels_its_taints_and_whether_it_is_silent() {
        let sent = json!({
            "metadata": {"name": "n", "uid": "u", "labels": {"a": "b"}, "managedFields": [{"manager": "m"}]},
            "spec": {"podCIDR": "10.0.0.0/24", "taints": [{"key": "k", "effect": "NoSchedule"}]},
            "status": {"allocatable": {"cpu": "2"}, "addresses": [{"type": "Hostname", "address": "n"}], "conditions": [
                {"type": "DiskPressure", "status": "False"}, {"type": "Ready", "status": "Unknown"}]}
        });
        let place = node_place(serde_json::from_str(&sent.to_string()).unwrap());
        let kept = json!({"metadata": {"name": "n", "uid": "u", "labels": {"a": "b"}},
            "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]},
            "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
        assert_eq!(place, serde_json::from_value(kept).unwrap());
    }
}
