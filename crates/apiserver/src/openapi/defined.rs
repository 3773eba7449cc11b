//! The schemas of kinds that somebody has defined.
//!
//! Published as their definition has them, with the three fields that every object has. Kubernetes:
//! `apiextensions-apiserver/pkg/controller/openapi/builder`.

use super::schemas::{meta, reference};
use crate::resources::{KINDS, Kind};
use crate::schema::Gvk;
use serde_json::{Value, json};

/// `example.com` and `Widget` make `com.example.v1.Widget`; empty for what is in a group that the program knows.
pub(super) fn name_of(gvk: Gvk<'_>) -> String {
    if KINDS.iter().any(|kind| kind.group == gvk.group) {
        return String::new();
    }
    let group: Vec<&str> = gvk.group.rsplit('.').collect();
    format!("{}.{}.{}", group.join("."), gvk.version, gvk.kind)
}

/// The schema of a kind that somebody has defined.
pub(super) fn schema(kind: &Kind) -> Option<Value> {
    let mut schema = kind.custom()?.published.clone();
    if !schema["properties"].is_object() {
        schema["properties"] = json!({});
    }
    let text = |what: &str| json!({"type": "string", "description": what});
    let properties = &mut schema["properties"];
    properties["apiVersion"] = text("The version of the schema of this object.");
    properties["kind"] = text("The kind of this object, in CamelCase.");
    properties["metadata"] = json!({"description": "Standard object's metadata.", "default": {},
        "allOf": [reference(&meta("ObjectMeta"))]});
    Some(schema)
}
