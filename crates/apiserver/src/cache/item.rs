//! One object as the cache holds it: its bytes, and the few facts that selectors, watches and deletes ask for.
//!
//! - The facts are read once when the object enters. Nothing decodes the bytes to filter or to send them.
//! - Facts that stay the same are shared with the states before: an object has ten states in its life.
//! - A state that is over and that few will ask for is kept as its [`difference`] from the one after ([`Item::shorten`]).

use super::difference;
use crate::encode;
use crate::graph::{self, Link};
use crate::resources::Kind;
use bytes::Bytes;
use objects::selector::{FieldSelector, Selector};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::Revision;

/// Of so many states of an object in a row, one stays whole: for the oldest of them, as many differences are undone at most.
const WHOLE_EVERY: u8 = 8;
/// Shorter bytes stay whole: what stands around them is as much.
const SHORT: usize = 512;

/// A state of an object in the cache.
#[derive(Debug)]
pub struct Item {
    /// Store key.
    pub key: Arc<str>,
    /// The write that made this state.
    pub revision: Revision,
    /// How many bytes [`Item::value`] has.
    pub length: usize,
    value: Mutex<Held>,
    /// Which of [`WHOLE_EVERY`] states this is; the first stays whole.
    turn: u8,
    /// Empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.labels`.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// Values of the kind's selectable fields, in the order of `Rules::selectable_fields`.
    pub fields: Arc<[(&'static str, Box<str>)]>,
    /// What it refers to, for rights of nodes.
    pub links: Arc<[Link]>,
    /// When it was last written, as far as this process knows: for kinds that expire.
    pub touched: jiff::Timestamp,
}

/// The stored bytes of a state.
#[derive(Debug)]
enum Held {
    Whole(Bytes),
    Difference { from: Arc<Item>, difference: Box<[u8]> },
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
            value: Mutex::new(Held::Whole(value)),
            turn: 1,
        })
    }

    /// The same object, after another state of it.
    pub fn after(mut self, before: Option<&Self>) -> Self {
        let Some(before) = before else { return self };
        share(&mut self.key, &before.key);
        share(&mut self.namespace, &before.namespace);
        share(&mut self.name, &before.name);
        share(&mut self.uid, &before.uid);
        share(&mut self.labels, &before.labels);
        share(&mut self.fields, &before.fields);
        share(&mut self.links, &before.links);
        self.turn = (before.turn + 1) % WHOLE_EVERY;
        self
    }

    /// The stored bytes, without their revision.
    pub fn value(&self) -> Bytes {
        match &*self.held() {
            Held::Whole(bytes) => bytes.clone(),
            // Was seen to be right when it was made.
            Held::Difference { from, difference } => {
                difference::applied(&from.value(), difference).unwrap_or_default().into()
            }
        }
    }

    /// Keeps of this state only how it differs from the one after it, where that is much shorter.
    pub fn shorten(&self, after: &Arc<Self>) {
        if self.turn == 0 || self.length < SHORT {
            return;
        }
        let (own, base) = (self.value(), after.value());
        let Some(difference) = difference::between(&base, &own) else { return };
        if difference::applied(&base, &difference).as_deref() == Some(&*own) {
            *self.held() = Held::Difference { from: after.clone(), difference };
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
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
fn share<T: PartialEq + ?Sized>(own: &mut Arc<T>, before: &Arc<T>) {
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
    use super::super::ring::{Event, FINISHED_EVENTS, Ring};
    use super::*;
    use crate::resources::find;
    use serde_json::json;
    use tokio::time::Instant;

    /// A state of a pod that is as long as real ones are.
    fn state(revision: Revision) -> Item {
        let kind = find("", "v1", "pods").unwrap();
        let labels = json!({"app": "hello"});
        let words: Vec<String> = (0..200).map(|word| format!("word-{word}")).collect();
        let object = json!({"metadata": {"name": "p", "namespace": "a", "uid": "u", "labels": labels},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "args": words}]},
            "status": {"phase": "Running", "message": format!("seen {revision} times")}});
        let value = encode::stored(kind, &object);
        Item::read(kind, encode::key(kind, "a", "p").into(), revision, value, None).unwrap()
    }

    fn is_short(item: &Item) -> bool {
        matches!(&*item.held(), Held::Difference { difference, .. } if difference.len() < item.length / 10)
    }

    #[test]
    fn what_is_over_for_long_is_short_and_comes_back_as_it_was() {
        let mut ring = Ring::new(0);
        let mut states: Vec<Arc<Item>> = Vec::new();
        for revision in 1..=FINISHED_EVENTS as Revision + 100 {
            let item = Arc::new(state(revision).after(states.last().map(Arc::as_ref)));
            let event = Event::new(revision, Some(item.clone()), states.last().cloned());
            ring.push(Arc::new(event), Instant::now());
            states.push(item);
        }
        let (old, new) = states.split_at(99);
        for item in &states {
            assert_eq!(item.value(), state(item.revision).value(), "{}", item.revision);
        }
        assert!(new.iter().all(|item| !is_short(item)), "who is not far behind finds them whole");
        let whole = old.iter().filter(|item| !is_short(item)).count();
        assert_eq!(whole, 99 / usize::from(WHOLE_EVERY), "one of so many");
        for pair in states.windows(2) {
            assert!(Arc::ptr_eq(&pair[0].labels, &pair[1].labels) && Arc::ptr_eq(&pair[0].uid, &pair[1].uid));
        }
    }
}
