//! One object as the cache holds it: its bytes, and the few facts that selectors, watches and deletes ask for.
//!
//! The facts are read once when the object enters. Nothing decodes the bytes to filter or to send them.

use crate::encode;
use crate::graph::{self, Link};
use crate::resources::Kind;
use bytes::Bytes;
use objects::selector::{FieldSelector, Selector};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::Revision;

/// An object in the cache.
#[derive(Debug)]
pub struct Item {
    /// Store key.
    pub key: Arc<str>,
    /// The write that made this state.
    pub revision: Revision,
    /// The stored bytes, without their revision.
    pub value: Bytes,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.labels`; shared with the states before, as long as they stay the same.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// Values of the kind's selectable fields, in the order of `Rules::selectable_fields`.
    pub fields: Box<[(&'static str, Box<str>)]>,
    /// What it refers to, for rights of nodes.
    pub links: Box<[Link]>,
    /// When it was last written, as far as this process knows: for kinds that expire.
    pub touched: jiff::Timestamp,
}

impl Item {
    /// Reads the facts. Fails when the bytes are no JSON object, which only a damaged store can cause.
    pub fn read(
        kind: &Kind,
        key: Arc<str>,
        revision: Revision,
        value: Bytes,
        now: Option<jiff::Timestamp>,
    ) -> Result<Self, serde_json::Error> {
        // What is of another version is stored anew below, and so is needed whole.
        let mut object: Value = match kind.custom() {
            None => encode::parts::read(&value, kind.rules.indexed())?,
            Some(_) => serde_json::from_slice(&value)?,
        };
        let (mut paths, mut value) = (kind.rules.selectable_fields(), value);
        if let Some(custom) = kind.custom() {
            paths = custom.indexed();
            if custom.open(&mut object) {
                value = encode::stored(kind, &object);
            }
        }
        let metadata = &object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_string();
        let labels = metadata["labels"].as_object().into_iter().flatten();
        let labels = labels.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_string())));
        let created = text("creationTimestamp").parse().unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Ok(Self {
            namespace: text("namespace"),
            name: text("name"),
            uid: text("uid"),
            labels: Arc::new(labels.collect()),
            terminating: metadata["deletionTimestamp"].is_string(),
            fields: paths.iter().map(|path| (*path, kind.rules.field(&object, path).into())).collect(),
            links: graph::links(kind, &object),
            touched: now.unwrap_or(created),
            key,
            revision,
            value,
        })
    }

    /// The same object, after another state of it.
    pub fn after(self, before: Option<&Self>) -> Self {
        match before {
            Some(before) if before.labels == self.labels => Self { labels: before.labels.clone(), ..self },
            _ => self,
        }
    }

    /// The value of a selectable field.
    pub fn field(&self, path: &str) -> &str {
        match path {
            "metadata.name" => &self.name,
            "metadata.namespace" => &self.namespace,
            // Old name of spec.nodeName (wire 3.8.2).
            "spec.host" => self.field("spec.nodeName"),
            path => self.fields.iter().find(|(p, _)| *p == path).map_or("", |(_, value)| value),
        }
    }

    /// The object, decoded, with its revision.
    pub fn object(&self) -> serde_json::Result<Value> {
        encode::value(&self.value, self.revision)
    }
}

/// Which objects of a kind a request is about; by default all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// Labels.
    pub labels: Selector,
    /// Fields.
    pub fields: FieldSelector,
}

/// A filter that one value decides: events of other values need not wake its watcher.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aim {
    /// `metadata.name=…`.
    Name(String),
    /// `spec.nodeName=…`.
    Node(String),
}

impl Filter {
    /// Whether an object is asked for.
    pub fn matches(&self, item: &Item) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == item.namespace)
            && self.fields.matches(|path| item.field(path).to_string())
            && self.labels.matches(&item.labels)
    }

    /// Whether it names anything but a namespace: then the remaining count of a page is unknown (3.2.1).
    pub fn selects(&self) -> bool {
        !self.labels.is_empty() || !self.fields.requirements().is_empty()
    }

    /// The one name that is asked for, if any: it takes part in authorization (3.8.4).
    pub fn exact(&self, path: &str) -> Option<&str> {
        let exact = self.fields.requirements().iter().find(|r| r.equal && r.path == path);
        exact.map(|r| r.value.as_str()).filter(|value| !value.is_empty())
    }

    /// The index that serves this filter.
    pub fn aim(&self) -> Option<Aim> {
        let name = self.exact("metadata.name").map(|name| Aim::Name(name.to_string()));
        name.or_else(|| self.exact("spec.nodeName").map(|node| Aim::Node(node.to_string())))
    }
}
