//! Can pods be spread like this? The rules of `topologySpreadConstraints` (AP-45).
//!
//! Kubernetes: `core/validation.validateTopologySpreadConstraints`.

use crate::error::FieldError;
use crate::resources::fields::{check_optional_one_of, int, is_set, items, text, texts};
use crate::resources::labels::{Values, check_key, validate_selector};
use serde_json::Value;

const WHEN: &[&str] = &["DoNotSchedule", "ScheduleAnyway"];
const POLICIES: &[&str] = &["Honor", "Ignore"];
const NOT_POSITIVE: &str = "must be greater than zero";

/// Every broken rule.
pub fn validate(errors: &mut Vec<FieldError>, spec: &Value, path: &str) {
    let constraints = items(spec, "topologySpreadConstraints");
    for (index, constraint) in constraints.iter().enumerate() {
        let path = format!("{path}.topologySpreadConstraints[{index}]");
        let later = constraints.iter().skip(index + 1);
        validate_one(errors, constraint, &path);
        check_not_repeated(errors, constraint, later, &path);
        validate_domains(errors, constraint, &path);
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            check_optional_one_of(errors, &format!("{path}.{policy}"), &constraint[policy], POLICIES);
        }
        validate_keys(errors, constraint, &path);
        let selector = format!("{path}.labelSelector");
        validate_selector(errors, &constraint["labelSelector"], &selector, Values::Checked);
    }
}

fn validate_one(errors: &mut Vec<FieldError>, constraint: &Value, path: &str) {
    let skew = int(constraint, "maxSkew").unwrap_or_default();
    if skew <= 0 {
        errors.push(FieldError::invalid(format!("{path}.maxSkew"), skew, NOT_POSITIVE));
    }
    if text(constraint, "topologyKey").is_empty() {
        errors.push(FieldError::required(format!("{path}.topologyKey"), "can not be empty"));
    }
    let when = text(constraint, "whenUnsatisfiable");
    if !WHEN.contains(&when) {
        errors.push(FieldError::not_supported(format!("{path}.whenUnsatisfiable"), when, WHEN));
    }
}

fn check_not_repeated<'a>(
    errors: &mut Vec<FieldError>,
    constraint: &Value,
    mut later: impl Iterator<Item = &'a Value>,
    path: &str,
) {
    let (key, when) = (text(constraint, "topologyKey"), text(constraint, "whenUnsatisfiable"));
    if later.any(|other| text(other, "topologyKey") == key && text(other, "whenUnsatisfiable") == when) {
        let field = format!("{path}.{{topologyKey, whenUnsatisfiable}}");
        errors.push(FieldError::duplicate(field, format!("{{{key}, {when}}}")));
    }
}

fn validate_domains(errors: &mut Vec<FieldError>, constraint: &Value, path: &str) {
    let Some(domains) = int(constraint, "minDomains") else { return };
    let field = format!("{path}.minDomains");
    if domains <= 0 {
        errors.push(FieldError::invalid(field.as_str(), domains, NOT_POSITIVE));
    }
    let when = text(constraint, "whenUnsatisfiable");
    if when != "DoNotSchedule" {
        let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}");
        errors.push(FieldError::invalid(field, domains, detail));
    }
}

fn validate_keys(errors: &mut Vec<FieldError>, constraint: &Value, path: &str) {
    let keys = texts(constraint, "matchLabelKeys");
    if !keys.is_empty() && !is_set(constraint, "labelSelector") {
        let detail = "must not be specified when labelSelector is not set";
        errors.push(FieldError::forbidden(format!("{path}.matchLabelKeys"), detail));
    }
    let selector = &constraint["labelSelector"];
    let selected = |key: &str| {
        selector["matchLabels"].get(key).is_some()
            || items(selector, "matchExpressions").iter().any(|requirement| text(requirement, "key") == key)
    };
    for (index, key) in keys.into_iter().enumerate() {
        let path = format!("{path}.matchLabelKeys[{index}]");
        check_key(errors, &path, key);
        if selected(key) {
            errors.push(FieldError::invalid(path, key, "exists in both matchLabelKeys and labelSelector"));
        }
    }
}
