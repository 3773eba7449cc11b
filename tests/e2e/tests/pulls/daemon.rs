//! The manifest of a daemon: an image, and what says how it is pulled.

use serde_json::{Value, json};

/// A DaemonSet of one container.
pub struct Daemon {
    name: String,
    image: String,
    node: Option<&'static str>,
    policy: Option<&'static str>,
    secrets: Vec<&'static str>,
}

impl Daemon {
    /// On every node, with the defaults of Kubernetes.
    pub fn new(name: &str, image: &str) -> Self {
        Self { name: name.into(), image: image.into(), node: None, policy: None, secrets: Vec::new() }
    }

    /// On one node only.
    pub fn on(self, node: &'static str) -> Self {
        Self { node: Some(node), ..self }
    }

    /// With this `imagePullPolicy`.
    pub fn policy(self, policy: &'static str) -> Self {
        Self { policy: Some(policy), ..self }
    }

    /// With these `imagePullSecrets`.
    pub fn secrets(self, secrets: &[&'static str]) -> Self {
        Self { secrets: secrets.to_vec(), ..self }
    }

    /// For `kubectl apply`.
    pub fn manifest(&self) -> String {
        let labels = json!({"app": self.name});
        let mut container = json!({"name": "app", "image": self.image});
        if let Some(policy) = self.policy {
            container["imagePullPolicy"] = policy.into();
        }
        let mut spec = json!({"containers": [container], "terminationGracePeriodSeconds": 1});
        if let Some(node) = self.node {
            spec["nodeSelector"] = json!({"kubernetes.io/hostname": node});
        }
        if !self.secrets.is_empty() {
            spec["imagePullSecrets"] =
                self.secrets.iter().map(|name| json!({"name": name})).collect::<Value>();
        }
        json!({
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": self.name},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        })
        .to_string()
    }
}
