//! Nodes: machines that run pods. A node registers itself with its status, so create keeps it.
//!
//! The main resource keeps status from then on; `/status` keeps spec. The provider and the address range of pods, once
//! given, never change. Kubernetes: `registry/core/node/strategy.go`, `core/validation.ValidateNode*`.

use super::cells::{self, AGE, NAME, NONE, UNKNOWN, column, or, wide};
use super::fields::{entries, flag, items, keep, text, texts};
use super::{Column, Kind, ORDINARY, Row, Rules, Subresource, status_of};
use crate::encode::parts::{self, Parts, Parts::All, Parts::Only};
use crate::error::FieldError;
use crate::resources::labels::{check_key, check_value};
use crate::resources::pod_template::amounts;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

/// The kind.
pub const KIND: Kind = Kind {
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    namespaced: false,
    subresources: &[
        Subresource {
            name: "proxy",
            group: "",
            version: "",
            kind: "NodeProxyOptions",
            // What an agent offers can only be read.
            verbs: &["get"],
        },
        status_of("Node"),
    ],
    rules: super::Rulebook::Fixed(&Nodes),
    ..ORDINARY
};

struct Nodes;

impl Rules for Nodes {
    fn prepare_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "status");
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        keep(new, old, "spec");
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate_taints(&mut errors, &object["spec"]);
        validate_amounts(&mut errors, object);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(new);
        let (was, is) = (text(&old["spec"], "providerID"), text(&new["spec"], "providerID"));
        if !was.is_empty() && was != is {
            errors.push(FieldError::forbidden(
                "spec.providerID",
                "node updates may not change providerID except from \"\" to valid",
            ));
        }
        let (was, is) = (texts(&old["spec"], "podCIDRs"), texts(&new["spec"], "podCIDRs"));
        if !was.is_empty() && was != is {
            errors.push(FieldError::forbidden(
                "spec.podCIDRs",
                "node updates may not change podCIDR except from \"\" to valid",
            ));
        }
        errors
    }

    fn validate_status(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate_amounts(&mut errors, new);
        errors
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn field(&self, object: &Value, _path: &str) -> String {
        flag(&object["spec"], "unschedulable").to_string()
    }

    fn indexed(&self) -> &'static Parts {
        &Only(&[("metadata", parts::KEPT), ("spec", Only(&[("unschedulable", All)]))])
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        let info = &object["status"]["nodeInfo"];
        cells::row(vec![
            cells::name(object),
            status(object).into(),
            roles(object).into(),
            cells::age(object, now),
            text(info, "kubeletVersion").into(),
            address(object, "InternalIP").into(),
            address(object, "ExternalIP").into(),
            or(text(info, "osImage"), UNKNOWN).into(),
            or(text(info, "kernelVersion"), UNKNOWN).into(),
            or(text(info, "containerRuntimeVersion"), UNKNOWN).into(),
        ])
    }
}

const COLUMNS: &[Column] = &[
    NAME,
    column("Status", "The status of the node."),
    column("Roles", "The roles of the node."),
    AGE,
    column("Version", "The version that the node's agent reports."),
    wide("Internal-IP", "The first address within the cluster."),
    wide("External-IP", "The first address from outside."),
    wide("OS-Image", "The operating system that the node reports."),
    wide("Kernel-Version", "The kernel version that the node reports."),
    wide("Container-Runtime", "The container runtime that the node reports."),
];

fn validate_taints(errors: &mut Vec<FieldError>, spec: &Value) {
    let mut seen = BTreeSet::new();
    for (index, taint) in items(spec, "taints").iter().enumerate() {
        let path = format!("spec.taints[{index}]");
        let (key, value, effect) = (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
        check_key(errors, &format!("{path}.key"), key);
        check_value(errors, &format!("{path}.value"), value);
        super::pod_template::tolerations::check_effect(errors, &format!("{path}.effect"), effect);
        if !seen.insert((key, effect)) {
            let mut error = FieldError::duplicate(path, taint.clone());
            error.detail = "taints must be unique by key and effect pair".to_string();
            errors.push(error);
        }
    }
}

fn validate_amounts(errors: &mut Vec<FieldError>, object: &Value) {
    for map in ["capacity", "allocatable"] {
        amounts::validate_map(errors, &object["status"], map, &format!("status.{map}"));
    }
}

/// 5.3.1.
fn status(object: &Value) -> String {
    let ready = items(&object["status"], "conditions").iter().find(|c| text(c, "type") == "Ready");
    let word = match ready.map(|condition| text(condition, "status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let suffix = if flag(&object["spec"], "unschedulable") { ",SchedulingDisabled" } else { "" };
    format!("{word}{suffix}")
}

/// 5.3.2.
fn roles(object: &Value) -> String {
    let mut roles = BTreeSet::new();
    for (key, value) in entries(&object["metadata"], "labels") {
        match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => roles.insert(role),
            None if key == "kubernetes.io/role" => roles.insert(value.as_str().unwrap_or_default()),
            None => false,
        };
    }
    roles.remove("");
    let roles: Vec<&str> = roles.into_iter().collect();
    or(&roles.join(","), NONE).to_string()
}

fn address<'a>(object: &'a Value, kind: &str) -> &'a str {
    let addresses = items(&object["status"], "addresses");
    addresses
        .iter()
        .find(|address| text(address, "type") == kind)
        .map_or(NONE, |found| text(found, "address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_show_what_the_node_reports() {
        let check = |object: Value, index: usize, expected: &str| {
            let cells = Nodes.row(&object, Timestamp::UNIX_EPOCH).cells;
            assert_eq!(cells.get(index), Some(&json!(expected)), "{object}");
        };
        let ready = |status: &str| json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
        check(ready("True"), 1, "Ready");
        check(ready("False"), 1, "NotReady");
        check(ready("Unknown"), 1, "NotReady");
        check(json!({}), 1, "Unknown");
        let mut cordoned = ready("True");
        cordoned["spec"] = json!({"unschedulable": true});
        check(cordoned, 1, "Ready,SchedulingDisabled");
        let labels = json!({"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "worker",
            "node-role.kubernetes.io/edge": "x", "node-role.kubernetes.io/": "y"});
        check(json!({"metadata": {"labels": labels}}), 2, "control-plane,edge,worker");
        check(json!({}), 2, "<none>");
        check(json!({}), 5, "<none>");
        check(
            json!({"status": {"addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.0.0.1"}]}}),
            5,
            "10.0.0.1",
        );
        check(json!({}), 9, "<unknown>");
        check(json!({"status": {"nodeInfo": {"kubeletVersion": "v1.33.0"}}}), 4, "v1.33.0");
    }

    #[test]
    fn taints_are_unique_by_key_and_effect() {
        let taint = |key: &str, effect: &str| json!({"key": key, "effect": effect});
        let check = |taints: Value, expected: &[&str]| {
            let errors = Nodes.validate_create(&json!({"spec": {"taints": taints}}));
            let fields: Vec<&str> = errors.iter().map(|e| e.field.as_str()).collect();
            assert_eq!(fields, expected);
        };
        check(json!([taint("a", "NoSchedule"), taint("a", "NoExecute")]), &[]);
        check(json!([taint("a", "NoSchedule"), taint("a", "NoSchedule")]), &["spec.taints[1]"]);
        check(json!([taint("a", "Never")]), &["spec.taints[0].effect"]);
        check(json!([taint("a", "")]), &["spec.taints[0].effect"]);
        check(json!([taint("a b", "NoExecute")]), &["spec.taints[0].key"]);
    }

    #[test]
    fn registration_keeps_status_and_later_writes_do_not() {
        let mut new = json!({"status": {"capacity": {"cpu": "4"}}});
        Nodes.prepare_create(&mut new);
        assert_eq!(new["status"]["capacity"]["cpu"], "4");
        Nodes.prepare_update(&mut new, &json!({"status": {"capacity": {"cpu": "2"}}}));
        assert_eq!(new["status"]["capacity"]["cpu"], "2");
    }

    #[test]
    fn the_provider_and_pod_range_are_given_once() {
        let node =
            |provider: &str, range: Value| json!({"spec": {"providerID": provider, "podCIDRs": range}});
        assert_eq!(Nodes.validate_update(&node("a", json!(["10.0.0.0/24"])), &node("", json!([]))), []);
        let errors = Nodes.validate_update(&node("b", json!([])), &node("a", json!(["10.0.0.0/24"])));
        let fields: Vec<&str> = errors.iter().map(|e| e.field.as_str()).collect();
        assert_eq!(fields, ["spec.providerID", "spec.podCIDRs"]);
    }
}
