//! Leases: who holds what, renewed as a sign of life by every node.
//!
//! Updates must name the version that they saw: a lease that is overwritten blindly protects nothing (2.2.3).
//! Kubernetes: `registry/coordination/lease`, `coordination/validation`.

use super::cells::{self, AGE, NAME, column};
use super::fields::{int, text};
use super::{Column, Kind, ORDINARY, PLAIN, Row, Rules, Traits};
use crate::error::FieldError;
use jiff::Timestamp;
use serde_json::Value;

/// The kind.
pub const KIND: Kind = Kind {
    group: "coordination.k8s.io",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    traits: Traits { create_on_update: true, unconditional_update: false, ..PLAIN },
    rules: super::Rulebook::Fixed(&Leases),
    ..ORDINARY
};

struct Leases;

impl Rules for Leases {
    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let spec = &object["spec"];
        let mut errors = Vec::new();
        if let Some(seconds) = int(spec, "leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
            errors.push(FieldError::invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"));
        }
        if let Some(count) = int(spec, "leaseTransitions").filter(|count| *count < 0) {
            let detail = "must be greater than or equal to 0";
            errors.push(FieldError::invalid("spec.leaseTransitions", count, detail));
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[NAME, column("Holder", "The identity of the holder of the lease."), AGE];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        let holder = text(&object["spec"], "holderIdentity").into();
        cells::row(vec![cells::name(object), holder, cells::age(object, now)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_positive() {
        let errors =
            Leases.validate_create(&json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}}));
        assert_eq!(
            errors,
            [
                FieldError::invalid("spec.leaseDurationSeconds", 0, "must be greater than 0"),
                FieldError::invalid("spec.leaseTransitions", -1, "must be greater than or equal to 0"),
            ]
        );
        assert_eq!(Leases.validate_create(&json!({"spec": {"leaseDurationSeconds": 40}})), []);
    }
}
