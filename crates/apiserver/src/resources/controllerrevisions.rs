//! ControllerRevisions: snapshots of a template, numbered. Their data is kept to the letter (RV-7, 2.10.8).
//!
//! Data is somebody else's JSON: it must be there and can never change, and nothing looks inside.
//! Kubernetes: `apis/apps/validation.ValidateControllerRevision*`.

use super::cells::{self, AGE, NAME, NONE, column};
use super::fields::{check_not_negative, flag, int, items, text};
use super::{Column, Kind, ORDINARY, PLAIN, Row, Rules, Traits, Verbatim};
use crate::error::FieldError;
use jiff::Timestamp;
use serde_json::Value;

/// The kind.
pub const KIND: Kind = Kind {
    group: "apps",
    kind: "ControllerRevision",
    plural: "controllerrevisions",
    singular: "controllerrevision",
    traits: Traits { verbatim: Verbatim::Field("data"), ..PLAIN },
    rules: super::Rulebook::Fixed(&ControllerRevisions),
    ..ORDINARY
};

struct ControllerRevisions;

impl Rules for ControllerRevisions {
    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if object["data"].is_null() {
            errors.push(FieldError::required("data", "data is mandatory"));
        }
        check_not_negative(&mut errors, object, "revision", "revision");
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(new);
        // Not semantic: a null inside is part of the bytes.
        if new["data"] != old["data"] {
            errors.push(FieldError::invalid("data", new["data"].clone(), "field is immutable"));
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            column("Controller", "Controller of the object."),
            column("Revision", "Revision indicates the revision of the state represented by Data."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        let revision = int(object, "revision").unwrap_or_default().into();
        cells::row(vec![cells::name(object), controller(object).into(), revision, cells::age(object, now)])
    }
}

/// `daemonset.apps/x` for the owner that controls it.
fn controller(object: &Value) -> String {
    let Some(owner) = items(&object["metadata"], "ownerReferences").iter().find(|o| flag(o, "controller"))
    else {
        return NONE.to_string();
    };
    let kind = text(owner, "kind").to_ascii_lowercase();
    let name = text(owner, "name");
    match text(owner, "apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn data_is_mandatory_and_frozen_and_the_revision_is_free() {
        // RV-3, RV-4, RV-7, TE-44.
        let revision = |data: Value, number: i64| json!({"data": data, "revision": number});
        let old = revision(json!({"spec": {"template": {"metadata": {"creationTimestamp": null}}}}), 1);
        assert_eq!(ControllerRevisions.validate_create(&old), []);
        assert_eq!(
            ControllerRevisions.validate_create(&json!({"revision": -1})),
            [
                FieldError::required("data", "data is mandatory"),
                FieldError::invalid("revision", -1, "must be greater than or equal to 0"),
            ]
        );
        let later = revision(old["data"].clone(), 2);
        assert_eq!(ControllerRevisions.validate_update(&later, &old), []);
        let other = revision(json!({"spec": {"template": {"metadata": {}}}}), 1);
        assert_eq!(
            ControllerRevisions.validate_update(&other, &old),
            [FieldError::invalid("data", other["data"].clone(), "field is immutable",)]
        );
    }

    #[test]
    fn a_row_names_the_controller() {
        // RV-8.
        let owner = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "x", "controller": true});
        let object = json!({"metadata": {"name": "x-1", "ownerReferences": [owner]}, "revision": 3});
        let row = ControllerRevisions.row(&object, Timestamp::UNIX_EPOCH);
        assert_eq!(Value::Array(row.cells), json!(["x-1", "daemonset.apps/x", 3, "<unknown>"]));
        let row = ControllerRevisions.row(&json!({"metadata": {"name": "y"}}), Timestamp::UNIX_EPOCH);
        assert_eq!(Value::Array(row.cells), json!(["y", "<none>", 0, "<unknown>"]));
    }
}
