//! Which change of a pod is allowed? Images, a deadline that shrinks, tolerations that are added, gates that open.
//!
//! Everything else of the spec is frozen (2.4.7): the two specs must be equal once the allowed fields are set aside.
//! Kubernetes: `core/validation.ValidatePodUpdate`.
//! Differs: node selectors of gated pods are frozen too; the text shows no Go diff behind its first line.

use super::MIRROR;
use crate::error::FieldError;
use crate::resources::fields::{int, items, items_mut, keep, remove, text};
use crate::resources::pod_template::tolerations;
use crate::verbs::same::same;
use serde_json::Value;

const FROZEN: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
/// The list of a debugger's containers has an endpoint of its own.
const LISTS: &[&str] = &["containers", "initContainers"];

/// Every broken rule of a change.
pub fn validate(errors: &mut Vec<FieldError>, new: &Value, old: &Value) {
    validate_mirror(errors, new, old);
    let (new, old) = (&new["spec"], &old["spec"]);
    for list in LISTS {
        if items(new, list).len() != items(old, list).len() {
            let detail = "pod updates may not add or remove containers";
            return errors.push(FieldError::forbidden(format!("spec.{list}"), detail));
        }
    }
    validate_deadline(errors, new, old);
    validate_tolerations(errors, new, old);
    validate_gates(errors, new, old);
    if !same(&set_aside(new, old), old) {
        errors.push(FieldError::forbidden("spec", FROZEN));
    }
}

/// Containers to debug are only added. Differs: no Go diff behind "may not be changed".
pub fn validate_debuggers(errors: &mut Vec<FieldError>, new: &Value, old: &Value) {
    const LIST: &str = "ephemeralContainers";
    for before in items(old, LIST) {
        let name = text(before, "name");
        let detail = match items(new, LIST).iter().find(|container| text(container, "name") == name) {
            Some(after) if same(after, before) => continue,
            Some(_) => format!("existing ephemeral containers {name:?} may not be changed\n"),
            None => format!("existing ephemeral containers {name:?} may not be removed\n"),
        };
        errors.push(FieldError::forbidden(format!("spec.{LIST}"), detail));
    }
}

/// A pod is a mirror for its whole life, or never. Kubernetes: `ValidatePodSpecificAnnotationUpdates`.
fn validate_mirror(errors: &mut Vec<FieldError>, new: &Value, old: &Value) {
    let mirror = |pod: &Value| pod["metadata"]["annotations"][MIRROR].as_str().map(str::to_string);
    let detail = match (mirror(old), mirror(new)) {
        (before, after) if before == after => return,
        (Some(_), _) => "may not remove or update mirror pod annotation",
        (None, _) => "may not add mirror pod annotation",
    };
    errors.push(FieldError::forbidden(format!("metadata.annotations[{MIRROR}]"), detail));
}

fn validate_deadline(errors: &mut Vec<FieldError>, new: &Value, old: &Value) {
    const FIELD: &str = "activeDeadlineSeconds";
    let path = format!("spec.{FIELD}");
    match (int(new, FIELD), int(old, FIELD)) {
        (Some(after), Some(before)) if after > before => {
            errors.push(FieldError::invalid(path, after, "must be less than or equal to previous value"));
        }
        (None, Some(_)) => {
            let detail = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(path, Value::Null, detail));
        }
        _ => {}
    }
}

fn validate_tolerations(errors: &mut Vec<FieldError>, new: &Value, old: &Value) {
    let after = items(new, "tolerations");
    let timeless = |toleration: &Value| {
        let mut toleration = toleration.clone();
        remove(&mut toleration, "tolerationSeconds");
        toleration
    };
    let stays = |before: &Value| after.iter().any(|toleration| timeless(toleration) == timeless(before));
    if items(old, "tolerations").iter().all(stays) {
        return tolerations::validate(errors, after, "spec.tolerations");
    }
    let detail = "existing toleration can not be modified except its tolerationSeconds";
    errors.push(FieldError::forbidden("spec.tolerations", detail));
}

fn validate_gates(errors: &mut Vec<FieldError>, new: &Value, old: &Value) {
    let before = items(old, "schedulingGates");
    for (index, gate) in items(new, "schedulingGates").iter().enumerate() {
        let name = text(gate, "name");
        if !before.iter().any(|gate| text(gate, "name") == name) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.push(FieldError::forbidden(format!("spec.schedulingGates[{index}].name"), detail));
        }
    }
}

/// The new spec with the old values of every field that may change.
fn set_aside(new: &Value, old: &Value) -> Value {
    let mut spec = new.clone();
    for list in LISTS {
        for (container, before) in items_mut(&mut spec, list).zip(items(old, list)) {
            keep(container, before, "image");
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        keep(&mut spec, old, field);
    }
    let grace = "terminationGracePeriodSeconds";
    if int(old, grace).is_some_and(|seconds| seconds < 0) && int(&spec, grace) == Some(1) {
        keep(&mut spec, old, grace);
    }
    spec
}
