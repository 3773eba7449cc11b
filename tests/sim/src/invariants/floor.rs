//! A rollout takes no more than it may: never more daemons at once than `maxUnavailable`, and with surge none that serves
//! without another one that has served beside it (RU-7, RU-8, RU-14).
//!
//! Held against the loop's own harm alone: nodes whose last available daemon it has ended, and where none has been
//! available since. What nodes and users take away is not its doing, and neither is what was not available (RU-8 from
//! 1.31 on; BUG-18 stays as upstream). A node that somebody else touched meanwhile is not counted.

use super::{Look, Verdict, placement, surges};
use crate::clock;
use crate::truth::{Pair, Set};
use crate::words;
use daemonset::Placement;
use k8s_openapi::api::core::v1::Pod;
use objects::int_or_percent::scaled;
use objects::pod::{self, Availability};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const PROMISE: &str = "a rollout takes no more daemons than it may";

/// Nodes that the loop has left without an available daemon, and since when; by the set's uid.
#[derive(Default)]
pub(super) struct Floor {
    harmed: BTreeMap<String, BTreeMap<String, Duration>>,
    /// How often nodes were counted.
    pub(super) counted: u64,
}

impl Floor {
    pub(super) fn check(&mut self, look: &Look<'_>, pair: &Pair<Pod>) -> Verdict {
        let Some(old) = &pair.old else { return Ok(()) };
        let ends = pair.new.as_ref().is_none_or(|new| pod::is_terminating(new)) && !pod::is_terminating(old);
        let Some((key, uid)) = Look::owner(old).filter(|_| ends) else { return Ok(()) };
        let node = words::target(old);
        if !look.is_ours("delete", "pods", &pair.key) {
            // Somebody else's doing from here on.
            self.harmed.entry(uid).or_default().remove(&node);
            return Ok(());
        }
        let sets = look.sets(&key, &uid);
        let wanted = look.placements(&sets, &node).iter().all(|place| place == &Some(Placement::Run));
        let has_ended =
            look.truth.pods.since(&pair.key, look.since).iter().flatten().any(|pod| pod::is_terminal(pod));
        if !wanted || has_ended || !served(old, &sets) || has_served_beside(look, &pair.key, &uid, &node) {
            return Ok(());
        }
        self.counted += 1;
        let harmed = self.harmed.entry(uid.clone()).or_default();
        harmed.insert(node.clone(), clock::elapsed());
        let is_dark = |node: &String, since: &mut Duration| {
            let places = look.placements(&sets, node);
            places.iter().all(|place| place == &Some(Placement::Run))
                && !mended(look, &uid, node, *since, &sets)
        };
        harmed.retain(is_dark);
        let allowed = sets.iter().map(|set| allowed(look, set)).max().unwrap_or_default();
        if harmed.len() <= allowed {
            return Ok(());
        }
        let nodes: Vec<&str> = harmed.keys().map(String::as_str).collect();
        Err((
            PROMISE,
            format!("{key}: {} without a daemon by its doing, {allowed} allowed", nodes.join(", ")),
        ))
    }
}

/// Whether the pod served, by the strictest of what the set asked for.
fn served(pod: &Pod, sets: &[Arc<Set>]) -> bool {
    let longest = sets.iter().map(|set| min_ready(set)).max().unwrap_or_default();
    match pod::is_available(pod, longest, clock::of_controller()) {
        Availability::Yes => true,
        Availability::After(_) | Availability::No => false,
    }
}

fn min_ready(set: &Set) -> i32 {
    set.object.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or_default()
}

/// Whether another pod of the set was on the node in the window and was ready at some moment.
fn has_served_beside(look: &Look<'_>, key: &str, uid: &str, node: &str) -> bool {
    let others = look.truth.pods.keys().filter(|other| *other != key);
    others.into_iter().any(|other| {
        let versions = look.truth.pods.since(other, look.since);
        versions.iter().flatten().any(|pod| is_on(pod, uid, node) && pod::is_ready(pod))
    })
}

fn is_on(pod: &Pod, uid: &str, node: &str) -> bool {
    Look::owner(pod).is_some_and(|(_, owner)| owner == uid) && words::target(pod) == node
}

/// Whether the node has had an available daemon since.
fn mended(look: &Look<'_>, uid: &str, node: &str, since: Duration, sets: &[Arc<Set>]) -> bool {
    let least = sets.iter().map(|set| min_ready(set)).min().unwrap_or_default();
    let least = Duration::from_secs(u64::try_from(least).unwrap_or_default());
    look.truth.pods.keys().any(|key| {
        let mut ready: Option<Ready> = None;
        let mut was = false;
        for (at, pod) in look.truth.pods.versions(key) {
            was |= ready.is_some_and(|ready| at > since && ready.has_lasted(at, least));
            let is_ready = |pod: &&Arc<Pod>| is_on(pod, uid, node) && pod::is_ready(pod);
            ready = pod.filter(is_ready).map(|pod| ready.unwrap_or_else(|| Ready::since(pod, at)));
        }
        // The pod that was ended says it is ready until it is gone.
        let is_live = look.truth.pods.get(key).is_some_and(|pod| !pod::is_terminating(pod));
        was && ready.is_none_or(|ready| ready.shown > since)
            || is_live && ready.is_some_and(|ready| ready.has_lasted(clock::elapsed(), least))
    })
}

/// Since when a pod has been ready.
#[derive(Clone, Copy)]
struct Ready {
    /// When its node's word reached the server.
    shown: Duration,
    /// When it was, as the node says: in whole seconds, rounded down, and before its word was under way.
    said: Duration,
}

impl Ready {
    fn since(pod: &Pod, shown: Duration) -> Self {
        let said = pod::condition(pod, "Ready").and_then(|ready| ready.last_transition_time.as_ref());
        Self { shown, said: said.map_or(shown, |said| clock::when(said.0)).min(shown) }
    }

    fn has_lasted(self, to: Duration, least: Duration) -> bool {
        clock::has_jumped() || to.saturating_sub(self.said) >= least
    }
}

/// RU-4: the most that this version of the set allows.
fn allowed(look: &Look<'_>, set: &Set) -> usize {
    if surges(set) {
        return 0;
    }
    let nodes = look.truth.nodes.keys().filter(|node| {
        let versions = look.truth.nodes.since(node, look.since);
        versions.iter().flatten().any(|node| placement(set, node) == Some(Placement::Run))
    });
    let wanted = i32::try_from(nodes.count()).unwrap_or(i32::MAX);
    let strategy = set.object.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref()?.max_unavailable.as_ref());
    let most = rolling.and_then(|most| scaled(most, wanted, true).ok()).unwrap_or(1);
    usize::try_from(most.max(1)).unwrap_or(usize::MAX)
}
