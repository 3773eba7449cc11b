//! What is allowed in a pod, and yet surely not meant? Texts for `Warning` headers (AP-20).
//!
//! Kubernetes: `pkg/api/pod/warnings.go`; the ones that users of DaemonSets meet.

use super::env::repeated;
use crate::resources::fields::{entries, int, items, text};
use serde_json::Value;

/// Old names of node labels, with the new ones.
const RENAMED: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
];

/// Warnings about a template.
pub fn of_template(template: &Value, path: &str) -> Vec<String> {
    of_spec(&template["spec"], &format!("{path}.spec"))
}

/// Warnings about a pod spec.
pub fn of_spec(spec: &Value, path: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for (key, _) in entries(spec, "nodeSelector") {
        if let Some((_, new)) = RENAMED.iter().find(|(old, _)| *old == key) {
            texts.push(format!("{path}.nodeSelector[{key}]: deprecated since v1.14; use \"{new}\" instead"));
        }
    }
    let secrets = items(spec, "imagePullSecrets");
    for (index, secret) in secrets.iter().enumerate() {
        let name = text(secret, "name");
        if name.is_empty() {
            texts.push(format!("{path}.imagePullSecrets[{index}].name: invalid empty name \"\""));
        } else if secrets.iter().take(index).any(|earlier| text(earlier, "name") == name) {
            texts.push(format!("{path}.imagePullSecrets[{index}].name: duplicate name \"{name}\""));
        }
    }
    for list in ["initContainers", "containers"] {
        for (index, container) in items(spec, list).iter().enumerate() {
            of_container(&mut texts, container, &format!("{path}.{list}[{index}]"));
        }
    }
    if int(spec, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        let why = "must be >= 0; negative values are invalid and will be treated as 1";
        texts.push(format!("{path}.terminationGracePeriodSeconds: {why}"));
    }
    texts
}

fn of_container(texts: &mut Vec<String>, container: &Value, path: &str) {
    for (index, name) in repeated(container) {
        let why = format!("hides previous definition of \"{name}\", which may be dropped when using apply");
        texts.push(format!("{path}.env[{index}]: {why}"));
    }
    let ports = items(container, "ports");
    let same = |a: &Value, b: &Value| {
        ["containerPort", "protocol", "hostPort", "hostIP"].iter().all(|field| a[field] == b[field])
    };
    for (index, port) in ports.iter().enumerate() {
        if let Some(earlier) = ports.iter().take(index).position(|earlier| same(earlier, port)) {
            texts.push(format!(
                "{path}.ports[{index}]: duplicate port definition with {path}.ports[{earlier}]"
            ));
        }
    }
}
