//! The pod for a node: the template, with tolerations, labels, an owner and a pin.
//!
//! 1. Everything that no rule touches stays as it is in the template, fields that our types do not know included:
//!    pods are made as JSON, once per plan, and stamped per node.
//! 2. Only labels, annotations and finalizers of the template's metadata survive (MG-19).
//! 3. The pin replaces all required node affinity and nothing else (EL-30).
//!
//! Kubernetes: `daemon/util/daemonset_util.go` (`AddOrUpdateDaemonPodTolerations`, `CreatePodTemplate`,
//! `ReplaceDaemonSetPodNodeNameNodeAffinity`), `controller_utils.go` (`GetPodFromTemplate`).

use crate::snapshot::{GENERATION_LABEL, Subject};
use k8s_openapi::api::core::v1::{PodSpec, Toleration};
use objects::name::SUBDOMAIN_MAX;
use objects::node_affinity::NAME_FIELD;
use objects::owner;
use objects::pod::HASH_LABEL;
use serde_json::{Map, Value, json};

/// Key and effect of the tolerations that every daemon gets (EL-20).
const ALWAYS: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// The one for daemons in the host's network, which may be what makes the network available (EL-20).
const WITH_HOST_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// The template's tolerations with the defaults merged in (EL-21): a like entry is replaced, so that a user's
/// `tolerationSeconds` on it is lost; otherwise the default comes last.
pub fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut merged = spec.tolerations.clone().unwrap_or_default();
    let host_network = spec.host_network.unwrap_or_default().then_some(&WITH_HOST_NETWORK);
    for (key, effect) in ALWAYS.iter().chain(host_network) {
        let default = Toleration {
            key: Some((*key).to_string()),
            operator: Some("Exists".to_string()),
            effect: Some((*effect).to_string()),
            value: None,
            toleration_seconds: None,
        };
        let mut found = false;
        for like in merged.iter_mut().filter(|toleration| is_like(toleration, &default)) {
            *like = default.clone();
            found = true;
        }
        if !found {
            merged.push(default);
        }
    }
    merged
}

fn is_like(a: &Toleration, b: &Toleration) -> bool {
    let pairs = [(&a.key, &b.key), (&a.operator, &b.operator), (&a.value, &b.value), (&a.effect, &b.effect)];
    pairs.iter().all(|(a, b)| a.as_deref().unwrap_or_default() == b.as_deref().unwrap_or_default())
}

/// A pod without its pin, to be stamped for each node.
#[derive(Debug)]
pub(crate) struct Stamp(Value);

impl Stamp {
    /// The pod of the DaemonSet's template (MG-19). `hash` is the current revision's.
    pub(crate) fn new(subject: &Subject<'_>, hash: &str) -> Self {
        let mut spec = match &subject.template["spec"] {
            Value::Object(spec) => spec.clone(),
            _ => Map::new(),
        };
        spec.insert("tolerations".to_string(), json!(tolerations(subject.pod_spec)));
        Self(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata(subject, hash),
            "spec": spec,
        }))
    }

    /// The pod for a node.
    pub(crate) fn pod(&self, node: &str) -> Value {
        let mut pod = self.0.clone();
        pin(&mut pod["spec"], node);
        pod
    }
}

fn metadata(subject: &Subject<'_>, hash: &str) -> Map<String, Value> {
    let source = &subject.template["metadata"];
    let mut labels = source["labels"].as_object().cloned().unwrap_or_default();
    if let Some(generation) = subject.template_generation {
        labels.insert(GENERATION_LABEL.to_string(), json!(generation.to_string()));
    }
    if !hash.is_empty() {
        labels.insert(HASH_LABEL.to_string(), json!(hash));
    }
    let owner = owner::controller_reference("apps/v1", "DaemonSet", subject.name, subject.uid);
    let mut metadata = Map::new();
    metadata.insert("generateName".to_string(), json!(generate_name(subject.name)));
    metadata.insert("namespace".to_string(), json!(subject.namespace));
    metadata.insert("labels".to_string(), Value::Object(labels));
    for field in ["annotations", "finalizers"] {
        if !source[field].is_null() {
            metadata.insert(field.to_string(), source[field].clone());
        }
    }
    metadata.insert("ownerReferences".to_string(), json!([owner]));
    metadata
}

/// OW-15: without the dash if the name is too long for one.
fn generate_name(name: &str) -> String {
    let dash = if name.len() < SUBDOMAIN_MAX { "-" } else { "" };
    format!("{name}{dash}")
}

/// EL-30.
fn pin(spec: &mut Value, node: &str) {
    let term = json!({"matchFields": [{"key": NAME_FIELD, "operator": "In", "values": [node]}]});
    let affinity = object(&mut spec["affinity"]);
    let affinity = object(affinity.entry("nodeAffinity").or_insert(Value::Null));
    let required = affinity.entry("requiredDuringSchedulingIgnoredDuringExecution").or_insert(Value::Null);
    object(required).insert("nodeSelectorTerms".to_string(), json!([term]));
}

/// The map in a value; anything else becomes an empty one.
fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was made an object in the line above"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

    #[test]
    fn the_pin_keeps_all_but_the_required_terms() {
        let own = json!({"nodeSelectorTerms": [{"matchFields": [
            {"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]});
        let theirs = json!({"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"matchFields": []}]});
        let cases = [
            (json!(null), json!({"nodeAffinity": {REQUIRED: own}})),
            (
                json!({"podAffinity": {"x": 1}}),
                json!({"podAffinity": {"x": 1}, "nodeAffinity": {REQUIRED: own}}),
            ),
            (
                json!({"nodeAffinity": {"preferred": [1]}}),
                json!({"nodeAffinity": {"preferred": [1], REQUIRED: own}}),
            ),
            (
                json!({"nodeAffinity": {"preferred": [1], REQUIRED: theirs}}),
                json!({"nodeAffinity": {"preferred": [1], REQUIRED: own}}),
            ),
        ];
        for (affinity, expected) in cases {
            let mut spec = json!({"affinity": affinity});
            pin(&mut spec, "n1");
            assert_eq!(spec["affinity"], expected, "EL-30");
        }
    }

    #[test]
    fn default_tolerations_replace_like_ones_and_follow_others() {
        let spec: PodSpec = serde_json::from_value(json!({
            "containers": [],
            "hostNetwork": true,
            "tolerations": [
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
                 "tolerationSeconds": 5},
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoSchedule"},
            ],
        }))
        .unwrap();
        let merged = tolerations(&spec);
        let texts: Vec<String> = merged
            .iter()
            .map(|t| {
                let seconds = t.toleration_seconds.map(|s| format!(" {s}s")).unwrap_or_default();
                let key = t.key.as_deref().unwrap_or_default().replace("node.kubernetes.io/", "");
                format!("{key}:{}{seconds}", t.effect.as_deref().unwrap_or_default())
            })
            .collect();
        assert_eq!(
            texts,
            [
                "unreachable:NoExecute",
                "not-ready:NoSchedule",
                "not-ready:NoExecute",
                "disk-pressure:NoSchedule",
                "memory-pressure:NoSchedule",
                "pid-pressure:NoSchedule",
                "unschedulable:NoSchedule",
                "network-unavailable:NoSchedule",
            ],
            "EL-20, EL-21"
        );
    }

    #[test]
    fn an_over_long_name_has_no_dash() {
        assert_eq!(generate_name("hello"), "hello-");
        assert_eq!(generate_name(&"x".repeat(253)), "x".repeat(253), "OW-15");
    }
}
