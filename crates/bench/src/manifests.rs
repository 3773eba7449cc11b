//! PURE. The objects that the bench writes.

use serde_json::{Value, json};

/// Where the DaemonSets stand.
pub const NAMESPACE: &str = "everynode-bench";
/// What every hollow node carries.
pub const LABEL: &str = "everynode.dev/bench";
/// The label of [`crate::Step::Relabel`].
pub const ROUND: &str = "everynode.dev/bench-round";

/// The namespace.
pub fn namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": {LABEL: "true"}}})
}

/// The name of a DaemonSet; they count from 1.
pub fn name(number: u32) -> String {
    format!("bench-{number}")
}

/// The image after so many changes. Nobody pulls it: hollow nodes have everything.
pub fn image(number: u32) -> String {
    format!("everynode.dev/bench:{number}")
}

/// A DaemonSet for hollow nodes only, replaced everywhere at once.
pub fn daemonset(number: u32) -> Value {
    let (name, labels) = (name(number), json!({"app": name(number)}));
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "nodeSelector": {LABEL: "true"},
                    "tolerations": [{"key": LABEL, "operator": "Exists"}],
                    "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "c", "image": image(1),
                        "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}}}],
                },
            },
        },
    })
}

/// A strategic merge patch: a new image.
pub fn new_image(number: u32) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image(number)}]}}}})
}

/// A merge patch: a new generation, and nothing to do for it.
pub fn new_generation() -> Value {
    json!({"spec": {"revisionHistoryLimit": 9}})
}

/// A merge patch of a node: a label that nobody asks for.
pub fn new_label() -> Value {
    json!({"metadata": {"labels": {ROUND: "1"}}})
}
