//! Never two live pods of one set and version on a node, and two at most while surging (MG-4, MG-6, RU-18).
//!
//! Held against every pod that the loop creates. What was already there and could be seen all the time, or what the loop
//! has made itself, is no surprise; only a pod that others put there unseen (an adopted one) is. One whose labels the set does
//! not select any more is let go, and another takes its place: it is no daemon, even before it is told so (OW-6).

use super::{Look, Verdict, surges};
use crate::truth::{Pair, Set};
use crate::words;
use k8s_openapi::api::core::v1::Pod;
use objects::pod;
use objects::selector::Selector;
use std::sync::Arc;

const PROMISE: &str = "never two daemons of one version on a node (two at most while surging)";

pub(super) fn check(look: &Look<'_>, pair: &Pair<Pod>) -> Verdict {
    let (None, Some(new)) = (&pair.old, &pair.new) else { return Ok(()) };
    let Some((key, uid)) = Look::owner(new).filter(|_| look.is_ours("post", "pods", "")) else {
        return Ok(());
    };
    let sets = look.sets(&key, &uid);
    let may_surge = sets.iter().any(|set| surges(set));
    let node = words::target(new);
    let others: Vec<&Arc<Pod>> = look
        .truth
        .pods
        .now()
        .filter(|(other, pod)| **other != pair.key && is_there(pod, &uid, &node))
        .filter(|(other, pod)| is_known(look, other, &uid) && is_selected(&sets, pod))
        .map(|(_, pod)| pod)
        .collect();
    let live: Vec<&&Arc<Pod>> = others.iter().filter(|pod| !pod::is_terminating(pod)).collect();
    let name = |pod: &Pod| pod.metadata.name.clone().unwrap_or_default();
    if let Some(twin) = live.iter().find(|pod| words::hash(pod) == words::hash(new)) {
        return Err((PROMISE, format!("{} is created beside {} on {node}", pair.key, name(twin))));
    }
    if let Some(other) = others.first().filter(|_| !may_surge) {
        return Err((
            PROMISE,
            format!("{} is created beside {} on {node}, without surge", pair.key, name(other)),
        ));
    }
    if live.len() > 1 {
        return Err((PROMISE, format!("{} is created as the third on {node}", pair.key)));
    }
    Ok(())
}

/// Whether it is one of the set's pods on the node that has not ended.
fn is_there(pod: &Pod, uid: &str, node: &str) -> bool {
    let is_its = Look::owner(pod).is_some_and(|(_, owner)| owner == uid);
    is_its && words::target(pod) == node && !pod::is_terminal(pod)
}

/// Whether one of these, as the loop may have seen them, selects the pod by its labels.
fn is_selected(sets: &[Arc<Set>], pod: &Pod) -> bool {
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let selectors = sets.iter().filter_map(|set| set.object.spec.as_ref()).map(|spec| &spec.selector);
    let mut selectors = selectors.filter_map(|selector| Selector::from_label_selector(selector).ok());
    selectors.any(|selector| selector.matches(&labels))
}

/// Whether the loop cannot but know of it: it belonged to the set at every moment, or since it was made.
fn is_known(look: &Look<'_>, key: &str, uid: &str) -> bool {
    let versions = look.truth.pods.since(key, look.since);
    let mut there = versions.iter().flatten();
    there.all(|pod| Look::owner(pod).is_some_and(|(_, owner)| owner == uid) && !pod::is_terminal(pod))
}
