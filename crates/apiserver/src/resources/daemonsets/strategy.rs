//! How a DaemonSet replaces its pods: defaults and rules of `spec.updateStrategy` (AP-4…AP-7, AP-30…AP-33).
//!
//! Exactly one of `maxUnavailable` and `maxSurge` is above zero. With `OnDelete` nobody looks at `rollingUpdate`.
//! Kubernetes: `apis/apps/validation.ValidateRollingUpdateDaemonSet`.

use crate::error::FieldError;
use crate::resources::fields::{fill_absent, fill_zero, inner_or_new, is_set, text};
use serde_json::{Value, json};

/// Fills in the strategy; each bound on its own (AP-6).
pub fn default(spec: &mut Value) {
    let Some(strategy) = inner_or_new(spec, "updateStrategy") else { return };
    fill_zero(strategy, "type", "RollingUpdate");
    if text(strategy, "type") != "RollingUpdate" {
        return;
    }
    fill_absent(strategy, "rollingUpdate", json!({}));
    if let Some(rolling) = inner_or_new(strategy, "rollingUpdate") {
        fill_absent(rolling, "maxUnavailable", 1);
        fill_absent(rolling, "maxSurge", 0);
    }
}

/// Every broken rule of the strategy.
pub fn validate(errors: &mut Vec<FieldError>, strategy: &Value, path: &str) {
    match text(strategy, "type") {
        "OnDelete" => {}
        "RollingUpdate" if is_set(strategy, "rollingUpdate") => {
            validate_rolling(errors, &strategy["rollingUpdate"], &format!("{path}.rollingUpdate"));
        }
        "RollingUpdate" => errors.push(FieldError::required(format!("{path}.rollingUpdate"), "")),
        _ => errors.push(FieldError::not_supported(path, strategy.clone(), &["RollingUpdate", "OnDelete"])),
    }
}

fn validate_rolling(errors: &mut Vec<FieldError>, rolling: &Value, path: &str) {
    let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    let (unavailable_path, surge_path) = (format!("{path}.maxUnavailable"), format!("{path}.maxSurge"));
    check_positive(errors, unavailable, &unavailable_path);
    check_positive(errors, surge, &surge_path);
    check_at_most_all(errors, unavailable, &unavailable_path);
    check_at_most_all(errors, surge, &surge_path);
    match (amount(unavailable) != 0, amount(surge) != 0) {
        (true, true) => {
            let detail = "may not be set when maxUnavailable is non-zero";
            errors.push(FieldError::invalid(surge_path, surge.clone(), detail));
        }
        (false, false) => {
            errors.push(FieldError::required(unavailable_path, "cannot be 0 when maxSurge is 0"));
        }
        _ => {}
    }
}

/// A whole number not below zero, or a percentage up to 100%.
pub fn check_int_or_percent(errors: &mut Vec<FieldError>, value: &Value, path: &str) {
    check_positive(errors, value, path);
    check_at_most_all(errors, value, path);
}

fn check_positive(errors: &mut Vec<FieldError>, value: &Value, path: &str) {
    const NOT_PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  \
         or '93%', regex used for validation is '[0-9]+%')";
    match value {
        Value::String(text) if percent(text).is_none() => {
            errors.push(FieldError::invalid(path, text.as_str(), NOT_PERCENT));
        }
        Value::Number(number) if number.as_i64().is_some_and(|number| number < 0) => {
            errors.push(FieldError::invalid(path, value.clone(), "must be greater than or equal to 0"));
        }
        _ => {}
    }
}

fn check_at_most_all(errors: &mut Vec<FieldError>, value: &Value, path: &str) {
    if value.as_str().and_then(percent).is_some_and(|percent| percent > 100) {
        errors.push(FieldError::invalid(path, value.clone(), "must not be greater than 100%"));
    }
}

/// The number before the percent sign; more digits than fit are very many.
fn percent(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('%')?;
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Whether it is zero or not is all that matters; text that is no percentage reads as a number, or as zero.
fn amount(value: &Value) -> u64 {
    match value {
        Value::String(text) => percent(text).or_else(|| text.parse().ok()).unwrap_or_default(),
        value => value.as_i64().map_or(0, i64::unsigned_abs),
    }
}
