//! CustomResourceDefinitions: kinds that users bring (wire 2.11).
//!
//! Defaults, what a writer may not set, and the rules of a definition; those of its schemas stand in `structural`.
//! Conversion by webhook is refused, and rules in the Common Expression Language are told to be not evaluated.
//! Kubernetes: `apiextensions-apiserver/pkg/registry/customresourcedefinition`, `apis/apiextensions/validation`.

mod rules;

use super::cells::{self, NAME};
use super::fields::{fill_absent, fill_zero, inner_or_new, items, keep, set, text};
use super::{Column, Kind, ORDINARY, PLAIN, Row, Rules, Traits, Verbatim, status_of};
use crate::custom::naming;
use crate::error::FieldError;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The kind.
pub const KIND: Kind = Kind {
    group: "apiextensions.k8s.io",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    singular: "customresourcedefinition",
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    namespaced: false,
    subresources: &[status_of("CustomResourceDefinition")],
    traits: Traits {
        has_generation: true,
        unconditional_update: false,
        verbatim: Verbatim::Field("spec"),
        ..PLAIN
    },
    rules: super::Rulebook::Fixed(&Definitions),
    ..ORDINARY
};

const COLUMNS: &[Column] =
    &[NAME, Column { kind: "date", ..cells::column("Created At", "When the definition was created.") }];

struct Definitions;

impl Rules for Definitions {
    fn default(&self, object: &mut Value) {
        if let Some(names) = inner_or_new(object, "spec").and_then(|spec| inner_or_new(spec, "names")) {
            let kind = text(names, "kind").to_string();
            fill_zero(names, "singular", kind.to_lowercase());
            if !kind.is_empty() {
                fill_zero(names, "listKind", format!("{kind}List"));
            }
        }
        if let Some(spec) = inner_or_new(object, "spec") {
            fill_absent(spec, "conversion", json!({"strategy": "None"}));
        }
        remember_storage(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        set(object, "status", json!({"acceptedNames": {"kind": "", "plural": ""}}));
        remember_storage(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "status");
        remember_storage(new);
        if new["spec"] != old["spec"] {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or_default();
            crate::verbs::metadata::set(new, "generation", generation.saturating_add(1).into());
        }
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        keep(new, old, "spec");
        for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
            let kept = old["metadata"][field].clone();
            crate::verbs::metadata::set(new, field, kept);
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        rules::check(object, None)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        rules::check(new, Some(old))
    }

    /// Differs: Kubernetes takes any text for a stored version, and then refuses every later write of the definition.
    fn validate_status(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        rules::check_stored_versions(new)
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let versions = items(&new["spec"], "versions").iter().enumerate();
        let before = |name: &str| {
            let old = old.map(|old| items(&old["spec"], "versions")).unwrap_or_default();
            old.iter().find(|version| text(version, "name") == name)
        };
        let new = versions.filter(|(_, version)| before(text(version, "name")) != Some(version));
        new.filter(|(_, version)| structural::has_expressions(&version["schema"]["openAPIV3Schema"]))
            .map(|(index, _)| {
                format!(
                    "spec.versions[{index}].schema.openAPIV3Schema: x-kubernetes-validations are kept, but Everynode \
                     does not evaluate them"
                )
            })
            .collect()
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn row(&self, object: &Value, _now: Timestamp) -> Row {
        cells::unprinted(object)
    }
}

fn remember_storage(object: &mut Value) {
    let stored = naming::stored_versions(&object["spec"], &object["status"]);
    if let Some(status) = inner_or_new(object, "status") {
        set(status, "storedVersions", json!(stored));
    }
}
