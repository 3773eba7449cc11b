//! Which ControllerRevision is the current one, and what happens to the others? (RV, TK)
//!
//! 1. The current one is found by its data: first the same JSON, then the same meaning (TK-2, OPP-8). Upstream compares
//!    bytes (RV-11); the order of keys, which is all that bytes add to JSON that Go has written, is nothing to us. Its hash
//!    is read from its label and never computed again (TK-1). Our own hash only names new ones.
//! 2. The current one has the highest number (RV-12).
//! 3. Pods of a revision with the same meaning are up to date, whatever their hash (TK-2).
//! 4. A revision is made only after asking the server whether the DaemonSet lives: the caches may not know yet that it is
//!    deleted, and then the revision and each pod would be made again as often as the garbage collector deletes them.
//! 5. A duplicate goes only when no pod carries its hash: first those pods, and only those, are relabelled (TK-7; BUG-3).
//!
//! Kubernetes: `daemon/update.go` (`constructHistory`, `cleanupHistory`, `snapshot`).
//! Differs: names that would be too long are cut (BUG-16); upstream does not ask (4).

mod data;
mod meaning;

pub use data::{data, go_json};
pub use meaning::same_meaning;

use crate::claims::Claims;
use crate::plan::{Action, Obsolete};
use crate::seats::is_inherited;
use crate::snapshot::{GENERATION_LABEL, Snapshot, Subject};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::Pod;
use objects::name::{SUBDOMAIN_MAX, safe_encode};
use objects::owner;
use objects::pod::{self, HASH_LABEL};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Old revisions that are kept if the DaemonSet does not say (AP-8).
const HISTORY_LIMIT: i32 = 10;

/// A ControllerRevision to be created.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRevision {
    /// `metadata.name`.
    pub name: String,
    /// The hash that its pods carry.
    pub hash: String,
    /// `revision`.
    pub number: i64,
    /// The whole object.
    pub object: Value,
}

impl NewRevision {
    /// The request body, byte for byte: the server keeps `data` as it is sent, and kubectl compares it (RV-25).
    pub fn body(&self) -> String {
        go_json(&self.object)
    }
}

impl fmt::Display for NewRevision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "revision {} number {}", self.name, self.number)
    }
}

/// What the history says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct History {
    /// The hash for new pods.
    pub(crate) hash: String,
    /// The hashes that count as up to date.
    pub(crate) hashes: BTreeSet<String>,
    /// What brings the history in order, in order.
    pub(crate) actions: Vec<Action>,
    /// Neither current nor a duplicate, by ascending number: the hash, and the end.
    old: Vec<(String, Action)>,
}

/// The history cannot be told before the collision count is raised (RV-14).
#[derive(Debug)]
pub(crate) struct Collision {
    pub(crate) to: i32,
}

/// Finds or makes the current revision.
pub(crate) fn history(
    seen: &Snapshot<'_>,
    subject: &Subject<'_>,
    claims: &Claims<'_>,
) -> Result<History, Collision> {
    let mut revisions = claims.revisions.clone();
    revisions.sort_by_key(|revision| (revision.revision, name(revision)));
    let data = data(subject.template);
    let before = revisions.last().and_then(|last| body(last));
    let mut actions = label_unlabelled(&revisions);
    let (exact, others): (Vec<_>, Vec<_>) = revisions.into_iter().partition(|r| body(r) == Some(&data));
    let (same, mut old): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|r| body(r).is_some_and(|body| same_meaning(body, &data)));
    // The highest number is kept; in this order it is the last.
    let Some(kept) = exact.last().or(same.last()).copied() else {
        let data = data::in_dialect_of(data, before);
        let (hash, create) = create(seen, subject, claims, data, next_number(&old))?;
        actions.extend(create.into_iter().flat_map(|create| [Action::ConfirmAlive, create]));
        return Ok(History { hashes: [hash.clone()].into(), hash, actions, old: ends(&old) });
    };
    let hashes = exact.iter().chain(&same).map(|revision| hash(revision)).collect();
    let duplicates: Vec<_> = exact.iter().copied().filter(|r| !std::ptr::eq(*r, kept)).collect();
    old.extend(same.into_iter().filter(|revision| !std::ptr::eq(*revision, kept)));
    old.sort_by_key(|revision| (revision.revision, name(revision)));
    actions.extend(merge(&duplicates, hash(kept), claims));
    let next = next_number(&old);
    if kept.revision < next {
        actions.push(Action::NumberRevision { name: name(kept).to_string(), revision: next });
    }
    Ok(History { hash: hash(kept), hashes, actions, old: ends(&old) })
}

impl History {
    /// Drops what the history limit does not keep: the lowest numbers whose hash no pod carries (RV-19).
    pub(crate) fn truncate(&self, subject: &Subject<'_>, is_carried: impl Fn(&str) -> bool) -> Vec<Action> {
        let limit = subject.spec.revision_history_limit.unwrap_or(HISTORY_LIMIT);
        let excess = self.old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        let dead = self.old.iter().filter(|(hash, _)| !is_carried(hash));
        dead.take(excess).map(|(_, end)| end.clone()).collect()
    }
}

fn ends(old: &[&ControllerRevision]) -> Vec<(String, Action)> {
    old.iter().map(|revision| (hash(revision), delete(revision, Obsolete::History))).collect()
}

/// RV-10.
fn label_unlabelled(revisions: &[&ControllerRevision]) -> Vec<Action> {
    let bare = revisions.iter().filter(|revision| hash_label(revision).is_none());
    bare.map(|r| Action::LabelRevision { name: name(r).to_string(), hash: name(r).to_string() }).collect()
}

/// RV-12, RV-13: pods first, and the duplicate only when none is left.
fn merge(duplicates: &[&ControllerRevision], kept: String, claims: &Claims<'_>) -> Vec<Action> {
    let mut actions = Vec::new();
    for duplicate in duplicates {
        let theirs = hash(duplicate);
        let carriers =
            claims.pods.iter().filter(|pod| theirs != kept && pod::hash_label(pod) == Some(&theirs));
        let relabels: Vec<Action> = carriers
            .map(|pod| Action::RelabelPod {
                name: pod.metadata.name.clone().unwrap_or_default(),
                uid: pod.metadata.uid.clone().unwrap_or_default(),
                hash: kept.clone(),
            })
            .collect();
        match relabels.is_empty() {
            true => actions.push(delete(duplicate, Obsolete::Duplicate)),
            false => actions.extend(relabels),
        }
    }
    actions
}

/// The hash of a revision that is yet to be, and its creation if nobody has made it. A name that another object has is
/// a collision (RV-14), unless that object says the same.
fn create(
    seen: &Snapshot<'_>,
    subject: &Subject<'_>,
    claims: &Claims<'_>,
    data: Value,
    number: i64,
) -> Result<(String, Option<Action>), Collision> {
    let count = subject.daemon_set.status.as_ref().and_then(|status| status.collision_count);
    let computed = fresh_hash(&data, count);
    let taken = |hash: &str| {
        let wanted = revision_name(subject.name, hash);
        seen.revisions.iter().copied().find(|r| name(r) == wanted && is_in(r, subject.namespace))
    };
    let hash = inherited_hash(subject, claims).filter(|hash| taken(hash).is_none()).unwrap_or(computed);
    match taken(&hash) {
        Some(other) if body(other).is_some_and(|body| same_meaning(body, &data)) => Ok((hash, None)),
        Some(_) => Err(Collision { to: count.unwrap_or_default().saturating_add(1) }),
        None => {
            let new = new_revision(subject, hash.clone(), data, number);
            Ok((hash, Some(Action::CreateRevision(Box::new(new)))))
        }
    }
}

/// TK-6: after a takeover without history, the pods say which hash is current, if they agree.
fn inherited_hash(subject: &Subject<'_>, claims: &Claims<'_>) -> Option<String> {
    if !claims.revisions.is_empty() {
        return None;
    }
    let generation = subject.template_generation?.to_string();
    let is_current = |pod: &&&Pod| {
        pod::label(pod, GENERATION_LABEL) == Some(&generation) && !is_inherited(pod, subject.born)
    };
    let mut hashes = claims.pods.iter().filter(is_current).filter_map(|pod| pod::hash_label(pod));
    let first = hashes.next()?;
    hashes.all(|hash| hash == first).then(|| first.to_string())
}

/// RV-1, RV-2.
fn new_revision(subject: &Subject<'_>, hash: String, data: Value, number: i64) -> NewRevision {
    let name = revision_name(subject.name, &hash);
    let mut labels = subject.template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.insert(HASH_LABEL.to_string(), json!(hash));
    let mut metadata = Map::new();
    metadata.insert("name".to_string(), json!(name));
    metadata.insert("namespace".to_string(), json!(subject.namespace));
    metadata.insert("labels".to_string(), Value::Object(labels));
    let annotations: &Option<BTreeMap<String, String>> = &subject.daemon_set.metadata.annotations;
    if let Some(annotations) = annotations.as_ref().filter(|annotations| !annotations.is_empty()) {
        metadata.insert("annotations".to_string(), json!(annotations));
    }
    let owner = owner::controller_reference("apps/v1", "DaemonSet", subject.name, subject.uid);
    metadata.insert("ownerReferences".to_string(), json!([owner]));
    let object = json!({
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata,
        "data": data,
        "revision": number,
    });
    NewRevision { name, hash, number, object }
}

/// FNV-1a over the data, and the collision count if there is one, in letters that spell nothing (RV-5). The same
/// template always gets the same hash.
fn fresh_hash(data: &Value, collision_count: Option<i32>) -> String {
    let count = collision_count.map(|count| i64::from(count).to_le_bytes()).into_iter().flatten();
    let hash = go_json(data)
        .into_bytes()
        .into_iter()
        .chain(count)
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    safe_encode(hash)
}

/// Differs: the DaemonSet's name is cut where the whole would be too long (BUG-16).
fn revision_name(daemon_set: &str, hash: &str) -> String {
    let room = SUBDOMAIN_MAX.saturating_sub(hash.len() + 1);
    let base = daemon_set.get(..room).unwrap_or(daemon_set).trim_end_matches(['-', '.']);
    format!("{base}-{hash}")
}

fn next_number(old: &[&ControllerRevision]) -> i64 {
    old.iter().map(|revision| revision.revision).max().unwrap_or(0).saturating_add(1)
}

fn delete(revision: &ControllerRevision, cause: Obsolete) -> Action {
    let uid = revision.metadata.uid.clone().unwrap_or_default();
    Action::DeleteRevision { name: name(revision).to_string(), uid, cause }
}

fn name(revision: &ControllerRevision) -> &str {
    revision.metadata.name.as_deref().unwrap_or_default()
}

fn is_in(revision: &ControllerRevision, namespace: &str) -> bool {
    revision.metadata.namespace.as_deref().unwrap_or_default() == namespace
}

fn body(revision: &ControllerRevision) -> Option<&Value> {
    revision.data.as_ref().map(|data| &data.0)
}

fn hash_label(revision: &ControllerRevision) -> Option<&str> {
    let label = revision.metadata.labels.as_ref()?.get(HASH_LABEL)?;
    (!label.is_empty()).then_some(label)
}

/// The hash of a revision; without a label its name, which the label will soon be (RV-10).
fn hash(revision: &ControllerRevision) -> String {
    hash_label(revision).unwrap_or_else(|| name(revision)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_stable_and_moves_with_template_and_collisions() {
        let a = data(&json!({"spec": {"containers": []}}));
        let b = data(&json!({"spec": {"containers": [], "hostPID": true}}));
        assert_eq!(fresh_hash(&a, None), fresh_hash(&a, None));
        assert_ne!(fresh_hash(&a, None), fresh_hash(&b, None));
        assert_ne!(fresh_hash(&a, None), fresh_hash(&a, Some(0)), "RV-5");
        assert_ne!(fresh_hash(&a, Some(1)), fresh_hash(&a, Some(2)));
        assert_eq!(objects::name::label_value(&fresh_hash(&a, None)), Ok(()));
    }

    #[test]
    fn a_long_name_is_cut_to_fit() {
        assert_eq!(revision_name("hello", "abc"), "hello-abc");
        let long = revision_name(&"x".repeat(253), "6789bcdf45");
        assert_eq!(long.len(), SUBDOMAIN_MAX, "BUG-16");
        assert_eq!(objects::name::dns1123_subdomain(&long), Ok(()));
    }
}
