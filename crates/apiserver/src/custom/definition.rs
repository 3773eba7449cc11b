//! Which kinds does a stored CustomResourceDefinition make?
//!
//! One [`Kind`] for each served version, and one for the version that objects are stored as. Pure, but for the names that
//! are kept ([`super::names`]). A definition whose names are not accepted makes none.
//! Kubernetes: `apiserver/customresource_handler.go` (getOrCreateServingInfoFor), `customresource_discovery_controller.go`.

use super::columns::PrinterColumn;
use super::{Custom, Family, names, scale};
use crate::resources::fields::{flag, items, text, texts};
use crate::resources::{Kind, PLAIN, Rulebook, STATUS_VERBS, Subresource, Traits, Verbatim};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use structural::Path;

/// Verbs of a custom resource, in the order of Kubernetes' discovery.
const VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
const STATUS: Subresource =
    Subresource { name: "status", group: "", version: "", kind: "", verbs: STATUS_VERBS };
const SCALE: Subresource =
    Subresource { name: "scale", group: "autoscaling", version: "v1", kind: "Scale", verbs: STATUS_VERBS };

/// Traits of every custom resource.
const TRAITS: Traits =
    Traits { has_generation: true, unconditional_update: false, verbatim: Verbatim::AllButMetadata, ..PLAIN };

/// A definition as it is served.
pub struct Definition {
    /// `<plural>.<group>`.
    pub name: String,
    /// What it was made of: when this is the same, the kinds are.
    basis: Value,
    /// Served versions, the preferred one first.
    pub kinds: Vec<Arc<Kind>>,
    /// The version that objects are stored as, served or not.
    pub storage: Arc<Kind>,
    family: Arc<Family>,
}

impl Definition {
    /// Reads a stored definition. None when nothing is served: names are not accepted, or it cannot be read.
    pub fn read(object: &Value) -> Option<Self> {
        let basis = basis(object)?;
        let spec = &object["spec"];
        let schemas = schemas(spec)?;
        let accepted = &object["status"]["acceptedNames"];
        let versions = items(spec, "versions");
        let storage = versions.iter().find(|version| flag(version, "storage"))?;
        let storage_schema = schema_of(storage);
        let alike = versions.iter().filter(|version| schema_of(version) == storage_schema);
        let family = Arc::new(Family {
            group: names::name(text(spec, "group"))?,
            storage: names::name(text(storage, "name"))?,
            schemas,
            alike: alike.map(|version| text(version, "name").to_string()).collect(),
            list_kind: text(accepted, "listKind").to_string(),
            indexed: selectable(versions)?,
            terminating: AtomicBool::new(is_terminating(object)),
        });
        let mut kinds = Vec::new();
        for version in versions.iter().filter(|version| flag(version, "served")) {
            kinds.push(Arc::new(kind(spec, accepted, version, &family)?));
        }
        kinds.sort_by_key(|kind| priority(kind.version));
        let storage = Arc::new(kind(spec, accepted, storage, &family)?);
        Some(Self { name: text(&object["metadata"], "name").to_string(), basis, kinds, storage, family })
    }

    /// Whether a newer state of the object makes the same kinds.
    pub fn is_of(&self, object: &Value) -> bool {
        basis(object).as_ref() == Some(&self.basis)
    }

    /// Takes over what may change without making other kinds.
    pub fn renew(&self, object: &Value) {
        self.family.terminating.store(is_terminating(object), Ordering::Relaxed);
    }
}

/// What decides about the kinds of a definition; none when it serves nothing.
fn basis(object: &Value) -> Option<Value> {
    let conditions = items(&object["status"], "conditions");
    let holds = |name: &str| conditions.iter().any(|c| c["type"] == name && c["status"] == "True");
    (holds("NamesAccepted") || holds("Established")).then(|| {
        json!({"uid": object["metadata"]["uid"], "spec": object["spec"],
            "names": object["status"]["acceptedNames"]})
    })
}

fn is_terminating(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

fn schema_of(version: &Value) -> &Value {
    &version["schema"]["openAPIV3Schema"]
}

fn schemas(spec: &Value) -> Option<BTreeMap<String, Arc<structural::Schema>>> {
    let versions = items(spec, "versions").iter();
    let read = versions.map(|version| {
        let schema = structural::read(schema_of(version), &Path::Root).ok()?;
        Some((text(version, "name").to_string(), Arc::new(schema)))
    });
    read.collect()
}

fn paths(version: &Value) -> impl Iterator<Item = &str> {
    items(version, "selectableFields").iter().map(|field| text(field, "jsonPath").trim_start_matches('.'))
}

fn selectable(versions: &[Value]) -> Option<&'static [&'static str]> {
    let mut all: Vec<&str> = versions.iter().flat_map(paths).collect();
    all.sort_unstable();
    all.dedup();
    names::list(all)
}

fn kind(spec: &Value, accepted: &Value, version: &Value, family: &Arc<Family>) -> Option<Kind> {
    let name = names::name(text(version, "name"))?;
    let subresources = &version["subresources"];
    let has_status = subresources["status"].is_object();
    let scale = scale::Paths::read(&subresources["scale"]);
    let declared: Vec<PrinterColumn> =
        items(version, "additionalPrinterColumns").iter().map(PrinterColumn::read).collect();
    let api_version = crate::encode::api_version(family.group, name);
    let going = format!("{api_version} {} is deprecated", text(accepted, "kind"));
    let going = version["deprecationWarning"].as_str().map_or(going, str::to_string);
    let custom = Custom {
        family: family.clone(),
        version: name,
        schema: family.schemas.get(name)?.clone(),
        published: schema_of(version).clone(),
        has_status,
        columns: if declared.is_empty() { vec![PrinterColumn::age()] } else { declared },
        selectable: names::list(paths(version))?,
        deprecation: flag(version, "deprecated").then_some(going),
        scale,
    };
    Some(Kind {
        group: family.group,
        version: name,
        kind: names::name(text(accepted, "kind"))?,
        plural: names::name(text(accepted, "plural"))?,
        singular: names::name(text(accepted, "singular"))?,
        short_names: names::list(texts(accepted, "shortNames"))?,
        categories: names::list(texts(accepted, "categories"))?,
        namespaced: text(spec, "scope") == "Namespaced",
        verbs: VERBS,
        subresources: match (has_status, custom.scale.is_some()) {
            (false, false) => &[],
            (true, false) => &[STATUS],
            (false, true) => &[SCALE],
            (true, true) => &[STATUS, SCALE],
        },
        traits: TRAITS,
        rules: Rulebook::Custom(Arc::new(custom)),
    })
}

/// Sorts versions as Kubernetes prefers them: `v2`, `v1`, `v1beta1`, `v1alpha1`, and then the others by name.
/// Kubernetes: `apimachinery/pkg/version.CompareKubeAwareVersionStrings`.
pub fn priority(version: &str) -> (u8, std::cmp::Reverse<u64>, std::cmp::Reverse<u64>, String) {
    use std::cmp::Reverse;
    let number = |text: &str| text.parse::<u64>().ok().filter(|_| !text.starts_with('+'));
    let parsed = version.strip_prefix('v').and_then(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (major, stage) = rest.split_at(end);
        let major = number(major)?;
        match stage {
            "" => Some((0, major, 0)),
            stage => match (stage.strip_prefix("beta"), stage.strip_prefix("alpha")) {
                (Some(minor), _) => Some((1, major, number(minor)?)),
                (_, Some(minor)) => Some((2, major, number(minor)?)),
                _ => None,
            },
        }
    });
    match parsed {
        Some((stage, major, minor)) => (stage, Reverse(major), Reverse(minor), String::new()),
        None => (3, Reverse(0), Reverse(0), version.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_as_kubernetes_prefers_them() {
        let mut versions =
            ["v1alpha1", "foo1", "v2", "v1beta2", "v10", "v1", "v1beta1", "v3beta1", "v11alpha2"];
        versions.sort_by_key(|version| priority(version));
        assert_eq!(
            versions,
            ["v10", "v2", "v1", "v3beta1", "v1beta2", "v1beta1", "v11alpha2", "v1alpha1", "foo1"]
        );
    }
}
