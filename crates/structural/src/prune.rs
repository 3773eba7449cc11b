//! Which fields of an object does its schema not know? They go, and their paths are told.
//!
//! `apiVersion`, `kind` and `metadata` of an object and of every embedded resource stay: they have a schema of their own,
//! which is not ours. Kubernetes: `apiserver/schema/pruning/algorithm.go`.

use crate::path::Path;
use crate::schema::{Additional, Schema};
use serde_json::Value;

const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Most unknown fields that are told by name.
const MAX_TOLD: usize = 100;

/// After a path longer than this no more are told: they may all be as long as the body.
const LONG: usize = 16 * 1024;

/// Paths of fields that are gone, sorted.
pub type Unknown = Vec<String>;

/// Takes away what the schema does not know. `value` is a whole object.
pub fn prune(value: &mut Value, schema: &Schema) -> Unknown {
    let mut unknown = Vec::new();
    walk(value, Some(schema), true, &Path::Root, &mut unknown);
    unknown.sort();
    unknown
}

/// The same for a part of an object: a default.
pub(crate) fn prune_part(value: &mut Value, schema: &Schema) -> Unknown {
    let mut unknown = Vec::new();
    walk(value, Some(schema), false, &Path::Root, &mut unknown);
    unknown
}

fn walk(value: &mut Value, schema: Option<&Schema>, is_root: bool, at: &Path<'_>, unknown: &mut Unknown) {
    let is_resource = is_root || schema.is_some_and(|schema| schema.is_resource);
    let preserves = schema.is_some_and(|schema| schema.preserves_unknown);
    match value {
        Value::Object(map) => map.retain(|name, inner| {
            if is_resource && META.contains(&name.as_str()) {
                return true;
            }
            let here = at.field(name);
            let known = schema.and_then(|schema| {
                let property = schema.properties.get(name).map(Some);
                property.or(match &schema.additional {
                    Additional::Nothing => None,
                    // What has no schema keeps its scalars only.
                    Additional::Any => Some(None),
                    Additional::Of(schema) => Some(Some(schema)),
                })
            });
            match known {
                Some(schema) => walk(inner, schema, false, &here, unknown),
                None if preserves => {}
                None => {
                    let told = |path: &String| path.len() > LONG;
                    if unknown.len() < MAX_TOLD && !unknown.iter().any(told) {
                        unknown.push(here.to_string());
                    }
                    return false;
                }
            }
            true
        }),
        Value::Array(items) => {
            let schema = schema.and_then(|schema| schema.items.as_deref());
            if preserves && schema.is_none() {
                return;
            }
            for (index, item) in items.iter_mut().enumerate() {
                walk(item, schema, false, &at.index(index), unknown);
            }
        }
        _ => {}
    }
}
