//! A small language for clusters: one namespace `ns`, one DaemonSet `d`, at noon. What a case does not say is ordinary:
//! pods are ours, current, running, bound, ready for a minute and five minutes old.

use daemonset::{Backoff, Plan, Snapshot, Unseen, backoff, revision};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A case as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Case {
    /// Merged over the ordinary DaemonSet.
    pub daemon_set: Value,
    /// Names, or nodes.
    pub nodes: Vec<Value>,
    pub pods: Vec<PodCase>,
    /// Absent: one current revision with hash `cur` and number 1.
    pub revisions: Option<Vec<RevisionCase>>,
    pub backoff: Vec<BackoffCase>,
    pub unseen: UnseenCase,
    /// What to print besides the plan: `pod` (the first created), `revision`, `patch` (of claims), `conditions`.
    pub show: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PodCase {
    pub name: String,
    pub namespace: String,
    pub node: Option<String>,
    pub pinned: Option<String>,
    pub hash: Option<String>,
    pub generation: Option<String>,
    pub owner: Owner,
    pub phase: String,
    pub ready: bool,
    /// Seconds since it became ready.
    pub ready_for: i64,
    pub ending: bool,
    /// Seconds since it was created.
    pub age: i64,
    pub labels: BTreeMap<String, String>,
}

impl Default for PodCase {
    fn default() -> Self {
        Self {
            name: "p".into(),
            namespace: "ns".into(),
            node: None,
            pinned: None,
            hash: Some("cur".into()),
            generation: None,
            owner: Owner::Ours,
            phase: "Running".into(),
            ready: true,
            ready_for: 60,
            ending: false,
            age: 300,
            labels: [("app".into(), "d".into())].into(),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RevisionCase {
    pub name: Option<String>,
    pub hash: Option<String>,
    pub number: i64,
    pub owner: Owner,
    /// Merged over the DaemonSet's template.
    pub template: Value,
    /// Instead of a template: the data as they are.
    pub data: Option<Value>,
    pub labels: BTreeMap<String, String>,
}

impl Default for RevisionCase {
    fn default() -> Self {
        Self {
            name: None,
            hash: Some("cur".into()),
            number: 1,
            owner: Owner::Ours,
            template: Value::Null,
            data: None,
            labels: [("app".into(), "d".into())].into(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    Ours,
    Other,
    None,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackoffCase {
    pub node: String,
    pub delay: i64,
    pub ago: i64,
    #[serde(default = "one")]
    pub generation: i64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UnseenCase {
    /// Pod uid → node.
    pub creates: BTreeMap<String, String>,
    /// Pod uids.
    pub deletes: Vec<String>,
    /// Seconds since they were written.
    pub ago: i64,
    /// The word with which the server has refused to create pods since.
    pub refused: Option<String>,
}

fn one() -> i64 {
    1
}

/// Noon.
pub fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

/// A case as typed objects.
pub struct World {
    pub daemon_set: DaemonSet,
    pub raw: Value,
    pub nodes: Vec<Node>,
    pub pods: Vec<Pod>,
    pub revisions: Vec<ControllerRevision>,
    pub backoff: Backoff,
    pub unseen: Unseen,
}

impl World {
    pub fn of(case: &Case) -> Self {
        let raw = merged(ordinary(), &case.daemon_set);
        let ordinary_history = vec![RevisionCase::default()];
        let revisions = case.revisions.as_ref().unwrap_or(&ordinary_history);
        let entries = case.backoff.iter().map(|entry| {
            let delay = SignedDuration::from_secs(entry.delay);
            let entry_of = backoff::Failure { generation: entry.generation, delay, last: ago(entry.ago) };
            (entry.node.clone(), entry_of)
        });
        let mut backoff = Backoff::default();
        backoff.apply(entries, ago(i64::from(i32::MAX)));
        let mut unseen = Unseen::default();
        let UnseenCase { creates, deletes, ago: since, refused } = &case.unseen;
        creates.iter().for_each(|(uid, node)| unseen.created(node, uid, ago(*since)));
        deletes.iter().for_each(|uid| unseen.deleted(uid, ago(*since)));
        if let Some(reason) = refused {
            unseen.refused(reason, ago(*since));
            unseen.refused(reason, ago(1));
        }
        Self {
            daemon_set: typed(raw.clone()),
            nodes: case.nodes.iter().map(node).collect(),
            pods: case.pods.iter().map(pod).collect(),
            revisions: revisions.iter().map(|revision| revision_of(revision, &raw)).collect(),
            raw,
            backoff,
            unseen,
        }
    }

    #[allow(dead_code, reason = "histories plan with their own time")]
    pub fn plan(&self) -> Plan {
        daemonset::plan(&self.snapshot(), now())
    }

    /// The same with every list turned round.
    #[allow(dead_code, reason = "histories plan with their own time")]
    pub fn plan_reversed(&self) -> Plan {
        let mut seen = self.snapshot();
        seen.nodes.reverse();
        seen.pods.reverse();
        seen.revisions.reverse();
        daemonset::plan(&seen, now())
    }

    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            daemon_set: &self.daemon_set,
            raw: &self.raw,
            nodes: self.nodes.iter().collect(),
            pods: self.pods.iter().collect(),
            revisions: self.revisions.iter().collect(),
            backoff: &self.backoff,
            unseen: &self.unseen,
        }
    }
}

pub fn ordinary() -> Value {
    json!({
        "metadata": {
            "name": "d", "namespace": "ns", "uid": "d-uid", "generation": 1,
            "creationTimestamp": ago(3600),
            "annotations": {"deprecated.daemonset.template.generation": "1"},
        },
        "spec": {
            "selector": {"matchLabels": {"app": "d"}},
            "revisionHistoryLimit": 10,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            "template": {
                "metadata": {"labels": {"app": "d"}},
                "spec": {"containers": [{"name": "c", "image": "img:1", "resources": {}}]},
            },
        },
    })
}

/// A node from its name, or from `{name, labels, taints: ["key=value:Effect"], unschedulable, ready: "Unknown", status}`.
pub fn node(case: &Value) -> Node {
    let name = case.as_str().unwrap_or_else(|| case["name"].as_str().expect("a node has a name"));
    let taints = case["taints"].as_array().into_iter().flatten().map(|text| {
        let (key, effect) =
            text.as_str().and_then(|text| text.split_once(':')).expect("a taint is key=value:Effect");
        let (key, value) = key.split_once('=').unwrap_or((key, ""));
        json!({"key": key, "value": value, "effect": effect})
    });
    let taints: Vec<Value> = taints.collect();
    let status = match case["ready"].as_str() {
        Some(ready) => json!({"conditions": [{"type": "Ready", "status": ready}]}),
        None => case["status"].clone(),
    };
    typed(json!({
        "metadata": {"name": name, "labels": case["labels"]},
        "spec": {"taints": taints, "unschedulable": case["unschedulable"]},
        "status": status,
    }))
}

pub fn pod(case: &PodCase) -> Pod {
    let mut labels = case.labels.clone();
    labels.extend(case.hash.iter().map(|hash| ("controller-revision-hash".to_string(), hash.clone())));
    labels.extend(case.generation.iter().map(|g| ("pod-template-generation".to_string(), g.clone())));
    let affinity = case.pinned.as_ref().map(|node| {
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}}})
    });
    let ready = if case.ready { "True" } else { "False" };
    typed(json!({
        "metadata": {
            "name": case.name, "namespace": case.namespace, "uid": format!("{}-uid", case.name), "labels": labels,
            "creationTimestamp": ago(case.age),
            "deletionTimestamp": case.ending.then(|| ago(1)),
            "ownerReferences": owners(case.owner),
        },
        "spec": {"containers": [], "nodeName": case.node, "affinity": affinity},
        "status": {
            "phase": case.phase,
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": ago(case.ready_for)}],
        },
    }))
}

fn revision_of(case: &RevisionCase, daemon_set: &Value) -> ControllerRevision {
    let template = merged(daemon_set["spec"]["template"].clone(), &case.template);
    let data = case.data.clone().unwrap_or_else(|| revision::data(&template));
    let mut labels = case.labels.clone();
    labels.extend(case.hash.iter().map(|hash| ("controller-revision-hash".to_string(), hash.clone())));
    let name = case.name.clone().unwrap_or_else(|| format!("d-{}", case.hash.as_deref().unwrap_or("bare")));
    typed(json!({
        "metadata": {
            "name": name, "namespace": "ns", "uid": format!("{name}-uid"), "labels": labels,
            "ownerReferences": owners(case.owner),
        },
        "data": data,
        "revision": case.number,
    }))
}

fn owners(owner: Owner) -> Value {
    let uid = match owner {
        Owner::Ours => "d-uid",
        Owner::Other => "other-uid",
        Owner::None => return Value::Null,
    };
    json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": uid, "controller": true}])
}

pub fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object of its kind")
}

/// JSON merge patch.
pub fn merged(mut base: Value, patch: &Value) -> Value {
    match (&mut base, patch) {
        (_, Value::Null) => base,
        (Value::Object(fields), Value::Object(changes)) => {
            for (key, change) in changes {
                match change {
                    Value::Null => drop(fields.remove(key)),
                    change => {
                        let old = fields.remove(key).unwrap_or(Value::Null);
                        fields.insert(key.clone(), merged(old, change));
                    }
                }
            }
            base
        }
        (_, patch) => patch.clone(),
    }
}
