//! PriorityClasses: names for priorities of pods. Their value never changes, because pods have copied it.
//!
//! Kubernetes: `apis/scheduling/validation`, `apis/scheduling/v1/defaults.go`.

use super::cells::{self, AGE, NAME, column, integer};
use super::fields::{check_immutable, check_optional_one_of, fill_absent, flag, int, text};
use super::{Column, Kind, ORDINARY, PLAIN, Row, Rules, Traits};
use crate::error::FieldError;
use jiff::Timestamp;
use serde_json::Value;

/// The kind. Its generation is 1 for ever (2.3.1).
pub const KIND: Kind = Kind {
    group: "scheduling.k8s.io",
    kind: "PriorityClass",
    plural: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    namespaced: false,
    traits: Traits { has_generation: true, ..PLAIN },
    rules: super::Rulebook::Fixed(&PriorityClasses),
    ..ORDINARY
};

/// The highest value that users may give; above are the system's own.
pub const HIGHEST_USER_VALUE: i64 = 1_000_000_000;
/// The classes that every cluster has, with their values.
pub const SYSTEM_CLASSES: &[(&str, i64)] =
    &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

struct PriorityClasses;

impl Rules for PriorityClasses {
    fn default(&self, object: &mut Value) {
        fill_absent(object, "preemptionPolicy", "PreemptLowerPriority");
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let name = text(&object["metadata"], "name");
        let value = int(object, "value").unwrap_or_default();
        if name.starts_with("system-") {
            let known = SYSTEM_CLASSES.iter().find(|(system, _)| *system == name);
            if known.is_none_or(|(_, expected)| *expected != value) {
                let detail =
                    "priority class names with 'system-' prefix are reserved for system use only. error: ";
                let why = match known {
                    None => format!("{name} is not a known system priority class"),
                    Some((_, expected)) => format!("value of {name} PriorityClass must be {expected}"),
                };
                errors.push(FieldError::forbidden("metadata.name", format!("{detail}{why}")));
            }
        } else if value > HIGHEST_USER_VALUE {
            let detail = format!("maximum allowed value of a user defined priority is {HIGHEST_USER_VALUE}");
            errors.push(FieldError::forbidden("value", detail));
        }
        let policies = &["Never", "PreemptLowerPriority"];
        check_optional_one_of(&mut errors, "preemptionPolicy", &object["preemptionPolicy"], policies);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if int(new, "value").unwrap_or_default() != int(old, "value").unwrap_or_default() {
            errors.push(FieldError::forbidden("value", "may not be changed in an update."));
        }
        let policy = "preemptionPolicy";
        check_immutable(&mut errors, &new[policy], &old[policy], policy);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            integer("Value", "The value of this priority class."),
            Column {
                kind: "boolean",
                ..column("Global-Default", "Whether pods without a class get this one.")
            },
            AGE,
            column("PreemptionPolicy", "Whether its pods may push out lower ones."),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        cells::row(vec![
            cells::name(object),
            cells::count(object, "value"),
            flag(object, "globalDefault").into(),
            cells::age(object, now),
            text(object, "preemptionPolicy").into(),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn system_names_and_high_values_are_reserved() {
        let check = |name: &str, value: i64, expected: &[&str]| {
            let errors =
                PriorityClasses.validate_create(&json!({"metadata": {"name": name}, "value": value}));
            let fields: Vec<&str> = errors.iter().map(|e| e.field.as_str()).collect();
            assert_eq!(fields, expected, "{name} {value}");
        };
        check("mine", 1_000_000_000, &[]);
        check("mine", 1_000_000_001, &["value"]);
        check("system-mine", 1, &["metadata.name"]);
        check("system-node-critical", 2_000_001_000, &[]);
        check("system-node-critical", 1, &["metadata.name"]);
    }

    #[test]
    fn the_value_is_for_ever() {
        let class =
            |value: i64| json!({"metadata": {"name": "a"}, "value": value, "preemptionPolicy": "Never"});
        assert_eq!(PriorityClasses.validate_update(&class(1), &class(1)), []);
        assert_eq!(
            PriorityClasses.validate_update(&class(2), &class(1)),
            [FieldError::forbidden("value", "may not be changed in an update.",)]
        );
    }
}
