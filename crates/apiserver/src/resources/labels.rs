//! Are these labels, is this a label selector? The rules behind every labels map and selector inside a spec.
//!
//! Texts are Kubernetes' (AP-25). The grammar of one key or value is [`objects::name`]'s business.
//! Kubernetes: `apimachinery/pkg/apis/meta/v1/validation/validation.go`.

use super::fields::{check, entries, items, text};
use crate::error::FieldError;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use objects::name;
use objects::selector::Selector;
use serde_json::Value;
use std::collections::BTreeMap;

/// Every key and value of the map at `object[field]`.
pub fn validate(errors: &mut Vec<FieldError>, object: &Value, field: &str, path: &str) {
    for (key, value) in entries(object, field) {
        check_key(errors, path, key);
        check_value(errors, path, value.as_str().unwrap_or_default());
    }
}

/// Every key of an annotations map.
pub fn validate_annotations(errors: &mut Vec<FieldError>, object: &Value, path: &str) {
    for (key, _) in entries(object, "annotations") {
        // Kubernetes compares keys without regard to case here.
        check(errors, path, key, name::qualified_name(&key.to_ascii_lowercase()));
    }
}

/// One label key.
pub fn check_key(errors: &mut Vec<FieldError>, path: &str, key: &str) {
    check(errors, path, key, name::qualified_name(key));
}

/// One label value.
pub fn check_value(errors: &mut Vec<FieldError>, path: &str, value: &str) {
    check(errors, path, value, name::label_value(value));
}

/// Whether values of `matchExpressions` are looked at: a selector that already was wrong may stay so (AP-25).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// They must be label values.
    Checked,
    /// They may be anything.
    Tolerated,
}

/// A `metav1.LabelSelector`; null is fine.
pub fn validate_selector(errors: &mut Vec<FieldError>, selector: &Value, path: &str, values: Values) {
    validate(errors, selector, "matchLabels", &format!("{path}.matchLabels"));
    for (index, requirement) in items(selector, "matchExpressions").iter().enumerate() {
        validate_requirement(errors, requirement, &format!("{path}.matchExpressions[{index}]"), values);
    }
}

fn validate_requirement(errors: &mut Vec<FieldError>, requirement: &Value, path: &str, values: Values) {
    let given = items(requirement, "values");
    match text(requirement, "operator") {
        "In" | "NotIn" if given.is_empty() => errors.push(FieldError::required(
            format!("{path}.values"),
            "must be specified when `operator` is 'In' or 'NotIn'",
        )),
        "In" | "NotIn" => {}
        "Exists" | "DoesNotExist" if !given.is_empty() => errors.push(FieldError::forbidden(
            format!("{path}.values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        "Exists" | "DoesNotExist" => {}
        other => errors.push(FieldError::invalid(
            format!("{path}.operator"),
            other,
            "not a valid selector operator",
        )),
    }
    check_key(errors, &format!("{path}.key"), text(requirement, "key"));
    if values == Values::Checked {
        for (index, value) in given.iter().enumerate() {
            check_value(errors, &format!("{path}.values[{index}]"), value.as_str().unwrap_or_default());
        }
    }
}

/// Whether a selector has a bad value already, so that an update may keep it.
pub fn has_bad_values(selector: &Value) -> bool {
    items(selector, "matchExpressions")
        .iter()
        .flat_map(|requirement| items(requirement, "values"))
        .any(|value| name::label_value(value.as_str().unwrap_or_default()).is_err())
}

/// The selector as a value that matches; `None` when it is absent or broken: that matches nothing.
pub fn parse_selector(selector: &Value) -> Option<Selector> {
    let selector: LabelSelector = serde_json::from_value(selector.clone()).ok()?;
    Selector::from_label_selector(&selector).ok()
}

/// A labels map as a value.
pub fn map(object: &Value, field: &str) -> BTreeMap<String, String> {
    entries(object, field)
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_string(), value.as_str()?.to_string())))
        .collect()
}
