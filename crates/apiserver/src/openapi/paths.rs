//! Which URLs and methods does a kind have, as OpenAPI says it?
//!
//! Only what clients read: operations with the kind's extension, and the query parameters of writes (wire 1.5.3, 1.5.7).

use super::extension;
use crate::resources::Kind;
use crate::schema::{Gvk, Type, schema};
use serde_json::{Map, Value, json};

/// OpenAPI method, Kubernetes verb, Kubernetes action.
type Operation = (&'static str, &'static str, &'static str);

const COLLECTION: &[Operation] = &[
    ("get", "list", "list"),
    ("post", "create", "post"),
    ("delete", "deletecollection", "deletecollection"),
];
const ITEM: &[Operation] = &[
    ("get", "get", "get"),
    ("put", "update", "put"),
    ("patch", "patch", "patch"),
    ("delete", "delete", "delete"),
];

/// Path items of the kind, its collection and its subresources of the same kind.
pub(super) fn of(kind: &Kind) -> Vec<(String, Value)> {
    let root = format!("/{}", super::path_of(kind.group, kind.version));
    let collection = match kind.namespaced {
        true => format!("{root}/namespaces/{{namespace}}/{}", kind.plural),
        false => format!("{root}/{}", kind.plural),
    };
    let mut paths = Vec::new();
    if kind.namespaced {
        let all = COLLECTION.iter().filter(|(method, ..)| *method == "get");
        push(&mut paths, format!("{root}/{}", kind.plural), kind, kind.verbs, all, &[]);
    }
    let item = format!("{collection}/{{name}}");
    let in_namespace: &[&str] = if kind.namespaced { &["namespace"] } else { &[] };
    let named: &[&str] = if kind.namespaced { &["name", "namespace"] } else { &["name"] };
    push(&mut paths, collection, kind, kind.verbs, COLLECTION.iter(), in_namespace);
    push(&mut paths, item.clone(), kind, kind.verbs, ITEM.iter(), named);
    for sub in kind.subresources.iter().filter(|sub| sub.kind == kind.kind) {
        push(&mut paths, format!("{item}/{}", sub.name), kind, sub.verbs, ITEM.iter(), named);
    }
    paths
}

fn push<'o>(
    paths: &mut Vec<(String, Value)>,
    path: String,
    kind: &Kind,
    verbs: &[&str],
    operations: impl Iterator<Item = &'o Operation>,
    in_path: &[&str],
) {
    let mut item: Map<String, Value> = operations
        .filter(|(_, verb, _)| verbs.contains(verb))
        .map(|(method, _, action)| ((*method).to_string(), operation(kind, method, action)))
        .collect();
    if item.is_empty() {
        return;
    }
    if !in_path.is_empty() {
        let parameter = |name: &&str| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "uniqueItems": true } });
        item.insert("parameters".into(), in_path.iter().map(parameter).collect());
    }
    paths.push((path, item.into()));
}

fn operation(kind: &Kind, method: &str, action: &str) -> Value {
    let gvk = Gvk::from(kind);
    let reference = schema().kind(gvk).map(Type::openapi_name).unwrap_or_default();
    let answer =
        json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{reference}") } } });
    let ok = match action {
        "list" | "delete" | "deletecollection" => json!({ "description": "OK" }),
        _ => json!({ "description": "OK", "content": answer }),
    };
    json!({
        "parameters": parameters(method),
        "responses": { "200": ok },
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": extension(gvk),
    })
}

fn parameters(method: &str) -> Vec<Value> {
    let names: &[&str] = match method {
        "post" | "put" => &["dryRun", "fieldManager", "fieldValidation"],
        "patch" => &["dryRun", "fieldManager", "fieldValidation", "force"],
        "delete" => &["dryRun", "gracePeriodSeconds", "propagationPolicy"],
        _ => &[],
    };
    let kind_of = |name: &str| match name {
        "force" => "boolean",
        "gracePeriodSeconds" => "integer",
        _ => "string",
    };
    names
        .iter()
        .map(|name| json!({ "name": name, "in": "query", "schema": { "type": kind_of(name), "uniqueItems": true } }))
        .collect()
}
