//! What do the kinds look like, for `kubectl explain` and `kubectl --validate`?
//!
//! One OpenAPI 3.0 document a group and version (wire 1.5). Field texts come from k8s-openapi; merge keys and list
//! types from the [`schema`](crate::schema). PATCH operations carry `fieldValidation`, so that kubectl leaves the check
//! of unknown fields to the server. They carry no `requestBody`: then kubectl computes strategic patches from
//! its compiled-in types, which are right for every kind here (1.5.6). Documents are built when somebody first
//! asks (57 ms for all 17 groups, release build) and kept compressed, 0.3 MB. There is no OpenAPI v2 (404; 1.5.4).
//! Kubernetes: `apiserver/pkg/endpoints/openapi`, `kube-openapi/pkg/handler3`.

mod descriptions;
mod paths;

use crate::resources::{KINDS, Kind};
use crate::schema::{Field, Granularity, Gvk, Strategy, Type, schema};
use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::LazyLock;

/// One document, ready to be sent.
#[derive(Debug, Clone)]
pub struct Document {
    /// The JSON, gzip-compressed: send it as it is to who accepts that.
    pub gzip: Bytes,
    /// Changes whenever the document changes; stands in its URL and in its ETag.
    pub hash: String,
}

impl Document {
    /// The plain JSON.
    pub fn bytes(&self) -> Bytes {
        let mut json = Vec::new();
        // What we compressed ourselves into memory can be read again.
        let _ = GzDecoder::new(self.gzip.as_ref()).read_to_end(&mut json);
        json.into()
    }
}

/// The document of a group and version; `None` for one that is not served.
pub fn document(group: &str, version: &str) -> Option<Document> {
    DOCUMENTS.get(&path_of(group, version)).cloned()
}

/// `GET /openapi/v3`: where the documents are.
pub fn index() -> Bytes {
    let paths: Map<String, Value> = DOCUMENTS
        .iter()
        .map(|(path, document)| {
            let url = format!("/openapi/v3/{path}?hash={}", document.hash);
            (path.clone(), json!({ "serverRelativeURL": url }))
        })
        .collect();
    json!({ "paths": paths }).to_string().into()
}

static DOCUMENTS: LazyLock<BTreeMap<String, Document>> = LazyLock::new(|| build_all(KINDS));

fn build_all(kinds: &[Kind]) -> BTreeMap<String, Document> {
    let mut groups: BTreeMap<String, Vec<&Kind>> = BTreeMap::new();
    for kind in kinds {
        groups.entry(path_of(kind.group, kind.version)).or_default().push(kind);
    }
    groups.into_iter().map(|(path, kinds)| (path, compress(&build(&kinds)))).collect()
}

/// `api/v1`, `apis/apps/v1`.
fn path_of(group: &str, version: &str) -> String {
    match group {
        "" => format!("api/{version}"),
        group => format!("apis/{group}/{version}"),
    }
}

fn compress(document: &Value) -> Document {
    let json = document.to_string();
    let digest = Sha256::digest(json.as_bytes());
    let hash = digest.iter().take(16).map(|b| format!("{b:02X}")).collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing into memory cannot fail.
    let _ = encoder.write_all(json.as_bytes());
    Document { gzip: encoder.finish().unwrap_or_default().into(), hash }
}

fn build(kinds: &[&Kind]) -> Value {
    let mut schemas = descriptions::definitions(kinds.iter().map(|kind| Gvk::from(*kind)));
    for ty in schema().types() {
        if let Some(Value::Object(definition)) = schemas.get_mut(&ty.openapi_name()) {
            decorate(definition, ty);
        }
    }
    for kind in kinds {
        let gvk = Gvk::from(*kind);
        let name = schema().kind(gvk).map(Type::openapi_name).unwrap_or_default();
        if let Some(Value::Object(definition)) = schemas.get_mut(&name) {
            definition.insert("x-kubernetes-group-version-kind".into(), json!([extension(gvk)]));
        }
    }
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": objects::VERSION },
        "paths": kinds.iter().flat_map(|kind| paths::of(kind)).collect::<Map<String, Value>>(),
        "components": { "schemas": schemas },
    })
}

/// The extension by which clients find a kind.
fn extension(gvk: Gvk<'_>) -> Value {
    json!({ "group": gvk.group, "version": gvk.version, "kind": gvk.kind })
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
    let list = field.shape.container == crate::schema::Container::List;
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

#[cfg(test)]
mod tests;
