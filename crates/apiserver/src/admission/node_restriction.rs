//! PURE. What may a node agent write, with the object at hand? (wire 7.5.4)
//!
//! Its own Node without its taints and without labels that steer pods, its own lease, the status and the end of pods bound to
//! it, mirror pods of itself ([`super::mirror_pods`]), requests for certificates in its own name. The authorizer
//! (`authz/node`) has already said no to every other kind; what a role gives an agent beyond that passes here, too.
//!
//! Kubernetes: `plugin/pkg/admission/noderestriction/admission.go`; texts are its own.

use crate::resources::fields::items;
use crate::verbs::metadata::text;
use crate::verbs::same;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Touch<'a> {
    /// A new object.
    Create,
    /// The object, or this subresource of it.
    Update(&'a str),
    /// Its end.
    Delete,
}

/// Signers that make a node's certificates.
const NODE_SIGNERS: [&str; 2] =
    ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];

/// Judges a write of `node`'s agent; the error follows "… is forbidden: ".
pub(super) fn check(
    node: &str,
    (group, plural): (&str, &str),
    touch: Touch<'_>,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), String> {
    match (group, plural) {
        ("", "nodes") => itself(node, touch, new, old),
        ("", "pods") => pod(node, touch, new, old.unwrap_or(new)),
        ("coordination.k8s.io", "leases") => lease(node, new),
        ("certificates.k8s.io", "certificatesigningrequests") if touch == Touch::Create => {
            request(node, &new["spec"])
        }
        _ => Ok(()),
    }
}

/// Whether the agent of `node` may evict a pod. Asked before the eviction costs a disruption budget anything.
pub(super) fn eviction(node: &str, pod: &Value) -> Result<(), String> {
    match is_on(pod, node) {
        true => Ok(()),
        false => Err(format!("node {node} can only evict pods with spec.nodeName set to itself")),
    }
}

/// The pod that a node wants a token for.
pub(super) fn token_pod(spec: &Value) -> Result<&str, String> {
    let reference = &spec["boundObjectRef"];
    let word = |field: &str| reference[field].as_str().unwrap_or_default();
    if (word("apiVersion"), word("kind")) != ("v1", "Pod") || word("name").is_empty() {
        return Err("node requested token not bound to a pod".to_string());
    }
    match word("uid") {
        "" => Err("node requested token with a pod binding without a uid".to_string()),
        _ => Ok(word("name")),
    }
}

/// Whether the agent of `node` may have a token for this pod: one that runs there, for whom the pod itself wants to speak to.
pub(super) fn token(node: &str, spec: &Value, pod: &Value) -> Result<(), String> {
    let uid = spec["boundObjectRef"]["uid"].as_str().unwrap_or_default();
    if uid != text(pod, "uid") {
        return Err(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. \
             The object might have been deleted and then recreated"
        ));
    }
    if !is_on(pod, node) {
        return Err("node requested token bound to a pod scheduled on a different node".to_string());
    }
    let asked = match spec["audiences"].as_array().map(Vec::as_slice).unwrap_or_default() {
        [] => "",
        [one] => one.as_str().unwrap_or_default(),
        _ => return Err("node may only request 0 or 1 audiences".to_string()),
    };
    match pod_audiences(pod).contains(asked) {
        true => Ok(()),
        false => Err(format!("audience {asked:?} not found in pod spec volume")),
    }
}

/// The audiences of all tokens in a pod's volumes; empty is the server itself.
fn pod_audiences(pod: &Value) -> BTreeSet<&str> {
    let volumes = items(&pod["spec"], "volumes").iter();
    let sources = volumes.flat_map(|volume| items(&volume["projected"], "sources"));
    let tokens = sources.map(|source| &source["serviceAccountToken"]).filter(|token| token.is_object());
    tokens.map(|token| token["audience"].as_str().unwrap_or_default()).collect()
}

fn itself(node: &str, touch: Touch<'_>, new: &Value, old: Option<&Value>) -> Result<(), String> {
    let name = text(new, "name");
    if name != node {
        return Err(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    match (touch, old) {
        // Whoever ends its Node could come back with other taints and labels.
        (Touch::Delete, _) => Err(format!("node {node:?} is not allowed to delete node {name:?}")),
        (_, Some(old)) => changed(node, new, old),
        (_, None) if !new["spec"]["configSource"].is_null() => {
            Err(format!("node {node:?} is not allowed to create pods with a non-nil configSource"))
        }
        (_, None) => match forbidden_labels(&new["metadata"]["labels"], &Value::Null) {
            labels if labels.is_empty() => Ok(()),
            labels => Err(format!("node {node:?} is not allowed to set the following labels: {labels}")),
        },
    }
}

fn changed(node: &str, new: &Value, old: &Value) -> Result<(), String> {
    let (source, before) = (&new["spec"]["configSource"], &old["spec"]["configSource"]);
    if !source.is_null() && source != before {
        return Err(format!(
            "node {node:?} is not allowed to update configSource to a new non-nil configSource"
        ));
    }
    let taints = |node: &Value| json!({"taints": node["spec"]["taints"]});
    if !same::same(&taints(new), &taints(old)) {
        return Err(format!("node {node:?} is not allowed to modify taints"));
    }
    let references = |node: &Value| json!({"owners": node["metadata"]["ownerReferences"]});
    if !same::same(&references(new), &references(old)) {
        return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
    }
    match forbidden_labels(&new["metadata"]["labels"], &old["metadata"]["labels"]) {
        labels if labels.is_empty() => Ok(()),
        labels => Err(format!("is not allowed to modify labels: {labels}")),
    }
}

fn pod(node: &str, touch: Touch<'_>, new: &Value, old: &Value) -> Result<(), String> {
    match touch {
        // Looked at before: [`super::mirror_pods`].
        Touch::Create => Ok(()),
        Touch::Delete if is_on(old, node) => Ok(()),
        Touch::Delete => Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself")),
        Touch::Update("status") if !is_on(old, node) => {
            Err(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"))
        }
        Touch::Update("status") if new["metadata"]["labels"] != old["metadata"]["labels"] => {
            Err(format!("node {node:?} cannot update labels through pod status"))
        }
        Touch::Update("status") => {
            let claims = |pod: &Value| pod["status"]["resourceClaimStatuses"].clone();
            match claims(new) == claims(old) {
                true => Ok(()),
                false => Err(format!("node {node:?} cannot update resource claim statues")),
            }
        }
        Touch::Update("eviction") => eviction(node, old),
        Touch::Update("") => Err(format!(
            "unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"
        )),
        Touch::Update(part) => {
            Err(format!("unexpected pod subresource {part:?}, only 'status' and 'eviction' are allowed"))
        }
    }
}

fn is_on(pod: &Value, node: &str) -> bool {
    pod["spec"]["nodeName"] == node
}

fn lease(node: &str, lease: &Value) -> Result<(), String> {
    if text(lease, "namespace") != "kube-node-lease" {
        return Err("can only access leases in the \"kube-node-lease\" system namespace".to_string());
    }
    match text(lease, "name") == node {
        true => Ok(()),
        false => Err("can only access node lease with the same name as the requesting node".to_string()),
    }
}

/// Everything else of the request is the signer's to judge.
fn request(node: &str, spec: &Value) -> Result<(), String> {
    if !NODE_SIGNERS.iter().any(|signer| spec["signerName"] == *signer) {
        return Ok(());
    }
    let own = format!("system:node:{node}");
    match common_name(spec["request"].as_str().unwrap_or_default()) {
        Ok(name) if name == own => Ok(()),
        Ok(_) => Err(format!("can only create a node CSR with CN={own}")),
        Err(why) => Err(format!("unable to parse csr: {why}")),
    }
}

/// The last common name of a base64 PEM request, as Go reads it.
fn common_name(request: &str) -> Result<String, String> {
    let pem = STANDARD.decode(request).map_err(|error| error.to_string())?;
    let (_, block) = x509_parser::pem::parse_x509_pem(&pem).map_err(|error| error.to_string())?;
    let (_, parsed) =
        X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    let names = parsed.certification_request_info.subject.iter_common_name();
    let last = names.filter_map(|name| name.as_str().ok()).last();
    Ok(last.unwrap_or_default().to_string())
}

/// Of what changed, the labels that a node may not choose, because pods and people trust them.
fn forbidden_labels(new: &Value, old: &Value) -> String {
    let empty = Map::new();
    let (new, old) = (new.as_object().unwrap_or(&empty), old.as_object().unwrap_or(&empty));
    let changed = new.keys().chain(old.keys()).filter(|key| new.get(*key) != old.get(*key));
    let refused: BTreeSet<&str> = changed.map(String::as_str).filter(|key| !may_label(key)).collect();
    refused.into_iter().collect::<Vec<_>>().join(", ")
}

fn may_label(key: &str) -> bool {
    const KNOWN: &[&str] = &[
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "node.kubernetes.io/instance-type",
        "node.kubernetes.io/windows-build",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
    ];
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let below = |of: &str| domain == of || domain.strip_suffix(of).is_some_and(|left| left.ends_with('.'));
    if below("node-restriction.kubernetes.io") {
        return false;
    }
    let reserved = below("kubernetes.io") || below("k8s.io");
    !reserved || KNOWN.contains(&key) || below("kubelet.kubernetes.io") || below("node.kubernetes.io")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_pods_and_people_trust_are_not_the_nodes_to_choose() {
        // Wire 7.5.4.
        for (key, expected) in [
            ("disk", true),
            ("example.com/disk", true),
            ("notkubernetes.io/x", true),
            ("kubernetes.io/hostname", true),
            ("topology.kubernetes.io/zone", true),
            ("kubelet.kubernetes.io/x", true),
            ("a.node.kubernetes.io/x", true),
            ("kubernetes.io/x", false),
            ("x.k8s.io/y", false),
            ("node-role.kubernetes.io/master", false),
            ("node-restriction.kubernetes.io/x", false),
            ("a.node-restriction.kubernetes.io/x", false),
        ] {
            assert_eq!(may_label(key), expected, "{key}");
        }
    }

    #[test]
    fn a_node_agent_writes_its_own_node_and_not_its_taints() {
        let node = |name: &str, labels: Value, taints: Value| json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}});
        let update = |new: Value, old: Value, expected: Option<&str>| {
            let found = check("n1", ("", "nodes"), Touch::Update(""), &new, Some(&old)).err();
            assert_eq!(found.as_deref(), expected, "{new}");
        };
        let plain = node("n1", json!({}), json!([]));
        update(plain.clone(), plain.clone(), None);
        update(node("n1", json!({"disk": "ssd"}), json!([])), plain.clone(), None);
        let role = json!({"node-role.kubernetes.io/master": ""});
        update(
            node("n1", role.clone(), json!([])),
            plain.clone(),
            Some("is not allowed to modify labels: node-role.kubernetes.io/master"),
        );
        update(
            plain.clone(),
            node("n1", role.clone(), json!([])),
            Some("is not allowed to modify labels: node-role.kubernetes.io/master"),
        );
        let taints = json!([{"key": "a", "effect": "NoSchedule"}]);
        update(
            node("n1", json!({}), taints.clone()),
            plain.clone(),
            Some("node \"n1\" is not allowed to modify taints"),
        );
        let other = node("n2", json!({}), json!([]));
        let why = "node \"n1\" is not allowed to modify node \"n2\"";
        update(other.clone(), other, Some(why));
        let create = |new: Value| check("n1", ("", "nodes"), Touch::Create, &new, None);
        assert_eq!(create(node("n1", json!({}), taints)), Ok(()), "a new node brings its taints");
        let why = "node \"n1\" is not allowed to set the following labels: node-role.kubernetes.io/master";
        assert_eq!(create(node("n1", role, json!([]))), Err(why.to_string()));
        let why = "node \"n1\" is not allowed to delete node \"n1\"";
        assert_eq!(check("n1", ("", "nodes"), Touch::Delete, &plain, Some(&plain)), Err(why.to_string()));
    }

    #[test]
    fn a_node_agent_tells_the_status_of_its_own_pods_and_no_more() {
        let pod = |node: &str, label: &str| json!({"metadata": {"name": "p", "labels": {"a": label}}, "spec": {"nodeName": node}});
        let (own, foreign) = (pod("n1", "x"), pod("n2", "x"));
        for (touch, new, old, expected) in [
            (Touch::Update("status"), &own, &own, None),
            (
                Touch::Update("status"),
                &foreign,
                &foreign,
                Some("node \"n1\" can only update pod status for pods with spec.nodeName set to itself"),
            ),
            (
                Touch::Update("status"),
                &pod("n1", "y"),
                &own,
                Some("node \"n1\" cannot update labels through pod status"),
            ),
            (
                Touch::Update(""),
                &own,
                &own,
                Some("unexpected operation \"UPDATE\", node \"n1\" can only create and delete mirror pods"),
            ),
            (
                Touch::Update("ephemeralcontainers"),
                &own,
                &own,
                Some(
                    "unexpected pod subresource \"ephemeralcontainers\", only 'status' and 'eviction' are allowed",
                ),
            ),
            (Touch::Delete, &own, &own, None),
            (
                Touch::Delete,
                &foreign,
                &foreign,
                Some("node \"n1\" can only delete pods with spec.nodeName set to itself"),
            ),
        ] {
            let found = check("n1", ("", "pods"), touch, new, Some(old)).err();
            assert_eq!(found.as_deref(), expected, "{touch:?}");
        }
        let why = "node n1 can only evict pods with spec.nodeName set to itself";
        assert_eq!(eviction("n1", &foreign), Err(why.to_string()));
    }
}
