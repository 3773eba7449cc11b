//! PodDisruptionBudgets: how many pods of a set may be away at once when somebody evicts politely.
//!
//! Exactly one of `minAvailable` and `maxUnavailable`; the spec may change, with a new generation each time. A loop counts
//! the status, an eviction spends it ([`crate::verbs::eviction`]). Kubernetes: `apis/policy/validation`, `registry/policy/poddisruptionbudget`.

use super::cells::{self, AGE, NAME, column, integer};
use super::daemonsets::strategy::check_int_or_percent;
use super::fields::{check_not_negative, check_optional_one_of, is_set, keep, raise_generation, set};
use super::labels::{Values, validate_selector};
use super::{Column, Kind, ORDINARY, PLAIN, Row, Rules, Traits, status_of};
use crate::error::FieldError;
use crate::verbs::same::same;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The kind.
pub const KIND: Kind = Kind {
    group: "policy",
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    short_names: &["pdb"],
    subresources: &[status_of("PodDisruptionBudget")],
    traits: Traits { has_generation: true, unconditional_update: false, ..PLAIN },
    rules: super::Rulebook::Fixed(&Budgets),
    ..ORDINARY
};

struct Budgets;

impl Rules for Budgets {
    fn prepare_create(&self, object: &mut Value) {
        set(object, "status", empty_status());
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "status");
        if !same(&new["spec"], &old["spec"]) {
            raise_generation(new, old);
        }
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        keep(new, old, "spec");
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let spec = &object["spec"];
        let mut errors = Vec::new();
        if is_set(spec, "minAvailable") && is_set(spec, "maxUnavailable") {
            let detail = "minAvailable and maxUnavailable cannot be both set";
            errors.push(FieldError::invalid("spec", spec.clone(), detail));
        }
        for field in ["minAvailable", "maxUnavailable"].into_iter().filter(|field| is_set(spec, field)) {
            check_int_or_percent(&mut errors, &spec[field], &format!("spec.{field}"));
        }
        validate_selector(&mut errors, &spec["selector"], "spec.selector", Values::Checked);
        let policies = &["AlwaysAllow", "IfHealthyBudget"];
        let path = "spec.unhealthyPodEvictionPolicy";
        check_optional_one_of(&mut errors, path, &spec["unhealthyPodEvictionPolicy"], policies);
        errors
    }

    fn validate_status(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for field in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
            check_not_negative(&mut errors, &new["status"], field, &format!("status.{field}"));
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            column("Min Available", "The minimum number of pods that must be available."),
            column("Max Unavailable", "The maximum number of pods that may be unavailable."),
            integer("Allowed Disruptions", "How many evictions are allowed now."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        let bound = |field: &str| match &object["spec"][field] {
            Value::Null => Value::from("N/A"),
            Value::String(text) => text.as_str().into(),
            number => number.to_string().into(),
        };
        cells::row(vec![
            cells::name(object),
            bound("minAvailable"),
            bound("maxUnavailable"),
            cells::count(&object["status"], "disruptionsAllowed"),
            cells::age(object, now),
        ])
    }
}

fn empty_status() -> Value {
    json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bound_and_not_two() {
        let check = |spec: Value, expected: &[&str]| {
            let errors = Budgets.validate_create(&json!({"spec": spec}));
            let fields: Vec<&str> = errors.iter().map(|e| e.field.as_str()).collect();
            assert_eq!(fields, expected);
        };
        check(json!({"minAvailable": 1, "selector": {}}), &[]);
        check(json!({"minAvailable": 1, "maxUnavailable": 1}), &["spec"]);
        check(json!({"maxUnavailable": "101%"}), &["spec.maxUnavailable"]);
        check(json!({"maxUnavailable": -1}), &["spec.maxUnavailable"]);
    }

    #[test]
    fn a_row_shows_what_is_unset_as_not_applicable() {
        let object = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": "50%"},
            "status": {"disruptionsAllowed": 2}});
        let row = Budgets.row(&object, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::Array(row.cells), json!(["b", "50%", "N/A", 2, "<unknown>"]));
    }
}
