//! PURE. Who owns whom, and what follows for one object?
//!
//! 1. An object goes when it has owners and none of them exists (2.7.1). An owner is what has the reference's uid; the
//!    same name with another uid is another object.
//! 2. That an owner does not exist is believed only after the server has said so ([`Step::Ask`]): a watch can be late.
//! 3. An owner that is deleted in the foreground waits until no dependent that blocks it is left (2.7.3); one that is
//!    deleted with orphans waits until every dependent has let go of it (2.7.4).
//! 4. An owner of a kind that the server does not serve counts as there: nothing is deleted on a guess.
//! 5. Every object of the cluster is in here: what many have alike, or what is named in several places, is held once.
//!
//! Kubernetes: `garbagecollector/graph_builder.go`, `garbagecollector.go` (`attemptToDeleteItem`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use objects::key::ObjectKey;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The finalizer of a deletion that keeps the dependents.
pub(super) const ORPHAN: &str = "orphan";
/// The finalizer of a deletion that waits for the dependents.
pub(super) const FOREGROUND: &str = "foregroundDeletion";

/// Group and kind; versions are different views of the same objects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KindName {
    pub(super) group: String,
    pub(super) kind: String,
}

impl KindName {
    /// The kind that an owner reference names.
    pub(super) fn of_owner(owner: &OwnerReference) -> Self {
        let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        Self { group: group.to_string(), kind: owner.kind.clone() }
    }
}

/// What is known of one object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) kind: Arc<KindName>,
    pub(super) key: ObjectKey,
    pub(super) uid: Arc<str>,
    pub(super) resource_version: Box<str>,
    pub(super) owners: Arc<[OwnerReference]>,
    finalizers: Box<[String]>,
    is_terminating: bool,
}

impl Entry {
    /// Reads it from an object's metadata.
    pub(super) fn of(kind: &Arc<KindName>, meta: &ObjectMeta) -> Self {
        Self {
            kind: kind.clone(),
            key: ObjectKey::of(meta),
            uid: meta.uid.as_deref().unwrap_or_default().into(),
            resource_version: meta.resource_version.as_deref().unwrap_or_default().into(),
            owners: meta.owner_references.as_deref().unwrap_or_default().into(),
            finalizers: meta.finalizers.as_deref().unwrap_or_default().into(),
            is_terminating: meta.deletion_timestamp.is_some(),
        }
    }

    fn has(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|is| is == finalizer)
    }

    fn waits_for_dependents(&self) -> bool {
        self.is_terminating && self.has(FOREGROUND)
    }

    fn orphans_dependents(&self) -> bool {
        self.is_terminating && self.has(ORPHAN)
    }

    /// What plans look at; everything but the version.
    fn facts(&self) -> (&ObjectKey, &[OwnerReference], &[String], bool) {
        (&self.key, &self.owners, &self.finalizers, self.is_terminating)
    }
}

/// How an object is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    Background,
    Foreground,
    Orphan,
}

/// What to do about one object.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Nothing,
    /// Do these owners exist? Then plan again.
    Ask(Vec<OwnerReference>),
    /// Take these owners off: others remain.
    Release {
        owners: Vec<String>,
    },
    Delete(Policy),
    /// It waits for dependents: these have not been told to go yet.
    Wake(Vec<String>),
    /// Every dependent lets go of it; then it may go.
    Orphan {
        dependents: Vec<Entry>,
    },
    /// Nothing holds it any more.
    Finalize {
        finalizer: &'static str,
    },
}

/// All objects that own or are owned.
#[derive(Debug, Default)]
pub(super) struct Graph {
    entries: BTreeMap<Arc<str>, Entry>,
    /// Owners' uids with those of their dependents, also for owners that nobody has seen.
    dependents: BTreeSet<(Arc<str>, Arc<str>)>,
    /// Owners of which the server has said that they do not exist. A uid never comes back.
    absent: BTreeSet<String>,
}

/// Absent owners to remember; when there are more all are asked for again. Kubernetes: `absentOwnerCache`, 500.
const ABSENT_MAX: usize = 4096;

impl Graph {
    /// Takes an object in; the uids to plan for because of it.
    pub(super) fn apply(&mut self, mut entry: Entry) -> Vec<String> {
        if let Some(owners) = self.owners_like(&entry) {
            entry.owners = owners;
        }
        let before = self.entries.insert(entry.uid.clone(), entry.clone());
        if before.as_ref().is_some_and(|before| before.facts() == entry.facts()) {
            return Vec::new();
        }
        before.iter().for_each(|before| self.unlink(before));
        self.link(&entry);
        let mut touched = Vec::new();
        if !entry.owners.is_empty() || entry.waits_for_dependents() || entry.orphans_dependents() {
            touched.push(entry.uid.to_string());
        }
        if entry.waits_for_dependents() {
            touched.extend(self.dependents_of(&entry.uid));
        }
        // An owner that waits may have been waiting for just this reference.
        touched.extend(before.iter().flat_map(|before| self.waiting_owners(before)));
        touched
    }

    /// An object is gone; the uids to plan for because of it.
    pub(super) fn remove(&mut self, uid: &str) -> Vec<String> {
        let Some(entry) = self.entries.remove(uid) else { return Vec::new() };
        self.unlink(&entry);
        let mut touched = self.dependents_of(uid);
        touched.extend(self.waiting_owners(&entry));
        touched
    }

    /// The server has answered: this owner does not exist.
    pub(super) fn note_absent(&mut self, uid: &str) {
        if self.absent.len() >= ABSENT_MAX {
            self.absent.clear();
        }
        self.absent.insert(uid.to_string());
    }

    /// What is known of an object.
    pub(super) fn entry(&self, uid: &str) -> Option<&Entry> {
        self.entries.get(uid)
    }

    /// What to do about an object. `scope` says of a served kind whether it is namespaced; `confirmed` are owners that
    /// the server has just said exist.
    pub(super) fn plan(
        &self,
        uid: &str,
        scope: impl Fn(&KindName) -> Option<bool>,
        confirmed: &BTreeSet<String>,
    ) -> Step {
        let Some(entry) = self.entries.get(uid) else { return Step::Nothing };
        if entry.orphans_dependents() {
            return self.orphan(entry);
        }
        if entry.waits_for_dependents() {
            return self.wait(entry);
        }
        if entry.is_terminating || entry.owners.is_empty() {
            return Step::Nothing;
        }
        self.judge_owners(entry, scope, confirmed)
    }

    fn orphan(&self, entry: &Entry) -> Step {
        let dependents: Vec<Entry> =
            self.seen_dependents(&entry.uid).filter(|d| is_near(d, entry)).cloned().collect();
        match dependents.is_empty() {
            true => Step::Finalize { finalizer: ORPHAN },
            false => Step::Orphan { dependents },
        }
    }

    fn wait(&self, entry: &Entry) -> Step {
        let known: Vec<&Entry> = self.seen_dependents(&entry.uid).filter(|d| is_near(d, entry)).collect();
        let blocks = |dependent: &&&Entry| {
            let mut references = dependent.owners.iter().filter(|owner| *owner.uid == *entry.uid);
            references.any(|owner| owner.block_owner_deletion == Some(true))
        };
        if known.iter().filter(blocks).count() == 0 {
            return Step::Finalize { finalizer: FOREGROUND };
        }
        let to_tell: Vec<String> =
            known.iter().filter(|d| !d.is_terminating).map(|d| d.uid.to_string()).collect();
        if to_tell.is_empty() { Step::Nothing } else { Step::Wake(to_tell) }
    }

    fn judge_owners(
        &self,
        entry: &Entry,
        scope: impl Fn(&KindName) -> Option<bool>,
        confirmed: &BTreeSet<String>,
    ) -> Step {
        let (mut solid, mut ask, mut to_release, mut is_waited_for) = (false, Vec::new(), Vec::new(), false);
        for owner in entry.owners.iter() {
            match self.standing(entry, owner, &scope, confirmed) {
                Standing::Solid => solid = true,
                Standing::Unknown => ask.push(owner.clone()),
                Standing::Dangling => to_release.push(owner.uid.clone()),
                Standing::Waiting => {
                    is_waited_for = true;
                    to_release.push(owner.uid.clone());
                }
            }
        }
        match (ask.is_empty(), solid, to_release.is_empty()) {
            (false, _, _) => Step::Ask(ask),
            (true, true, true) => Step::Nothing,
            (true, true, false) => Step::Release { owners: to_release },
            (true, false, _) => Step::Delete(self.policy(entry, is_waited_for)),
        }
    }

    fn standing(
        &self,
        entry: &Entry,
        owner: &OwnerReference,
        scope: impl Fn(&KindName) -> Option<bool>,
        confirmed: &BTreeSet<String>,
    ) -> Standing {
        let kind = KindName::of_owner(owner);
        let Some(is_namespaced) = scope(&kind) else { return Standing::Solid };
        if is_namespaced && entry.key.namespace.is_empty() {
            return Standing::Dangling;
        }
        let seen = self.entries.get(owner.uid.as_str());
        match seen {
            Some(seen) if is_near(entry, seen) && *seen.kind == kind && seen.key.name == owner.name => {
                if seen.waits_for_dependents() { Standing::Waiting } else { Standing::Solid }
            }
            _ if confirmed.contains(&owner.uid) => Standing::Solid,
            _ if self.absent.contains(&owner.uid) => Standing::Dangling,
            _ => Standing::Unknown,
        }
    }

    fn policy(&self, entry: &Entry, is_waited_for: bool) -> Policy {
        let has_dependents = self.links(&entry.uid).next().is_some();
        match (is_waited_for && has_dependents, entry.has(ORPHAN), entry.has(FOREGROUND)) {
            (true, _, _) => Policy::Foreground,
            (_, true, _) => Policy::Orphan,
            (_, _, true) => Policy::Foreground,
            _ => Policy::Background,
        }
    }

    fn dependents_of(&self, uid: &str) -> Vec<String> {
        self.links(uid).map(|(_, dependent)| dependent.to_string()).collect()
    }

    fn seen_dependents(&self, uid: &str) -> impl Iterator<Item = &Entry> {
        self.links(uid).filter_map(|(_, dependent)| self.entries.get(dependent))
    }

    /// An owner with each of its dependents; no uid is before the empty one.
    fn links(&self, owner: &str) -> impl Iterator<Item = &(Arc<str>, Arc<str>)> {
        let owner: Arc<str> = owner.into();
        let first = (owner.clone(), Arc::default());
        self.dependents.range(first..).take_while(move |(of, _)| *of == owner)
    }

    fn waiting_owners(&self, entry: &Entry) -> Vec<String> {
        let owners = entry.owners.iter().filter_map(|owner| self.entries.get(owner.uid.as_str()));
        owners
            .filter(|o| o.waits_for_dependents() || o.orphans_dependents())
            .map(|o| o.uid.to_string())
            .collect()
    }

    /// The same owners as some other object of the first of them has them.
    fn owners_like(&self, entry: &Entry) -> Option<Arc<[OwnerReference]>> {
        let sibling = self.seen_dependents(&entry.owners.first()?.uid).next()?;
        (sibling.owners == entry.owners).then(|| sibling.owners.clone())
    }

    fn link(&mut self, entry: &Entry) {
        for owner in entry.owners.iter() {
            let seen = self.entries.get_key_value(owner.uid.as_str()).map(|(uid, _)| uid);
            let named = || self.links(&owner.uid).next().map(|(uid, _)| uid);
            let owner = seen.or_else(named).cloned().unwrap_or_else(|| owner.uid.as_str().into());
            self.dependents.insert((owner, entry.uid.clone()));
        }
    }

    fn unlink(&mut self, entry: &Entry) {
        for owner in entry.owners.iter() {
            self.dependents.remove(&(owner.uid.as_str().into(), entry.uid.clone()));
        }
    }
}

/// What is known of an owner.
enum Standing {
    Solid,
    Waiting,
    Dangling,
    Unknown,
}

/// A namespaced owner counts only for dependents of its own namespace.
fn is_near(dependent: &Entry, owner: &Entry) -> bool {
    owner.key.namespace.is_empty() || owner.key.namespace == dependent.key.namespace
}
