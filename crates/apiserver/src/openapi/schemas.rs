//! Which schemas has a document, and what do they say beyond the descriptions?
//!
//! Fields and texts come from k8s-openapi ([`descriptions`]); what is required, how lists merge and who owns a map comes
//! from the [`schema`](crate::schema) table, which the server itself works by. Lists, which no client ever writes, are made here.

use super::{defined, descriptions, extension};
use crate::resources::Kind;
use crate::schema::{Base, Container, Field, Granularity, Gvk, Strategy, Type, schema};
use serde_json::{Map, Value, json};

/// The name of a schema of `meta/v1`.
pub(super) fn meta(name: &str) -> String {
    format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}")
}

/// The name of a kind's schema; empty for a kind of which nothing is known.
pub(super) fn name_of(gvk: Gvk<'_>) -> String {
    match schema().kind(gvk) {
        Some(ty) => ty.openapi_name(),
        None => defined::name_of(gvk),
    }
}

/// A reference to a schema of this document.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// All schemas that these kinds need.
pub(super) fn of(kinds: &[&Kind]) -> Map<String, Value> {
    let subresources =
        kinds.iter().flat_map(|kind| kind.subresources.iter().map(|sub| kind.of_subresource(sub)));
    let all: Vec<Gvk<'_>> = kinds.iter().map(|kind| Gvk::from(*kind)).chain(subresources).collect();
    let mut schemas = descriptions::definitions(all.iter().copied());
    for gvk in kinds.iter().map(|kind| Gvk::from(*kind)) {
        undescribed(gvk, &mut schemas);
    }
    for ty in schema().types() {
        if let Some(Value::Object(definition)) = schemas.get_mut(&ty.openapi_name()) {
            decorate(definition, ty);
        }
    }
    for (name, facts) in scalars() {
        if let Some(Value::Object(definition)) = schemas.get_mut(name) {
            definition.retain(|key, _| key == "description");
            definition.extend(facts);
        }
    }
    for kind in kinds {
        schemas.extend(defined::schema(kind).map(|schema| (name_of(Gvk::from(*kind)), schema)));
    }
    for gvk in all {
        if let Some(Value::Object(definition)) = schemas.get_mut(&name_of(gvk)) {
            definition.insert("x-kubernetes-group-version-kind".into(), json!([extension(gvk)]));
        }
    }
    for kind in kinds.iter().filter(|kind| kind.verbs.contains(&"list")) {
        schemas.insert(format!("{}List", name_of(Gvk::from(*kind))), list(kind));
    }
    mark_options(&mut schemas, kinds);
    schemas
}

/// Schemas that k8s-openapi does not have (metrics): from the table alone, with what the names say.
fn undescribed(gvk: Gvk<'_>, schemas: &mut Map<String, Value>) {
    let mut open: Vec<&Type> = schema().kind(gvk).into_iter().collect();
    while let Some(ty) = open.pop() {
        let name = ty.openapi_name();
        if schemas.contains_key(&name) {
            continue;
        }
        let fields = ty.fields.iter().map(|field| (field.name.to_string(), of_field(field)));
        let required = ty.fields.iter().filter(|field| !field.omit_empty).map(|field| json!(field.name));
        let definition = json!({ "description": format!("{} tells what is used.", ty.short_name()),
            "type": "object", "properties": fields.collect::<Map<_, _>>(), "required": required.collect::<Value>() });
        schemas.insert(name, definition);
        open.extend(ty.fields.iter().filter_map(|field| match field.shape.base {
            Base::Struct(id) => Some(schema().get(id)),
            _ => None,
        }));
    }
}

fn of_field(field: &Field) -> Value {
    let of_base = match field.shape.base {
        Base::Struct(id) => reference(&schema().get(id).openapi_name()),
        Base::Quantity => reference("io.k8s.apimachinery.pkg.api.resource.Quantity"),
        Base::Time => reference(&meta("Time")),
        Base::Int32 | Base::Int64 => json!({ "type": "integer" }),
        Base::Bool => json!({ "type": "boolean" }),
        _ => json!({ "type": "string" }),
    };
    let description = format!("The {} of what is measured.", field.name);
    match field.shape.container {
        Container::List => json!({ "type": "array", "items": of_base, "description": description }),
        Container::Map => {
            json!({ "type": "object", "additionalProperties": of_base, "description": description })
        }
        Container::One if of_base.get("$ref").is_some() => {
            json!({ "allOf": [of_base], "description": description })
        }
        Container::One => {
            let mut property = of_base;
            property["description"] = description.into();
            property
        }
    }
}

impl Kind {
    /// What a subresource reads or answers with.
    pub(super) fn of_subresource<'a>(&'a self, sub: &'a crate::resources::Subresource) -> Gvk<'a> {
        let own = sub.group.is_empty() && sub.version.is_empty();
        let (group, version) = if own { (self.group, self.version) } else { (sub.group, sub.version) };
        let kind = if sub.kind.is_empty() { self.kind } else { sub.kind };
        Gvk { group, version, kind }
    }
}

/// Values that are written in more than one way, as Kubernetes' documents say it.
fn scalars() -> [(&'static str, Map<String, Value>); 2] {
    let map = |value: Value| value.as_object().cloned().unwrap_or_default();
    [
        (
            "io.k8s.apimachinery.pkg.api.resource.Quantity",
            map(json!({ "oneOf": [{ "type": "string" }, { "type": "number" }] })),
        ),
        (
            "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
            map(json!({ "format": "int-or-string", "oneOf": [{ "type": "integer" }, { "type": "string" }] })),
        ),
    ]
}

/// `DeleteOptions` and `Status` are kinds of every group that takes or gives them.
fn mark_options(schemas: &mut Map<String, Value>, kinds: &[&Kind]) {
    let mut groups: Vec<(&str, &str)> = kinds.iter().map(|kind| (kind.group, kind.version)).collect();
    groups.sort_unstable();
    groups.dedup();
    let options: Vec<Value> = groups
        .iter()
        .map(|(group, version)| extension(Gvk { group, version, kind: "DeleteOptions" }))
        .collect();
    let status = vec![extension(Gvk { group: "", version: "v1", kind: "Status" })];
    for (name, kinds) in [("DeleteOptions", options), ("Status", status)] {
        if let Some(Value::Object(definition)) = schemas.get_mut(&meta(name)) {
            definition.insert("x-kubernetes-group-version-kind".into(), kinds.into());
        }
    }
}

fn list(kind: &Kind) -> Value {
    let gvk = Gvk::from(kind);
    let of_list = format!("{}List", kind.kind);
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "description": format!("{of_list} is a list of {} objects.", kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": text(&format!("The group and version of the list: {}.", gvk.api_version())),
            "kind": text(&format!("The kind of the list: {of_list}.")),
            "items": {
                "type": "array",
                "description": format!("The {} of the list.", kind.plural),
                "items": reference(&name_of(gvk)),
            },
            "metadata": {
                "allOf": [reference(&meta("ListMeta"))],
                "default": {},
                "description": "The revision of the list, and where its next page begins.",
            },
        },
        "x-kubernetes-group-version-kind": [extension(Gvk { kind: &of_list, ..gvk })],
    })
}

/// Adds what k8s-openapi does not know, and takes away what it says more strictly than Kubernetes.
fn decorate(definition: &mut Map<String, Value>, ty: &Type) {
    if let Some(Value::Array(required)) = definition.get_mut("required") {
        required.retain(|name| name.as_str().and_then(|n| ty.field(n)).is_none_or(|field| !field.omit_empty));
        if required.is_empty() {
            definition.remove("required");
        }
    }
    if ty.atomic {
        definition.insert("x-kubernetes-map-type".into(), "atomic".into());
    }
    let Some(Value::Object(properties)) = definition.get_mut("properties") else { return };
    for field in &ty.fields {
        if let Some(Value::Object(property)) = properties.get_mut(field.name) {
            property.extend(merge_facts(field));
        }
    }
}

fn merge_facts(field: &Field) -> Map<String, Value> {
    let mut facts = Map::new();
    let retain = if field.retain_keys { "retainKeys" } else { "" };
    let strategy = match field.strategy {
        Strategy::MergeByKey(_) | Strategy::MergeScalars if field.retain_keys => "merge,retainKeys",
        Strategy::MergeByKey(_) | Strategy::MergeScalars => "merge",
        Strategy::Replace => "replace",
        Strategy::Ordinary => retain,
    };
    if !strategy.is_empty() {
        facts.insert("x-kubernetes-patch-strategy".into(), strategy.into());
    }
    if let Strategy::MergeByKey(key) = field.strategy {
        facts.insert("x-kubernetes-patch-merge-key".into(), key.into());
    }
    let list = field.shape.container == Container::List;
    match &field.granularity {
        Granularity::Unmarked => {}
        Granularity::Atomic if list => drop(facts.insert("x-kubernetes-list-type".into(), "atomic".into())),
        Granularity::Atomic => drop(facts.insert("x-kubernetes-map-type".into(), "atomic".into())),
        Granularity::Set => drop(facts.insert("x-kubernetes-list-type".into(), "set".into())),
        Granularity::Keys(keys) => {
            facts.insert("x-kubernetes-list-type".into(), "map".into());
            facts.insert("x-kubernetes-list-map-keys".into(), json!(keys));
        }
    }
    facts
}
