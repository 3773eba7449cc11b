//! Pods: what a new one is, what may change of it, and what its status may become.
//!
//! A new pod is Pending and knows its quality class for ever. Of its spec only images, a shrinking deadline, added
//! tolerations and lifted scheduling gates may change (2.4.7). Writes to the main resource keep status, writes to
//! `/status` keep spec and owners. Kubernetes: `registry/core/pod/strategy.go`, `core/validation.ValidatePodUpdate`.

pub mod columns;
pub mod quality;
pub mod update;

#[cfg(test)]
mod tests;

use super::cells::or;
use super::fields::{flag, is_set, items, keep, set, text};
use super::labels::check_key;
use super::pod_template::defaults::default_pod;
use super::pod_template::dns::check_ip;
use super::pod_template::{self, Place, Subject};
use super::{Column, Kind, ORDINARY, PLAIN, Row, Rules, STATUS_VERBS, Subresource, Traits, status_of};
use crate::encode::parts::{self, Parts, Parts::All, Parts::Only};
use crate::error::FieldError;
use crate::verbs::same::same;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The kind.
pub const KIND: Kind = Kind {
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    subresources: &[
        stream("attach", "PodAttachOptions"),
        Subresource { name: "binding", group: "", version: "", kind: "Binding", verbs: &["create"] },
        Subresource { name: "ephemeralcontainers", group: "", version: "", kind: "Pod", verbs: STATUS_VERBS },
        Subresource {
            name: "eviction",
            group: "policy",
            version: "v1",
            kind: "Eviction",
            verbs: &["create"],
        },
        stream("exec", "PodExecOptions"),
        Subresource { name: "log", group: "", version: "", kind: "Pod", verbs: &["get"] },
        stream("portforward", "PodPortForwardOptions"),
        status_of("Pod"),
    ],
    traits: Traits { delete_returns_object: true, graceful_delete: true, ..PLAIN },
    rules: super::Rulebook::Fixed(&Pods),
    ..ORDINARY
};

/// A subresource that turns the connection into a stream; its kind is that of the query.
const fn stream(name: &'static str, kind: &'static str) -> Subresource {
    Subresource { name, group: "", version: "", kind, verbs: &["create", "get"] }
}

/// A pod that a file on its node describes.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Every broken rule of a pod to which somebody adds containers to debug. Kubernetes: `ValidatePodEphemeralContainersUpdate`.
pub fn validate_debugging(new: &Value, old: &Value) -> Vec<FieldError> {
    if old["metadata"]["annotations"][MIRROR].is_string() {
        return vec![FieldError::forbidden("", "static pods do not support ephemeral containers")];
    }
    let mut errors = validate(new);
    update::validate_debuggers(&mut errors, &new["spec"], &old["spec"]);
    errors
}

struct Pods;

impl Rules for Pods {
    fn default(&self, object: &mut Value) {
        default_pod(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        let class = quality::class(&object["spec"]);
        let mut status = json!({"phase": "Pending", "qosClass": class});
        if !items(&object["spec"], "schedulingGates").is_empty() {
            status["conditions"] = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates"}]);
        }
        set(object, "status", status);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "status");
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        keep(new, old, "spec");
        if let Some(metadata) = new.get_mut("metadata") {
            for field in ["ownerReferences", "deletionTimestamp"] {
                keep(metadata, &old["metadata"], field);
            }
        }
        // The class is settled at create; a writer who leaves it out does not mean to take it away.
        if let Some(status) = super::fields::inner_or_new(new, "status")
            && text(status, "qosClass").is_empty()
        {
            keep(status, &old["status"], "qosClass");
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let spec = &object["spec"];
        let mut errors = validate(object);
        if !items(spec, "ephemeralContainers").is_empty() {
            errors.push(FieldError::forbidden("spec.ephemeralContainers", "cannot be set on create"));
        }
        if !text(spec, "nodeName").is_empty() && !items(spec, "schedulingGates").is_empty() {
            let detail = "cannot be set until all schedulingGates have been cleared";
            errors.push(FieldError::forbidden("spec.nodeName", detail));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validate(new);
        update::validate(&mut errors, new, old);
        errors
    }

    fn validate_status(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        validate_status(new, old)
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        match old {
            Some(old) if same(&new["spec"], &old["spec"]) => Vec::new(),
            _ => pod_template::warnings::of_spec(&new["spec"], "spec"),
        }
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ]
    }

    fn field(&self, object: &Value, path: &str) -> String {
        let addresses = items(&object["status"], "podIPs");
        let first = addresses.first().map_or("", |address| text(address, "ip"));
        match path.split_once('.') {
            Some(("spec", "hostNetwork")) => flag(&object["spec"], "hostNetwork").to_string(),
            Some(("status", "podIP")) => or(first, text(&object["status"], "podIP")).to_string(),
            Some(("status", "podIPs")) => {
                addresses.iter().map(|address| text(address, "ip")).collect::<Vec<_>>().join(",")
            }
            Some((part, field)) => text(&object[part], field).to_string(),
            None => String::new(),
        }
    }

    /// Of the containers, what they may refer to ([`crate::graph`]).
    fn indexed(&self) -> &'static Parts {
        const REFERRING: Parts = Only(&[("env", All), ("envFrom", All)]);
        const SPEC: Parts = Only(&[
            ("nodeName", All),
            ("restartPolicy", All),
            ("schedulerName", All),
            ("serviceAccountName", All),
            ("hostNetwork", All),
            ("imagePullSecrets", All),
            ("volumes", All),
            ("initContainers", REFERRING),
            ("containers", REFERRING),
            ("ephemeralContainers", REFERRING),
        ]);
        const STATUS: Parts =
            Only(&[("phase", All), ("podIP", All), ("podIPs", All), ("nominatedNodeName", All)]);
        &Only(&[("metadata", parts::KEPT), ("spec", SPEC), ("status", STATUS)])
    }

    fn columns(&self) -> &'static [Column] {
        columns::COLUMNS
    }

    fn shown(&self) -> &'static Parts {
        &columns::SHOWN
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        columns::row(object, now)
    }
}

/// What holds for every pod, new or changed.
fn validate(object: &Value) -> Vec<FieldError> {
    let spec = &object["spec"];
    let mut errors = Vec::new();
    let mirror = &object["metadata"]["annotations"][MIRROR];
    if !mirror.is_null() && text(spec, "nodeName").is_empty() {
        let path = format!("metadata.annotations[{MIRROR}]");
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(FieldError::invalid(path, mirror.clone(), detail));
    }
    pod_template::validate_spec(&mut errors, Subject { spec, path: "spec", place: Place::Pod });
    if text(spec, "serviceAccountName").is_empty() {
        forbid_tokens(&mut errors, spec);
    }
    errors
}

fn forbid_tokens(errors: &mut Vec<FieldError>, spec: &Value) {
    for (index, volume) in items(spec, "volumes").iter().enumerate() {
        for (number, source) in items(&volume["projected"], "sources").iter().enumerate() {
            if is_set(source, "serviceAccountToken") {
                let path = format!("spec.volumes[{index}].projected.sources[{number}].serviceAccountToken");
                let detail = "must not be specified when serviceAccountName is not set";
                errors.push(FieldError::forbidden(path, detail));
            }
        }
    }
}

fn validate_status(new: &Value, old: &Value) -> Vec<FieldError> {
    const SYSTEM: &[&str] = &["PodScheduled", "Ready", "Initialized"];
    let mut errors = Vec::new();
    for (index, condition) in items(&new["status"], "conditions").iter().enumerate() {
        let kind = text(condition, "type");
        if !SYSTEM.contains(&kind) {
            check_key(&mut errors, &format!("metadata.conditions[{index}].Type"), kind);
        }
    }
    let class = &new["status"]["qosClass"];
    if text(&new["status"], "qosClass") != text(&old["status"], "qosClass") {
        errors.push(FieldError::invalid("status.qosClass", class.clone(), "field is immutable"));
    }
    for (list, restart) in [
        ("containerStatuses", text(&old["spec"], "restartPolicy")),
        ("initContainerStatuses", text(&old["spec"], "restartPolicy")),
        ("ephemeralContainerStatuses", "Never"),
    ] {
        validate_transitions(&mut errors, new, old, list, restart);
    }
    for (index, address) in items(&new["status"], "podIPs").iter().enumerate() {
        check_ip(&mut errors, text(address, "ip"), &format!("status.podIPs[{index}]"));
    }
    errors
}

/// A container that has ended for good does not come back.
fn validate_transitions(errors: &mut Vec<FieldError>, new: &Value, old: &Value, list: &str, restart: &str) {
    if restart == "Always" {
        return;
    }
    for (index, before) in items(&old["status"], list).iter().enumerate() {
        let ended = &before["state"]["terminated"];
        let restarts = restart == "OnFailure" && ended["exitCode"] != 0;
        let name = text(before, "name");
        if ended.is_null() || restarts || (list == "initContainerStatuses" && is_side_car(&old["spec"], name))
        {
            continue;
        }
        let after = items(&new["status"], list).iter().find(|status| text(status, "name") == name);
        if after.is_some_and(|after| after["state"]["terminated"].is_null()) {
            let detail = "may not be transitioned to non-terminated state";
            errors.push(FieldError::forbidden(format!("status.{list}[{index}].state"), detail));
        }
    }
}

/// An init container that keeps running beside the others.
fn is_side_car(spec: &Value, name: &str) -> bool {
    items(spec, "initContainers")
        .iter()
        .any(|container| text(container, "name") == name && text(container, "restartPolicy") == "Always")
}
