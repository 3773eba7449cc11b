//! What the store says, as of every revision: the only truth that claims are measured by.
//!
//! Every version of every object is kept with the time of its write, so that a claim can be held against any moment
//! that its maker may have seen. A run is some thousand writes long.

use crate::processes::LEASE;
use apiserver::encode;
use k8s_openapi::Metadata;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use store::{Entry, Event, EventKind, Listing, Revision};

/// A DaemonSet, typed and as it is stored.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) object: DaemonSet,
    pub(crate) json: Value,
}

/// Everything that was ever written and that claims are about.
#[derive(Default)]
pub(crate) struct Truth {
    pub(crate) revision: Revision,
    pub(crate) nodes: History<Node>,
    pub(crate) pods: History<Pod>,
    pub(crate) sets: History<Set>,
    pub(crate) revisions: History<ControllerRevision>,
    pub(crate) namespaces: History<Namespace>,
    /// Who leads, of the processes that run the loop `daemonsets` apart.
    pub(crate) holder: Option<String>,
}

/// One write of one object.
pub(crate) enum Change {
    Node(Pair<Node>),
    Pod(Pair<Pod>),
    Set(Pair<Set>),
    Revision(Pair<ControllerRevision>),
    /// Of a kind that no claim is about.
    Other,
}

/// Before and after.
pub(crate) struct Pair<T> {
    pub(crate) key: String,
    pub(crate) old: Option<Arc<T>>,
    pub(crate) new: Option<Arc<T>>,
}

/// All versions of all objects of a kind, by `namespace/name`.
pub(crate) struct History<T> {
    objects: BTreeMap<String, Vec<Version<T>>>,
    /// Every write of the kind.
    writes: Vec<(Revision, Duration)>,
}

/// One version; `None`: the object was gone.
struct Version<T> {
    at: Duration,
    object: Option<Arc<T>>,
}

impl<T> Default for History<T> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), writes: Vec::new() }
    }
}

impl Truth {
    /// What a store holds before the first write.
    pub(crate) fn of(held: Listing) -> Self {
        let mut truth = Self::default();
        for Entry { key, value, revision, .. } in held.entries {
            let kind = EventKind::Put { value, created: true };
            truth.apply(&Event { revision, key, kind, previous: None }, Duration::ZERO);
        }
        truth.revision = held.revision;
        truth
    }

    /// Takes the next write in.
    pub(crate) fn apply(&mut self, event: &Event, at: Duration) -> Change {
        self.revision = event.revision;
        let mut parts = event.key.trim_start_matches(encode::ROOT).splitn(4, '/').skip(1);
        let plural = parts.next().unwrap_or_default();
        let (namespace, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let key = if namespace == "-" { name.to_string() } else { format!("{namespace}/{name}") };
        let revision = event.revision;
        match plural {
            "nodes" => Change::Node(self.nodes.put(key, revision, at, read(event))),
            "pods" => Change::Pod(self.pods.put(key, revision, at, read(event))),
            "controllerrevisions" => Change::Revision(self.revisions.put(key, revision, at, read(event))),
            "daemonsets" => Change::Set(self.sets.put(key, revision, at, whole(event))),
            "namespaces" => {
                self.namespaces.put(key, revision, at, read(event));
                Change::Other
            }
            "leases" if name == LEASE => {
                self.holder = read(event).and_then(|lease: Lease| lease.spec?.holder_identity);
                Change::Other
            }
            _ => Change::Other,
        }
    }
}

fn stored(event: &Event) -> Option<&[u8]> {
    match &event.kind {
        EventKind::Put { value, .. } => Some(value),
        EventKind::Delete => None,
    }
}

fn read<T: DeserializeOwned + Metadata<Ty = ObjectMeta>>(event: &Event) -> Option<T> {
    let mut object: T = serde_json::from_slice(stored(event)?).ok()?;
    object.metadata_mut().resource_version = Some(event.revision.to_string());
    Some(object)
}

fn whole(event: &Event) -> Option<Set> {
    let json = encode::value(stored(event)?, event.revision).ok()?;
    Some(Set { object: DaemonSet::deserialize(&json).ok()?, json })
}

impl<T> History<T> {
    fn put(&mut self, key: String, revision: Revision, at: Duration, new: Option<T>) -> Pair<T> {
        self.writes.push((revision, at));
        let versions = self.objects.entry(key.clone()).or_default();
        let (old, new) = (versions.last().and_then(|last| last.object.clone()), new.map(Arc::new));
        versions.push(Version { at, object: new.clone() });
        Pair { key, old, new }
    }

    /// What is there now, by key.
    pub(crate) fn now(&self) -> impl Iterator<Item = (&String, &Arc<T>)> {
        self.objects.iter().filter_map(|(key, versions)| Some((key, versions.last()?.object.as_ref()?)))
    }

    /// The object of this key now.
    pub(crate) fn get(&self, key: &str) -> Option<&Arc<T>> {
        self.objects.get(key)?.last()?.object.as_ref()
    }

    /// Every version of an object, and when it was written.
    pub(crate) fn versions(&self, key: &str) -> impl Iterator<Item = (Duration, Option<&Arc<T>>)> {
        let versions = self.objects.get(key).map(Vec::as_slice).unwrap_or_default();
        versions.iter().map(|version| (version.at, version.object.as_ref()))
    }

    /// Every key that ever was.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &String> {
        self.objects.keys()
    }

    /// The versions of an object that could be seen just before `since` or later; `None` stands for its absence.
    pub(crate) fn since(&self, key: &str, since: Duration) -> Vec<Option<Arc<T>>> {
        let Some(versions) = self.objects.get(key) else { return vec![None] };
        let first = versions.partition_point(|version| version.at < since);
        // Writes of one instant have an order, and the loop may have looked between two of them.
        let before = match first.checked_sub(1).and_then(|index| versions.get(index)) {
            Some(version) => version.object.clone(),
            None => None,
        };
        let later = versions.get(first..).unwrap_or_default().iter().map(|version| version.object.clone());
        std::iter::once(before).chain(later).collect()
    }

    /// When the first write beyond this revision was.
    pub(crate) fn first_after(&self, revision: Revision) -> Option<Duration> {
        let index = self.writes.partition_point(|(written, _)| *written <= revision);
        self.writes.get(index).map(|(_, at)| *at)
    }
}
