//! What a write is about, for the table: which kind, and what of interest somebody did with it.

use super::OTHER;
use crate::invariants::conditions::{Three, said, says_left_alone};
use crate::invariants::{Look, reasons};
use crate::trace::Trace;
use crate::truth::{Change, Pair, Set};
use crate::words;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{Node, Pod};
use objects::owner::controller_of;
use objects::{node, pod};

/// Counts what this write is about.
pub(crate) fn count(look: &Look<'_>, change: &Change, key: &str, trace: &Trace) {
    trace.met("write", kind(change, key));
    match change {
        Change::Pod(pair) => of_pod(look, pair, trace),
        Change::Set(pair) => of_set(look, pair, trace),
        Change::Revision(pair) => of_revision(look, pair, trace),
        Change::Node(pair) => of_node(look, pair, trace),
        Change::Other => {}
    }
}

fn kind(change: &Change, key: &str) -> &'static str {
    match change {
        Change::Pod(pair) => match words::of_pod(pair.old.as_deref(), pair.new.as_deref()) {
            Some(_) => "pod",
            None => "pod, in detail",
        },
        Change::Node(pair) => match words::of_node(pair.old.as_deref(), pair.new.as_deref()) {
            Some(_) => "node",
            None => "heartbeat",
        },
        Change::Set(Pair { old: Some(old), new: Some(new), .. })
            if old.object.metadata.generation == new.object.metadata.generation =>
        {
            "status of a daemonset"
        }
        Change::Set(_) => "daemonset",
        Change::Revision(_) => "revision",
        Change::Other if key.contains("/leases/") => "lease",
        Change::Other if key.contains("/events/") => "event",
        Change::Other if key.contains("/namespaces/") => "namespace",
        Change::Other => OTHER,
    }
}

fn of_pod(look: &Look<'_>, pair: &Pair<Pod>, trace: &Trace) {
    let is_ours = |verb| look.is_ours(verb, "pods", if pair.old.is_none() { "" } else { &pair.key });
    match (&pair.old, &pair.new) {
        (None, Some(new)) if is_ours("post") => {
            trace.met("loop", "creates a pod");
            let Some((_, uid)) = Look::owner(new) else { return };
            let node = words::target(new);
            let mut others = look.truth.pods.now().filter(|(key, other)| {
                **key != pair.key
                    && Look::owner(other).is_some_and(|(_, owner)| owner == uid)
                    && words::target(other) == node
                    && !pod::is_terminal(other)
            });
            if others.next().is_some() {
                trace.met("loop", "creates one beside another");
            }
        }
        (Some(old), new) if reasons::ends(old, new.as_deref()) && is_ours("delete") => {
            if let Some(why) = reasons::why(look, &pair.key, old) {
                trace.met("loop", why);
            }
        }
        (Some(old), Some(new)) if is_ours("patch") => of_owner(old, new, trace),
        (Some(old), new) if reasons::ends(old, new.as_deref()) => trace.met("others", "pod ended"),
        _ => {}
    }
}

fn of_owner(old: &Pod, new: &Pod, trace: &Trace) {
    match (controller_of(&old.metadata), controller_of(&new.metadata)) {
        (None, Some(_)) => trace.met("loop", "adopts"),
        (Some(_), None) => trace.met("loop", "releases"),
        _ if pod::hash_label(old) != pod::hash_label(new) => trace.met("loop", "labels what it adopts"),
        _ => {}
    }
}

fn of_set(look: &Look<'_>, pair: &Pair<Set>, trace: &Trace) {
    let (Some(old), Some(new)) = (&pair.old, &pair.new) else { return };
    let (before, status) = (old.object.status.as_ref(), new.object.status.as_ref());
    if before == status || !look.is_ours("put", "daemonsets", &pair.key) {
        return;
    }
    let Some(status) = status else { return };
    if before.and_then(|before| before.collision_count) != status.collision_count {
        trace.met("loop", "collision counted");
    }
    if says_left_alone(status) {
        trace.met("apart", "leaves a daemonset alone");
    } else if before.is_some_and(says_left_alone) {
        trace.met("apart", "takes it after all");
    }
    if let Some(three) = Three::of(status) {
        trace.met("progressing", said(three.progressing).1);
        trace.met("available", said(three.available).1);
        trace.met("degraded", said(three.degraded).1);
    }
}

fn of_revision(look: &Look<'_>, pair: &Pair<ControllerRevision>, trace: &Trace) {
    let is_ours =
        |verb| look.is_ours(verb, "controllerrevisions", if pair.old.is_none() { "" } else { &pair.key });
    match (&pair.old, &pair.new) {
        (None, Some(_)) if is_ours("post") => trace.met("loop", "revision made"),
        (Some(_), None) if is_ours("delete") => trace.met("loop", "revision let go"),
        (Some(_), None) => trace.met("others", "revision goes"),
        (Some(old), Some(new)) if old.revision != new.revision => trace.met("loop", "revision renumbered"),
        _ => {}
    }
}

fn of_node(look: &Look<'_>, pair: &Pair<Node>, trace: &Trace) {
    match (&pair.old, &pair.new) {
        (None, Some(_)) if look.truth.nodes.versions(&pair.key).count() > 1 => {
            trace.met("others", "node comes back under its name");
        }
        (Some(old), Some(new)) if node::is_silent(old) != node::is_silent(new) => {
            trace.met("others", if node::is_silent(new) { "node falls silent" } else { "node is back" });
        }
        _ => {}
    }
}
