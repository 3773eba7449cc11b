//! The conditions that the loop writes say what the numbers beside them say, and nothing that could not have been so
//! (OPP-1).
//!
//! Every reason is a claim. Claims about numbers are held against the numbers of the same status, which are held against
//! the truth in [`super::status`]; so a late cache excuses nothing here. Claims about nodes and the DaemonSet are held
//! against every moment that the loop may have seen. What is exact at rest is in [`crate::rest`].

use super::{Look, Verdict, placement};
use crate::clock;
use crate::truth::{Pair, Set};
use daemonset::Placement;
use daemonset::snapshot::PAUSED_ANNOTATION;
use daemonset::takeover;
use k8s_openapi::api::apps::v1::{DaemonSetCondition, DaemonSetStatus};
use objects::int_or_percent::scaled;
use objects::pod;
use std::sync::Arc;
use std::time::Duration;

const PROMISE: &str = "a condition never claims what is not so";
/// The loop's deadline, less what clocks that are read in whole seconds take from it.
const DEADLINE: Duration = Duration::from_secs(590);

/// The three, as they stand in a status.
pub(crate) struct Three<'a> {
    pub(crate) progressing: &'a DaemonSetCondition,
    pub(crate) available: &'a DaemonSetCondition,
    pub(crate) degraded: &'a DaemonSetCondition,
}

impl<'a> Three<'a> {
    pub(crate) fn of(status: &'a DaemonSetStatus) -> Option<Self> {
        let named = |name: &str| {
            let mut all = status.conditions.iter().flatten().filter(|condition| condition.type_ == name);
            all.next().filter(|_| all.next().is_none())
        };
        let (progressing, available, degraded) =
            (named("Progressing")?, named("Available")?, named("Degraded")?);
        Some(Self { progressing, available, degraded })
    }
}

/// What a status says, short.
struct Numbers {
    desired: i32,
    current: i32,
    updated: i32,
    available: i32,
}

pub(super) fn check(look: &Look<'_>, pair: &Pair<Set>) -> Verdict {
    let (Some(old), Some(new)) = (&pair.old, &pair.new) else { return Ok(()) };
    let (before, status) = (old.object.status.as_ref(), new.object.status.as_ref());
    let Some(status) = status.filter(|status| before.is_none_or(|before| !repeats(before, status))) else {
        return Ok(());
    };
    // RV-14 is written upon what is there, which may be nothing yet.
    if !look.is_ours("put", "daemonsets", &pair.key) || status.observed_generation.is_none() {
        return Ok(());
    }
    if look.is_apart && says_left_alone(status) {
        return left_alone(look, pair, before, status);
    }
    let Some(three) = Three::of(status) else { return broken(pair, "one of the three is missing") };
    let uid = new.object.metadata.uid.as_deref().unwrap_or_default();
    let sets = look.sets(&pair.key, uid);
    let number = |number: Option<i32>| number.unwrap_or_default();
    let numbers = Numbers {
        desired: status.desired_number_scheduled,
        current: status.current_number_scheduled,
        updated: number(status.updated_number_scheduled),
        available: number(status.number_available),
    };
    let kept = before.and_then(Three::of);
    for (is_so, condition) in [
        (progressing(look, &three, &numbers, &sets), three.progressing),
        (available(look, &three, &numbers, &sets), three.available),
        (degraded(look, &three, uid), three.degraded),
        (kept.is_none_or(|kept| times_are_kept(&kept, &three)), three.available),
    ] {
        if !is_so {
            let Numbers { desired, current, updated, available } = numbers;
            let DaemonSetCondition { type_, status, reason, message, .. } = condition;
            let (reason, message) = (reason.as_deref(), message.as_deref());
            return broken(
                pair,
                &format!(
                    "{type_}={status} {reason:?} {message:?}, with desired {desired} current {current} \
                     up-to-date {updated} available {available}"
                ),
            );
        }
    }
    Ok(())
}

/// The reason that a DaemonSet has which is left alone at a takeover.
pub(crate) const LEFT_ALONE: &str = "TakeoverWouldChange";

pub(crate) fn says_left_alone(status: &DaemonSetStatus) -> bool {
    status.conditions.iter().flatten().any(|condition| condition.reason.as_deref() == Some(LEFT_ALONE))
}

/// TK-5: said of a DaemonSet that another controller had and to which nobody has agreed, and every number of that one stays.
fn left_alone(
    look: &Look<'_>,
    pair: &Pair<Set>,
    before: Option<&DaemonSetStatus>,
    status: &DaemonSetStatus,
) -> Verdict {
    let bare = |status: &DaemonSetStatus| DaemonSetStatus { conditions: None, ..status.clone() };
    if before.map(bare) != Some(bare(status)) {
        return broken(pair, "it is left alone, and its numbers are not");
    }
    let versions = look.truth.sets.since(&pair.key, look.since);
    let is_anothers = |set: &Arc<Set>| takeover::is_pending(&set.object, controllers::MANAGER);
    match versions.iter().flatten().any(is_anothers) {
        true => Ok(()),
        false => broken(pair, "it is left alone, and no other controller had it, or all was agreed to"),
    }
}

/// Whether a write says nothing new: it may only raise the collision count (RV-14).
fn repeats(before: &DaemonSetStatus, status: &DaemonSetStatus) -> bool {
    let collision_count = before.collision_count;
    *before == DaemonSetStatus { collision_count, ..status.clone() }
}

fn broken(pair: &Pair<Set>, how: &str) -> Verdict {
    Err((PROMISE, format!("{}: {how}", pair.key)))
}

fn progressing(look: &Look<'_>, three: &Three<'_>, numbers: &Numbers, sets: &[Arc<Set>]) -> bool {
    let Numbers { desired, current, updated, available } = *numbers;
    let outdated = current > updated;
    match said(three.progressing) {
        (true, "RollingOut") => outdated,
        (true, "CreatingPods") => current < desired,
        (true, "WaitingForPods") => available < desired,
        (false, "ProgressDeadlineExceeded") => {
            (outdated || current < desired || available < desired) && is_late()
        }
        // What is left to do on silent nodes is not waited for.
        (false, "Complete") => current == desired && current - updated <= silent(look, sets),
        (false, "Paused") => outdated && sets.iter().any(|set| is_paused(set)),
        (false, "OnDelete") => outdated && sets.iter().any(|set| !rolls(set)),
        (false, "TakeoverMismatch") => outdated,
        _ => false,
    }
}

fn available(look: &Look<'_>, three: &Three<'_>, numbers: &Numbers, sets: &[Arc<Set>]) -> bool {
    let Numbers { desired, available, .. } = *numbers;
    let (missing, silent) = (desired - available, silent(look, sets));
    match said(three.available) {
        (true, "NoNodes") => desired == 0,
        (true, "AllAvailable") => desired > 0 && missing <= silent,
        (true, "WithinBudget") => {
            let most = sets.iter().map(|set| budget(set, desired)).max().unwrap_or_default();
            missing > 0 && missing <= most + silent && said(three.progressing).0
        }
        (false, "NodesSilent") => desired > 0 && available == 0 && silent > 0,
        (false, "NotAllAvailable") => missing > 0,
        _ => false,
    }
}

fn degraded(look: &Look<'_>, three: &Three<'_>, uid: &str) -> bool {
    match said(three.degraded) {
        (false, "AsExpected") => true,
        (true, "FailedPods") => has_failed(look, uid),
        (true, "OverduePods" | "ProgressDeadlineExceeded") => is_late(),
        // Users here write no strategy and no annotation that cannot be read; who took over, and what the server refused,
        // is not in the store.
        (true, "TakeoverMismatch" | "FailedCreate") => true,
        _ => false,
    }
}

/// The time of a condition moves with its status, and only then.
fn times_are_kept(before: &Three<'_>, now: &Three<'_>) -> bool {
    let pairs = [
        (before.progressing, now.progressing),
        (before.available, now.available),
        (before.degraded, now.degraded),
    ];
    pairs.iter().all(|(before, now)| {
        before.status != now.status || before.last_transition_time == now.last_transition_time
    })
}

/// Whether it is True, and why. Neither True nor False is no reason at all.
pub(crate) fn said(condition: &DaemonSetCondition) -> (bool, &str) {
    let reason = condition.reason.as_deref().filter(|_| condition.message.is_some()).unwrap_or_default();
    match condition.status.as_str() {
        "True" => (true, reason),
        "False" => (false, reason),
        _ => (false, ""),
    }
}

/// Nodes that wanted a daemon and were silent, at some moment each.
fn silent(look: &Look<'_>, sets: &[Arc<Set>]) -> i32 {
    let is_one = |name: &&String| {
        let versions = look.truth.nodes.since(name, look.since);
        let mut nodes = versions.iter().flatten();
        nodes.any(|node| {
            objects::node::is_silent(node)
                && sets.iter().any(|set| placement(set, node) == Some(Placement::Run))
        })
    };
    i32::try_from(look.truth.nodes.keys().filter(is_one).count()).unwrap_or(i32::MAX)
}

/// RU-4; with surge nothing may be missing, but a percentage of nothing is one.
fn budget(set: &Set, desired: i32) -> i32 {
    let strategy = set.object.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref()?.max_unavailable.as_ref());
    rolling.and_then(|most| scaled(most, desired, true).ok()).unwrap_or(1).max(1)
}

fn rolls(set: &Set) -> bool {
    let strategy = set.object.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
}

fn is_paused(set: &Set) -> bool {
    let annotations = set.object.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(PAUSED_ANNOTATION)).is_some_and(|value| value == "true")
}

/// Whether anything can have been waited for so long. What is waited for may be older than the DaemonSet: adopted pods.
fn is_late() -> bool {
    clock::has_jumped() || clock::elapsed() >= DEADLINE
}

/// Whether a pod of the DaemonSet has ever ended by itself.
fn has_failed(look: &Look<'_>, uid: &str) -> bool {
    look.truth.pods.keys().any(|key| {
        look.truth.pods.versions(key).any(|(_, pod)| {
            pod.is_some_and(|pod| {
                pod::is_terminal(pod) && Look::owner(pod).is_some_and(|(_, owner)| owner == uid)
            })
        })
    })
}
