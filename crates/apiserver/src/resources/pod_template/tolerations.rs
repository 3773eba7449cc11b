//! Are these tolerations something that a taint can meet? (AP-42.)
//!
//! Kubernetes: `core/validation.ValidateTolerations`.

use crate::error::FieldError;
use crate::resources::fields::{int, text};
use crate::resources::labels::check_key;
use objects::name;
use serde_json::Value;

/// What a taint does, in Kubernetes' order.
const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Every broken rule of a list of tolerations.
pub fn validate(errors: &mut Vec<FieldError>, tolerations: &[Value], path: &str) {
    for (index, toleration) in tolerations.iter().enumerate() {
        validate_one(errors, toleration, &format!("{path}[{index}]"));
    }
}

fn validate_one(errors: &mut Vec<FieldError>, toleration: &Value, path: &str) {
    let (key, operator) = (text(toleration, "key"), text(toleration, "operator"));
    let (value, effect) = (text(toleration, "value"), text(toleration, "effect"));
    if !key.is_empty() {
        check_key(errors, &format!("{path}.key"), key);
    }
    if key.is_empty() && operator != "Exists" {
        let detail =
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(FieldError::invalid(format!("{path}.operator"), operator, detail));
    }
    if int(toleration, "tolerationSeconds").is_some() && effect != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.push(FieldError::invalid(format!("{path}.effect"), effect, detail));
    }
    // Kubernetes reports a bad value at the operator.
    let field = format!("{path}.operator");
    match operator {
        "" | "Equal" => {
            if let Err(texts) = name::label_value(value) {
                errors.push(FieldError::invalid(field, value, texts.join(";")));
            }
        }
        "Exists" if !value.is_empty() => {
            errors.push(FieldError::invalid(field, value, "value must be empty when `operator` is 'Exists'"));
        }
        "Exists" => {}
        other => errors.push(FieldError::not_supported(field, other, &["Equal", "Exists"])),
    }
    if !effect.is_empty() {
        check_effect(errors, &format!("{path}.effect"), effect);
    }
}

/// The effect of a taint.
pub fn check_effect(errors: &mut Vec<FieldError>, path: &str, effect: &str) {
    match effect {
        "" => errors.push(FieldError::required(path, "")),
        effect if EFFECTS.contains(&effect) => {}
        other => errors.push(FieldError::not_supported(path, other, EFFECTS)),
    }
}
