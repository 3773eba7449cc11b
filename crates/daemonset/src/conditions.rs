//! Is the DaemonSet moving, does it serve, is something wrong? The conditions that upstream never writes (OPP-1).
//!
//! | type | `True` means |
//! |---|---|
//! | `Progressing` | pods are made or replaced, and something has happened within [`DEADLINE`] |
//! | `Available` | every node that wants a daemon has one that is available; while it progresses, all but `maxUnavailable` |
//! | `Degraded` | a person should look |
//!
//! 1. Each follows from the sums, the old conditions and the time. `lastTransitionTime` moves only with the status.
//! 2. Messages hold counts that stand in the status anyway, so that a condition never causes a write of its own storm.
//! 3. A node whose kubelet is silent cannot have a daemon that works, and is not waited for; the message says so. But it can
//!    hold up the rollout of the others (RU-11), and after [`DEADLINE`] that is told.
//! 4. Conditions of others stay as they are, in their places ([`merged`]).
//! 5. The status is the only memory there is: `Degraded` begins with a takeover that is in dispute, and names the revision
//!    ([`is_disputed`]).
//!
//! Kubernetes: none; `deployment/util` for the words where they fit.

use crate::hold::Hold;
use crate::plan::Event;
use crate::tally::Tally;
use crate::unseen::Refusal;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DaemonSetCondition, DaemonSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Pods are made or replaced.
pub const PROGRESSING: &str = "Progressing";
/// It serves.
pub const AVAILABLE: &str = "Available";
/// Something is wrong.
pub const DEGRADED: &str = "Degraded";

/// How long nothing may happen before a rollout counts as stuck, and a pod may be waited for before it counts as broken.
/// A Deployment's default `progressDeadlineSeconds`; not to be set, because it changes nothing that is done.
pub const DEADLINE: SignedDuration = SignedDuration::from_mins(10);

/// How long the server may refuse new pods before somebody should look: long enough for a quota that is being raised by
/// the same script, or a webhook that restarts.
pub const PATIENCE: SignedDuration = SignedDuration::from_secs(10);

/// The reason of `Degraded` as long as a takeover is in dispute, and of `Progressing` while [`Hold::Takeover`] holds.
const TAKEOVER: &str = "TakeoverMismatch";

/// The reason of `Degraded` if the update strategy cannot be read, and of `Progressing` while it holds up a rollout.
pub(crate) const BAD_STRATEGY: &str = "InvalidUpdateStrategy";

const DEADLINE_EXCEEDED: &str = "ProgressDeadlineExceeded";

/// What the conditions are made from.
#[derive(Debug, Clone)]
pub(crate) struct Facts<'a> {
    pub(crate) tally: Tally,
    pub(crate) hold: Option<Hold>,
    /// The hash of the current revision, if a takeover is in dispute about it.
    pub(crate) disputed: Option<&'a str>,
    /// Daemons that may be unavailable while it progresses.
    pub(crate) max_unavailable: i32,
    /// The newest of the waits for pods.
    pub(crate) newest_wait: Option<Timestamp>,
    /// The same of the nodes that only hold up a rollout: silent ones, and such that want no daemon (RU-11).
    pub(crate) newest_stall: Option<Timestamp>,
    /// How many these are.
    pub(crate) stalls: usize,
    /// Pods are created or deleted now.
    pub(crate) acts: bool,
    /// Nodes whose wait is longer than [`DEADLINE`].
    pub(crate) overdue: usize,
    /// The server refuses pods that are needed.
    pub(crate) refusal: Option<&'a Refusal>,
    /// What is wrong with the DaemonSet itself: a reason and a text.
    pub(crate) faults: Vec<(&'static str, String)>,
    pub(crate) now: Timestamp,
}

/// A status, a reason and a message.
type Finding = (bool, &'static str, String);

/// Whether this status was written by us.
pub(crate) fn are_ours(status: &DaemonSetStatus) -> bool {
    get(Some(status), PROGRESSING).is_some()
}

/// Whether this status, of our own, says that a takeover is in dispute about the revision with this hash.
pub(crate) fn is_disputed(status: &DaemonSetStatus, hash: &str) -> bool {
    get(Some(status), DEGRADED).is_some_and(|degraded| {
        let message = degraded.message.as_deref().unwrap_or_default();
        degraded.reason.as_deref() == Some(TAKEOVER) && message.starts_with(&of_revision(hash))
    })
}

/// All conditions, ours as these facts make them, and the others; and what of it is news.
pub(crate) fn conditions(
    old: Option<&DaemonSetStatus>,
    facts: &Facts<'_>,
) -> (Vec<DaemonSetCondition>, Option<Event>) {
    let progressing = facts.progressing(old);
    let available = facts.available(old, progressing.0);
    let degraded = facts.degraded(progressing.1 == DEADLINE_EXCEEDED);
    let news = news(get(old, DEGRADED), &degraded);
    let ours = [(PROGRESSING, progressing), (AVAILABLE, available), (DEGRADED, degraded)];
    let ours = ours.map(|(type_, finding)| condition(get(old, type_), type_, finding, facts.now));
    (merged(old.and_then(|old| old.conditions.as_deref()).unwrap_or_default(), &ours), news)
}

/// A change of `Degraded` is worth an event, which `kubectl describe` shows: it prints no conditions (ST-19).
fn news(before: Option<&DaemonSetCondition>, (is_degraded, reason, message): &Finding) -> Option<Event> {
    let before = before.filter(|before| before.status == "True");
    match before {
        Some(before) if *is_degraded && before.reason.as_deref() == Some(*reason) => None,
        _ if *is_degraded => Some(Event::warning(reason, message.clone())),
        Some(_) => Some(Event::normal("Recovered", message.clone())),
        None => None,
    }
}

/// `there` with ours in the places of their types, or at the end. Whatever else stands there stays, and the time of a
/// status that is there already.
pub fn merged(there: &[DaemonSetCondition], ours: &[DaemonSetCondition]) -> Vec<DaemonSetCondition> {
    let mut all = there.to_vec();
    for new in ours.iter().filter(|new| [PROGRESSING, AVAILABLE, DEGRADED].contains(&new.type_.as_str())) {
        match all.iter_mut().find(|condition| condition.type_ == new.type_) {
            Some(old) => {
                let kept = old.last_transition_time.take().filter(|_| old.status == new.status);
                old.clone_from(new);
                old.last_transition_time = kept.or(old.last_transition_time.take());
            }
            None => all.push(new.clone()),
        }
    }
    all
}

/// The reason of `Degraded` while a DaemonSet of another controller is left alone ([`crate::takeover`]).
const LEFT_ALONE: &str = "TakeoverWouldChange";

/// The other controller's status with `Degraded` in it, unless it says so already, and the event that tells of it.
pub(crate) fn left_alone(
    old: &DaemonSetStatus,
    message: &str,
    now: Timestamp,
) -> (Option<DaemonSetStatus>, Option<Event>) {
    let before = get(Some(old), DEGRADED).filter(|before| before.status == "True");
    if before.is_some_and(|before| before.message.as_deref() == Some(message)) {
        return (None, None);
    }
    let degraded = condition(before, DEGRADED, (true, LEFT_ALONE, message.to_string()), now);
    let conditions = merged(old.conditions.as_deref().unwrap_or_default(), &[degraded]);
    let event = Event::warning(LEFT_ALONE, message.to_string());
    (Some(DaemonSetStatus { conditions: Some(conditions), ..old.clone() }), Some(event))
}

/// Whether a condition of ours says something else than before.
pub(crate) fn differ(old: Option<&DaemonSetStatus>, new: &DaemonSetStatus) -> bool {
    let said = |status, type_| get(status, type_).map(said);
    [PROGRESSING, AVAILABLE, DEGRADED].iter().any(|type_| said(old, type_) != said(Some(new), type_))
}

fn said(condition: &DaemonSetCondition) -> (&str, Option<&str>, Option<&str>) {
    let DaemonSetCondition { status, reason, message, .. } = condition;
    (status, reason.as_deref(), message.as_deref())
}

/// When time alone changes a condition: the next of these waits becomes too long, or the server's refusal.
pub(crate) fn wakes(
    mut waits: impl Iterator<Item = Timestamp>,
    refusal: Option<&Refusal>,
    now: Timestamp,
) -> Option<Timestamp> {
    let later = |since: Timestamp, limit| since.checked_add(limit).ok().filter(|at| now < *at);
    let wait = waits.find_map(|since| later(since, DEADLINE));
    let refused = refusal.and_then(|refusal| later(refusal.since, PATIENCE));
    wait.into_iter().chain(refused).min()
}

fn get<'a>(status: Option<&'a DaemonSetStatus>, type_: &str) -> Option<&'a DaemonSetCondition> {
    status?.conditions.iter().flatten().find(|condition| condition.type_ == type_)
}

fn condition(
    old: Option<&DaemonSetCondition>,
    type_: &str,
    (is_true, reason, message): Finding,
    now: Timestamp,
) -> DaemonSetCondition {
    let status = if is_true { "True" } else { "False" };
    let kept = old.filter(|old| old.status == status).and_then(|old| old.last_transition_time.clone());
    let second = Timestamp::from_second(now.as_second()).unwrap_or(now);
    DaemonSetCondition {
        type_: type_.to_string(),
        status: status.to_string(),
        reason: Some(reason.to_string()),
        message: Some(message),
        last_transition_time: kept.or(Some(Time(second))),
    }
}

impl Facts<'_> {
    /// Whether old pods are to be replaced, now or as soon as the budget allows.
    pub(crate) fn rolls(&self) -> bool {
        self.hold.is_none() && self.tally.replaceable() > 0
    }

    fn progressing(&self, old: Option<&DaemonSetStatus>) -> Finding {
        let Tally { desired, updated, available, current, .. } = self.tally;
        let before = get(old, PROGRESSING);
        // What was complete once does not move again because a pod breaks.
        let moved =
            before.is_none_or(|c| c.status == "True" || c.reason.as_deref() == Some(DEADLINE_EXCEEDED));
        let (rolls, lacks) = (self.rolls(), current < desired);
        let waits = moved && self.tally.lacking() > 0;
        let up_to_date =
            counted(updated, desired, "up to date") + &not_waited_for(self.tally.silent_outdated);
        match self.hold {
            _ if (rolls || lacks || waits) && self.is_stuck() => {
                let minutes = DEADLINE.as_mins();
                let text = format!("{up_to_date}; what it waits for has not changed for {minutes} minutes");
                (false, DEADLINE_EXCEEDED, text)
            }
            _ if rolls => (true, "RollingOut", up_to_date),
            _ if lacks => (true, "CreatingPods", counted(current, desired, "created")),
            _ if waits => (true, "WaitingForPods", counted(available, desired, "available")),
            Some(Hold::Takeover) => (false, TAKEOVER, up_to_date),
            Some(Hold::BadStrategy) if self.tally.outdated() > 0 => (false, BAD_STRATEGY, up_to_date),
            Some(Hold::Paused) if self.tally.outdated() > 0 => {
                (false, "Paused", format!("{up_to_date}; paused"))
            }
            Some(Hold::OnDelete) if self.tally.outdated() > 0 => {
                (false, "OnDelete", format!("{up_to_date}; the others are replaced when they are deleted"))
            }
            _ => (false, "Complete", up_to_date),
        }
    }

    /// Nothing is done or has just been done, and the newest of the waits is too long. A rollout also waits for nodes that
    /// only take a part of its budget; that they are lost is known to nobody but a person.
    fn is_stuck(&self) -> bool {
        let is_late = |since: Timestamp| since.checked_add(DEADLINE).is_ok_and(|end| end <= self.now);
        let newest = self.newest_wait.max(self.newest_stall.filter(|_| self.rolls()));
        match (self.refusal, newest) {
            (Some(refusal), _) if self.tally.moving > 0 => is_late(refusal.since),
            (_, Some(since)) => !self.acts && self.tally.moving == 0 && is_late(since),
            (_, None) => false,
        }
    }

    fn available(&self, old: Option<&DaemonSetStatus>, progresses: bool) -> Finding {
        let Tally { desired, silent, available, .. } = self.tally;
        let was = get(old, AVAILABLE).is_some_and(|condition| condition.status == "True");
        let (lacking, max) = (self.tally.lacking(), self.max_unavailable);
        let text = counted(available, desired, "available") + &not_waited_for(silent);
        match () {
            () if desired == 0 => (true, "NoNodes", text),
            () if available == 0 && silent > 0 && lacking == 0 => (false, "NodesSilent", text),
            () if lacking == 0 => (true, "AllAvailable", text),
            () if was && progresses && lacking <= max => {
                (true, "WithinBudget", format!("{text}; so many may be missing meanwhile: {max}"))
            }
            () => (false, "NotAllAvailable", text),
        }
    }

    fn degraded(&self, is_stuck: bool) -> Finding {
        let mut found = Vec::new();
        // First, in reason and message: the next plan reads it again.
        if let Some(hash) = self.disputed {
            let text = "the controller before this one counted more daemons: none is replaced until the template \
                        changes";
            found.push((TAKEOVER, of_revision(hash) + text));
        }
        found.extend(self.faults.iter().cloned());
        let is_late = |refusal: &&Refusal| self.now.duration_since(refusal.since) >= PATIENCE;
        if let Some(refusal) = self.refusal.filter(is_late) {
            found.push(("FailedCreate", format!("the server refuses to create pods: {}", refusal.reason)));
        }
        if self.tally.failing > 0 {
            let text = format!("nodes where the daemon fails again and again: {}", self.tally.failing);
            found.push(("FailedPods", text));
        }
        if self.overdue > 0 {
            let minutes = DEADLINE.as_mins();
            let text =
                format!("nodes that wait for their daemon for more than {minutes} minutes: {}", self.overdue);
            found.push(("OverduePods", text));
        }
        if is_stuck && found.is_empty() {
            let text =
                format!("the rollout is held up by nodes where no daemon can work now: {}", self.stalls);
            found.push((DEADLINE_EXCEEDED, text));
        }
        let texts: Vec<&str> = found.iter().map(|(_, text)| text.as_str()).collect();
        match found.first() {
            Some((reason, _)) => (true, reason, texts.join("; ")),
            None => (false, "AsExpected", "nothing is wrong".to_string()),
        }
    }
}

/// What a dispute is about; later versions of us may change the rest of the sentence.
fn of_revision(hash: &str) -> String {
    format!("of revision {hash} ")
}

fn not_waited_for(silent: i32) -> String {
    match silent {
        0 => String::new(),
        silent => format!("; not waited for on nodes that are silent: {silent}"),
    }
}

/// `2 of 3 daemons are available`.
fn counted(some: i32, all: i32, what: &str) -> String {
    match all {
        0 => "no node wants a daemon".to_string(),
        1 => format!("{some} of 1 daemon is {what}"),
        all => format!("{some} of {all} daemons are {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(type_: &str, status: &str, second: i64) -> DaemonSetCondition {
        let time = Timestamp::from_second(second).ok().map(Time);
        DaemonSetCondition {
            type_: type_.to_string(),
            status: status.to_string(),
            last_transition_time: time,
            ..DaemonSetCondition::default()
        }
    }

    #[test]
    fn conditions_of_others_and_the_times_of_ours_stay() {
        let there = [
            condition("Theirs", "True", 1),
            condition(AVAILABLE, "True", 2),
            condition(DEGRADED, "False", 3),
        ];
        let ours = [
            condition("Theirs", "False", 9),
            condition(PROGRESSING, "True", 9),
            condition(AVAILABLE, "True", 9),
            condition(DEGRADED, "True", 9),
        ];
        let expected = [
            condition("Theirs", "True", 1),
            condition(AVAILABLE, "True", 2),
            condition(DEGRADED, "True", 9),
            condition(PROGRESSING, "True", 9),
        ];
        assert_eq!(merged(&there, &ours), expected, "ST-10");
    }
}
