//! What do the kinds look like, for `kubectl explain` and `kubectl --validate`?
//!
//! One OpenAPI 3.0 document a group and version, and one OpenAPI 2.0 document of all, as JSON and as protobuf (wire 1.5).
//! Field texts come from k8s-openapi; merge keys and list types from the [`schema`](crate::schema). PATCH operations carry
//! `fieldValidation`, so that kubectl leaves the check of unknown fields to the server, and take strategic merge
//! patches, which kubectl then computes from these documents (1.5.6). Documents are built when somebody first
//! asks and kept compressed, 0.5 MB. Kubernetes: `apiserver/pkg/endpoints/openapi`, `kube-openapi/pkg/handler`,
//! `kube-openapi/pkg/handler3`.

mod answer;
mod defined;
mod descriptions;
mod gnostic;
mod parameters;
mod paths;
mod schemas;
mod swagger;

pub use answer::answer;

use crate::resources::{KINDS, Kind};
use crate::schema::Gvk;
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
    /// The bytes, gzip-compressed: send them as they are to who accepts that.
    pub gzip: Bytes,
    /// Changes whenever the document changes; stands in its URL and in its ETag.
    pub hash: String,
}

impl Document {
    /// The plain bytes.
    pub fn bytes(&self) -> Bytes {
        let mut json = Vec::new();
        // What we compressed ourselves into memory can be read again.
        let _ = GzDecoder::new(self.gzip.as_ref()).read_to_end(&mut json);
        json.into()
    }
}

/// The document of a group and version, among those of defined kinds too; `None` for one that is not served.
pub fn document(defined: &Documents, group: &str, version: &str) -> Option<Document> {
    let path = path_of(group, version);
    DOCUMENTS.get(&path).or_else(|| defined.get(&path)).cloned()
}

/// Documents by their path: `apis/apps/v1`.
pub type Documents = BTreeMap<String, Document>;

/// `GET /openapi/v3`: where the documents are, those of defined kinds among them.
pub fn index(defined: &Documents) -> Bytes {
    let paths: Map<String, Value> = DOCUMENTS
        .iter()
        .chain(defined)
        .map(|(path, document)| {
            let url = format!("/openapi/v3/{path}?hash={}", document.hash);
            (path.clone(), json!({ "serverRelativeURL": url }))
        })
        .collect();
    json!({ "paths": paths }).to_string().into()
}

/// The forms of `GET /openapi/v2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people and generators.
    Json,
    /// For kubectl.
    Protobuf,
}

/// `GET /openapi/v2`: all groups in one document, but for those of defined kinds: clients that read it do without.
pub fn version_2(form: Form) -> Document {
    static BOTH: LazyLock<[Document; 2]> = LazyLock::new(|| {
        let v2 = swagger::from(build(&KINDS.iter().collect::<Vec<_>>()));
        [compress(v2.to_string().as_bytes()), compress(&gnostic::document(&v2))]
    });
    let [json, protobuf] = &*BOTH;
    match form {
        Form::Json => json.clone(),
        Form::Protobuf => protobuf.clone(),
    }
}

static DOCUMENTS: LazyLock<Documents> = LazyLock::new(|| documents(KINDS));

/// The documents of these kinds.
pub fn documents<'a>(kinds: impl IntoIterator<Item = &'a Kind>) -> Documents {
    let mut groups: BTreeMap<String, Vec<&Kind>> = BTreeMap::new();
    for kind in kinds {
        groups.entry(path_of(kind.group, kind.version)).or_default().push(kind);
    }
    groups.into_iter().map(|(path, kinds)| (path, compress(build(&kinds).to_string().as_bytes()))).collect()
}

/// `api/v1`, `apis/apps/v1`.
fn path_of(group: &str, version: &str) -> String {
    match group {
        "" => format!("api/{version}"),
        group => format!("apis/{group}/{version}"),
    }
}

fn compress(plain: &[u8]) -> Document {
    let digest = Sha256::digest(plain);
    let hash = digest.iter().take(16).map(|b| format!("{b:02X}")).collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing into memory cannot fail.
    let _ = encoder.write_all(plain);
    Document { gzip: encoder.finish().unwrap_or_default().into(), hash }
}

fn build(kinds: &[&Kind]) -> Value {
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": objects::VERSION },
        "paths": kinds.iter().flat_map(|kind| paths::of(kind)).collect::<Map<String, Value>>(),
        "components": { "schemas": schemas::of(kinds) },
    })
}

/// The extension by which clients find a kind.
fn extension(gvk: Gvk<'_>) -> Value {
    json!({ "group": gvk.group, "version": gvk.version, "kind": gvk.kind })
}

#[cfg(test)]
mod tests;
