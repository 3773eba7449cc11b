//! PURE. May this mirror pod be? It shows a pod that a file on a node describes, and must not become more than that.
//!
//! A node may read the Secrets, ConfigMaps and tokens that pods bound to it refer to (7.5.1). So a node that makes pods,
//! which it may only as mirrors of itself, must not choose these references (7.5.4).
//!
//! Kubernetes: plugin/pkg/admission/noderestriction `admitPodCreate`, plugin/pkg/admission/serviceaccount `Validate`.

use serde_json::Value;

/// The annotation that makes a pod a mirror; its value names what runs.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

const SECRETS: &[&str] = &["secret", "secretRef", "secretKeyRef", "secretName", "nodePublishSecretRef"];
const CONFIG_MAPS: &[&str] = &["configMap", "configMapRef", "configMapKeyRef"];
const TOKENS: &[&str] = &["serviceAccountToken"];
const CLAIMS: &[&str] = &["persistentVolumeClaim", "ephemeral"];
const BUNDLES: &[&str] = &["clusterTrustBundle"];

/// Whether a pod is a mirror.
pub fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"][MIRROR].is_string()
}

/// What holds for a mirror, whoever makes it.
pub fn by_anybody(pod: &Value) -> Result<(), String> {
    let spec = &pod["spec"];
    let why = if has_account(spec) {
        "a mirror pod may not reference service accounts"
    } else if refers_to_secrets(spec) {
        "a mirror pod may not reference secrets"
    } else if mentions(spec, TOKENS) {
        "a mirror pod may not use ServiceAccountToken volume projections"
    } else {
        return Ok(());
    };
    Err(why.into())
}

/// What holds (7.5.4) for every pod that the node `node` makes; `uid` is that of its Node object.
pub fn by_node(node: &str, uid: &str, pod: &Value) -> Result<(), String> {
    if !is_mirror(pod) {
        return Err(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    if pod["spec"]["nodeName"] != node {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    owner(node, uid, pod)?;
    match reference(&pod["spec"]) {
        None => Ok(()),
        Some(kind) => Err(format!("node {node:?} can not create pods that reference {kind}")),
    }
}

fn owner(node: &str, uid: &str, pod: &Value) -> Result<(), String> {
    let owners = pod["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let itself = format!("node {node:?} can only create pods with an owner reference set to itself");
    let owner = match owners {
        [owner] => owner,
        [] => return Err(itself),
        _ => {
            let why = "can only create pods with a single owner reference set to itself";
            return Err(format!("node {node:?} {why}"));
        }
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return Err(itself);
    }
    if owner["controller"] != true {
        let why = "can only create pods with a controller owner reference set to itself";
        return Err(format!("node {node:?} {why}"));
    }
    if owner["blockOwnerDeletion"] == true {
        return Err(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    match text(owner, "uid") == uid {
        true => Ok(()),
        false => Err(format!("node {node} UID mismatch: expected {} got {uid}", text(owner, "uid"))),
    }
}

/// The first kind of object that a pod refers to.
fn reference(spec: &Value) -> Option<&'static str> {
    let claims = spec["resourceClaims"].as_array().is_some_and(|claims| !claims.is_empty());
    [
        (has_account(spec), "a service account"),
        (refers_to_secrets(spec), "secrets"),
        (mentions(spec, CONFIG_MAPS), "configmaps"),
        (mentions(spec, TOKENS), "a service account"),
        (mentions(spec, CLAIMS), "persistentvolumeclaims"),
        (mentions(spec, BUNDLES), "clustertrustbundles"),
        (claims, "resourceclaims"),
    ]
    .into_iter()
    .find_map(|(holds, kind)| holds.then_some(kind))
}

fn has_account(spec: &Value) -> bool {
    ["serviceAccountName", "serviceAccount"].iter().any(|field| !text(spec, field).is_empty())
}

fn refers_to_secrets(spec: &Value) -> bool {
    spec["imagePullSecrets"].as_array().is_some_and(|secrets| !secrets.is_empty()) || mentions(spec, SECRETS)
}

/// Whether a volume or container has one of these fields, at any depth.
fn mentions(spec: &Value, fields: &[&str]) -> bool {
    let lists = ["volumes", "initContainers", "containers", "ephemeralContainers"];
    lists.iter().any(|list| has_below(&spec[*list], fields))
}

fn has_below(value: &Value, fields: &[&str]) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(field, value)| {
            (fields.contains(&field.as_str()) && !value.is_null()) || has_below(value, fields)
        }),
        Value::Array(items) => items.iter().any(|item| has_below(item, fields)),
        _ => false,
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mirror() -> Value {
        json!({"metadata": {"annotations": {MIRROR: "h"}, "ownerReferences": [
            {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u", "controller": true}]},
            "spec": {"nodeName": "n1", "nodeSelector": {"secret": "x"}, "containers": [{"name": "c", "image": "i"}]}})
    }

    fn with(path: &str, value: Value) -> Value {
        let mut pod = mirror();
        let (parent, field) = path.rsplit_once('/').unwrap();
        pod.pointer_mut(parent).unwrap()[field] = value;
        pod
    }

    #[test]
    fn a_node_makes_mirrors_of_itself_only() {
        let check = |pod: Value, expected: &str| {
            assert_eq!(by_node("n1", "u", &pod).err().unwrap_or_default(), expected, "{pod}");
        };
        check(mirror(), "");
        check(
            with("/metadata/annotations", json!({})),
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"n1\" can only create mirror pods",
        );
        check(
            with("/spec/nodeName", json!("n2")),
            "node \"n1\" can only create pods with spec.nodeName set to itself",
        );
        let owner = |field: &str, value: Value| with(&format!("/metadata/ownerReferences/0/{field}"), value);
        let itself = "node \"n1\" can only create pods with an owner reference set to itself";
        check(with("/metadata/ownerReferences", json!([])), itself);
        check(owner("kind", json!("Pod")), itself);
        check(owner("name", json!("n2")), itself);
        check(
            with("/metadata/ownerReferences", json!([{}, {}])),
            "node \"n1\" can only create pods with a single owner reference set to itself",
        );
        check(
            owner("controller", json!(false)),
            "node \"n1\" can only create pods with a controller owner reference set to itself",
        );
        check(
            owner("blockOwnerDeletion", json!(true)),
            "node \"n1\" must not set blockOwnerDeletion on an owner reference",
        );
        check(owner("uid", json!("v")), "node n1 UID mismatch: expected v got u");
    }

    #[test]
    fn a_node_does_not_choose_what_it_may_read() {
        let check = |path: &str, value: Value, kind: &str, anybody: &str| {
            let pod = with(path, value);
            let expected = format!("node \"n1\" can not create pods that reference {kind}");
            assert_eq!(by_node("n1", "u", &pod), Err(expected), "{pod}");
            assert_eq!(by_anybody(&pod).err().unwrap_or_default(), anybody, "{pod}");
        };
        let account = "a mirror pod may not reference service accounts";
        let secrets = "a mirror pod may not reference secrets";
        check("/spec/serviceAccountName", json!("s"), "a service account", account);
        check("/spec/imagePullSecrets", json!([{"name": "s"}]), "secrets", secrets);
        check("/spec/volumes", json!([{"name": "v", "secret": {"secretName": "s"}}]), "secrets", secrets);
        check(
            "/spec/containers/0/env",
            json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
            "secrets",
            secrets,
        );
        check("/spec/containers/0/envFrom", json!([{"configMapRef": {"name": "m"}}]), "configmaps", "");
        check(
            "/spec/volumes",
            json!([{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]),
            "a service account",
            "a mirror pod may not use ServiceAccountToken volume projections",
        );
        check(
            "/spec/volumes",
            json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]),
            "persistentvolumeclaims",
            "",
        );
        check("/spec/resourceClaims", json!([{"name": "c"}]), "resourceclaims", "");
    }
}
