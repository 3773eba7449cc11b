//! ServiceAccounts: who a pod is. There is nothing to default and nothing but the name to check.
//!
//! `serviceaccounts/token` is answered by [`crate::service_accounts::request`].
//! Kubernetes: `registry/core/serviceaccount`.

use super::cells::{self, AGE, NAME, column};
use super::fields::items;
use super::{Column, Kind, ORDINARY, PLAIN, Row, Rules, Subresource, Traits};
use jiff::Timestamp;
use serde_json::Value;

/// The kind.
pub const KIND: Kind = Kind {
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    subresources: &[Subresource {
        name: "token",
        group: "authentication.k8s.io",
        version: "v1",
        kind: "TokenRequest",
        verbs: &["create"],
    }],
    traits: Traits { delete_returns_object: true, ..PLAIN },
    rules: super::Rulebook::Fixed(&ServiceAccounts),
    ..ORDINARY
};

struct ServiceAccounts;

impl Rules for ServiceAccounts {
    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] =
            &[NAME, column("Secrets", "Number of secrets that its pods may use."), AGE];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        let secrets = items(object, "secrets").len().into();
        cells::row(vec![cells::name(object), secrets, cells::age(object, now)])
    }
}
