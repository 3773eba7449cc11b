//! What the cluster adds to or refuses in a write, beyond the kind's own rules: everything that needs other objects or
//! the caller.
//!
//! Namespace lifecycle (2.1.7), priorities, limits, service accounts, runtime classes and default tolerations of pods
//! (2.10.4), the taint of a new node (2.10.5), who asked for a certificate (7.6.1), and what a node agent may touch (7.5.4).

mod accounts;
mod limits;
mod mirror_pods;
mod node_restriction;
pub mod pod_security;
mod priority;
pub mod quota;
mod runtime_class;

use crate::Inner;
use crate::authn::User;
use crate::error::{ApiError, ResourceName};
use crate::rbac;
use crate::resources::{Kind, find, namespaces, pods};
use crate::rights;
use crate::verbs::Call;
use crate::verbs::metadata::{self, text};
pub use mirror_pods::MIRROR;
use node_restriction::Touch;
use serde_json::{Value, json};

/// Most CustomResourceDefinitions: the largest clusters that are known have some hundreds.
const MAX_DEFINITIONS: usize = 1000;
/// Seconds that a pod stays on a node that is not ready or unreachable, unless it says otherwise.
const EVICTION_SECONDS: i64 = 300;
/// Namespaces that cannot be deleted (2.6.9).
pub const PROTECTED_NAMESPACES: &[&str] = &["default", "kube-system", "kube-public"];

/// Admits a new object and fills in what the cluster knows. Answers with what the client is warned of.
pub async fn create(
    server: &Inner,
    user: &User,
    kind: &Kind,
    object: &mut Value,
) -> Result<Vec<String>, ApiError> {
    let namespace = match kind.namespaced {
        true => namespace_takes_new(server, kind, object).await?,
        false => Value::Null,
    };
    match (kind.group, kind.plural) {
        ("", "pods") => {
            pod(server, user, object).await?;
            pod_security::of_pod(&namespace, object)?;
        }
        ("", "nodes") => node_taint(object),
        ("certificates.k8s.io", "certificatesigningrequests") => requester(user, object),
        ("scheduling.k8s.io", "priorityclasses") => {
            server.consistent().await?;
            priority::of_class(server, object)?;
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => one_more_definition(server, kind, object)?,
        _ => {}
    }
    if kind.group == rbac::GROUP {
        server.consistent().await?;
        rights::no_escalation(server, user, kind, object, None)?;
    }
    node_agent(user, kind, Touch::Create, object, None)?;
    Ok(pod_security::warnings(kind, &namespace, object))
}

/// Admits a change of what the call names.
pub fn update(call: &Call<'_>, new: &Value, old: &Value) -> Result<(), ApiError> {
    let Call { server, user, kind, target, .. } = *call;
    if (kind.group, kind.plural) == ("scheduling.k8s.io", "priorityclasses") {
        priority::of_class(server, new)?;
    }
    rights::no_escalation(server, user, kind, new, Some(old))?;
    node_agent(user, kind, Touch::Update(&target.subresource), new, Some(old))
}

/// Admits a deletion.
pub fn delete(user: &User, kind: &Kind, object: &Value) -> Result<(), ApiError> {
    let name = text(object, "name");
    if (kind.group, kind.plural) == ("", "namespaces") && PROTECTED_NAMESPACES.contains(&name) {
        return Err(ApiError::forbidden(resource(kind), name, "this namespace may not be deleted"));
    }
    if (kind.group, kind.plural) == ("scheduling.k8s.io", "priorityclasses") {
        priority::end_of_class(name)?;
    }
    node_agent(user, kind, Touch::Delete, object, Some(object))
}

/// Admits the eviction of a pod, before a disruption budget pays for it.
pub fn evict(user: &User, pod: &Value) -> Result<(), ApiError> {
    let Some(node) = user.node() else { return Ok(()) };
    node_restriction::eviction(node, pod).map_err(|why| pod_forbidden(pod, why))
}

/// Admits a request for a token; `given` is its spec as it came.
pub async fn token(call: &Call<'_>, given: &Value) -> Result<(), ApiError> {
    let Call { server, user, kind, target, .. } = *call;
    let Some(node) = user.node() else { return Ok(()) };
    let refuse = |why: String| ApiError::forbidden(resource(kind), &target.name, why);
    let name = node_restriction::token_pod(given).map_err(refuse)?;
    let pod = server.read(&pods::KIND, &target.namespace, name).await?;
    let (pod, _) = pod.ok_or_else(|| ApiError::not_found(resource(&pods::KIND), name))?;
    node_restriction::token(node, given, &pod).map_err(refuse)
}

/// The resource of a kind, for texts.
pub fn resource(kind: &Kind) -> ResourceName<'static> {
    ResourceName { group: kind.group, plural: kind.plural }
}

/// Each definition is kinds, schemas and documents in memory.
fn one_more_definition(server: &Inner, kind: &Kind, object: &Value) -> Result<(), ApiError> {
    let count = server.items(kind).len();
    match count < MAX_DEFINITIONS {
        true => Ok(()),
        false => {
            let why = format!("there are {count} CustomResourceDefinitions, the limit is {MAX_DEFINITIONS}");
            Err(ApiError::forbidden(resource(kind), text(object, "name"), why))
        }
    }
}

/// The namespace of a new object, which must be there and stay.
async fn namespace_takes_new(server: &Inner, kind: &Kind, object: &Value) -> Result<Value, ApiError> {
    let name = text(object, "namespace");
    let Some((namespace, _)) = server.read(&namespaces::KIND, "", name).await? else {
        return Err(ApiError::not_found(resource(&namespaces::KIND), name));
    };
    if !metadata::is_terminating(&namespace) {
        return Ok(namespace);
    }
    let why = format!("unable to create new content in namespace {name} because it is being terminated");
    let mut error = ApiError::forbidden(resource(kind), text(object, "name"), why);
    error.details["causes"] = json!([{"reason": "NamespaceTerminating",
        "message": format!("namespace {name} is being terminated"), "field": "metadata.namespace"}]);
    Err(error)
}

async fn pod(server: &Inner, user: &User, pod: &mut Value) -> Result<(), ApiError> {
    // A mirror pod is a static pod's shadow; it takes no account (Kubernetes: serviceaccount admission).
    let mut admitted = match mirror_pods::is_mirror(pod) {
        true => mirror_pods::by_anybody(pod),
        false => Ok(()),
    };
    if let Some(node) = user.node() {
        admitted = mirror_pods::by_node(node, &node_uid(server, node).await?, pod).and(admitted);
    }
    admitted.map_err(|why| pod_forbidden(pod, why))?;
    if !mirror_pods::is_mirror(pod) {
        accounts::of_pod(server, pod).await?;
    }
    priority::of_pod(server, pod).await?;
    default_tolerations(pod);
    limits::of_pod(server, pod)?;
    runtime_class::of_pod(server, pod).await
}

/// Empty, if there is no such node: no owner reference has that.
async fn node_uid(server: &Inner, node: &str) -> Result<String, ApiError> {
    let Some(kind) = find("", "v1", "nodes") else { return Ok(String::new()) };
    let found = server.read(kind, "", node).await?;
    Ok(found.map(|(node, _)| text(&node, "uid").to_string()).unwrap_or_default())
}

fn pod_forbidden(pod: &Value, why: String) -> ApiError {
    let name = match text(pod, "name") {
        "" => text(pod, "generateName"),
        name => name,
    };
    ApiError::forbidden(ResourceName { group: "", plural: "pods" }, name, why)
}

/// Kubernetes: `plugin/pkg/admission/defaulttolerationseconds`.
fn default_tolerations(pod: &mut Value) {
    let given = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    let has = |key: &str| {
        given.iter().any(|t| {
            let (at, effect) =
                (t["key"].as_str().unwrap_or_default(), t["effect"].as_str().unwrap_or_default());
            (at == key || at.is_empty()) && matches!(effect, "NoExecute" | "")
        })
    };
    let missing: Vec<Value> = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]
        .into_iter()
        .filter(|key| !has(key))
        .map(|key| {
            json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": EVICTION_SECONDS})
        })
        .collect();
    if !missing.is_empty() {
        pod["spec"]["tolerations"] = given.into_iter().chain(missing).collect();
    }
}

/// A new node takes no pods until it says that it is ready (2.10.5).
fn node_taint(node: &mut Value) {
    const KEY: &str = "node.kubernetes.io/not-ready";
    let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    if !taints.iter().any(|taint| taint["key"] == KEY && taint["effect"] == "NoSchedule") {
        taints.push(json!({"key": KEY, "effect": "NoSchedule"}));
        if !node["spec"].is_object() {
            node["spec"] = json!({});
        }
        node["spec"]["taints"] = taints.into();
    }
}

/// Who asks for a certificate is not theirs to say (7.6.1).
fn requester(user: &User, request: &mut Value) {
    if !request["spec"].is_object() {
        return;
    }
    let spec = &mut request["spec"];
    spec["username"] = user.name.as_str().into();
    spec["groups"] = user.groups.clone().into();
    spec["uid"] = if user.uid.is_empty() { Value::Null } else { user.uid.as_str().into() };
    spec["extra"] = if user.extra.is_empty() { Value::Null } else { json!(user.extra) };
}

/// The NodeRestriction rules (7.5.4): a node agent writes its own node, lease and pods only.
fn node_agent(
    user: &User,
    kind: &Kind,
    touch: Touch<'_>,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let Some(node) = user.node() else { return Ok(()) };
    node_restriction::check(node, (kind.group, kind.plural), touch, new, old)
        .map_err(|why| ApiError::forbidden(resource(kind), text(new, "name"), why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_gets_the_two_tolerations_it_does_not_have() {
        let check = |given: Value, expected: usize| {
            let mut pod = json!({"spec": {"tolerations": given}});
            default_tolerations(&mut pod);
            assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), expected, "{given}");
        };
        check(json!([]), 2);
        check(json!([{"operator": "Exists"}]), 1);
        check(
            json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]),
            2,
        );
        check(json!([{"key": "a", "effect": "NoSchedule"}]), 3);
    }
}
