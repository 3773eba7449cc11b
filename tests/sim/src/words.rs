//! PURE. A write in a few words: what of an object has changed that a reader of a trace wants to see.

use crate::truth::Set;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use objects::pod;
use serde_json::Value;
use std::collections::BTreeSet;

/// `created for n1 (hash 5b…)`, `is Ready`; none if nothing of interest has changed.
pub(crate) fn of_pod(old: Option<&Pod>, new: Option<&Pod>) -> Option<String> {
    let (old, new) = match (old, new) {
        (_, None) => return Some("is gone".to_string()),
        (None, Some(new)) => return Some(format!("created for {} (hash {})", target(new), hash(new))),
        (Some(old), Some(new)) => (old, new),
    };
    let mut words = Vec::new();
    if pod::node_name(old) != pod::node_name(new) {
        words.push(format!("bound to {}", pod::node_name(new).unwrap_or("nowhere")));
    }
    if pod::is_terminating(new) && !pod::is_terminating(old) {
        words.push("is to end".to_string());
    }
    if state(old) != state(new) {
        words.push(format!("is {}", state(new)));
    }
    let owner = |pod: &Pod| objects::owner::controller_of(&pod.metadata).map(|owner| owner.name.clone());
    if owner(old) != owner(new) {
        words.push(match owner(new) {
            Some(owner) => format!("belongs to {owner}"),
            None => "belongs to nobody".to_string(),
        });
    }
    if hash(old) != hash(new) {
        words.push(format!("has hash {}", hash(new)));
    }
    (!words.is_empty()).then(|| words.join(", "))
}

/// `Ready`, or its phase and why it waits.
pub(crate) fn state(of: &Pod) -> String {
    if pod::is_ready(of) {
        return "Ready".to_string();
    }
    let statuses = of.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let waiting = statuses.filter_map(|status| status.state.as_ref()?.waiting.as_ref()?.reason.clone());
    match waiting.into_iter().next() {
        Some(reason) => format!("{} ({reason})", pod::phase(of)),
        None if pod::phase(of) == "Running" => "Running, not ready".to_string(),
        None => pod::phase(of).to_string(),
    }
}

/// The node that a pod is on or wants to.
pub(crate) fn target(of: &Pod) -> String {
    let target = of.spec.as_ref().and_then(|spec| objects::node_affinity::target_node(spec).ok());
    target.unwrap_or("no node").to_string()
}

/// The hash of its template.
pub(crate) fn hash(of: &Pod) -> &str {
    pod::hash_label(of).unwrap_or("none")
}

/// What has changed of a DaemonSet: its generation, or its counters.
pub(crate) fn of_set(old: Option<&Set>, new: Option<&Set>) -> String {
    let Some(new) = new else { return "is gone".to_string() };
    let Some(old) = old else { return "created".to_string() };
    let (old, new) = (&old.object, &new.object);
    if new.metadata.deletion_timestamp.is_some() && old.metadata.deletion_timestamp.is_none() {
        return format!("is to end ({})", new.metadata.finalizers.clone().unwrap_or_default().join(", "));
    }
    if old.metadata.generation != new.metadata.generation {
        return format!("has generation {}", new.metadata.generation.unwrap_or_default());
    }
    if old.status != new.status {
        return format!("says {}", counters(new));
    }
    "is written".to_string()
}

/// The seven counters, as `kubectl get` calls them.
pub(crate) fn counters(of: &DaemonSet) -> String {
    let status = of.status.clone().unwrap_or_default();
    let number = |number: Option<i32>| number.unwrap_or_default();
    format!(
        "desired {} current {} ready {} up-to-date {} available {} unavailable {} misscheduled {} (observed {})",
        status.desired_number_scheduled,
        status.current_number_scheduled,
        status.number_ready,
        number(status.updated_number_scheduled),
        number(status.number_available),
        number(status.number_unavailable),
        status.number_misscheduled,
        status.observed_generation.unwrap_or_default()
    )
}

/// Labels, taints and readiness; none for a heartbeat.
pub(crate) fn of_node(old: Option<&Node>, new: Option<&Node>) -> Option<String> {
    let Some(new) = new else { return Some("is gone".to_string()) };
    let Some(old) = old else { return Some("created".to_string()) };
    let mut words = Vec::new();
    if old.metadata.labels != new.metadata.labels {
        let ours = new.metadata.labels.iter().flatten().filter(|(key, _)| !key.contains('/'));
        let labels: Vec<String> = ours.map(|(key, value)| format!("{key}={value}")).collect();
        words.push(format!("has labels [{}]", labels.join(",")));
    }
    let taints = |node: &Node| -> Vec<String> {
        let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        taints.map(objects::taints::text).collect()
    };
    if taints(old) != taints(new) {
        words.push(format!("has taints [{}]", taints(new).join(",")));
    }
    if objects::node::is_ready(old) != objects::node::is_ready(new) {
        words.push(if objects::node::is_ready(new) { "is Ready" } else { "is not Ready" }.to_string());
    }
    (!words.is_empty()).then(|| words.join(", "))
}

/// A revision's number and owner.
pub(crate) fn of_revision(old: Option<&ControllerRevision>, new: Option<&ControllerRevision>) -> String {
    match (old, new) {
        (_, None) => "is gone".to_string(),
        (None, Some(new)) => format!("created as number {}", new.revision),
        (Some(old), Some(new)) if old.revision != new.revision => format!("is number {}", new.revision),
        _ => "is written".to_string(),
    }
}

/// Where two objects differ: paths, with both values.
pub(crate) fn difference(old: &Value, new: &Value) -> Vec<String> {
    match (old.as_object(), new.as_object()) {
        (Some(old), Some(new)) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            let field = |name: &&String| {
                let (old, new) =
                    (old.get(*name).unwrap_or(&Value::Null), new.get(*name).unwrap_or(&Value::Null));
                difference(old, new).into_iter().map(|line| format!(".{name}{line}")).collect::<Vec<_>>()
            };
            names.iter().flat_map(field).collect()
        }
        _ if old == new => Vec::new(),
        _ => vec![format!(" {old} to {new}")],
    }
}
