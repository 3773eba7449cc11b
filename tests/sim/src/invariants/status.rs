//! A status never claims what is not so: each number lies between what was surely and what was possibly true at some
//! moment that the loop may have looked at (ST-1…ST-8).

use super::{Look, Verdict};
use crate::truth::{Pair, Set};
use crate::words;
use daemonset::Placement;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::Pod;
use objects::owner::controller_of;
use objects::pod;
use objects::selector::Selector;
use std::sync::Arc;

const PROMISE: &str = "a status never claims what is not so";

/// Surely, and possibly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Range {
    least: i32,
    most: i32,
}

impl Range {
    fn count(&mut self, surely: bool, possibly: bool) {
        self.least += i32::from(surely && possibly);
        self.most += i32::from(possibly);
    }
}

pub(super) fn check(look: &Look<'_>, pair: &Pair<Set>) -> Verdict {
    let (Some(old), Some(new)) = (&pair.old, &pair.new) else { return Ok(()) };
    if same_claims(&old.object, &new.object) || !look.is_ours("put", "daemonsets", &pair.key) {
        return Ok(());
    }
    let (status, uid) = (new.object.status.clone().unwrap_or_default(), new.object.metadata.uid.as_deref());
    let uid = uid.unwrap_or_default();
    let sets = look.sets(&pair.key, uid);
    let numbers = Numbers::of(look, uid, &sets);
    let number = |number: Option<i32>| number.unwrap_or_default();
    let claims = [
        ("desired", status.desired_number_scheduled, numbers.desired),
        ("current", status.current_number_scheduled, numbers.current),
        ("misscheduled", status.number_misscheduled, numbers.misscheduled),
        ("ready", status.number_ready, numbers.ready),
        ("available", number(status.number_available), Range { least: 0, most: numbers.ready.most }),
        (
            "up-to-date",
            number(status.updated_number_scheduled),
            Range { least: 0, most: numbers.current.most },
        ),
    ];
    for (what, claimed, range) in claims {
        if claimed < range.least || claimed > range.most {
            let Range { least, most } = range;
            return Err((PROMISE, format!("{}: {what} {claimed}, but it is {least}..={most}", pair.key)));
        }
    }
    let missing = status.desired_number_scheduled - number(status.number_available);
    if number(status.number_unavailable) != missing {
        return Err((PROMISE, format!("{}: desired - available is {missing}", pair.key)));
    }
    let generations: Vec<Option<i64>> = sets.iter().map(|set| set.object.metadata.generation).collect();
    // An object that somebody makes has a status of its own making.
    if status.observed_generation.is_some() && !generations.contains(&status.observed_generation) {
        let observed = status.observed_generation;
        return Err((PROMISE, format!("{}: observed {observed:?} of {generations:?}", pair.key)));
    }
    Ok(())
}

/// Whether a write says nothing new: it may only raise the collision count (RV-14).
fn same_claims(old: &DaemonSet, new: &DaemonSet) -> bool {
    let claims = |set: &DaemonSet| DaemonSetStatus {
        collision_count: None,
        conditions: None,
        ..set.status.clone().unwrap_or_default()
    };
    claims(old) == claims(new)
}

#[derive(Default)]
struct Numbers {
    desired: Range,
    current: Range,
    misscheduled: Range,
    ready: Range,
}

impl Numbers {
    fn of(look: &Look<'_>, uid: &str, sets: &[Arc<Set>]) -> Self {
        let mut numbers = Self::default();
        for node in look.truth.nodes.keys() {
            let places = look.placements(sets, node);
            let is_run = |place: &Option<Placement>| place == &Some(Placement::Run);
            let is_other = |place: &Option<Placement>| place.as_ref().is_some_and(|place| !place.runs());
            let (wanted, surely) = (places.iter().any(is_run), places.iter().all(is_run));
            let seat = Seat::of(look, uid, node, sets);
            numbers.desired.count(surely, wanted);
            numbers.current.count(surely && seat.surely, wanted && seat.possibly);
            numbers.ready.count(surely && seat.surely_ready, wanted && seat.possibly_ready);
            let surely = places.iter().all(is_other) && seat.surely;
            numbers.misscheduled.count(surely, places.iter().any(is_other) && seat.possibly);
        }
        numbers
    }
}

/// What was on a node in the window.
#[derive(Default)]
struct Seat {
    possibly: bool,
    surely: bool,
    possibly_ready: bool,
    surely_ready: bool,
}

impl Seat {
    fn of(look: &Look<'_>, uid: &str, node: &str, sets: &[Arc<Set>]) -> Self {
        let is_here =
            |pod: &Pod| words::target(pod) == node && !(pod::is_terminal(pod) && pod::is_terminating(pod));
        let is_its = |pod: &Pod| Look::owner(pod).is_some_and(|(_, owner)| owner == uid);
        // OW-6: an orphan that can be adopted is counted with the attempt; that it is gone on the server shows later.
        let may_be_its = |pod: &Pod| is_its(pod) || sets.iter().any(|set| is_adoptable(pod, set));
        let mut seat = Self { surely_ready: true, ..Self::default() };
        for key in look.truth.pods.keys() {
            let versions = look.truth.pods.since(key, look.since);
            let there: Vec<&Arc<Pod>> =
                versions.iter().flatten().filter(|pod| is_here(pod) && may_be_its(pod)).collect();
            if there.is_empty() {
                continue;
            }
            seat.possibly = true;
            seat.surely |= there.len() == versions.len() && there.iter().all(|pod| is_its(pod));
            seat.possibly_ready |= there.iter().any(|pod| pod::is_ready(pod));
            seat.surely_ready &= there.iter().all(|pod| pod::is_ready(pod));
        }
        seat.surely_ready &= seat.surely;
        seat
    }
}

/// Whether nobody controls the pod and the set selects it.
fn is_adoptable(pod: &Pod, set: &Set) -> bool {
    let selector = set.object.spec.as_ref().map(|spec| Selector::from_label_selector(&spec.selector));
    let Some(Ok(selector)) = selector else { return false };
    pod.metadata.namespace == set.object.metadata.namespace
        && controller_of(&pod.metadata).is_none()
        && selector.matches(&pod.metadata.labels.clone().unwrap_or_default())
}
