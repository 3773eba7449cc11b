//! What a defined kind says about its objects: the doors of [`Rules`], answered by its schema.
//!
//! With a status of its own, the main resource writes everything but that, and `/status` nothing else. Everything outside
//! of the metadata counts for the generation. Kubernetes: `registry/customresource/{strategy,status_strategy}.go`.

use super::{Custom, scale};
use crate::error::{FieldError, Problem};
use crate::resources::fields::keep;
use crate::resources::{Column, Row, Rules, cells};
use jiff::Timestamp;
use serde_json::Value;
use structural::{Finding, Scope};

impl Rules for Custom {
    fn default(&self, object: &mut Value) {
        // What is too much stays undone, and is found by the validation.
        let _ = structural::fill(object, &self.schema);
    }

    fn prepare_create(&self, object: &mut Value) {
        if let Some(fields) = object.as_object_mut().filter(|_| self.has_status) {
            fields.remove("status");
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        if self.has_status {
            keep(new, old, "status");
        }
        if !same_beyond_metadata(new, old) {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or_default();
            crate::verbs::metadata::set(new, "generation", generation.saturating_add(1).into());
        }
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        let mut kept = old.clone();
        keep(&mut kept, new, "status");
        *new = kept;
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = self.is_filled(object);
        errors.extend(found(structural::check(object, None, &self.schema, Scope::Object)));
        errors.extend(self.scale.iter().flat_map(|paths| scale::errors(paths, object)));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.is_filled(new);
        errors.extend(found(structural::check(new, Some(old), &self.schema, Scope::Object)));
        errors.extend(self.scale.iter().flat_map(|paths| scale::errors(paths, new)));
        errors
    }

    fn validate_status(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let (Some(schema), Some(status)) = (self.schema.at("status"), new.get("status")) else {
            return Vec::new();
        };
        found(structural::check(status, old.get("status"), schema, Scope::Part("status")))
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        self.selectable
    }

    fn field(&self, object: &Value, path: &str) -> String {
        let found = path.split('.').try_fold(object, |value, name| value.get(name));
        match found {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Bool(flag)) => flag.to_string(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        }
    }

    fn columns(&self) -> &'static [Column] {
        &[]
    }

    fn column_definitions(&self) -> Vec<Value> {
        let name = crate::resources::column_definition(&cells::NAME);
        std::iter::once(name).chain(self.columns.iter().map(|column| column.definition())).collect()
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        let declared = self.columns.iter().map(|column| column.cell(object, now));
        cells::row(std::iter::once(cells::name(object)).chain(declared).collect())
    }
}

impl Custom {
    /// A finding when not all defaults could be filled in.
    fn is_filled(&self, object: &Value) -> Vec<FieldError> {
        match structural::fill(&mut object.clone(), &self.schema) {
            Ok(false) => Vec::new(),
            Ok(true) | Err(structural::TooMuch) => {
                vec![FieldError::forbidden(
                    "<nil>",
                    "the defaults of the schema would make the object too large",
                )]
            }
        }
    }
}

fn same_beyond_metadata(a: &Value, b: &Value) -> bool {
    let names = |value: &Value| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
    let all = [names(a), names(b)].into_iter().flatten().flatten();
    all.filter(|name| name != "metadata").all(|name| a.get(&name) == b.get(&name))
}

/// Findings as this crate tells them.
pub fn found(findings: Vec<Finding>) -> Vec<FieldError> {
    findings.into_iter().map(error).collect()
}

fn error(finding: Finding) -> FieldError {
    let Finding { field, problem, value, detail } = finding;
    let problem = match problem {
        structural::Problem::Required => Problem::Required,
        structural::Problem::Invalid => Problem::Invalid,
        structural::Problem::TypeInvalid => Problem::TypeInvalid,
        structural::Problem::NotSupported => Problem::NotSupported,
        structural::Problem::Forbidden => Problem::Forbidden,
        structural::Problem::Duplicate => Problem::Duplicate,
        structural::Problem::TooLong => Problem::TooLong,
        structural::Problem::TooMany => Problem::TooMany,
    };
    FieldError { field, problem, value, detail }
}
