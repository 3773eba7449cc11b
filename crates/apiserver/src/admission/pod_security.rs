//! What a namespace's Pod Security labels do to a write: pods are refused, and clients warned.
//!
//! Kubernetes: `pod-security-admission/admission`. The mode `audit` notes nothing here: the audit log tells who wrote what.

use super::pod_forbidden;
use crate::Inner;
use crate::error::ApiError;
use crate::pod_security::{Level, Mode, Policy, told, warn_of_existing};
use crate::resources::{Kind, namespaces, pods};
use crate::verbs::metadata::text;
use serde_json::Value;

/// At most so many pods of a namespace are looked at when it becomes stricter. Kubernetes: `defaultNamespaceMaxPodsToCheck`.
const EXISTING_PODS_MAX: usize = 3000;

/// Refuses a new pod that is not as careful as its namespace asks.
pub(super) fn of_pod(namespace: &Value, pod: &Value) -> Result<(), ApiError> {
    let policy = Policy::of(namespace, Mode::Enforce);
    let broken = policy.broken(&pod["metadata"], &pod["spec"]);
    match broken.is_empty() {
        true => Ok(()),
        false => Err(pod_forbidden(pod, format!("violates PodSecurity \"{policy}\": {}", told(&broken)))),
    }
}

/// The same for a pod that gets containers to debug it, as a whole; answers what the client is warned of.
pub async fn of_debugging(server: &Inner, kind: &Kind, pod: &Value) -> Result<Vec<String>, ApiError> {
    let found = server.read(&namespaces::KIND, "", text(pod, "namespace")).await?;
    let namespace = found.unwrap_or_default().0;
    of_pod(&namespace, pod)?;
    Ok(warnings(kind, &namespace, pod))
}

/// What the client is warned of that makes pods, now or later, in a namespace that asks for more care.
pub(super) fn warnings(kind: &Kind, namespace: &Value, object: &Value) -> Vec<String> {
    let (metadata, spec) = match (kind.group, kind.plural) {
        ("", "pods") => (&object["metadata"], &object["spec"]),
        ("apps", "daemonsets") => {
            let template = &object["spec"]["template"];
            (&template["metadata"], &template["spec"])
        }
        _ => return Vec::new(),
    };
    let policy = Policy::of(namespace, Mode::Warn);
    let broken = policy.broken(metadata, spec);
    match broken.is_empty() {
        true => Vec::new(),
        false => vec![format!("would violate PodSecurity \"{policy}\": {}", told(&broken))],
    }
}

/// What the client is warned of that changes a DaemonSet, or makes a namespace stricter than its pods are. A pod that is
/// there stays as careless as it was.
pub async fn warnings_of_change(
    server: &Inner,
    kind: &Kind,
    new: &Value,
    old: &Value,
) -> Result<Vec<String>, ApiError> {
    match (kind.group, kind.plural) {
        ("", "namespaces") => of_existing(server, new, old).await,
        ("apps", "daemonsets") if old["spec"] != new["spec"] => {
            let namespace = server.read(&namespaces::KIND, "", text(new, "namespace")).await?;
            Ok(warnings(kind, &namespace.unwrap_or_default().0, new))
        }
        _ => Ok(Vec::new()),
    }
}

async fn of_existing(server: &Inner, new: &Value, old: &Value) -> Result<Vec<String>, ApiError> {
    let (policy, before) = (Policy::of(new, Mode::Enforce), Policy::of(old, Mode::Enforce));
    if policy.level <= before.level || policy.level == Level::Privileged {
        return Ok(Vec::new());
    }
    server.consistent().await?;
    let name = text(new, "name");
    let mut pods = server.cached_in(&pods::KIND, name);
    pods.truncate(EXISTING_PODS_MAX);
    Ok(warn_of_existing(name, &policy, &pods))
}
