//! One object as the cache holds it: its bytes, and the few facts that selectors, watches and deletes ask for.
//!
//! - The facts are read once when the object enters. Nothing decodes the bytes to filter or to send them.
//! - Facts that stay the same are shared with the states before: an object has ten states in its life.
//! - A state that few will ask for is kept as its difference from an object that is like it ([`Item::shorten`]).

use crate::encode;
use crate::graph::{self, Link};
use crate::resources::Kind;
use bytes::Bytes;
use objects::selector::{FieldSelector, Selector};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::Revision;
use store::alike::{Kindred, Value as Kept};

/// `metadata.labels`.
pub type Labels = BTreeMap<String, String>;

/// A state of an object in the cache.
#[derive(Debug)]
pub struct Item {
    /// Store key.
    pub key: Arc<str>,
    /// The write that made this state.
    pub revision: Revision,
    /// How many bytes [`Item::value`] has.
    pub length: usize,
    value: Mutex<Kept>,
    /// Empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.labels`.
    pub labels: Arc<Labels>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// Values of the kind's selectable fields, in the order of `Rules::selectable_fields`.
    pub fields: Arc<[(&'static str, Box<str>)]>,
    /// What it refers to, for rights of nodes.
    pub links: Arc<[Link]>,
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
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        let labels = metadata["labels"].as_object().into_iter().flatten();
        let labels = labels.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_string())));
        let created = text("creationTimestamp").parse().unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Ok(Self {
            namespace: text("namespace").into(),
            name: text("name").into(),
            uid: text("uid").into(),
            labels: Arc::new(labels.collect()),
            terminating: metadata["deletionTimestamp"].is_string(),
            fields: paths.iter().map(|path| (*path, kind.rules.field(&object, path).into())).collect(),
            links: graph::links(kind, &object).into(),
            touched: now.unwrap_or(created),
            key,
            revision,
            length: value.len(),
            value: Mutex::new(value.into()),
        })
    }

    /// The same object, after another state of it.
    pub fn after(mut self, before: &Self) -> Self {
        share(&mut self.key, &before.key);
        share(&mut self.namespace, &before.namespace);
        share(&mut self.name, &before.name);
        share(&mut self.uid, &before.uid);
        share(&mut self.labels, &before.labels);
        share(&mut self.fields, &before.fields);
        share(&mut self.links, &before.links);
        self
    }

    /// The stored bytes, without their revision.
    pub fn value(&self) -> Bytes {
        self.kept().bytes()
    }

    /// Keeps only how it differs from its kin, where that is much shorter.
    pub fn shorten(&self, kindred: &mut Kindred) {
        let told = kindred.told(&self.name, &self.kept());
        if let Some(told) = told {
            *self.kept() = told;
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
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
        encode::value(&self.value(), self.revision)
    }
}

/// What is equal is held once.
pub fn share<T: PartialEq + ?Sized>(own: &mut Arc<T>, before: &Arc<T>) {
    if own == before {
        own.clone_from(before);
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
        self.namespace.as_ref().is_none_or(|namespace| **namespace == *item.namespace)
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

#[cfg(test)]
mod tests {
    use super::super::collection::Collection;
    use super::super::ring::FINISHED_EVENTS;
    use super::*;
    use crate::resources::find;
    use serde_json::json;

    /// A pod that is as long as real ones are.
    fn pod(number: Revision) -> Item {
        let kind = find("", "v1", "pods").unwrap();
        let (name, labels) = (format!("p-{number:05}"), json!({"app": "hello"}));
        let words: Vec<String> = (0..200).map(|word| format!("word-{word}")).collect();
        let object = json!({"metadata": {"name": name, "namespace": "a", "uid": format!("u{number}"), "labels": labels},
            "spec": {"nodeName": format!("n{number}"), "containers": [{"name": "c", "args": words}]},
            "status": {"phase": "Running", "message": format!("seen {number} times")}});
        let (key, value) = (encode::key(kind, "a", &name), encode::stored(kind, &object));
        Item::read(kind, key.into(), number, value, None).unwrap()
    }

    fn is_short(item: &Item) -> bool {
        item.kept().kept() < item.length / 10
    }

    #[test]
    fn what_few_ask_for_is_short_and_comes_back_as_it_was() {
        let pods = Collection::new(find("", "v1", "pods").unwrap().into(), Vec::new(), 0);
        let last = FINISHED_EVENTS as Revision + 100;
        let written = |number| (pod(number).key, number, Some(pod(number)));
        pods.apply((1..=last).map(written).collect(), last);
        let items = pods.select(&Filter::default()).items;
        for item in &items {
            assert_eq!(item.value(), pod(item.revision).value(), "{}", item.revision);
            assert!(Arc::ptr_eq(&item.labels, &items[0].labels));
        }
        let short = items.iter().filter(|item| is_short(item)).map(|item| item.revision);
        assert!(short.clone().all(|number| number <= 100), "who is not far behind finds them whole");
        // One is seen, one is the pattern; there are three lengths of numbers, and two states by length at most.
        assert!(short.count() >= 94);
        let again =
            Collection::new(find("", "v1", "pods").unwrap().into(), (1..=last).map(pod).collect(), last);
        let items = again.select(&Filter::default()).items;
        assert!(items.iter().filter(|item| is_short(item)).count() >= items.len() - 4);
        assert!(items.iter().all(|item| item.value() == pod(item.revision).value()));
    }
}
