//! ResourceQuotas: how much a namespace may hold. [`crate::admission`] charges them, the loop `quotas` counts.
//!
//! Kubernetes: `registry/core/resourcequota`, `core/validation.ValidateResourceQuota`.

use super::cells::{self, AGE, NAME, column};
use super::fields::{entries, keep, remove, texts};
use super::{Column, Kind, ORDINARY, PLAIN, Row, Rules, Traits, status_of};
use crate::error::FieldError;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

/// The kind.
pub const KIND: Kind = Kind {
    kind: "ResourceQuota",
    plural: "resourcequotas",
    singular: "resourcequota",
    short_names: &["quota"],
    subresources: &[status_of("ResourceQuota")],
    traits: Traits { delete_returns_object: true, ..PLAIN },
    rules: super::Rulebook::Fixed(&ResourceQuotas),
    ..ORDINARY
};

struct ResourceQuotas;

impl Rules for ResourceQuotas {
    fn prepare_create(&self, object: &mut Value) {
        remove(object, "status");
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "status");
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        keep(new, old, "spec");
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let scopes = |quota: &Value| -> BTreeSet<String> {
            texts(&quota["spec"], "scopes").into_iter().map(String::from).collect()
        };
        if scopes(new) == scopes(old) {
            return Vec::new();
        }
        vec![FieldError::invalid("spec.scopes", new["spec"]["scopes"].clone(), "field is immutable")]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            AGE,
            column("Request", "What is used of the requests and counts that are bounded."),
            column("Limit", "What is used of the limits that are bounded."),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (resource, hard) in entries(&object["status"], "hard") {
            let used = object["status"]["used"][resource].as_str().unwrap_or("0");
            let text = format!("{resource}: {used}/{}", hard.as_str().unwrap_or_default());
            if resource.starts_with("limits.") { limits.push(text) } else { requests.push(text) }
        }
        let (requests, limits) = (requests.join(", "), limits.join(", "));
        cells::row(vec![cells::name(object), cells::age(object, now), requests.into(), limits.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_shows_used_of_hard_sorted_by_resource() {
        let object = json!({"metadata": {"name": "rq"}, "status": {
            "hard": {"pods": "10", "limits.cpu": "2", "configmaps": "1"}, "used": {"pods": "3", "limits.cpu": "500m"}}});
        let row = ResourceQuotas.row(&object, Timestamp::UNIX_EPOCH);
        let expected = json!(["rq", "<unknown>", "configmaps: 0/1, pods: 3/10", "limits.cpu: 500m/2"]);
        assert_eq!(Value::Array(row.cells), expected);
    }
}
