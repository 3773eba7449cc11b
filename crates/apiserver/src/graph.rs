//! How objects hang together, for decisions about node agents (7.5.1): pods on a node, and what they refer to.
//!
//! Answered from the cache. Only the pods of one node are decoded, and only to look for a name.

use crate::Inner;
use crate::authn::User;
use crate::authz::{Action, Graph};
use crate::cache::item::Filter;
use crate::encode;
use crate::rbac::Judgement;
use crate::resources::find;
use crate::rights;
use serde_json::Value;

impl Graph for Inner {
    fn pod_is_on(&self, namespace: &str, name: &str, node: &str) -> bool {
        let Some(pods) = find("", "v1", "pods") else { return false };
        let pod = self.cache.of(pods).and_then(|all| all.get(&encode::key(pods, namespace, name)));
        pod.is_some_and(|pod| pod.field("spec.nodeName") == node)
    }

    fn node_uses(&self, node: &str, plural: &str, namespace: &str, name: &str) -> bool {
        let Some(collection) = find("", "v1", "pods").and_then(|kind| self.cache.of(kind)) else {
            return false;
        };
        let namespace = Some(namespace.to_string());
        let filter = Filter { namespace, ..Filter::default() };
        let pods = collection.select(&filter).items;
        let here = pods.iter().filter(|pod| pod.field("spec.nodeName") == node);
        here.filter_map(|pod| pod.object().ok()).any(|pod| refers(&pod["spec"], plural, name))
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

/// Whether a pod spec refers to this ConfigMap, Secret or ServiceAccount.
fn refers(spec: &Value, plural: &str, name: &str) -> bool {
    match plural {
        "serviceaccounts" => spec["serviceAccountName"] == name,
        "configmaps" => named_below(spec, &["configMap", "configMapRef", "configMapKeyRef"], name),
        "secrets" => {
            let pulls = spec["imagePullSecrets"].as_array().into_iter().flatten();
            named_below(spec, &["secret", "secretRef", "secretKeyRef"], name)
                || pulls.into_iter().any(|secret| secret["name"] == name)
        }
        _ => false,
    }
}

/// Looks for `{<one of fields>: {name | secretName: <name>}}` at any depth.
fn named_below(value: &Value, fields: &[&str], name: &str) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(field, value)| {
            let here =
                fields.contains(&field.as_str()) && (value["name"] == name || value["secretName"] == name);
            here || named_below(value, fields, name)
        }),
        Value::Array(items) => items.iter().any(|item| named_below(item, fields, name)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_refers_to_what_it_mounts_reads_and_pulls_with() {
        let spec = json!({
            "serviceAccountName": "sa", "imagePullSecrets": [{"name": "pull"}],
            "volumes": [{"name": "v", "secret": {"secretName": "mounted"}},
                {"name": "w", "projected": {"sources": [{"configMap": {"name": "projected"}}]}}],
            "containers": [{"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "read", "key": "k"}}}],
                "envFrom": [{"configMapRef": {"name": "all"}}]}]});
        for (plural, name, expected) in [
            ("secrets", "mounted", true),
            ("secrets", "read", true),
            ("secrets", "pull", true),
            ("secrets", "v", false),
            ("configmaps", "projected", true),
            ("configmaps", "all", true),
            ("configmaps", "mounted", false),
            ("serviceaccounts", "sa", true),
            ("serviceaccounts", "x", false),
        ] {
            assert_eq!(refers(&spec, plural, name), expected, "{plural} {name}");
        }
    }
}
