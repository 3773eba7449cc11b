//! What do left-out fields of a pod mean? (AP-11…AP-14, wire 2.10.2 and 2.10.3.)
//!
//! Filling in twice changes nothing. Requests from limits, host ports and service links are filled in for pods only:
//! templates are compared by what the user wrote. Kubernetes: `apis/core/v1/defaults.go`.

use super::uses_host_network;
use crate::resources::fields::{
    entries, fill_absent, fill_zero, inner, inner_or_new, int, is_set, items_mut, set, text,
};
use serde_json::{Value, json};

/// The three lists of containers.
const CONTAINER_LISTS: &[&str] = &["initContainers", "containers", "ephemeralContainers"];
/// Seconds that a pod may take to end.
const GRACE_SECONDS: i64 = 30;
/// File mode 0644 as JSON has it.
const FILE_MODE: i64 = 420;
/// Seconds that a projected token lives.
const TOKEN_SECONDS: i64 = 3600;

/// Fills in a template.
pub fn default_template(template: &mut Value) {
    if let Some(spec) = inner_or_new(template, "spec") {
        default_spec(spec);
    }
}

/// Fills in a pod, with what only pods get (AP-14).
pub fn default_pod(pod: &mut Value) {
    let Some(spec) = inner_or_new(pod, "spec") else { return };
    for list in ["containers", "initContainers"] {
        items_mut(spec, list).for_each(request_limits);
    }
    fill_absent(spec, "enableServiceLinks", true);
    if uses_host_network(spec) {
        for list in ["containers", "initContainers"] {
            items_mut(spec, list).flat_map(|container| items_mut(container, "ports")).for_each(host_port);
        }
    }
    default_spec(spec);
}

fn default_spec(spec: &mut Value) {
    fill_zero(spec, "restartPolicy", "Always");
    fill_zero(spec, "dnsPolicy", "ClusterFirst");
    fill_absent(spec, "terminationGracePeriodSeconds", GRACE_SECONDS);
    fill_absent(spec, "securityContext", json!({}));
    fill_zero(spec, "schedulerName", "default-scheduler");
    mirror_account(spec);
    for list in CONTAINER_LISTS {
        items_mut(spec, list).for_each(default_container);
    }
    items_mut(spec, "volumes").for_each(default_volume);
}

/// `serviceAccount` is the old name of `serviceAccountName`: whichever is there fills the other.
fn mirror_account(spec: &mut Value) {
    let name = text(spec, "serviceAccountName");
    let name = if name.is_empty() { text(spec, "serviceAccount") } else { name }.to_string();
    if !name.is_empty() {
        set(spec, "serviceAccountName", name.as_str());
        set(spec, "serviceAccount", name);
    }
}

fn request_limits(container: &mut Value) {
    let Some(resources) = inner(container, "resources") else { return };
    let limits: Vec<(String, Value)> = entries(resources, "limits")
        .into_iter()
        .map(|(name, amount)| (name.to_string(), amount.clone()))
        .collect();
    if !limits.is_empty()
        && let Some(requests) = inner_or_new(resources, "requests")
    {
        for (name, amount) in limits {
            fill_absent(requests, &name, amount);
        }
    }
}

fn host_port(port: &mut Value) {
    let container = int(port, "containerPort").unwrap_or_default();
    if container != 0 {
        fill_zero(port, "hostPort", container);
    }
}

fn default_container(container: &mut Value) {
    let policy = if pulls_always(text(container, "image")) { "Always" } else { "IfNotPresent" };
    fill_zero(container, "imagePullPolicy", policy);
    fill_zero(container, "terminationMessagePath", "/dev/termination-log");
    fill_zero(container, "terminationMessagePolicy", "File");
    fill_absent(container, "resources", json!({}));
    for port in items_mut(container, "ports") {
        fill_zero(port, "protocol", "TCP");
    }
    for variable in items_mut(container, "env") {
        if let Some(source) = inner(variable, "valueFrom") {
            default_field_ref(source);
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = inner(container, probe) {
            default_probe(probe);
        }
    }
    for moment in ["postStart", "preStop"] {
        if let Some(handler) = inner(container, "lifecycle").and_then(|lifecycle| inner(lifecycle, moment)) {
            default_http(handler);
        }
    }
}

/// Whether an image without a policy is pulled each time: its tag is `latest`, or it has neither tag nor digest.
fn pulls_always(image: &str) -> bool {
    let (reference, digest) =
        image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let start = reference.rfind('/').map_or(0, |slash| slash + 1);
    let last = reference.get(start..).unwrap_or_default();
    // What is no reference at all has no tag either; it fails later, at the node.
    if last.is_empty() || last.bytes().any(|b| b.is_ascii_whitespace()) {
        return false;
    }
    match (last.split_once(':'), digest) {
        (Some((_, tag)), _) => tag == "latest",
        (None, None) => true,
        (None, Some(_)) => false,
    }
}

fn default_field_ref(source: &mut Value) {
    if let Some(reference) = inner(source, "fieldRef") {
        fill_zero(reference, "apiVersion", "v1");
    }
}

fn default_probe(probe: &mut Value) {
    fill_zero(probe, "timeoutSeconds", 1);
    fill_zero(probe, "periodSeconds", 10);
    fill_zero(probe, "successThreshold", 1);
    fill_zero(probe, "failureThreshold", 3);
    default_http(probe);
    if let Some(call) = inner(probe, "grpc") {
        fill_absent(call, "service", "");
    }
}

fn default_http(handler: &mut Value) {
    if let Some(get) = inner(handler, "httpGet") {
        fill_zero(get, "path", "/");
        fill_zero(get, "scheme", "HTTP");
    }
}

fn default_volume(volume: &mut Value) {
    let has_source =
        volume.as_object().is_none_or(|v| v.iter().any(|(field, value)| field != "name" && !value.is_null()));
    if !has_source {
        set(volume, "emptyDir", json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = inner(volume, source) {
            fill_absent(source, "defaultMode", FILE_MODE);
        }
    }
    if let Some(source) = inner(volume, "hostPath") {
        fill_absent(source, "type", "");
    }
    if let Some(source) = inner(volume, "downwardAPI") {
        items_mut(source, "items").for_each(default_field_ref);
    }
    if let Some(source) = inner(volume, "projected") {
        items_mut(source, "sources").for_each(default_projection);
    }
    default_driver(volume);
}

fn default_projection(source: &mut Value) {
    if let Some(token) = inner(source, "serviceAccountToken") {
        fill_absent(token, "expirationSeconds", TOKEN_SECONDS);
    }
    if let Some(facts) = inner(source, "downwardAPI") {
        items_mut(facts, "items").for_each(default_field_ref);
    }
}

/// Defaults of single storage drivers.
fn default_driver(volume: &mut Value) {
    const DRIVERS: &[(&str, &[(&str, &str)])] = &[
        ("iscsi", &[("iscsiInterface", "default")]),
        ("rbd", &[("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")]),
        ("azureDisk", &[("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4")]),
        ("scaleIO", &[("storageMode", "ThinProvisioned"), ("fsType", "xfs")]),
    ];
    for (driver, fields) in DRIVERS {
        if let Some(source) = inner(volume, driver) {
            for (field, value) in *fields {
                fill_zero(source, field, *value);
            }
        }
    }
    if let Some(disk) = inner(volume, "azureDisk") {
        fill_absent(disk, "readOnly", false);
    }
    if let Some(claim) = inner(volume, "ephemeral").and_then(|e| inner(e, "volumeClaimTemplate"))
        && let Some(spec) = inner(claim, "spec")
    {
        fill_absent(spec, "volumeMode", "Filesystem");
    }
    if let Some(image) = inner(volume, "image")
        && is_set(image, "reference")
    {
        let policy = if pulls_always(text(image, "reference")) { "Always" } else { "IfNotPresent" };
        fill_zero(image, "pullPolicy", policy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_a_fixed_tag_is_pulled_each_time() {
        // AP-12.
        let check = |image: &str, expected: bool| assert_eq!(pulls_always(image), expected, "{image}");
        check("nginx", true);
        check("nginx:latest", true);
        check("nginx:1.25", false);
        check("registry:5000/nginx", true);
        check("registry:5000/nginx:1", false);
        check("nginx@sha256:abc", false);
        check("nginx:latest@sha256:abc", true);
        check("", false);
        check(" ", false);
    }

    #[test]
    fn a_container_gets_every_default() {
        // AP-12.
        let mut spec = json!({"containers": [{"name": "c", "image": "i:1", "ports": [{"containerPort": 80}],
            "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "readinessProbe": {"httpGet": {"port": 80}}, "livenessProbe": {"grpc": {"port": 1}, "periodSeconds": 5},
            "lifecycle": {"preStop": {"httpGet": {"port": 80}}}}]});
        default_spec(&mut spec);
        let expected = json!({"name": "c", "image": "i:1", "imagePullPolicy": "IfNotPresent", "resources": {},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "ports": [{"containerPort": 80, "protocol": "TCP"}],
            "env": [{"name": "A", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
            "readinessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1,
                "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
            "livenessProbe": {"grpc": {"port": 1, "service": ""}, "timeoutSeconds": 1, "periodSeconds": 5,
                "successThreshold": 1, "failureThreshold": 3},
            "lifecycle": {"preStop": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}}}});
        assert_eq!(spec["containers"][0], expected);
    }

    #[test]
    fn volumes_get_modes_and_a_source() {
        // AP-13.
        let check = |mut volume: Value, expected: Value| {
            default_volume(&mut volume);
            assert_eq!(volume, expected);
        };
        check(json!({"name": "v"}), json!({"name": "v", "emptyDir": {}}));
        check(
            json!({"secret": {"secretName": "s"}}),
            json!({"secret": {"secretName": "s", "defaultMode": 420}}),
        );
        check(json!({"configMap": {"defaultMode": 0}}), json!({"configMap": {"defaultMode": 0}}));
        check(json!({"hostPath": {"path": "/x"}}), json!({"hostPath": {"path": "/x", "type": ""}}));
        check(
            json!({"projected": {"sources": [{"serviceAccountToken": {"path": "t"}},
                {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}}),
            json!({"projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}},
                {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}]}}]}}),
        );
    }

    #[test]
    fn only_pods_get_requests_links_and_host_ports() {
        // AP-11, AP-14.
        let spec = json!({"hostNetwork": true, "serviceAccount": "a", "containers": [{"image": "i:1",
            "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1", "memory": "1Gi"},
            "requests": {"cpu": "500m"}}}]});
        let mut pod = json!({"spec": spec});
        default_pod(&mut pod);
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["resources"]["requests"], json!({"cpu": "500m", "memory": "1Gi"}));
        assert_eq!(container["ports"][0]["hostPort"], 80);
        assert_eq!(pod["spec"]["enableServiceLinks"], true);
        assert_eq!(pod["spec"]["serviceAccountName"], "a");
        let mut template = json!({"spec": spec});
        default_template(&mut template);
        let container = &template["spec"]["containers"][0];
        assert_eq!(container["resources"]["requests"], json!({"cpu": "500m"}));
        assert_eq!(container["ports"][0].get("hostPort"), None);
        assert_eq!(template["spec"].get("enableServiceLinks"), None);
    }
}
