//! The kinds that are served: one file a kind (or family), named as in the URL.
//!
//! A [`Kind`] is data: names, verbs, subresources. Its [`Rules`] are pure functions over JSON values:
//! defaults, validation, what an update may change, what kubectl's columns show. Nothing here knows of
//! stores, requests or clients. Objects stay JSON values, so that a field that we have no opinion on survives.

pub mod access;
pub mod cells;
pub mod certificatesigningrequests;
pub mod configmaps;
pub mod controllerrevisions;
pub mod customresourcedefinitions;
pub mod daemonsets;
pub mod endpoints;
pub mod endpointslices;
pub mod events;
pub mod fields;
pub mod labels;
pub mod leases;
pub mod limitranges;
pub mod metrics;
pub mod namespaces;
pub mod nodes;
pub mod pod_template;
pub mod poddisruptionbudgets;
pub mod pods;
pub mod priorityclasses;
pub mod resourcequotas;
pub mod reviews;
pub mod runtimeclasses;
pub mod secrets;
pub mod serviceaccounts;
pub mod services;

use crate::custom::Custom;
use crate::encode::parts::{self, Parts};
use crate::error::FieldError;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::ops::Deref;
use std::sync::Arc;

/// Every served kind, in the order of discovery. What nothing here controls (Deployments, Jobs …) is not served, so
/// that `kubectl get all` never promises what nobody does.
pub static KINDS: &[Kind] = &[
    configmaps::KIND,
    endpoints::KIND,
    events::KIND,
    limitranges::KIND,
    namespaces::KIND,
    nodes::KIND,
    pods::KIND,
    resourcequotas::KIND,
    secrets::KIND,
    serviceaccounts::KIND,
    services::KIND,
    customresourcedefinitions::KIND,
    controllerrevisions::KIND,
    daemonsets::KIND,
    reviews::SELF_SUBJECT_REVIEWS,
    reviews::TOKEN_REVIEWS,
    reviews::LOCAL_SUBJECT_ACCESS_REVIEWS,
    reviews::SELF_SUBJECT_ACCESS_REVIEWS,
    reviews::SELF_SUBJECT_RULES_REVIEWS,
    reviews::SUBJECT_ACCESS_REVIEWS,
    certificatesigningrequests::KIND,
    leases::KIND,
    endpointslices::KIND,
    runtimeclasses::KIND,
    poddisruptionbudgets::KIND,
    access::CLUSTER_ROLE_BINDINGS,
    access::CLUSTER_ROLES,
    access::ROLE_BINDINGS,
    access::ROLES,
    priorityclasses::KIND,
    metrics::NODES,
    metrics::PODS,
];

/// The kind behind `/apis/<group>/<version>/…/<plural>`.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
}

/// All verbs of an ordinary resource, in the order discovery prints them (wire 1.2.5).
pub const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// Verbs of a `status`-like subresource.
pub const STATUS_VERBS: &[&str] = &["get", "patch", "update"];

/// One served kind.
pub struct Kind {
    /// API group, empty for core.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// CamelCase kind.
    pub kind: &'static str,
    /// Name in URLs.
    pub plural: &'static str,
    /// Lower-case singular for kubectl.
    pub singular: &'static str,
    /// kubectl's short names.
    pub short_names: &'static [&'static str],
    /// `all`, `api-extensions`, …
    pub categories: &'static [&'static str],
    /// False for cluster-scoped kinds.
    pub namespaced: bool,
    /// Verbs of the main resource.
    pub verbs: &'static [&'static str],
    /// `status`, `log`, `binding`, …
    pub subresources: &'static [Subresource],
    /// Where it differs from the ordinary.
    pub traits: Traits,
    /// Its rules.
    pub rules: Rulebook,
}

/// The rules of a kind: part of the program, or read from a CustomResourceDefinition.
#[derive(Clone)]
pub enum Rulebook {
    /// A kind that the program knows.
    Fixed(&'static dyn Rules),
    /// A kind that somebody has defined.
    Custom(Arc<Custom>),
}

impl Deref for Rulebook {
    type Target = dyn Rules;

    fn deref(&self) -> &Self::Target {
        match self {
            Rulebook::Fixed(rules) => *rules,
            Rulebook::Custom(custom) => custom.as_ref(),
        }
    }
}

/// A kind that is served, for as long as somebody needs it: a defined one may go while a watch still tells its end.
#[derive(Clone)]
pub enum KindRef {
    /// A kind that the program knows.
    Fixed(&'static Kind),
    /// A kind that somebody has defined.
    Custom(Arc<Kind>),
}

impl Deref for KindRef {
    type Target = Kind;

    fn deref(&self) -> &Kind {
        match self {
            KindRef::Fixed(kind) => kind,
            KindRef::Custom(kind) => kind,
        }
    }
}

impl From<&'static Kind> for KindRef {
    fn from(kind: &'static Kind) -> Self {
        KindRef::Fixed(kind)
    }
}

impl Kind {
    /// What a CustomResourceDefinition says of this kind; none for a kind that the program knows.
    pub fn custom(&self) -> Option<&Custom> {
        match &self.rules {
            Rulebook::Fixed(_) => None,
            Rulebook::Custom(custom) => Some(custom),
        }
    }
}

/// A subresource as discovery lists it.
pub struct Subresource {
    /// Last part of the URL.
    pub name: &'static str,
    /// Group of its kind; empty means the parent's.
    pub group: &'static str,
    /// Version of its kind; empty means the parent's.
    pub version: &'static str,
    /// Kind that it answers with or reads; empty means the parent's.
    pub kind: &'static str,
    /// Verbs.
    pub verbs: &'static [&'static str],
}

/// Facts about a kind that the verbs need (wire 2.2–2.6).
#[derive(Debug, Clone, Copy)]
pub struct Traits {
    /// `metadata.generation` is kept: 1 at create, +1 on a semantic change of `spec` (2.3.1).
    pub has_generation: bool,
    /// PUT of a missing name creates it (2.2.4).
    pub create_on_update: bool,
    /// PUT without resourceVersion is allowed (2.2.3).
    pub unconditional_update: bool,
    /// An immediate DELETE answers with the object instead of a Status (2.6.2).
    pub delete_returns_object: bool,
    /// Deletion is graceful: `terminationGracePeriodSeconds` (2.6.6). Pods only.
    pub graceful_delete: bool,
    /// Which rule `metadata.name` obeys (2.1.10).
    pub name_rule: NameRule,
    /// Objects vanish this many seconds after their last write (Events: 3600).
    pub expires_seconds: Option<u32>,
    /// What of an object is kept as it was sent, with its nulls and empty lists.
    pub verbatim: Verbatim,
}

/// What is somebody else's JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbatim {
    /// Nothing: Kubernetes writes its own structs.
    Nothing,
    /// One field: `ControllerRevision.data`, the schemas in the spec of a CustomResourceDefinition.
    Field(&'static str),
    /// Everything but the metadata: custom objects.
    AllButMetadata,
}

/// Rules for `metadata.name`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// DNS-1123 subdomain, at most 253.
    Subdomain,
    /// DNS-1123 label, at most 63.
    Label,
    /// DNS-1035 label, at most 63 (Services).
    Label1035,
    /// Anything that is one path segment (RBAC).
    PathSegment,
}

/// The ordinary kind.
pub const PLAIN: Traits = Traits {
    has_generation: false,
    create_on_update: false,
    unconditional_update: true,
    delete_returns_object: false,
    graceful_delete: false,
    name_rule: NameRule::Subdomain,
    expires_seconds: None,
    verbatim: Verbatim::Nothing,
};

/// What most kinds are; each kind overrides what it is not: `Kind { kind: "ConfigMap", …, ..ORDINARY }`.
pub const ORDINARY: Kind = Kind {
    group: "",
    version: "v1",
    kind: "",
    plural: "",
    singular: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[],
    traits: PLAIN,
    rules: Rulebook::Fixed(&cells::Unprinted),
};

/// The `status` subresource of a kind.
pub const fn status_of(kind: &'static str) -> Subresource {
    Subresource { name: "status", group: "", version: "", kind, verbs: STATUS_VERBS }
}

/// A printer column (wire 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Header as the server writes it: `Up-to-date`.
    pub name: &'static str,
    /// `string`, `integer`, `boolean`, `date`.
    pub kind: &'static str,
    /// `name` for the first column, else empty.
    pub format: &'static str,
    /// 0 always shown, 1 only with `-o wide`.
    pub priority: u8,
    /// Help text; the server sends it, kubectl does not show it.
    pub description: &'static str,
}

/// A column as a Table has it.
pub fn column_definition(column: &Column) -> Value {
    json!({"name": column.name, "type": column.kind, "format": column.format,
        "description": column.description, "priority": column.priority})
}

/// One table row: as many cells as columns, and the row conditions (wire 5.2.8).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// JSON strings, numbers or booleans.
    pub cells: Vec<Value>,
    /// Usually empty.
    pub conditions: Vec<Value>,
}

/// What one kind says about its objects. Every method is pure. The verbs (`verbs.rs`) call them in this order:
/// create: `default`, `prepare_create`, `validate_create`; update: `default`, `prepare_update`,
/// `validate_update`; status: `default`, `prepare_status`, `validate_status`.
/// Common metadata (uid, timestamps, generation 1, immutability of name …) is the verbs' business.
pub trait Rules: Sync + Send {
    /// Fills in what the user left out.
    fn default(&self, _object: &mut Value) {}

    /// Clears what a creator may not set (status).
    fn prepare_create(&self, _object: &mut Value) {}

    /// Keeps what a PUT or PATCH of the main resource may not change (status, template generation …).
    /// `metadata.generation` has been set to the old one; raise it here if the kind has generations.
    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    /// Keeps what a write to `/status` may not change (spec).
    fn prepare_status(&self, _new: &mut Value, _old: &Value) {}

    /// Every broken rule of a new object, metadata included only where the kind adds to the common rules.
    fn validate_create(&self, _object: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// Every broken rule of a change; calls `validate_create` where Kubernetes does.
    fn validate_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        self.validate_create(new)
    }

    /// Every broken rule of a status write.
    fn validate_status(&self, _new: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// Texts for `Warning` headers.
    fn warnings(&self, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// Field selector paths beyond `metadata.name` and `metadata.namespace` (wire 3.8.2).
    fn selectable_fields(&self) -> &'static [&'static str] {
        &[]
    }

    /// The value of a selectable field; an absent one reads as the empty string.
    fn field(&self, _object: &Value, _path: &str) -> String {
        String::new()
    }

    /// What of an object is read when it enters the cache: of its metadata what the cache keeps, and what [`Rules::field`]
    /// looks at.
    fn indexed(&self) -> &'static Parts {
        match self.selectable_fields().is_empty() {
            true => &Parts::Only(&[("metadata", parts::KEPT)]),
            false => &Parts::AllBut(&[("metadata", parts::KEPT)]),
        }
    }

    /// Columns of the Table.
    fn columns(&self) -> &'static [Column];

    /// The same as the Table has them.
    fn column_definitions(&self) -> Vec<Value> {
        self.columns().iter().map(column_definition).collect()
    }

    /// What of an object [`Rules::row`] reads. A kind of which there are many names its fields: the rest is not decoded.
    fn shown(&self) -> &'static Parts {
        &parts::PLAIN
    }

    /// The cells of one object. `now` is for ages.
    fn row(&self, object: &Value, now: Timestamp) -> Row;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_is_served_once_and_found() {
        let mut seen = BTreeSet::new();
        for kind in KINDS {
            assert!(seen.insert((kind.group, kind.version, kind.plural)), "{}", kind.kind);
            let found = find(kind.group, kind.version, kind.plural).map(|found| found.kind);
            assert_eq!(found, Some(kind.kind));
            // Kubernetes' metrics have no singular, as `nodes` and `pods` are others' names.
            let singular = !kind.singular.is_empty() || kind.group == metrics::GROUP;
            assert!(!kind.kind.is_empty() && singular, "{}", kind.plural);
        }
        assert!(find("apps", "v1", "deployments").is_none());
    }

    #[test]
    fn short_names_are_nobody_elses() {
        let mut seen = BTreeSet::new();
        let own = KINDS.iter().filter(|kind| kind.group != metrics::GROUP);
        for name in own.flat_map(|kind| kind.short_names.iter().chain([&kind.plural])) {
            assert!(seen.insert(name), "{name}");
        }
    }

    #[test]
    fn verbs_stand_in_the_order_of_discovery() {
        for kind in KINDS {
            let lists = kind.subresources.iter().map(|sub| sub.verbs).chain([kind.verbs]);
            for verbs in lists {
                assert!(verbs.is_sorted(), "{} {verbs:?}", kind.plural);
            }
        }
    }

    #[test]
    fn facts_are_those_of_a_real_cluster() {
        let names = |fact: fn(&Kind) -> bool| -> Vec<&str> {
            KINDS.iter().filter(|kind| fact(kind)).map(|kind| kind.plural).collect()
        };
        // Wire 2.2.4, 2.2.3, 2.3.1, 2.6.2.
        assert_eq!(
            names(|kind| kind.traits.create_on_update),
            [
                "endpoints",
                "events",
                "limitranges",
                "services",
                "leases",
                "clusterrolebindings",
                "clusterroles",
                "rolebindings",
                "roles",
            ]
        );
        assert_eq!(
            names(|kind| !kind.traits.unconditional_update),
            ["customresourcedefinitions", "leases", "runtimeclasses", "poddisruptionbudgets"]
        );
        assert_eq!(
            names(|kind| kind.traits.has_generation),
            [
                "customresourcedefinitions",
                "daemonsets",
                "endpointslices",
                "poddisruptionbudgets",
                "priorityclasses",
            ]
        );
        assert_eq!(
            names(|kind| kind.traits.delete_returns_object),
            ["namespaces", "pods", "resourcequotas", "serviceaccounts", "services",]
        );
        assert_eq!(names(|kind| kind.categories.contains(&"all")), ["pods", "services", "daemonsets"]);
    }
}
