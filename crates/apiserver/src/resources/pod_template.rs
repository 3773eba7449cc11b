//! What is a valid pod, and what does it mean when fields are left out? For pods and for templates of pods.
//!
//! One file per question below. Errors come in Kubernetes' order with Kubernetes' paths and texts (AP-40…AP-45); the
//! few rules that hold for pods only are told apart by [`Place`]. Nothing here panics, whatever the shape of the JSON.
//! Kubernetes: `apis/core/validation.ValidatePodSpec`, `apis/core/v1/defaults.go`.
//! Differs: Windows options, resource claims and the drivers of foreign storage are stored, not checked.

pub mod affinity;
pub mod amounts;
pub mod containers;
pub mod defaults;
pub mod dns;
pub mod env;
pub mod mounts;
pub mod ports;
pub mod probes;
pub mod projected;
pub mod security;
pub mod spread;
pub mod tolerations;
pub mod volumes;
pub mod warnings;

#[cfg(test)]
mod tests;

pub use defaults::default_template;

use super::fields::{
    check_label_name, check_one_of, check_optional_one_of, check_subdomain, flag, int, is_set, items, text,
};
use super::labels;
use crate::error::FieldError;
use serde_json::Value;

/// Whose pod spec it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A pod.
    Pod,
    /// A template that pods are made from.
    Template,
}

/// A pod spec, where it stands, and whose it is.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The spec.
    pub spec: &'a Value,
    /// Its path: `spec` or `spec.template.spec`.
    pub path: &'a str,
    /// Whose it is.
    pub place: Place,
}

/// Every broken rule of a template.
pub fn validate_template(errors: &mut Vec<FieldError>, template: &Value, path: &str) {
    // Kubernetes leaves `metadata` out of these two paths.
    labels::validate(errors, &template["metadata"], "labels", &format!("{path}.labels"));
    labels::validate_annotations(errors, &template["metadata"], &format!("{path}.annotations"));
    let spec = format!("{path}.spec");
    validate_spec(errors, Subject { spec: &template["spec"], path: &spec, place: Place::Template });
    if !items(&template["spec"], "ephemeralContainers").is_empty() {
        let detail = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(format!("{spec}.ephemeralContainers"), detail));
    }
}

/// Every broken rule of a pod spec.
pub fn validate_spec(errors: &mut Vec<FieldError>, subject: Subject<'_>) {
    const RESTART: &[&str] = &["Always", "OnFailure", "Never"];
    let Subject { spec, path, .. } = subject;
    if !is_set(spec, "terminationGracePeriodSeconds") {
        errors.push(FieldError::required(format!("{path}.terminationGracePeriodSeconds"), ""));
    }
    let volumes = volumes::validate(errors, spec, path);
    containers::validate(errors, subject, &volumes);
    ports::validate_host_network(errors, subject);
    check_one_of(errors, &format!("{path}.restartPolicy"), &spec["restartPolicy"], RESTART);
    dns::validate_policy(errors, spec, path);
    labels::validate(errors, spec, "nodeSelector", &format!("{path}.nodeSelector"));
    security::validate_pod(errors, spec, path);
    affinity::validate(errors, &spec["affinity"], &format!("{path}.affinity"));
    dns::validate_config(errors, spec, path);
    validate_gates(errors, spec, path);
    spread::validate(errors, spec, path);
    security::validate_host_users(errors, spec, path);
    validate_names(errors, spec, path);
    validate_deadline(errors, spec, path);
    validate_host_names(errors, spec, path);
    tolerations::validate(errors, items(spec, "tolerations"), &format!("{path}.tolerations"));
    dns::validate_host_aliases(errors, spec, path);
    validate_classes(errors, spec, path);
    amounts::validate_overhead(errors, spec, "overhead", &format!("{path}.overhead"));
    security::validate_os(errors, spec, path);
}

fn validate_gates(errors: &mut Vec<FieldError>, spec: &Value, path: &str) {
    for (index, gate) in items(spec, "readinessGates").iter().enumerate() {
        let path = format!("{path}.readinessGates[{index}].conditionType");
        labels::check_key(errors, &path, text(gate, "conditionType"));
    }
    let gates = items(spec, "schedulingGates");
    for (index, gate) in gates.iter().enumerate() {
        let path = format!("{path}.schedulingGates[{index}]");
        let name = text(gate, "name");
        labels::check_key(errors, &path, name);
        if gates.iter().take(index).any(|earlier| text(earlier, "name") == name) {
            errors.push(FieldError::duplicate(path, name));
        }
    }
}

fn validate_names(errors: &mut Vec<FieldError>, spec: &Value, path: &str) {
    for field in ["serviceAccountName", "nodeName"] {
        let name = text(spec, field);
        if !name.is_empty() {
            check_subdomain(errors, &format!("{path}.{field}"), name);
        }
    }
}

fn validate_deadline(errors: &mut Vec<FieldError>, spec: &Value, path: &str) {
    let range = 1..=i64::from(i32::MAX);
    if let Some(seconds) = int(spec, "activeDeadlineSeconds").filter(|seconds| !range.contains(seconds)) {
        let detail = "must be between 1 and 2147483647, inclusive";
        errors.push(FieldError::invalid(format!("{path}.activeDeadlineSeconds"), seconds, detail));
    }
}

fn validate_host_names(errors: &mut Vec<FieldError>, spec: &Value, path: &str) {
    for field in ["hostname", "subdomain"] {
        let name = text(spec, field);
        if !name.is_empty() {
            check_label_name(errors, &format!("{path}.{field}"), name);
        }
    }
}

fn validate_classes(errors: &mut Vec<FieldError>, spec: &Value, path: &str) {
    const POLICIES: &[&str] = &["PreemptLowerPriority", "Never"];
    let priority = text(spec, "priorityClassName");
    if !priority.is_empty() {
        check_subdomain(errors, &format!("{path}.priorityClassName"), priority);
    }
    if is_set(spec, "runtimeClassName") {
        check_subdomain(errors, &format!("{path}.runtimeClassName"), text(spec, "runtimeClassName"));
    }
    check_optional_one_of(errors, &format!("{path}.preemptionPolicy"), &spec["preemptionPolicy"], POLICIES);
}

/// Whether the pod shares the network of its node.
pub fn uses_host_network(spec: &Value) -> bool {
    flag(spec, "hostNetwork")
}
