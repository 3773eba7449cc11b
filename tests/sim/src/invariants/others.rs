//! Other loops and nodes end a pod only for a reason that stands in this table, and that they could see.
//!
//! | who | may | because |
//! |---|---|---|
//! | pod gc | end it | its node is gone (NP-12) |
//! | anybody | take it away | it was told to end, and its node is gone, or it was never bound, or has ended |
//! | taint eviction | end it | its node has a NoExecute taint that it does not tolerate for ever (NP-5) |
//! | garbage collector | end it | its DaemonSet is gone, or is deleted in the foreground (OW-19) |
//! | namespaces | end it | its namespace is being deleted |
//! | a node | take it away | it was told to end before |
//!
//! Preemption is no reason: all daemons here are of one priority. A user's own calls are not looked at.

use super::{Look, Verdict};
use crate::truth::Pair;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use objects::owner::controller_of;
use objects::pod;
use objects::taints::tolerates;

const PROMISE: &str = "nobody ends a pod without a reason";
const NO_EXECUTE: &str = "NoExecute";

pub(super) fn of_pod(look: &Look<'_>, pair: &Pair<Pod>) -> Verdict {
    let Some(old) = &pair.old else { return Ok(()) };
    let was_ending = pod::is_terminating(old);
    let ends = !was_ending && pair.new.as_ref().is_none_or(|new| pod::is_terminating(new));
    let goes = was_ending && pair.new.is_none();
    let calls = look.faults.just_now("delete", "pods", &pair.key);
    let by = |client: &str| !calls.is_empty() && calls.iter().all(|call| call.client.starts_with(client));
    if ends && by("node ") {
        return Err((PROMISE, format!("{} is ended by its node", pair.key)));
    }
    if !by("others") || !(ends || goes) {
        return Ok(());
    }
    let is_lost = node_is_gone(look, old);
    // Nobody has to be waited for.
    let is_over = pod::node_name(old).is_none() || pod::is_terminal(old);
    let is_known = match ends {
        true => {
            is_lost
                || is_tainted(look, old)
                || owner_goes(look, controller_uid(old))
                || namespace_goes(look, &pair.key)
        }
        false => is_lost || is_over,
    };
    match is_known {
        true => Ok(()),
        false => Err((
            PROMISE,
            format!("{} {} on {:?}", pair.key, if ends { "is ended" } else { "goes" }, pod::node_name(old)),
        )),
    }
}

/// A revision goes with its DaemonSet, or by the loop's own hand.
pub(super) fn of_revision(look: &Look<'_>, pair: &Pair<ControllerRevision>) -> Verdict {
    let (Some(old), None) = (&pair.old, &pair.new) else { return Ok(()) };
    let calls = look.faults.just_now("delete", "controllerrevisions", &pair.key);
    let is_theirs = !calls.is_empty() && calls.iter().all(|call| call.client == "others");
    let uid = controller_of(&old.metadata).map(|owner| owner.uid.as_str());
    match !is_theirs || owner_goes(look, uid) || namespace_goes(look, &pair.key) {
        true => Ok(()),
        false => Err(("nobody ends a revision without a reason", pair.key.clone())),
    }
}

fn node_is_gone(look: &Look<'_>, pod: &Pod) -> bool {
    let node = pod::node_name(pod);
    node.is_some_and(|node| look.truth.nodes.since(node, look.since).iter().any(Option::is_none))
}

/// Whether its node had a taint at some moment that it does not tolerate, or only for a time.
fn is_tainted(look: &Look<'_>, pod: &Pod) -> bool {
    let Some(node) = pod::node_name(pod) else { return false };
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let for_ever = |taint: &Taint| {
        let first = tolerations.iter().find(|toleration| tolerates(toleration, taint));
        first.is_some_and(|toleration| toleration.toleration_seconds.is_none())
    };
    let evicts = |node: &Node| {
        let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        taints.filter(|taint| taint.effect == NO_EXECUTE).any(|taint| !for_ever(taint))
    };
    look.truth.nodes.since(node, look.since).iter().flatten().any(|node| evicts(node))
}

/// Whether the namespace of this key was being deleted at some moment, or was not there.
fn namespace_goes(look: &Look<'_>, key: &str) -> bool {
    let namespace = key.split('/').next().unwrap_or_default();
    let versions = look.truth.namespaces.since(namespace, look.since);
    versions
        .iter()
        .any(|found| found.as_ref().is_none_or(|found| found.metadata.deletion_timestamp.is_some()))
}

fn controller_uid(pod: &Pod) -> Option<&str> {
    controller_of(&pod.metadata).map(|owner| owner.uid.as_str())
}

/// Whether the DaemonSet of this uid was gone at some moment, or being deleted in the foreground.
fn owner_goes(look: &Look<'_>, uid: Option<&str>) -> bool {
    let Some(uid) = uid else { return false };
    let mut lives = false;
    for key in look.truth.sets.keys() {
        for set in look.truth.sets.since(key, look.since) {
            let meta = set.as_ref().map(|set| &set.object.metadata);
            let is_it = meta.is_some_and(|meta| meta.uid.as_deref() == Some(uid));
            let finalizers = meta.and_then(|meta| meta.finalizers.as_deref()).unwrap_or_default();
            if is_it && finalizers.iter().any(|name| name == "foregroundDeletion") {
                return true;
            }
            // The last version that is looked at is the present one.
            lives = if meta.is_some() { is_it || lives } else { false };
        }
    }
    !lives
}
