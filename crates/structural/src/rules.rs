//! Which keywords go together in one node of a structural schema?
//!
//! Called by [`crate::read`] for each node with its JSON, because some rules are about what stands there and not about what
//! it means. Kubernetes: `apiserver/schema/validation.go`, `complete.go`, `defaulting/validation.go`.

use crate::MAX_FINDINGS;
use crate::check::{Scope, check_within};
use crate::finding::Finding;
use crate::path::Path;
use crate::prune::prune_part;
use crate::read::{Level, texts};
use crate::schema::{Additional, Schema, Type};
use serde_json::{Map, Value, json};

/// Rules of a node that says what there is.
pub(crate) fn structure(
    map: &Map<String, Value>,
    node: &Schema,
    level: Level,
    at: &Path<'_>,
    found: &mut Vec<Finding>,
) {
    types(map, node, level, at, found);
    lists(map, node, at, found);
    rules_of_cel(map, at, found);
    if level == Level::Root || node.is_resource {
        metadata(map, level, at, found);
    }
    for (name, known) in [
        ("x-kubernetes-list-type", &["atomic", "set", "map"][..]),
        ("x-kubernetes-map-type", &["atomic", "granular"]),
    ] {
        if let Some(text) = map.get(name).and_then(Value::as_str).filter(|text| !known.contains(text)) {
            found.push(Finding::not_supported(at.field(name), text, known.iter().map(|k| Value::from(*k))));
        }
    }
}

fn types(map: &Map<String, Value>, node: &Schema, level: Level, at: &Path<'_>, found: &mut Vec<Finding>) {
    let ty = at.field("type");
    let said = map.get("type").and_then(Value::as_str).unwrap_or_default();
    let mut wants = |name: &str, wanted: Type| {
        let detail = format!("must be {} if {name}", wanted.as_str());
        match node.ty {
            Some(found) if found == wanted => {}
            None => found.push(Finding::required(ty, detail)),
            Some(_) => found.push(Finding::invalid(ty, said, detail)),
        }
    };
    if node.is_resource {
        wants("x-kubernetes-embedded-resource is true", Type::Object);
    }
    if map.contains_key("x-kubernetes-map-type") {
        wants("x-kubernetes-map-type is specified", Type::Object);
    }
    if map.contains_key("x-kubernetes-list-type") {
        wants("x-kubernetes-list-type is specified", Type::Array);
    }
    if said.is_empty() && !node.is_resource && !node.int_or_string && !node.preserves_unknown {
        found.push(Finding::required(
            ty,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        ));
    }
    if level == Level::Root && !said.is_empty() && node.ty != Some(Type::Object) {
        found.push(Finding::invalid(ty, said, "must be object at the root"));
    }
    if level == Level::Root && node.nullable {
        found.push(Finding::forbidden(at.field("nullable"), "nullable cannot be true at the root"));
    }
    if node.ty == Some(Type::Array) && node.items.is_none() {
        found.push(Finding::required(at.field("items"), "must be specified"));
    }
    for (on, name) in [
        (node.preserves_unknown, "x-kubernetes-preserve-unknown-fields"),
        (node.is_resource, "x-kubernetes-embedded-resource"),
    ] {
        if node.int_or_string && on {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            found.push(Finding::invalid(at.field(name), true, detail));
        }
    }
    if node.is_resource && !matches!(node.additional, Additional::Nothing) {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        found.push(Finding::forbidden(at.field("additionalProperties"), detail));
    }
    if node.is_resource && !node.preserves_unknown && node.properties.is_empty() {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without \
                      x-kubernetes-preserve-unknown-fields";
        found.push(Finding::required(at.field("properties"), detail));
    }
}

/// Names of an object itself have their own schema, of which only a little may be narrowed.
fn metadata(map: &Map<String, Value>, level: Level, at: &Path<'_>, found: &mut Vec<Finding>) {
    let properties = at.field("properties");
    let property = |name: &str| map.get("properties").and_then(|all| all.get(name));
    for name in ["kind", "apiVersion"] {
        if let Some(schema) = property(name).filter(|schema| schema["type"] != "string") {
            let path = properties.key(name);
            let ty = schema["type"].as_str().unwrap_or_default();
            found.push(Finding::invalid(path.field("type"), ty, "must be string"));
        }
    }
    for name in ["kind", "apiVersion", "metadata"] {
        if level == Level::Root && property(name).is_some_and(|schema| !schema["default"].is_null()) {
            let path = properties.key(name);
            let detail = format!("must not be set in top-level {name}");
            found.push(Finding::forbidden(path.field("default"), detail));
        }
    }
    let Some(schema) = property("metadata") else { return };
    let path = properties.key("metadata");
    if schema["type"] != "object" {
        let ty = schema["type"].as_str().unwrap_or_default();
        found.push(Finding::invalid(path.field("type"), ty, "must be object"));
    }
    let narrow = schema.as_object().into_iter().flatten().all(|(name, value)| match name.as_str() {
        "type" | "description" | "title" | "default" => true,
        "properties" => value
            .as_object()
            .is_some_and(|map| map.keys().all(|name| matches!(name.as_str(), "name" | "generateName"))),
        _ => false,
    });
    if level == Level::Root && !narrow {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        found.push(Finding::forbidden(path, detail));
    }
}

fn lists(map: &Map<String, Value>, node: &Schema, at: &Path<'_>, found: &mut Vec<Finding>) {
    let list_type = map.get("x-kubernetes-list-type").and_then(Value::as_str);
    let keys = texts(map, "x-kubernetes-list-map-keys");
    let type_path = at.field("x-kubernetes-list-type");
    match list_type {
        None if !keys.is_empty() => {
            let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
            found.push(Finding::required(type_path, detail));
        }
        Some(other) if other != "map" && !keys.is_empty() => {
            let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
            found.push(Finding::invalid(type_path, other, detail));
        }
        Some("map") => map_keys(map, &keys, node, at, found),
        Some("set") => set_items(map, node, at, found),
        _ => {}
    }
}

fn set_items(map: &Map<String, Value>, node: &Schema, at: &Path<'_>, found: &mut Vec<Finding>) {
    let Some(items) = &node.items else { return };
    let path = at.field("items");
    let raw = &map["items"];
    let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
    match items.ty {
        Some(Type::Object) if !items.atomic_map => {
            let field = path.field("x-kubernetes-map-type");
            found.push(Finding::invalid(field, raw["x-kubernetes-map-type"].clone(), detail));
        }
        Some(Type::Array)
            if !raw["x-kubernetes-list-type"].is_null() && raw["x-kubernetes-list-type"] != "atomic" =>
        {
            let field = path.field("x-kubernetes-list-type");
            found.push(Finding::invalid(field, raw["x-kubernetes-list-type"].clone(), detail));
        }
        _ => {}
    }
    if items.nullable {
        let detail = "cannot be nullable when x-kubernetes-list-type is set";
        found.push(Finding::forbidden(path.field("nullable"), detail));
    }
}

fn map_keys(
    map: &Map<String, Value>,
    keys: &[String],
    node: &Schema,
    at: &Path<'_>,
    found: &mut Vec<Finding>,
) {
    let keys_path = at.field("x-kubernetes-list-map-keys");
    if keys.is_empty() {
        found.push(Finding::required(keys_path, "must not be empty if x-kubernetes-list-type is map"));
    }
    let items_path = at.field("items");
    let Some(items) = &node.items else {
        let detail = "must have a schema if x-kubernetes-list-type is map";
        return found.push(Finding::required(items_path, detail));
    };
    if items.ty != Some(Type::Object) {
        let ty = map["items"]["type"].as_str().unwrap_or_default();
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        return found.push(Finding::invalid(items_path.field("type"), ty, detail));
    }
    if items.nullable {
        let detail = "cannot be nullable when x-kubernetes-list-type is map";
        found.push(Finding::forbidden(items_path.field("nullable"), detail));
    }
    let properties = items_path.field("properties");
    for (index, key) in keys.iter().enumerate() {
        let path = properties.key(key);
        match items.properties.get(key) {
            None => {
                let detail = "entries must all be names of item properties";
                found.push(Finding::invalid(keys_path, json!(keys), detail));
            }
            Some(schema) if matches!(schema.ty, Some(Type::Array | Type::Object)) => {
                let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                let ty = schema.ty.map(Type::as_str).unwrap_or_default();
                found.push(Finding::invalid(path.field("type"), ty, detail));
            }
            Some(schema) => {
                if schema.nullable {
                    let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                    found.push(Finding::forbidden(path.field("nullable"), detail));
                }
                if schema.default.is_none() && !items.conditions.required.contains(key) {
                    let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                    found.push(Finding::required(path.field("default"), detail));
                }
            }
        }
        if keys.iter().take(index).any(|earlier| earlier == key) {
            found.push(Finding::invalid(keys_path, json!(keys), "must not contain duplicate entries"));
        }
    }
}

fn rules_of_cel(map: &Map<String, Value>, at: &Path<'_>, found: &mut Vec<Finding>) {
    let list = at.field("x-kubernetes-validations");
    let rules = map.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten();
    for (index, rule) in rules.enumerate() {
        if rule["rule"].as_str().unwrap_or_default().trim().is_empty() {
            found.push(Finding::required(list.index(index).field("rule"), "rule is not specified"));
        }
    }
}

/// Rules of a node below `allOf`, `anyOf`, `oneOf` or `not`: it says nothing about structure.
pub(crate) fn condition(
    map: &Map<String, Value>,
    at: &Path<'_>,
    may_name_type: bool,
    found: &mut Vec<Finding>,
) {
    for (name, what) in [
        ("type", "empty"),
        ("additionalProperties", "undefined"),
        ("default", "undefined"),
        ("title", "empty"),
        ("description", "empty"),
        ("nullable", "false"),
        ("x-kubernetes-preserve-unknown-fields", "false"),
        ("x-kubernetes-embedded-resource", "false"),
        ("x-kubernetes-int-or-string", "false"),
        ("x-kubernetes-list-map-keys", "empty"),
        ("x-kubernetes-list-type", "undefined"),
        ("x-kubernetes-map-type", "undefined"),
        ("x-kubernetes-validations", "empty"),
    ] {
        let said = match map.get(name) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Array(items)) => !items.is_empty(),
            Some(_) => true,
        };
        if said && !(name == "type" && may_name_type) {
            found.push(Finding::forbidden(at.field(name), format!("must be {what} to be structural")));
        }
    }
    if map.get("properties").is_some_and(|properties| properties.get("metadata").is_some()) {
        let path = at.field("properties");
        found.push(Finding::forbidden(path.key("metadata"), "must not be specified in a nested context"));
    }
}

/// Every field that a condition speaks of has a structure.
pub(crate) fn complete(schema: &Schema, at: &Path<'_>, found: &mut Vec<Finding>) {
    if found.len() >= MAX_FINDINGS {
        return;
    }
    nested(schema, schema, at, at, found);
    let properties = at.field("properties");
    for (name, property) in &schema.properties {
        complete(property, &properties.key(name), found);
    }
    if let Some(items) = &schema.items {
        complete(items, &at.field("items"), found);
    }
    if let Additional::Of(values) = &schema.additional {
        complete(values, &at.field("additionalProperties"), found);
    }
}

fn nested(condition: &Schema, structure: &Schema, at: &Path<'_>, from: &Path<'_>, found: &mut Vec<Finding>) {
    let of = &condition.conditions;
    for (name, list) in [("allOf", &of.all_of), ("anyOf", &of.any_of), ("oneOf", &of.one_of)] {
        let from = from.field(name);
        for (index, condition) in list.iter().enumerate() {
            covered(condition, structure, at, &from.index(index), found);
        }
    }
    if let Some(condition) = &of.not {
        covered(condition, structure, at, &from.field("not"), found);
    }
}

fn covered(condition: &Schema, structure: &Schema, at: &Path<'_>, from: &Path<'_>, found: &mut Vec<Finding>) {
    nested(condition, structure, at, from, found);
    let missing =
        |path: Path<'_>, from: Path<'_>| Finding::required(path, format!("because it is defined in {from}"));
    if let Some(items) = &condition.items {
        let (path, from) = (at.field("items"), from.field("items"));
        match &structure.items {
            Some(structure) => covered(items, structure, &path, &from, found),
            None => found.push(missing(path, from)),
        }
    }
    let (paths, froms) = (at.field("properties"), from.field("properties"));
    for (name, property) in &condition.properties {
        let (path, from) = (paths.key(name), froms.key(name));
        match structure.properties.get(name) {
            Some(structure) => covered(property, structure, &path, &from, found),
            None => found.push(missing(path, from)),
        }
    }
}

/// Defaults are what the schema allows. All of them together may cost `left` steps.
pub(crate) fn defaults(schema: &Schema, at: &Path<'_>, left: &mut usize, found: &mut Vec<Finding>) {
    if found.len() >= MAX_FINDINGS {
        return;
    }
    if let Some(default) = &schema.default {
        let path = at.field("default");
        let mut pruned = default.clone();
        if !prune_part(&mut pruned, schema).is_empty() {
            found.push(Finding::invalid(path, default.clone(), "must not have unknown fields"));
        } else {
            found.extend(check_within(left, default, None, schema, Scope::Part(&path.to_string())));
        }
    }
    let properties = at.field("properties");
    for (name, property) in &schema.properties {
        defaults(property, &properties.key(name), left, found);
    }
    if let Some(items) = &schema.items {
        defaults(items, &at.field("items"), left, found);
    }
    if let Additional::Of(values) = &schema.additional {
        defaults(values, &at.field("additionalProperties"), left, found);
    }
}

/// Whether there are rules in the Common Expression Language anywhere below: nobody here evaluates them.
pub fn has_expressions(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => map.iter().any(|(name, value)| {
            let here =
                name == "x-kubernetes-validations" && value.as_array().is_some_and(|all| !all.is_empty());
            here || (!matches!(name.as_str(), "default" | "enum" | "example") && has_expressions(value))
        }),
        Value::Array(items) => items.iter().any(has_expressions),
        _ => false,
    }
}
