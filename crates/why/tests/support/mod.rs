//! A small language for clusters: one DaemonSet `d` in `ns`, at noon. What a case does not say is ordinary: nodes are Ready,
//! pods are ours, of the current template, bound, five minutes old and ready for one.

use daemonset::{Backoff, Snapshot, Unseen, revision};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use why::{Known, Report};

/// A case as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Case {
    /// Merged over the ordinary DaemonSet.
    pub daemon_set: Value,
    /// Names, or nodes.
    pub nodes: Vec<Value>,
    pub pods: Vec<PodCase>,
    pub events: Vec<EventCase>,
    /// Nodes of which the remedy is printed too.
    pub remedies: Vec<String>,
    /// Whether the JSON is printed too.
    pub json: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PodCase {
    pub name: String,
    pub node: Option<String>,
    /// Not bound yet, and meant for this node.
    pub pinned: Option<String>,
    /// Of the template before.
    pub old: bool,
    pub phase: String,
    pub ready: bool,
    /// Seconds since it became ready.
    pub ready_for: i64,
    /// Seconds since it was created.
    pub age: i64,
    /// Merged over the ordinary pod.
    pub with: Value,
}

impl Default for PodCase {
    fn default() -> Self {
        Self {
            name: "p".into(),
            node: None,
            pinned: None,
            old: false,
            phase: "Running".into(),
            ready: true,
            ready_for: 60,
            age: 300,
            with: Value::Null,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventCase {
    /// A pod's name, or `d`.
    pub about: String,
    pub reason: String,
    pub message: String,
    /// Seconds.
    pub ago: i64,
    #[serde(default)]
    pub container: Option<String>,
    #[serde(default)]
    pub normal: bool,
}

/// A case as typed objects.
pub struct World {
    daemon_set: DaemonSet,
    raw: Value,
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    revisions: Vec<ControllerRevision>,
    events: Vec<Event>,
    backoff: Backoff,
    unseen: Unseen,
}

/// Noon.
pub fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

impl World {
    pub fn of(case: &Case) -> Self {
        let raw = merged(ordinary(), &case.daemon_set);
        let mut old = raw["spec"]["template"].clone();
        old["spec"]["containers"][0]["image"] = json!("img:0");
        Self {
            daemon_set: typed(raw.clone()),
            nodes: case.nodes.iter().map(node).collect(),
            pods: case.pods.iter().map(pod).collect(),
            revisions: vec![revision_of("old", 1, &old), revision_of("cur", 2, &raw["spec"]["template"])],
            events: case.events.iter().map(event).collect(),
            raw,
            backoff: Backoff::default(),
            unseen: Unseen::default(),
        }
    }

    pub fn why(&self) -> Report {
        why::why(&self.known(), now())
    }

    /// The same with every list turned round.
    pub fn why_reversed(&self) -> Report {
        let mut known = self.known();
        known.snapshot.nodes.reverse();
        known.snapshot.pods.reverse();
        known.snapshot.revisions.reverse();
        known.events.reverse();
        why::why(&known, now())
    }

    fn known(&self) -> Known<'_> {
        let snapshot = Snapshot {
            daemon_set: &self.daemon_set,
            raw: &self.raw,
            nodes: self.nodes.iter().collect(),
            pods: self.pods.iter().collect(),
            revisions: self.revisions.iter().collect(),
            backoff: &self.backoff,
            unseen: &self.unseen,
        };
        Known { snapshot, events: self.events.iter().collect() }
    }
}

fn ordinary() -> Value {
    json!({
        "metadata": {"name": "d", "namespace": "ns", "uid": "d-uid", "generation": 2, "creationTimestamp": ago(3600)},
        "spec": {
            "selector": {"matchLabels": {"app": "d"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            "template": {
                "metadata": {"labels": {"app": "d"}},
                "spec": {"containers": [{"name": "c", "image": "img:1"}]},
            },
        },
        "status": {"observedGeneration": 2, "conditions": [{"type": "Progressing", "status": "True"}]},
    })
}

/// A node from its name, or from `{name, labels, taints: ["key=value:Effect"], ready, readyFor, reason, message}`.
fn node(case: &Value) -> Node {
    let name = case.as_str().unwrap_or_else(|| case["name"].as_str().expect("a node has a name"));
    let taints: Vec<Value> = case["taints"].as_array().into_iter().flatten().map(taint).collect();
    let ready = json!([{
        "type": "Ready", "status": case["ready"].as_str().unwrap_or("True"),
        "reason": case["reason"], "message": case["message"],
        "lastTransitionTime": ago(case["readyFor"].as_i64().unwrap_or(3000)),
    }]);
    typed(json!({
        "metadata": {"name": name, "labels": case["labels"]},
        "spec": {"taints": taints, "unschedulable": case["unschedulable"]},
        "status": {"conditions": if case["ready"] == "never" { json!([]) } else { ready }},
    }))
}

fn taint(text: &Value) -> Value {
    let (key, effect) =
        text.as_str().and_then(|text| text.split_once(':')).expect("a taint is key=value:Effect");
    match key.split_once('=') {
        Some((key, value)) => json!({"key": key, "value": value, "effect": effect}),
        None => json!({"key": key, "effect": effect}),
    }
}

fn pod(case: &PodCase) -> Pod {
    let hash = if case.old { "old" } else { "cur" };
    let affinity = case.pinned.as_ref().map(|node| {
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}}})
    });
    let since = if case.ready { case.ready_for } else { case.age };
    let pod = json!({
        "metadata": {
            "name": case.name, "namespace": "ns", "uid": format!("{}-uid", case.name),
            "labels": {"app": "d", "controller-revision-hash": hash},
            "creationTimestamp": ago(case.age),
            "ownerReferences":
                [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "d-uid", "controller": true}],
        },
        "spec": {"containers": [{"name": "c", "image": "img:1"}], "nodeName": case.node, "affinity": affinity},
        "status": {
            "phase": case.phase,
            "conditions": [{
                "type": "Ready", "status": if case.ready { "True" } else { "False" }, "lastTransitionTime": ago(since),
            }],
        },
    });
    typed(merged(pod, &timed(&case.with)))
}

/// `{ago: 5}` stands for a time.
fn timed(value: &Value) -> Value {
    match value {
        Value::Object(fields) => match fields.get("ago").and_then(Value::as_i64) {
            Some(seconds) => json!(ago(seconds)),
            None => fields.iter().map(|(key, value)| (key.clone(), timed(value))).collect(),
        },
        Value::Array(items) => items.iter().map(timed).collect(),
        other => other.clone(),
    }
}

fn event(case: &EventCase) -> Event {
    let EventCase { about, reason, message, ago: seconds, container, normal } = case;
    let path = container.as_ref().map(|name| format!("spec.containers{{{name}}}"));
    typed(json!({
        "metadata": {"name": format!("{about}.{reason}.{seconds}"), "namespace": "ns"},
        "involvedObject": {"name": about, "uid": format!("{about}-uid"), "fieldPath": path},
        "reason": reason, "message": message, "type": if *normal { "Normal" } else { "Warning" },
        "firstTimestamp": ago(seconds + 100), "lastTimestamp": ago(*seconds),
    }))
}

fn revision_of(hash: &str, number: i64, template: &Value) -> ControllerRevision {
    let labels: BTreeMap<&str, &str> = [("app", "d"), ("controller-revision-hash", hash)].into();
    typed(json!({
        "metadata": {
            "name": format!("d-{hash}"), "namespace": "ns", "uid": format!("d-{hash}-uid"), "labels": labels,
            "ownerReferences":
                [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "d-uid", "controller": true}],
        },
        "data": revision::data(template),
        "revision": number,
    }))
}

fn typed<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object of its kind")
}

/// JSON merge patch.
fn merged(mut base: Value, patch: &Value) -> Value {
    match (&mut base, patch) {
        (_, Value::Null) => base,
        (Value::Object(fields), Value::Object(changes)) => {
            for (key, change) in changes {
                let old = fields.remove(key).unwrap_or(Value::Null);
                fields.insert(key.clone(), merged(old, change));
            }
            base
        }
        (_, patch) => patch.clone(),
    }
}
