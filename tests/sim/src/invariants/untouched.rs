//! The loop changes nothing of a pod but whose it is, and which revision it is of (OW-6, OW-7, RV-13): what was adopted
//! runs on as it was.

use super::{Look, Verdict};
use crate::truth::Pair;
use crate::words;
use k8s_openapi::api::core::v1::Pod;
use objects::pod;
use serde_json::json;

const PROMISE: &str = "a daemon is left as it is";

pub(super) fn check(look: &Look<'_>, pair: &Pair<Pod>) -> Verdict {
    let (Some(old), Some(new)) = (&pair.old, &pair.new) else { return Ok(()) };
    // Of several writers in one instant nobody can say who did what.
    let others = ["post", "put", "delete"].iter().any(|verb| look.is_others(verb, "pods", &pair.key));
    let is_alone = look.is_ours("patch", "pods", &pair.key) && !others;
    if !is_alone || bare(old) == bare(new) {
        return Ok(());
    }
    let changed = words::difference(&json!(bare(old)), &json!(bare(new)));
    Err((PROMISE, format!("{} was changed: {}", pair.key, changed.join(", "))))
}

/// A pod without what the loop may change; whether it may end it is another promise.
fn bare(pod: &Pod) -> Pod {
    let mut bare = pod.clone();
    bare.metadata.owner_references = None;
    bare.metadata.resource_version = None;
    bare.metadata.managed_fields = None;
    bare.metadata.deletion_timestamp = None;
    bare.metadata.deletion_grace_period_seconds = None;
    if let Some(labels) = &mut bare.metadata.labels {
        labels.remove(pod::HASH_LABEL);
    }
    bare
}
