//! All defined kinds at one revision.
//!
//! Made by the cache when a definition has changed. A definition that has not keeps its kinds, and with them its
//! collection and its watches.

use super::definition::Definition;
use crate::openapi::{self, Documents};
use crate::resources::{KINDS, Kind, KindRef};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// The defined kinds.
#[derive(Default)]
pub struct Catalog {
    definitions: BTreeMap<String, Arc<Definition>>,
    /// Made when somebody asks.
    documents: OnceLock<Documents>,
}

impl Catalog {
    /// The catalog of these stored definitions; what has not changed is taken from the one before.
    pub fn next(&self, stored: &[Value]) -> Self {
        let mut definitions = BTreeMap::new();
        for object in stored {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let definition = match self.definitions.get(name).filter(|known| known.is_of(object)) {
                Some(known) => {
                    known.renew(object);
                    known.clone()
                }
                None => match Definition::read(object) {
                    Some(read) => Arc::new(read),
                    None => continue,
                },
            };
            definitions.insert(name.to_string(), definition);
        }
        Self { definitions, documents: OnceLock::new() }
    }

    /// The definitions, by name.
    pub fn definitions(&self) -> impl Iterator<Item = &Arc<Definition>> {
        self.definitions.values()
    }

    /// Whether this very definition is in it.
    pub fn has(&self, definition: &Arc<Definition>) -> bool {
        self.definitions.get(&definition.name).is_some_and(|known| Arc::ptr_eq(known, definition))
    }

    /// The kind behind a URL.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        let kinds = self.definitions.values().flat_map(|definition| &definition.kinds);
        kinds.into_iter().find(|k| k.group == group && k.version == version && k.plural == plural).cloned()
    }

    /// Every served kind, those that the program knows first. Defined groups stand in the order of their names, their
    /// versions as Kubernetes prefers them.
    pub fn kinds(&self) -> Vec<KindRef> {
        let mut defined: Vec<&Arc<Kind>> =
            self.definitions.values().flat_map(|definition| &definition.kinds).collect();
        defined.sort_by_key(|kind| (kind.group, super::definition::priority(kind.version), kind.plural));
        let known = KINDS.iter().map(KindRef::Fixed);
        known.chain(defined.into_iter().cloned().map(KindRef::Custom)).collect()
    }

    /// OpenAPI documents of the defined groups, by their path.
    pub fn documents(&self) -> &Documents {
        self.documents.get_or_init(|| {
            let kinds = self.definitions.values().flat_map(|definition| &definition.kinds);
            openapi::documents(kinds.map(Arc::as_ref))
        })
    }
}
