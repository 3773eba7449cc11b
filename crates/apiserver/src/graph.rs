//! How objects hang together, for decisions about node agents (7.5.1): pods on a node, and what they refer to.
//!
//! What a pod refers to is read once, with its other facts, when it enters the cache; the cache also knows the pods of each
//! node. So the answer follows every event, and nothing is decoded to give it. A mirror pod gives its node no right: nodes
//! make mirror pods, and must not choose what they may read.
//!
//! Kubernetes: `plugin/pkg/auth/authorizer/node/graph.go`.

use crate::Inner;
use crate::admission::MIRROR;
use crate::authn::User;
use crate::authz::{Action, Graph};
use crate::encode;
use crate::rbac::Judgement;
use crate::resources::{Kind, find};
use crate::rights;
use serde_json::Value;
use std::collections::BTreeSet;

/// An object of its own namespace that a pod refers to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// Its kind.
    pub to: To,
    /// Its name.
    pub name: Box<str>,
}

/// What pods refer to by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum To {
    /// Mounted, or read into the environment.
    ConfigMap,
    /// The same, or to pull images with.
    Secret,
    /// Whom its containers are to the server.
    ServiceAccount,
}

impl To {
    fn of(plural: &str) -> Option<Self> {
        match plural {
            "configmaps" => Some(To::ConfigMap),
            "secrets" => Some(To::Secret),
            "serviceaccounts" => Some(To::ServiceAccount),
            _ => None,
        }
    }
}

impl Graph for Inner {
    fn pod_is_on(&self, namespace: &str, name: &str, node: &str) -> bool {
        let Some(pods) = find("", "v1", "pods") else { return false };
        let pod = self.cache.of(pods).and_then(|all| all.get(&encode::key(pods, namespace, name)));
        pod.is_some_and(|pod| pod.field("spec.nodeName") == node)
    }

    fn node_uses(&self, node: &str, plural: &str, namespace: &str, name: &str) -> bool {
        let pods = find("", "v1", "pods").and_then(|kind| self.cache.of(kind));
        let (Some(pods), Some(to)) = (pods, To::of(plural)) else { return false };
        let refers = |link: &Link| link.to == to && &*link.name == name;
        pods.of_node(node).iter().any(|pod| *pod.namespace == *namespace && pod.links.iter().any(refers))
    }

    fn request_is_by(&self, name: &str, user: &str) -> bool {
        let Some(kind) = find("certificates.k8s.io", "v1", "certificatesigningrequests") else {
            return false;
        };
        let request = self.cache.of(kind).and_then(|all| all.get(&encode::key(kind, "", name)));
        request.and_then(|r| r.object().ok()).is_some_and(|r| r["spec"]["username"] == user)
    }

    fn judge(&self, user: &User, action: Action<'_>) -> Judgement {
        rights::judge(self, user, action)
    }
}

/// What an object refers to: something only for pods on a node that are no mirrors.
pub fn links(kind: &Kind, object: &Value) -> Box<[Link]> {
    let bound = object["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
    let is_mirror = object["metadata"]["annotations"][MIRROR].is_string();
    match (kind.group, kind.plural) == ("", "pods") && bound && !is_mirror {
        true => of_spec(&object["spec"]).into_iter().collect(),
        false => Box::default(),
    }
}

fn of_spec(spec: &Value) -> BTreeSet<Link> {
    let mut found = BTreeSet::new();
    let pulls = spec["imagePullSecrets"].as_array().into_iter().flatten();
    pulls.for_each(|secret| add(&mut found, To::Secret, &secret["name"]));
    add(&mut found, To::ServiceAccount, &spec["serviceAccountName"]);
    below(&spec["volumes"], &mut found);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec[list].as_array().into_iter().flatten() {
            below(&container["env"], &mut found);
            below(&container["envFrom"], &mut found);
        }
    }
    found
}

/// Looks for `{<field>: {name | secretName: <name>}}` at any depth.
fn below(value: &Value, found: &mut BTreeSet<Link>) {
    match value {
        Value::Object(map) => {
            for (field, value) in map {
                match field.as_str() {
                    "configMap" | "configMapRef" | "configMapKeyRef" => {
                        add(found, To::ConfigMap, &value["name"]);
                    }
                    "secret" | "secretRef" | "secretKeyRef" | "nodePublishSecretRef" => {
                        add(found, To::Secret, &value["name"]);
                        add(found, To::Secret, &value["secretName"]);
                    }
                    _ => {}
                }
                below(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| below(item, found)),
        _ => {}
    }
}

fn add(found: &mut BTreeSet<Link>, to: To, name: &Value) {
    let name = name.as_str().filter(|name| !name.is_empty());
    found.extend(name.map(|name| Link { to, name: name.into() }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_refers_to_what_it_mounts_reads_and_pulls_with() {
        let pods = find("", "v1", "pods").unwrap();
        let mut pod = json!({"spec": {"nodeName": "n1",
            "serviceAccountName": "sa", "imagePullSecrets": [{"name": "pull"}],
            "volumes": [{"name": "v", "secret": {"secretName": "mounted"}},
                {"name": "w", "projected": {"sources": [{"configMap": {"name": "projected"}}]}}],
            "containers": [{"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "read", "key": "k"}}}],
                "envFrom": [{"configMapRef": {"name": "all"}}]}]}});
        let texts = |pod: &Value| -> Vec<String> {
            links(pods, pod).iter().map(|link| format!("{:?} {}", link.to, link.name)).collect()
        };
        let expected = [
            "ConfigMap all",
            "ConfigMap projected",
            "Secret mounted",
            "Secret pull",
            "Secret read",
            "ServiceAccount sa",
        ];
        assert_eq!(texts(&pod), expected);
        pod["metadata"]["annotations"][MIRROR] = "h".into();
        assert_eq!(texts(&pod), [""; 0], "a mirror pod gives no right");
        pod["metadata"]["annotations"] = json!({});
        pod["spec"]["nodeName"] = "".into();
        assert_eq!(texts(&pod), [""; 0], "a pod that is on no node gives no right");
    }
}
