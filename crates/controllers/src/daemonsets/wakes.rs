//! Which DaemonSets must be looked at after an event? (WE-4…WE-16)
//!
//! 1. What a DaemonSet controls wakes it, before and after the change; a pod that is nobody's wakes those who could adopt
//!    it, when it is new or when what they look at has changed.
//! 2. A node wakes whoever sees it differently than before. An event that changes nothing for anybody wakes nobody.
//!
//! Kubernetes: the event handlers of `daemon_controller.go`. Differs: a new revision wakes its owner (BUG-10); a node that
//! goes wakes all, so that no status counts it any more (BUG-4); a changed node wakes whoever's placement there changes,
//! also where no pod is bound yet (BUG-11); a revision that an
//! earlier DaemonSet of the same name left wakes the new one when it goes.

use crate::caches::mirror::Kept;
use crate::caches::{BY_NODE, Caches, Change, Whole};
use daemonset::{Judge, Placement};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use objects::key::ObjectKey;
use objects::owner::controller_of;
use objects::selector::Selector;
use std::collections::BTreeSet;

/// After a change of a pod or revision (WE-4…WE-10).
pub(super) fn by_dependent<T: Kept>(caches: &Caches, change: &Change<'_, T>) -> BTreeSet<ObjectKey> {
    let (old, new) = (change.old.map(|old| old.meta()), change.new.map(|new| new.meta()));
    let mut woken: BTreeSet<ObjectKey> =
        [old, new].into_iter().flatten().filter_map(|meta| owner(caches, meta)).collect();
    let orphan = new.filter(|new| controller_of(new).is_none() && new.deletion_timestamp.is_none());
    if let Some(orphan) = orphan {
        let news = old.is_none_or(|old| old.labels != orphan.labels || controller_of(old).is_some());
        if news {
            woken.extend(could_adopt(caches, orphan));
        }
    }
    woken
}

/// After a change of a revision: as any dependent, and one that goes wakes whoever has the name of its owner. Revisions are
/// named after their DaemonSet, so that a new one may have found its revision there when its predecessor was deleted.
pub(super) fn by_revision(caches: &Caches, change: &Change<'_, ControllerRevision>) -> BTreeSet<ObjectKey> {
    let mut woken = by_dependent(caches, change);
    let gone = change.old.filter(|_| change.new.is_none());
    woken.extend(gone.and_then(|gone| namesake(caches, &gone.metadata)));
    woken
}

/// After a change of a node (WE-11…WE-16).
pub(super) fn by_node(caches: &Caches, change: &Change<'_, Node>) -> BTreeSet<ObjectKey> {
    let wakes = |seen: &Whole<DaemonSet>| match (change.old, change.new) {
        (Some(old), Some(new)) => place(seen, old) != place(seen, new) || went_silent(old, new),
        (None, Some(new)) => place(seen, new).is_none_or(|place| place == Placement::Run),
        (_, None) => true,
    };
    if let (Some(old), Some(new)) = (change.old, change.new)
        && reads_same(old, new)
    {
        return BTreeSet::new();
    }
    let all = caches.daemonsets.all();
    let woken = all.iter().filter(|seen| wakes(seen)).map(|seen| ObjectKey::of(&seen.object.metadata));
    woken.chain(returning(caches, change)).collect()
}

/// Whose pods were left behind by a node that comes again.
fn returning(caches: &Caches, change: &Change<'_, Node>) -> Vec<ObjectKey> {
    let Some(node) = change.new.filter(|_| change.old.is_none()) else { return Vec::new() };
    let pods = caches.pods.by(BY_NODE, objects::node::name(node));
    pods.iter().filter_map(|pod| owner(caches, &pod.metadata)).collect()
}

/// None if there is no template to judge by.
fn place(seen: &Whole<DaemonSet>, node: &Node) -> Option<Placement> {
    let spec = seen.object.spec.as_ref().and_then(|spec| spec.template.spec.as_ref())?;
    Some(Judge::of(spec).place(node))
}

/// Whether two versions of a node are the same to every DaemonSet: they read labels and taints (WE-16b), and our conditions whether it
/// is silent.
fn reads_same(old: &Node, new: &Node) -> bool {
    let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    old.metadata.labels == new.metadata.labels && taints(old) == taints(new) && !went_silent(old, new)
}

/// A node that is not heard of any more, or again, makes another `Available`.
fn went_silent(old: &Node, new: &Node) -> bool {
    objects::node::is_silent(old) != objects::node::is_silent(new)
}

/// The DaemonSet that controls it, if the cache has it with the same uid (OW-10).
fn owner(caches: &Caches, meta: &ObjectMeta) -> Option<ObjectKey> {
    let uid = &controller_of(meta)?.uid;
    let key = namesake(caches, meta)?;
    let seen = caches.daemonsets.get(&key)?;
    (seen.object.metadata.uid.as_deref() == Some(uid)).then_some(key)
}

/// The DaemonSet of the name of the one that controls it, perhaps made after that was deleted.
fn namesake(caches: &Caches, meta: &ObjectMeta) -> Option<ObjectKey> {
    let owner = controller_of(meta).filter(|owner| owner.kind == "DaemonSet")?;
    let key = ObjectKey::new(meta.namespace.as_deref().unwrap_or_default(), &owner.name);
    caches.daemonsets.get(&key).map(|_| key)
}

/// DaemonSets whose selector matches an orphan (OW-12).
fn could_adopt(caches: &Caches, orphan: &ObjectMeta) -> Vec<ObjectKey> {
    let Some(labels) = orphan.labels.as_ref().filter(|labels| !labels.is_empty()) else { return Vec::new() };
    let all = caches.daemonsets.in_namespace(orphan.namespace.as_deref().unwrap_or_default());
    let selects = |seen: &&std::sync::Arc<Whole<DaemonSet>>| {
        let selector = seen.object.spec.as_ref().map(|spec| Selector::from_label_selector(&spec.selector));
        selector.and_then(Result::ok).is_some_and(|s| !s.is_empty() && s.matches(labels))
    };
    all.iter().filter(selects).map(|seen| ObjectKey::of(&seen.object.metadata)).collect()
}

#[cfg(test)]
mod tests;
