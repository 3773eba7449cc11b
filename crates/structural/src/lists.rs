//! Are the items of a list that is a set or a map told apart?
//!
//! Kubernetes: `apiserver/schema/listtype/validation.go`.

use crate::MAX_FINDINGS;
use crate::finding::{Finding, Problem};
use crate::path::Path;
use crate::schema::{Additional, ListType, Schema};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Items that stand twice, at any depth.
pub(crate) fn check(value: &Value, schema: &Schema) -> Vec<Finding> {
    let mut found = Vec::new();
    walk(value, schema, &Path::Root, &mut found);
    found
}

/// The items of a list by what names them; empty for a list whose items have no names.
pub(crate) fn by_key<'a>(items: &'a [Value], list_type: &ListType) -> BTreeMap<String, &'a Value> {
    items.iter().filter_map(|item| Some((key(item, list_type)?, item))).collect()
}

/// What names an item; none where items have no names.
pub(crate) fn key(item: &Value, list_type: &ListType) -> Option<String> {
    match list_type {
        ListType::Map(names) => Some(Value::Object(named(item, names)).to_string()),
        ListType::Atomic | ListType::Set => None,
    }
}

fn named(item: &Value, names: &[String]) -> Map<String, Value> {
    names.iter().filter_map(|name| Some((name.clone(), item.get(name)?.clone()))).collect()
}

fn walk(value: &Value, schema: &Schema, at: &Path<'_>, found: &mut Vec<Finding>) {
    if found.len() >= MAX_FINDINGS {
        return;
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match (schema.properties.get(name), &schema.additional) {
                    (Some(schema), _) => walk(value, schema, &at.field(name), found),
                    (None, Additional::Of(schema)) => walk(value, schema, &at.key(name), found),
                    (None, Additional::Any | Additional::Nothing) => {}
                }
            }
        }
        Value::Array(items) => {
            match &schema.list_type {
                ListType::Atomic => {}
                ListType::Set => twice(items.iter().map(Value::clone), at, found),
                ListType::Map(names) => {
                    let wrong = items.iter().position(|item| !item.is_object() && !item.is_null());
                    match wrong {
                        Some(index) => found.push(Finding::invalid(
                            at.index(index),
                            items.get(index).cloned().unwrap_or_default(),
                            "must be an object for an array of list-type map",
                        )),
                        None => twice(items.iter().map(|item| named(item, names).into()), at, found),
                    }
                }
            }
            if let Some(schema) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    walk(item, schema, &at.index(index), found);
                }
            }
        }
        _ => {}
    }
}

/// Each value that stands more than once is told once, where it stands for the second time.
fn twice(values: impl Iterator<Item = Value>, at: &Path<'_>, found: &mut Vec<Finding>) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (index, value) in values.enumerate() {
        let times = seen.entry(value.to_string()).or_default();
        *times += 1;
        if *times == 2 && found.len() < MAX_FINDINGS {
            found.push(Finding::new(at.index(index), Problem::Duplicate, value, ""));
        }
    }
}
