//! No daemon is ended without a reason that the loop could see.
//!
//! Reasons: the node wants none (MG-6 C), it has ended by itself (MG-9, MG-11), another one is there (MG-13, MG-14), its
//! node is gone before it got there (MG-15), or it is of an old template and may be replaced (RU-1, RU-8).

use super::{Look, Verdict};
use crate::truth::{Pair, Set};
use crate::words;
use daemonset::Placement;
use daemonset::snapshot::PAUSED_ANNOTATION;
use k8s_openapi::api::core::v1::Pod;
use objects::pod;
use std::sync::Arc;

const PROMISE: &str = "no daemon is ended without a reason";

pub(super) fn check(look: &Look<'_>, pair: &Pair<Pod>) -> Verdict {
    let Some(old) = &pair.old else { return Ok(()) };
    if !ends(old, pair.new.as_deref()) || !look.is_ours("delete", "pods", &pair.key) {
        return Ok(());
    }
    match why(look, &pair.key, old) {
        Some(_) => Ok(()),
        None => Err((PROMISE, format!("{} ({}) on {}", pair.key, words::hash(old), words::target(old)))),
    }
}

/// Whether this write ends the pod.
pub(crate) fn ends(old: &Pod, new: Option<&Pod>) -> bool {
    new.is_none_or(pod::is_terminating) && !pod::is_terminating(old)
}

/// Why the loop may end this pod, in the words of [`crate::coverage`]; the first reason that it could see.
pub(crate) fn why(look: &Look<'_>, pod_key: &str, old: &Pod) -> Option<&'static str> {
    let versions = look.truth.pods.since(pod_key, look.since);
    // It may have been let go a moment ago, unseen; what belongs to nobody is nobody's to end.
    let (key, uid) = versions.iter().flatten().rev().find_map(|pod| Look::owner(pod))?;
    let (sets, node) = (look.sets(&key, &uid), words::target(old));
    let is_unwanted = || {
        let placements = look.placements(&sets, &node);
        placements.iter().any(|p| !matches!(p, Some(Placement::Run | Placement::Stay(_))))
    };
    match () {
        () if versions.iter().flatten().any(|pod| pod::is_terminal(pod)) => Some("ends: it had ended"),
        () if is_unwanted() => Some("ends: its node wants none"),
        () if has_company(look, pod_key, &uid, &node) => Some("ends: another one is there"),
        () if sets.iter().any(|set| may_replace(look, set, old)) => Some("ends: its template is old"),
        () => None,
    }
}

/// Whether another live pod of the set was on the node at some moment of the window.
fn has_company(look: &Look<'_>, key: &str, uid: &str, node: &str) -> bool {
    let is_one = |pod: &Arc<Pod>| {
        Look::owner(pod).is_some_and(|(_, owner)| owner == uid) && words::target(pod) == node
    };
    let others = look.truth.pods.keys().filter(|other| *other != key);
    others.into_iter().any(|other| {
        let versions = look.truth.pods.since(other, look.since);
        versions.iter().flatten().any(|pod| is_one(pod) && !pod::is_terminating(pod))
    })
}

/// Whether this version of the set replaces pods of old templates, and the pod is one.
fn may_replace(look: &Look<'_>, set: &Set, old: &Pod) -> bool {
    let spec = set.object.spec.as_ref();
    let strategy = spec.and_then(|spec| spec.update_strategy.as_ref()?.type_.as_deref());
    let annotations = set.object.metadata.annotations.as_ref();
    let is_paused =
        annotations.and_then(|all| all.get(PAUSED_ANNOTATION)).is_some_and(|value| value == "true");
    strategy != Some("OnDelete") && !is_paused && !is_current(look, set, old)
}

/// RU-5, by the hash alone: a pod whose hash is that of a revision with the set's very template is current.
fn is_current(look: &Look<'_>, set: &Set, old: &Pod) -> bool {
    let namespace = set.object.metadata.namespace.as_deref().unwrap_or_default();
    let of_hash = look.truth.revisions.keys().filter(|key| key.starts_with(&format!("{namespace}/")));
    of_hash.into_iter().any(|key| {
        let versions = look.truth.revisions.since(key, look.since);
        versions.iter().flatten().any(|revision| {
            let label = revision.metadata.labels.as_ref().and_then(|labels| labels.get(pod::HASH_LABEL));
            label.map(String::as_str) == pod::hash_label(old)
                && template(&revision.data) == Some(set.json["spec"]["template"].clone())
        })
    })
}

/// The template that a revision holds, as the set would show it.
fn template(
    data: &Option<k8s_openapi::apimachinery::pkg::runtime::RawExtension>,
) -> Option<serde_json::Value> {
    let mut template = data.as_ref()?.0["spec"]["template"].clone();
    let fields = template.as_object_mut()?;
    fields.remove("$patch");
    if let Some(metadata) = fields.get_mut("metadata").and_then(|metadata| metadata.as_object_mut()) {
        metadata.retain(|_, value| !value.is_null());
    }
    Some(template)
}
