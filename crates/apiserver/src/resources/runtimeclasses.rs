//! RuntimeClasses: names for the handlers of the nodes' container runtimes, with what such a pod costs and where it can run.
//!
//! The handler never changes, because pods run by it. What a pod takes over from its class: `admission/runtime_class`.
//! Kubernetes: `apis/node/validation`, `registry/node/runtimeclass/strategy.go`.

use super::cells::{self, AGE, NAME, column};
use super::fields::{check, check_immutable, items, text};
use super::{Column, Kind, ORDINARY, PLAIN, Row, Rules, Traits};
use crate::error::FieldError;
use crate::resources::labels;
use crate::resources::pod_template::{amounts, tolerations};
use jiff::Timestamp;
use serde_json::Value;

/// The kind.
pub const KIND: Kind = Kind {
    group: "node.k8s.io",
    kind: "RuntimeClass",
    plural: "runtimeclasses",
    singular: "runtimeclass",
    namespaced: false,
    traits: Traits { unconditional_update: false, ..PLAIN },
    rules: super::Rulebook::Fixed(&RuntimeClasses),
    ..ORDINARY
};

struct RuntimeClasses;

impl Rules for RuntimeClasses {
    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let handler = text(object, "handler");
        check(&mut errors, "handler", handler, objects::name::dns1123_label(handler));
        amounts::validate_overhead(&mut errors, &object["overhead"], "podFixed", "overhead");
        let scheduling = &object["scheduling"];
        labels::validate(&mut errors, scheduling, "nodeSelector", "scheduling.nodeSelector");
        validate_tolerations(&mut errors, items(scheduling, "tolerations"));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        check_immutable(&mut errors, &new["handler"], &old["handler"], "handler");
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[NAME, column("Handler", "What the nodes' runtimes call it."), AGE];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        cells::row(vec![cells::name(object), text(object, "handler").into(), cells::age(object, now)])
    }
}

fn validate_tolerations(errors: &mut Vec<FieldError>, list: &[Value]) {
    const PATH: &str = "scheduling.tolerations";
    tolerations::validate(errors, list, PATH);
    for (index, toleration) in list.iter().enumerate() {
        if list.iter().take(index).any(|other| other == toleration) {
            errors.push(FieldError::duplicate(format!("{PATH}[{index}]"), toleration.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn broken_rules_are_named_by_their_fields() {
        let check = |object: Value, expected: &[&str]| {
            let errors = RuntimeClasses.validate_create(&object);
            let fields: Vec<&str> = errors.iter().map(|e| e.field.as_str()).collect();
            assert_eq!(fields, expected, "{object}");
        };
        check(json!({"handler": "runc"}), &[]);
        check(json!({}), &["handler"]);
        check(json!({"handler": "a.b"}), &["handler"]);
        check(
            json!({"handler": "a", "overhead": {"podFixed": {"cpu": "10m", "memory": "-1"}}}),
            &["overhead.limits[memory]"],
        );
        let exists = json!({"operator": "Exists"});
        check(
            json!({"handler": "a", "scheduling": {"nodeSelector": {"-": "b"}, "tolerations": [exists, exists, {"operator": "Odd"}]}}),
            &[
                "scheduling.nodeSelector",
                "scheduling.tolerations[2].operator",
                "scheduling.tolerations[2].operator",
                "scheduling.tolerations[1]",
            ],
        );
    }

    #[test]
    fn the_handler_is_for_ever() {
        let errors = RuntimeClasses.validate_update(&json!({"handler": "a"}), &json!({"handler": "b"}));
        assert_eq!(errors, [FieldError::invalid("handler", "a", "field is immutable")]);
    }

    #[test]
    fn cells_show_the_handler() {
        let row = RuntimeClasses
            .row(&json!({"metadata": {"name": "gvisor"}, "handler": "runsc"}), Timestamp::UNIX_EPOCH);
        assert_eq!(row.cells, [json!("gvisor"), json!("runsc"), json!("<unknown>")]);
    }
}
