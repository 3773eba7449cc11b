//! Can this affinity be evaluated? Terms about nodes and about other pods (AP-43, EL-11…EL-13).
//!
//! An empty *term* is legal and matches nothing; a required block without terms is an error. Values of preferred node
//! terms are not looked at. Kubernetes: `core/validation.validateAffinity`.

use crate::error::FieldError;
use crate::resources::fields::{check_label_name, check_subdomain, int, is_set, items, text, texts};
use crate::resources::labels::{Values, check_key, check_value, validate_selector};
use serde_json::Value;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const NOT_AN_OPERATOR: &str = "not a valid selector operator";

/// Every broken rule of `affinity`.
pub fn validate(errors: &mut Vec<FieldError>, affinity: &Value, path: &str) {
    validate_nodes(errors, &affinity["nodeAffinity"], &format!("{path}.nodeAffinity"));
    for kind in ["podAffinity", "podAntiAffinity"] {
        validate_pods(errors, &affinity[kind], &format!("{path}.{kind}"));
    }
}

fn validate_nodes(errors: &mut Vec<FieldError>, affinity: &Value, path: &str) {
    if is_set(affinity, REQUIRED) {
        let terms = items(&affinity[REQUIRED], "nodeSelectorTerms");
        let path = format!("{path}.{REQUIRED}.nodeSelectorTerms");
        if terms.is_empty() {
            errors.push(FieldError::required(path.as_str(), "must have at least one node selector term"));
        }
        for (index, term) in terms.iter().enumerate() {
            validate_node_term(errors, term, Values::Checked, &format!("{path}[{index}]"));
        }
    }
    for (index, term) in items(affinity, PREFERRED).iter().enumerate() {
        let path = format!("{path}.{PREFERRED}[{index}]");
        check_weight(errors, term, &path);
        validate_node_term(errors, &term["preference"], Values::Tolerated, &format!("{path}.preference"));
    }
}

fn check_weight(errors: &mut Vec<FieldError>, term: &Value, path: &str) {
    let weight = int(term, "weight").unwrap_or_default();
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(format!("{path}.weight"), weight, "must be in the range 1-100"));
    }
}

fn validate_node_term(errors: &mut Vec<FieldError>, term: &Value, values: Values, path: &str) {
    for (index, requirement) in items(term, "matchExpressions").iter().enumerate() {
        validate_expression(errors, requirement, values, &format!("{path}.matchExpressions[{index}]"));
    }
    for (index, requirement) in items(term, "matchFields").iter().enumerate() {
        validate_field(errors, requirement, &format!("{path}.matchFields[{index}]"));
    }
}

fn validate_expression(errors: &mut Vec<FieldError>, requirement: &Value, values: Values, path: &str) {
    let given = texts(requirement, "values");
    let field = format!("{path}.values");
    match text(requirement, "operator") {
        "In" | "NotIn" if given.is_empty() => {
            errors.push(FieldError::required(field, "must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !given.is_empty() => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(field, detail));
        }
        "Gt" | "Lt" if given.len() != 1 => {
            let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.push(FieldError::required(field, detail));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.push(FieldError::invalid(format!("{path}.operator"), other, NOT_AN_OPERATOR)),
    }
    check_key(errors, &format!("{path}.key"), text(requirement, "key"));
    if values == Values::Checked {
        for (index, value) in given.into_iter().enumerate() {
            check_value(errors, &format!("{path}.values[{index}]"), value);
        }
    }
}

/// EL-13: only the name of a node, and only one.
fn validate_field(errors: &mut Vec<FieldError>, requirement: &Value, path: &str) {
    let given = texts(requirement, "values");
    match text(requirement, "operator") {
        "In" | "NotIn" if given.len() == 1 => {}
        "In" | "NotIn" => errors.push(FieldError::required(
            format!("{path}.values"),
            "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
        )),
        other => errors.push(FieldError::invalid(format!("{path}.operator"), other, NOT_AN_OPERATOR)),
    }
    match text(requirement, "key") {
        "metadata.name" => {
            for (index, value) in given.into_iter().enumerate() {
                check_subdomain(errors, &format!("{path}.values[{index}]"), value);
            }
        }
        other => {
            errors.push(FieldError::invalid(format!("{path}.key"), other, "not a valid field selector key"));
        }
    }
}

fn validate_pods(errors: &mut Vec<FieldError>, affinity: &Value, path: &str) {
    for (index, term) in items(affinity, REQUIRED).iter().enumerate() {
        validate_pod_term(errors, term, &format!("{path}.{REQUIRED}[{index}]"));
    }
    for (index, term) in items(affinity, PREFERRED).iter().enumerate() {
        let path = format!("{path}.{PREFERRED}[{index}]");
        check_weight(errors, term, &path);
        validate_pod_term(errors, &term["podAffinityTerm"], &format!("{path}.podAffinityTerm"));
    }
}

fn validate_pod_term(errors: &mut Vec<FieldError>, term: &Value, path: &str) {
    for selector in ["labelSelector", "namespaceSelector"] {
        validate_selector(errors, &term[selector], &format!("{path}.{selector}"), Values::Checked);
    }
    for namespace in texts(term, "namespaces") {
        check_label_name(errors, &format!("{path}.namespace"), namespace);
    }
    for keys in ["matchLabelKeys", "mismatchLabelKeys"] {
        validate_keys(errors, term, keys, path);
    }
    let topology = text(term, "topologyKey");
    if topology.is_empty() {
        errors.push(FieldError::required(format!("{path}.topologyKey"), "can not be empty"));
    }
    check_key(errors, &format!("{path}.topologyKey"), topology);
}

fn validate_keys(errors: &mut Vec<FieldError>, term: &Value, list: &str, path: &str) {
    let keys = texts(term, list);
    if !keys.is_empty() && !is_set(term, "labelSelector") {
        let detail = "must not be specified when labelSelector is not set";
        return errors.push(FieldError::forbidden(format!("{path}.{list}"), detail));
    }
    let others = texts(term, "mismatchLabelKeys");
    for (index, key) in keys.into_iter().enumerate() {
        let path = format!("{path}.{list}[{index}]");
        check_key(errors, &path, key);
        if list == "matchLabelKeys" && others.contains(&key) {
            let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
            errors.push(FieldError::invalid(path, key, detail));
        }
    }
}
