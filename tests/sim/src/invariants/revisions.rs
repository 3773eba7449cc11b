//! Revisions tell the truth: what one holds never changes, a new one has the highest number, numbers only grow, and none
//! goes that a daemon still names, or that is the current one (RV-3, RV-12, RV-19).

use super::{Look, Verdict};
use crate::truth::Pair;
use crate::words;
use k8s_openapi::api::apps::v1::ControllerRevision;
use objects::owner::controller_of;
use objects::pod;

const PROMISE: &str = "revisions are consistent";

pub(super) fn check(look: &Look<'_>, pair: &Pair<ControllerRevision>) -> Verdict {
    let key = &pair.key;
    match (&pair.old, &pair.new) {
        (Some(old), Some(new)) if old.data != new.data => {
            Err((PROMISE, format!("{key} holds something else now")))
        }
        (Some(old), Some(new)) if new.revision < old.revision => {
            Err((PROMISE, format!("{key} falls from {} to {}", old.revision, new.revision)))
        }
        (None, Some(new)) if look.is_ours("post", "controllerrevisions", "") => is_newest(look, key, new),
        (Some(old), None) if look.is_ours("delete", "controllerrevisions", key) => is_unused(look, key, old),
        _ => Ok(()),
    }
}

/// RV-12, among those that the loop can know.
fn is_newest(look: &Look<'_>, key: &str, new: &ControllerRevision) -> Verdict {
    let uid = controller_of(&new.metadata).map(|owner| owner.uid.clone());
    for (other, _) in look.truth.revisions.now().filter(|(other, _)| *other != key) {
        let versions = look.truth.revisions.since(other, look.since);
        let Some(Some(first)) = versions.first() else { continue };
        let is_its = controller_of(&first.metadata).map(|owner| owner.uid.clone()) == uid;
        if is_its && first.revision >= new.revision {
            return Err((
                PROMISE,
                format!("{key} has number {}, {other} has {}", new.revision, first.revision),
            ));
        }
    }
    Ok(())
}

/// RV-19, against pods that have named it all the time.
fn is_unused(look: &Look<'_>, key: &str, old: &ControllerRevision) -> Verdict {
    let Some(owner) = controller_of(&old.metadata) else { return Ok(()) };
    let hash = old.metadata.labels.as_ref().and_then(|labels| labels.get(pod::HASH_LABEL));
    for (name, _) in look.truth.pods.now() {
        let versions = look.truth.pods.since(name, look.since);
        let names_it = versions.iter().all(|pod| {
            pod.as_ref().is_some_and(|pod| {
                Look::owner(pod).is_some_and(|(_, uid)| uid == owner.uid)
                    && Some(words::hash(pod)) == hash.map(String::as_str)
            })
        });
        // A duplicate of the same hash may go: the other one stays.
        if names_it && !has_twin(look, key, hash, &owner.uid) {
            return Err((PROMISE, format!("{key} is deleted, though {name} is of it")));
        }
    }
    Ok(())
}

fn has_twin(look: &Look<'_>, key: &str, hash: Option<&String>, uid: &str) -> bool {
    look.truth.revisions.now().any(|(other, revision)| {
        other != key
            && controller_of(&revision.metadata).is_some_and(|owner| owner.uid == uid)
            && revision.metadata.labels.as_ref().and_then(|labels| labels.get(pod::HASH_LABEL)) == hash
    })
}
