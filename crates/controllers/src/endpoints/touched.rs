//! PURE. Which services does a change of a pod or a node concern?
//!
//! 1. A change that no endpoint shows concerns nobody: heartbeats, container states, annotations.
//! 2. Services are found by the first pair of their selector, so that a pod asks once per label, and not every service.
//!
//! Kubernetes: `endpointslice/util/controller_utils.go` (`GetServicesToUpdateOnPodChange`).

use super::behind;
use crate::caches::{BY_SELECTOR, Change, Mirror, Pod, selector_key};
use k8s_openapi::api::core::v1::{Node, Service};
use objects::key::ObjectKey;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The label of a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// The services whose endpoints a changed pod changes.
pub(super) fn by_pod(services: &Mirror<Service>, change: &Change<'_, Pod>) -> BTreeSet<ObjectKey> {
    let mut touched = BTreeSet::new();
    if let (Some(old), Some(new)) = (change.old, change.new)
        && looks_same(old, new)
    {
        return touched;
    }
    let states: Vec<&Arc<Pod>> = change.old.into_iter().chain(change.new).collect();
    let same_labels = states.windows(2).all(|pair| match pair {
        [old, new] => old.metadata.labels == new.metadata.labels,
        _ => true,
    });
    for pod in states.iter().skip(usize::from(same_labels && states.len() > 1)) {
        touched.extend(selecting(services, pod));
    }
    touched
}

/// The services that select the pod as it is.
pub(super) fn selecting(services: &Mirror<Service>, pod: &Pod) -> Vec<ObjectKey> {
    let Some(labels) = pod.metadata.labels.as_ref().filter(|_| services.has(BY_SELECTOR)) else {
        return Vec::new();
    };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let found = labels
        .iter()
        .flat_map(|(key, value)| services.by(BY_SELECTOR, &selector_key(namespace, key, value)))
        .filter(|service| behind::is_filled(service) && behind::selects(service, labels));
    found.map(|service| ObjectKey::of(&service.metadata)).collect()
}

/// Whether the endpoints on a node look different: it is new, or in another zone.
pub(super) fn by_node(change: &Change<'_, Node>) -> bool {
    match (change.old, change.new) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(old), Some(new)) => zone(old) != zone(new),
    }
}

/// The zone of a node.
pub(super) fn zone(node: &Node) -> Option<&String> {
    node.metadata.labels.as_ref()?.get(ZONE).filter(|zone| !zone.is_empty())
}

/// Whether no endpoint can tell one from the other.
fn looks_same(old: &Pod, new: &Pod) -> bool {
    let none = BTreeMap::new();
    let shown = |pod: &Pod| (objects::pod::is_ready(pod), objects::pod::is_terminating(pod));
    let named = |pod: &Pod| pod.spec.as_ref().map(|spec| (spec.hostname.clone(), spec.subdomain.clone()));
    shown(old) == shown(new)
        && objects::pod::node_name(old) == objects::pod::node_name(new)
        && behind::addresses(old).eq(behind::addresses(new))
        && old.metadata.labels.as_ref().unwrap_or(&none) == new.metadata.labels.as_ref().unwrap_or(&none)
        && named(old) == named(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caches::Caches;
    use serde_json::{Value, json};

    fn pod(labels: Value, ip: &str, ready: &str, note: &str) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"namespace": "a", "name": "p", "labels": labels}, "spec": {"containers": []},
                "status": {"podIP": ip, "message": note, "conditions": [{"type": "Ready", "status": ready}]}
            }))
            .unwrap(),
        )
    }

    fn service(namespace: &str, name: &str, selector: Value) -> Service {
        serde_json::from_value(json!({"metadata": {"namespace": namespace, "name": name, "uid": name},
            "spec": {"selector": selector}}))
        .unwrap()
    }

    #[test]
    fn a_pod_concerns_the_services_that_select_it_before_or_after() {
        let services = Caches::default().services;
        services.apply(service("a", "all", json!({"app": "x"})));
        services.apply(service("a", "both", json!({"app": "x", "tier": "y"})));
        services.apply(service("a", "tier", json!({"tier": "y"})));
        services.apply(service("a", "bare", json!(null)));
        services.apply(service("b", "foreign", json!({"app": "x"})));
        let check = |old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>, expected: &[&str]| {
            let touched = by_pod(&services, &Change { old, new });
            let names: Vec<&str> = touched.iter().map(|key| key.name.as_str()).collect();
            assert_eq!(names, expected);
        };
        let x = json!({"app": "x"});
        let pending = pod(x.clone(), "", "False", "");
        let (ready, noted) = (pod(x.clone(), "10.0.0.1", "True", ""), pod(x, "10.0.0.1", "True", "later"));
        let moved = pod(json!({"tier": "y"}), "10.0.0.1", "True", "");
        let neither = pod(json!({"tier": "z"}), "10.0.0.1", "True", "");
        check(None, Some(&pending), &["all"]);
        check(Some(&pending), Some(&ready), &["all"]);
        check(Some(&ready), Some(&noted), &[]);
        check(Some(&ready), Some(&moved), &["all", "tier"]);
        check(None, Some(&pod(json!({"app": "x", "tier": "y"}), "", "", "")), &["all", "both", "tier"]);
        check(Some(&ready), None, &["all"]);
        check(None, Some(&neither), &[]);
    }

    #[test]
    fn a_node_counts_when_it_is_new_or_changes_its_zone() {
        let node = |zone: &str, note: &str| {
            let labels = json!({ZONE: zone, "note": note});
            Arc::new(
                serde_json::from_value::<Node>(json!({"metadata": {"name": "n", "labels": labels}})).unwrap(),
            )
        };
        let check = |old: Option<Arc<Node>>, new: Option<Arc<Node>>, expected: bool| {
            assert_eq!(by_node(&Change { old: old.as_ref(), new: new.as_ref() }), expected);
        };
        check(None, Some(node("a", "")), true);
        check(Some(node("a", "")), Some(node("a", "heartbeat")), false);
        check(Some(node("a", "")), Some(node("b", "")), true);
        check(Some(node("a", "")), None, false);
    }
}
