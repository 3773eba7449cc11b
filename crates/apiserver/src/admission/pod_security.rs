//! What a namespace's Pod Security labels do to a write: pods are refused, and clients warned.
//!
//! Kubernetes: `pod-security-admission/admission`. The mode `audit` notes nothing here: the audit log tells who wrote what.

use super::pod_forbidden;
use crate::Inner;
use crate::error::ApiError;
use crate::pod_security::{Level, Mode, Policy, told, warn_of_existing};
use crate::resources::{Kind, daemonsets, namespaces, pods};
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

/// What the client is warned of: pods that are, or would be made, too careless, and namespaces that become stricter.
pub async fn warnings(
    server: &Inner,
    kind: &Kind,
    new: &Value,
    old: Option<&Value>,
) -> Result<Vec<String>, ApiError> {
    let is = |other: &Kind| (kind.group, kind.plural) == (other.group, other.plural);
    if is(&namespaces::KIND) {
        return match old {
            Some(old) => of_existing(server, new, old).await,
            None => Ok(Vec::new()),
        };
    }
    let (metadata, spec) = match old {
        None if is(&pods::KIND) => (&new["metadata"], &new["spec"]),
        _ if is(&daemonsets::KIND) && old.is_none_or(|old| old["spec"] != new["spec"]) => {
            (&new["spec"]["template"]["metadata"], &new["spec"]["template"]["spec"])
        }
        _ => return Ok(Vec::new()),
    };
    let namespace = server.read(&namespaces::KIND, "", text(new, "namespace")).await?;
    let policy = Policy::of(&namespace.unwrap_or_default().0, Mode::Warn);
    let broken = policy.broken(metadata, spec);
    Ok(match broken.is_empty() {
        true => Vec::new(),
        false => vec![format!("would violate PodSecurity \"{policy}\": {}", told(&broken))],
    })
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
