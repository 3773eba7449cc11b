//! How is an object to be deleted? The options of a DELETE, from its body or its query and never from both (wire 2.6.1).
//!
//! Pure. Kubernetes: `apis/meta/v1/validation.ValidateDeleteOptions`.

use crate::error::{ApiError, FieldError};
use crate::options::{Query, dry_run_errors, number};
use serde_json::Value;

/// How dependents go (2.6.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// The request says nothing; existing finalizers decide.
    Unsaid,
    /// The owner first.
    Background,
    /// The dependents first.
    Foreground,
    /// The dependents stay.
    Orphan,
}

/// Options of a delete, from the body or the query and never from both (2.6.1).
#[derive(Debug, Clone, PartialEq)]
pub struct DeleteOptions {
    /// Everything but the delete.
    pub dry_run: bool,
    /// Seconds of grace; only pods know it.
    pub grace: Option<i64>,
    /// What happens to dependents.
    pub propagation: Propagation,
    /// Only this object.
    pub uid: Option<String>,
    /// Only this state of it.
    pub resource_version: Option<String>,
}

impl DeleteOptions {
    /// Reads them from a decoded body.
    pub fn from_body(body: &Value) -> Result<Self, ApiError> {
        let dry_run = body["dryRun"].as_array().map(Vec::as_slice).unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_string);
        Self::checked(
            &dry_run.iter().filter_map(Value::as_str).collect::<Vec<_>>(),
            body["gracePeriodSeconds"].as_i64(),
            body["propagationPolicy"].as_str().unwrap_or_default(),
            body["orphanDependents"].as_bool(),
            (text(&body["preconditions"]["uid"]), text(&body["preconditions"]["resourceVersion"])),
        )
    }

    /// Reads them from the query.
    pub fn from_query(query: &Query) -> Result<Self, ApiError> {
        let orphan = query.has("orphanDependents").then(|| query.flag("orphanDependents"));
        let dry_run: Vec<&str> = query.all("dryRun").filter(|v| !v.is_empty()).collect();
        let grace = number(query, "gracePeriodSeconds")?;
        Self::checked(&dry_run, grace, query.get("propagationPolicy"), orphan, (None, None))
    }

    fn checked(
        dry_run: &[&str],
        grace: Option<i64>,
        policy: &str,
        orphan: Option<bool>,
        (uid, resource_version): (Option<String>, Option<String>),
    ) -> Result<Self, ApiError> {
        let mut errors = Vec::new();
        errors.extend(dry_run_errors(dry_run));
        let propagation = match (policy, orphan) {
            ("", None) => Propagation::Unsaid,
            ("", Some(true)) => Propagation::Orphan,
            ("", Some(false)) | ("Background", None) => Propagation::Background,
            ("Foreground", None) => Propagation::Foreground,
            ("Orphan", None) => Propagation::Orphan,
            (_, Some(_)) => {
                errors.push(FieldError::invalid(
                    "propagationPolicy",
                    policy,
                    "orphanDependents and deletionPropagation cannot be both set",
                ));
                Propagation::Unsaid
            }
            (other, None) => {
                let supported = ["Background", "Foreground", "Orphan"];
                errors.push(FieldError::not_supported("propagationPolicy", other, &supported));
                Propagation::Unsaid
            }
        };
        if !errors.is_empty() {
            return Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", &errors));
        }
        // A negative period means one second (2.6.3).
        let grace = grace.map(|seconds| if seconds < 0 { 1 } else { seconds });
        Ok(Self { dry_run: !dry_run.is_empty(), grace, propagation, uid, resource_version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delete_options_come_from_one_place_and_are_checked() {
        let from = |body: Value| DeleteOptions::from_body(&body);
        let options =
            from(serde_json::json!({"propagationPolicy": "Foreground", "gracePeriodSeconds": -3})).unwrap();
        assert_eq!((options.propagation, options.grace), (Propagation::Foreground, Some(1)));
        assert!(from(serde_json::json!({"propagationPolicy": "x"})).is_err());
        assert!(from(serde_json::json!({"propagationPolicy": "Orphan", "orphanDependents": true})).is_err());
    }
}
