//! PURE. What the loops do not read of an object, and so do not keep.
//!
//! A fleet of 1,000 nodes holds thousands of pods and nodes; their environment, volumes, image lists and field owners
//! are most of their weight. A trimmed object is never written back: loops write patches, or read anew.

use super::Whole;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    Affinity, ConfigMap, Container, Namespace, Node, Pod, PodSpec, PodStatus, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use objects::owner::controller_of;
use serde_json::Value;

/// Field owners and annotations: nobody reads them.
pub(super) fn metadata(meta: &mut ObjectMeta) {
    meta.managed_fields = None;
    meta.annotations = None;
}

/// Any kind: only its metadata is made smaller.
pub(super) fn only_metadata<K: kube::Resource>(object: &mut K) {
    metadata(object.meta_mut());
}

/// Field owners only.
pub(super) fn field_owners<K: kube::Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

/// Field owners only, in both forms. Who has written the status, and when, stays: see [`daemonset::takeover`].
pub(super) fn whole<K: kube::Resource>(object: &mut Whole<K>) {
    let meta = object.object.meta_mut();
    let mut writers = meta.managed_fields.take().unwrap_or_default();
    writers.retain(|entry| entry.subresource.as_deref() == Some("status"));
    writers.iter_mut().for_each(|entry| entry.fields_v1 = None);
    meta.managed_fields = Some(writers).filter(|writers| !writers.is_empty());
    if let Some(metadata) = object.json.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// What placement, scheduling and eviction read stays: names, labels, owners, affinity, tolerations, requests, ports,
/// phase, reason, conditions, addresses and the promised node.
pub(super) fn pod(pod: &mut Pod) {
    let maker = foreign_maker(&pod.metadata);
    metadata(&mut pod.metadata);
    pod.metadata.managed_fields = maker.map(|maker| vec![maker]);
    if let Some(spec) = &mut pod.spec {
        spec.volumes = None;
        spec.ephemeral_containers = None;
        spec.security_context = None;
        spec.host_aliases = None;
        spec.dns_config = None;
        spec.image_pull_secrets = None;
        spec.containers.iter_mut().for_each(container);
        spec.init_containers.iter_mut().flatten().for_each(container);
        if spec.node_name.as_ref().is_some_and(|node| !node.is_empty()) {
            bound(spec);
        }
    }
    if let Some(status) = &mut pod.status {
        *status = PodStatus {
            phase: status.phase.take(),
            reason: status.reason.take(),
            conditions: status.conditions.take(),
            start_time: status.start_time.take(),
            nominated_node_name: status.nominated_node_name.take(),
            host_ip: status.host_ip.take(),
            pod_ip: status.pod_ip.take(),
            // A single one is the same again.
            pod_ips: status.pod_ips.take().filter(|all| all.len() > 1),
            ..PodStatus::default()
        };
    }
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
        tolerations.shrink_to_fit();
    }
    spec.affinity = spec.affinity.take().and_then(|affinity| {
        let among_pods = Affinity { node_affinity: None, ..affinity };
        (among_pods != Affinity::default()).then_some(among_pods)
    });
    spec.node_selector = None;
    spec.topology_spread_constraints = None;
}

fn container(container: &mut Container) {
    *container = Container {
        name: std::mem::take(&mut container.name),
        ports: container.ports.take(),
        resources: container.resources.take(),
        restart_policy: container.restart_policy.take(),
        ..Container::default()
    };
}

/// Images and volumes go; conditions, addresses, taints and allocatable stay.
pub(super) fn node(node: &mut Node) {
    metadata(&mut node.metadata);
    if let Some(status) = &mut node.status {
        status.images = None;
        status.volumes_attached = None;
        status.volumes_in_use = None;
        status.node_info = None;
        status.config = None;
    }
}

/// A lease is read for its holder and time.
pub(super) fn lease(lease: &mut Lease) {
    metadata(&mut lease.metadata);
}

/// A namespace is read for its phase and finalizers.
pub(super) fn namespace(namespace: &mut Namespace) {
    metadata(&mut namespace.metadata);
}

/// The published certificate authority is read as a whole.
pub(super) fn config_map(map: &mut ConfigMap) {
    metadata(&mut map.metadata);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_trimmed_pod_keeps_what_decisions_read() {
        let mut full: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "labels": {"a": "b"}, "annotations": {"long": "text"},
                "managedFields": [{"manager": "kubectl"}]},
            "spec": {"nodeName": "n1", "volumes": [{"name": "v"}], "tolerations": [{"operator": "Exists"},
                    {"operator": "Exists", "effect": "NoSchedule"}, {"operator": "Exists", "effect": "NoExecute"}],
                "nodeSelector": {"a": "b"}, "affinity": {"nodeAffinity": {}, "podAntiAffinity": {}},
                "containers": [{"name": "c", "image": "i", "env": [{"name": "E"}], "command": ["x"],
                    "ports": [{"containerPort": 1, "hostPort": 2}], "resources": {"requests": {"cpu": "1"}}}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0}]}
        }))
        .unwrap();
        pod(&mut full);
        let kept: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "labels": {"a": "b"}},
            "spec": {"nodeName": "n1", "tolerations": [{"operator": "Exists"}, {"operator": "Exists", "effect": "NoExecute"}],
                "affinity": {"podAntiAffinity": {}}, "containers": [{"name": "c",
                    "ports": [{"containerPort": 1, "hostPort": 2}], "resources": {"requests": {"cpu": "1"}}}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        }))
        .unwrap();
        assert_eq!(full, kept);
    }

    #[test]
    fn a_pod_that_waits_for_its_node_keeps_what_decides_about_it() {
        let spec = json!({"tolerations": [{"operator": "Exists", "effect": "NoSchedule"}], "nodeSelector": {"a": "b"},
            "affinity": {"nodeAffinity": {}}, "containers": []});
        let full: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
        let mut trimmed = full.clone();
        pod(&mut trimmed);
        assert_eq!(trimmed, full);
    }

    #[test]
    fn of_a_daemon_pod_it_stays_known_if_another_has_made_it() {
        let check = |kind: &str, maker: &str, kept: Value| {
            let mut full: Pod = serde_json::from_value(json!({"metadata": {"name": "p",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": "d", "uid": "u", "controller": true}],
                "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}},
                    {"manager": maker, "fieldsV1": {"f:metadata": {"f:generateName": {}}}}]}}))
            .unwrap();
            pod(&mut full);
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
        let mut seen: Whole<Pod> = serde_json::from_value(sent).unwrap();
        whole(&mut seen);
        let kept = json!([{"manager": "k", "subresource": "status", "fieldsType": "FieldsV1"}]);
        assert_eq!(json!(seen.object.metadata.managed_fields), kept);
        assert_eq!(seen.json, json!({"metadata": {"name": "d"}}));
        assert_eq!(seen.object.metadata.name.as_deref(), Some("d"));
    }

    #[test]
    fn a_trimmed_node_loses_its_images_only() {
        let mut full: Node = serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": {"a": "b"}},
            "status": {"images": [{"names": ["x"]}], "conditions": [{"type": "Ready", "status": "True"}]}
        }))
        .unwrap();
        node(&mut full);
        let kept = json!({"metadata": {"name": "n", "labels": {"a": "b"}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(full, serde_json::from_value(kept).unwrap());
    }
}
