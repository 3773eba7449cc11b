//! Namespaces: born with their name as a label and the finalizer `kubernetes`, gone when their content is gone.
//!
//! Deletion only marks: phase Terminating, until somebody empties `spec.finalizers` through `/finalize` (2.6.9); that
//! is the verbs' part. Kubernetes: `registry/core/namespace/strategy.go`, `core/validation.ValidateNamespace*`.

use super::cells::{self, AGE, NAME, column};
use super::fields::{inner_or_new, items, keep, set, text};
use super::{ALL_VERBS, Column, Kind, NameRule, ORDINARY, PLAIN, Row, Rules, Subresource, Traits, status_of};
use crate::error::FieldError;
use crate::pod_security;
use jiff::Timestamp;
use objects::name;
use serde_json::{Value, json};

/// The kind.
pub const KIND: Kind = Kind {
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    namespaced: false,
    verbs: WITHOUT_DELETE_COLLECTION,
    subresources: &[
        Subresource { name: "finalize", group: "", version: "", kind: "Namespace", verbs: &["update"] },
        status_of("Namespace"),
    ],
    traits: Traits { delete_returns_object: true, name_rule: NameRule::Label, ..PLAIN },
    rules: super::Rulebook::Fixed(&Namespaces),
    ..ORDINARY
};

/// Namespaces are never deleted in bulk (2.6.8).
const WITHOUT_DELETE_COLLECTION: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const _: () = assert!(WITHOUT_DELETE_COLLECTION.len() + 1 == ALL_VERBS.len());

/// The finalizer that every namespace starts with.
pub const FINALIZER: &str = "kubernetes";
/// The label that carries the name.
pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";

struct Namespaces;

impl Rules for Namespaces {
    fn default(&self, object: &mut Value) {
        label_with_name(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        // The name may have been generated after defaulting.
        label_with_name(object);
        set(object, "status", json!({"phase": "Active"}));
        let Some(spec) = inner_or_new(object, "spec") else { return };
        let mut finalizers = items(spec, "finalizers").to_vec();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            finalizers.push(FINALIZER.into());
        }
        set(spec, "finalizers", finalizers);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        if let Some(spec) = inner_or_new(new, "spec") {
            keep(spec, &old["spec"], "finalizers");
        }
        keep(new, old, "status");
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        keep(new, old, "spec");
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = pod_security::validate(object);
        for finalizer in items(&object["spec"], "finalizers") {
            let finalizer = finalizer.as_str().unwrap_or_default();
            for text in name::finalizer(finalizer).err().unwrap_or_default() {
                errors.push(FieldError::invalid("spec.finalizers", finalizer, text));
            }
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let before = pod_security::validate(old);
        pod_security::validate(new).into_iter().filter(|error| !before.contains(error)).collect()
    }

    fn validate_status(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let phase = text(&new["status"], "phase");
        let (expected, when) = match new["metadata"]["deletionTimestamp"].is_null() {
            true => ("Active", "empty"),
            false => ("Terminating", "not empty"),
        };
        if phase == expected {
            return Vec::new();
        }
        let detail = format!("may only be '{expected}' if `deletionTimestamp` is {when}");
        vec![FieldError::invalid("status.Phase", phase, detail)]
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.phase"]
    }

    fn field(&self, object: &Value, _path: &str) -> String {
        text(&object["status"], "phase").to_string()
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[NAME, column("Status", "The status of the namespace."), AGE];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        let phase = text(&object["status"], "phase").into();
        cells::row(vec![cells::name(object), phase, cells::age(object, now)])
    }
}

fn label_with_name(object: &mut Value) {
    let name = text(&object["metadata"], "name").to_string();
    if !name.is_empty()
        && let Some(metadata) = inner_or_new(object, "metadata")
        && let Some(labels) = inner_or_new(metadata, "labels")
    {
        set(labels, NAME_LABEL, name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_namespace_is_active_and_carries_its_name() {
        let mut object = json!({"metadata": {"name": "a"}, "status": {"phase": "Nonsense"}});
        Namespaces.default(&mut object);
        Namespaces.prepare_create(&mut object);
        let expected = json!({"metadata": {"name": "a", "labels": {NAME_LABEL: "a"}},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        assert_eq!(object, expected);
        let again = object.clone();
        Namespaces.prepare_create(&mut object);
        assert_eq!(object, again);
    }

    #[test]
    fn an_update_brings_the_label_back_and_leaves_finalizers_alone() {
        let old = json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"}});
        let mut new =
            json!({"metadata": {"name": "a"}, "spec": {"finalizers": []}, "status": {"phase": "x"}});
        Namespaces.default(&mut new);
        Namespaces.prepare_update(&mut new, &old);
        assert_eq!(new["metadata"]["labels"][NAME_LABEL], "a");
        assert_eq!((&new["spec"], &new["status"]), (&old["spec"], &old["status"]));
    }

    #[test]
    fn the_phase_follows_the_deletion_timestamp() {
        let check = |object: Value, detail: Option<&str>| {
            let errors = Namespaces.validate_status(&object, &json!({}));
            assert_eq!(errors.first().map(|e| e.detail.as_str()), detail, "{object}");
        };
        check(json!({"status": {"phase": "Active"}}), None);
        check(
            json!({"status": {"phase": "Terminating"}}),
            Some("may only be 'Active' if `deletionTimestamp` is empty"),
        );
        check(json!({"metadata": {"deletionTimestamp": "t"}, "status": {"phase": "Terminating"}}), None);
        check(
            json!({"metadata": {"deletionTimestamp": "t"}, "status": {"phase": "Active"}}),
            Some("may only be 'Terminating' if `deletionTimestamp` is not empty"),
        );
    }

    #[test]
    fn finalizers_are_standard_or_qualified() {
        let errors =
            Namespaces.validate_create(&json!({"spec": {"finalizers": ["kubernetes", "a/b", "mine"]}}));
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].value, "mine");
    }
}
