//! Kinds that somebody has defined: CustomResourceDefinitions become [`Kind`]s, as data, at run time.
//!
//! - A [`definition`] is read from the stored object: one [`Kind`] for each served version, with a [`Custom`] as its rules.
//! - The [`catalog`] is all definitions at one revision. The cache makes it from the store's watch and from nothing else,
//!   so every server of several learns of a kind in the same way.
//! - [`naming`] decides which names are accepted; the [`keeper`] writes that down, and ends the objects of a kind that goes.
//! - What a schema says is decided in the crate `structural`.
//!
//! Objects are stored as one version of their kind. The cache holds them as that version's schema has them today; another
//! version differs in its `apiVersion`, and in the fields that its schema does not know.
//! Kubernetes: `apiextensions-apiserver/pkg/apiserver/customresource_handler.go`, `registry/customresource`.

pub mod catalog;
pub mod columns;
pub mod definition;
pub mod keeper;
pub mod names;
pub mod naming;
pub mod objects;
pub mod scale;

use crate::decode::go_form::{self, Fill};
use crate::encode;
use crate::schema::schema;
use columns::PrinterColumn;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use structural::Schema;

/// The rules of one version of a defined kind.
pub struct Custom {
    /// What all versions of the kind share.
    pub family: Arc<Family>,
    /// This version.
    pub version: &'static str,
    /// Its schema.
    pub schema: Arc<Schema>,
    /// Its schema as the definition has it, for OpenAPI.
    pub published: Value,
    /// Whether `/status` is a thing of its own.
    pub has_status: bool,
    /// `/scale`.
    pub scale: Option<scale::Paths>,
    /// `additionalPrinterColumns`.
    columns: Vec<PrinterColumn>,
    /// Paths of field selectors, without their first dot.
    selectable: &'static [&'static str],
    /// Said to everybody who uses a version that will go.
    pub deprecation: Option<String>,
}

/// What the versions of one kind share.
pub struct Family {
    /// API group.
    pub group: &'static str,
    /// The version that objects are stored as.
    pub storage: &'static str,
    /// Schemas of all versions, served or not.
    pub schemas: BTreeMap<String, Arc<Schema>>,
    /// Versions whose schema is that of the stored one.
    pub alike: Vec<String>,
    /// Kind of lists.
    pub list_kind: String,
    /// Field selectors of any version.
    pub indexed: &'static [&'static str],
    /// The definition is being deleted: no new objects.
    pub terminating: AtomicBool,
}

/// How an object in the cache becomes this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// It is this version.
    AsStored,
    /// Only its `apiVersion` is another.
    OtherHead,
    /// Its fields may be others.
    Converted,
}

impl Custom {
    /// Whether new objects are refused, because the definition is being deleted.
    pub fn is_terminating(&self) -> bool {
        self.family.terminating.load(Ordering::Relaxed)
    }

    /// How an object in the cache becomes this version.
    pub fn sending(&self) -> Sending {
        match () {
            () if self.version == self.family.storage => Sending::AsStored,
            () if self.family.alike.iter().any(|version| version == self.version) => Sending::OtherHead,
            () => Sending::Converted,
        }
    }

    /// Takes away the fields that the kind does not know, and tells them: `unknown field "spec.x"`.
    ///
    /// # Errors
    /// Go's text for metadata of a wrong type.
    pub(crate) fn settle(&self, object: &mut Value, fill: Fill) -> Result<Vec<String>, String> {
        let mut unknown = settle_metadata(object, fill)?;
        let pruned = structural::prune(object, &self.schema);
        unknown.extend(pruned.into_iter().map(|path| format!("unknown field {path:?}")));
        Ok(unknown)
    }

    /// Makes a stored object what this version says today. True when that is not what is stored.
    pub fn open(&self, object: &mut Value) -> bool {
        let stored = object["apiVersion"].as_str().and_then(|text| text.rsplit_once('/')).map(|(_, v)| v);
        let stored = stored.unwrap_or(self.family.storage).to_string();
        let written = self.family.schemas.get(&stored).unwrap_or(&self.schema);
        let mut changed = !structural::prune(object, written).is_empty();
        // What would become too large stays as it is.
        let mut filled = object.clone();
        if structural::fill(&mut filled, written) == Ok(true) {
            *object = filled;
            changed = true;
        }
        changed | self.convert(object, &stored)
    }

    /// Makes an object of another version one of this version.
    fn convert(&self, object: &mut Value, from: &str) -> bool {
        if from == self.version {
            return false;
        }
        object["apiVersion"] = encode::api_version(self.family.group, self.version).into();
        structural::prune(object, &self.schema);
        true
    }

    /// The object as it is stored; none when it is that already.
    pub fn laid_down(&self, object: &Value) -> Option<Value> {
        let schema = self.family.schemas.get(self.family.storage)?;
        (self.sending() == Sending::Converted).then(|| {
            let mut stored = object.clone();
            structural::prune(&mut stored, schema);
            stored
        })
    }

    /// Field selectors of any version: what is looked up once for each object.
    pub fn indexed(&self) -> &'static [&'static str] {
        self.family.indexed
    }
}

/// Metadata is of Kubernetes' own type.
fn settle_metadata(object: &mut Value, fill: Fill) -> Result<Vec<String>, String> {
    let Some(ty) = schema().named("meta.v1.PartialObjectMetadata") else { return Ok(Vec::new()) };
    let mut alone = json!({"metadata": object["metadata"].take()});
    let unknown = go_form::settle(&mut alone, ty, fill, None)?;
    object["metadata"] = alone["metadata"].take();
    if object["metadata"].is_null() {
        object["metadata"] = json!({});
    }
    Ok(unknown)
}
