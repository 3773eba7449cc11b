//! Pods to create and to delete, so that every wanted node has exactly one daemon, and unwanted nodes none.
//!
//! 1. A node that wants a daemon and has no entry gets one (MG-6 A). A terminating pod is an entry: without surge its
//!    replacement waits (MG-4). So is a pod that we have just created and do not see yet.
//! 2. A pod that ended by itself is deleted once per back-off window and replaced in a later plan (MG-9, MG-12).
//! 3. Of several running pods one stays; with surge one of each version may (MG-13, MG-14).
//!
//! Kubernetes: `podsShouldBeOnNode`, `getPodsWithoutNode`.
//! Differs: `Succeeded` pods wait like failed ones (BUG-7). A failed pod in its back-off occupies the node under surge
//! too (BUG-1). The wait ends when it ends, not after its full length again (BUG-19). Old and new are told apart as in
//! the rollout (RU-5), not by the hash alone.

use crate::backoff::{Backoff, Entry};
use crate::placement::Placement;
use crate::plan::{Cause, Doing, Event};
use crate::seats::{Phase, Seat, Seats, Sitter};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What shall be created and deleted; from here or from the rollout.
#[derive(Debug, Default)]
pub(crate) struct Work<'a> {
    /// Node names.
    pub(crate) creates: Vec<&'a str>,
    pub(crate) deletes: Vec<Removal<'a>>,
}

/// A pod to delete.
#[derive(Debug)]
pub(crate) struct Removal<'a> {
    pub(crate) pod: Sitter<'a>,
    pub(crate) node: &'a str,
    pub(crate) cause: Cause,
}

impl Work<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.creates.is_empty() && self.deletes.is_empty()
    }
}

/// What else coverage has to say.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) events: Vec<Event>,
    pub(crate) backoff: BTreeMap<String, Entry>,
    pub(crate) wake: Vec<Timestamp>,
}

/// What coverage is asked with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) generation: i64,
    pub(crate) surges: bool,
    pub(crate) backoff: &'a Backoff,
    pub(crate) now: Timestamp,
}

/// Decides for every seat, in the order of node names, and for the pods whose node does not exist.
pub(crate) fn cover<'a>(
    seats: &mut Seats<'a>,
    strays: &[Sitter<'a>],
    question: Question<'_>,
) -> (Work<'a>, Notes) {
    let (mut work, mut notes) = (Work::default(), Notes::default());
    for (node, seat) in seats {
        let mut desk = Desk { node, question, work: &mut work, notes: &mut notes };
        seat.doing = desk.decide(seat);
    }
    for stray in strays.iter().filter(|stray| stray.phase != Phase::Ending) {
        let node = crate::seats::target(stray.pod).unwrap_or_default();
        work.deletes.push(Removal { pod: stray.clone(), node, cause: Cause::NodeGone });
    }
    (work, notes)
}

/// One node's turn.
struct Desk<'a, 'q> {
    node: &'a str,
    question: Question<'q>,
    work: &'q mut Work<'a>,
    notes: &'q mut Notes,
}

impl<'a> Desk<'a, '_> {
    /// MG-6.
    fn decide(&mut self, seat: &Seat<'a>) -> Option<Doing> {
        match &seat.placement {
            // MG-16: bound to a node that is gone; the garbage collector's work.
            None => None,
            Some(Placement::Leave(reason)) => self.clear(seat, &reason.to_string()),
            Some(Placement::Stay(_)) => self.tend(seat),
            Some(Placement::Run) if seat.sitters.is_empty() && seat.coming == 0 => Some(self.create()),
            Some(Placement::Run) => self.tend(seat),
        }
    }

    /// MG-6 C.
    fn clear(&mut self, seat: &Seat<'a>, reason: &str) -> Option<Doing> {
        let live: Vec<&Sitter<'a>> = seat.live().collect();
        let gone = live.into_iter().map(|pod| self.delete(pod, Cause::NotWanted(reason.to_string())));
        // Every pod is deleted; the first one is shown.
        gone.collect::<Vec<_>>().into_iter().next()
    }

    /// MG-7…MG-14.
    fn tend(&mut self, seat: &Seat<'a>) -> Option<Doing> {
        let ended: Vec<&Sitter<'a>> =
            seat.live().filter(|pod| matches!(pod.phase, Phase::Failed | Phase::Succeeded)).collect();
        let waits: Vec<Doing> = ended.iter().map(|pod| self.replace(pod)).collect();
        let running: Vec<&Sitter<'a>> = seat.running().collect();
        let pruned = match self.question.surges {
            false => self.keep_first(&running),
            true => self.keep_one_of_each(&running),
        };
        if self.question.surges && seat.wanted() && running.is_empty() && seat.coming == 0 && ended.is_empty()
        {
            return Some(self.create());
        }
        pruned.or_else(|| waits.into_iter().next())
    }

    /// MG-9, MG-11.
    fn replace(&mut self, pod: &Sitter<'a>) -> Doing {
        let Question { namespace, generation, backoff, now, .. } = self.question;
        // A second one in the same plan waits for the window that the first has just opened.
        let opened =
            self.notes.backoff.get(self.node).and_then(|entry| entry.last.checked_add(entry.delay).ok());
        if let Some(until) = opened.or_else(|| backoff.until(self.node, generation, now)) {
            self.notes.wake.push(until);
            return Doing::BackingOff { pod: pod.name().to_string(), until };
        }
        self.notes.backoff.insert(self.node.to_string(), backoff.next(self.node, generation, now));
        let (name, node) = (pod.name(), self.node);
        let (event, cause) = match pod.phase {
            Phase::Succeeded => (
                Event::normal(
                    "SucceededDaemonPod",
                    format!(
                        "Found succeeded daemon pod {namespace}/{name} on node {node}, will try to delete it"
                    ),
                ),
                Cause::Succeeded,
            ),
            _ => (
                Event::warning(
                    "FailedDaemonPod",
                    format!("Found failed daemon pod {namespace}/{name} on node {node}, will try to kill it"),
                ),
                Cause::Failed,
            ),
        };
        self.notes.events.push(event);
        self.delete(pod, cause)
    }

    /// MG-13.
    fn keep_first(&mut self, running: &[&Sitter<'a>]) -> Option<Doing> {
        let (kept, rest) = running.split_first()?;
        self.delete_duplicates(rest, kept)
    }

    /// MG-14.
    fn keep_one_of_each(&mut self, running: &[&Sitter<'a>]) -> Option<Doing> {
        let (new, old) = match running {
            [] | [_] => return None,
            many => (many.iter().find(|pod| pod.updated), many.iter().find(|pod| !pod.updated)),
        };
        let (kept, doing) = match (new, old) {
            (Some(new), Some(old)) => (vec![*new, *old], self.settle(new, old)),
            (new, old) => (new.or(old).copied().into_iter().collect(), None),
        };
        let is_kept =
            |pod: &Sitter<'a>| kept.iter().any(|kept| kept.uid() == pod.uid() && kept.name() == pod.name());
        let rest: Vec<&Sitter<'a>> = running.iter().copied().filter(|pod| !is_kept(pod)).collect();
        let pruned = kept.first().and_then(|first| self.delete_duplicates(&rest, first));
        doing.or(pruned)
    }

    fn settle(&mut self, new: &Sitter<'a>, old: &Sitter<'a>) -> Option<Doing> {
        match !old.is_ready() || new.is_available() {
            true => Some(self.delete(old, Cause::Superseded)),
            false => Some(Doing::WaitingForNew { old: old.name().to_string() }),
        }
    }

    fn delete_duplicates(&mut self, pods: &[&Sitter<'a>], kept: &Sitter<'a>) -> Option<Doing> {
        let kept = kept.name();
        let all: Vec<Doing> =
            pods.iter().map(|pod| self.delete(pod, Cause::Duplicate { kept: kept.to_string() })).collect();
        all.into_iter().next()
    }

    fn create(&mut self) -> Doing {
        self.work.creates.push(self.node);
        Doing::Creating
    }

    fn delete(&mut self, pod: &Sitter<'a>, cause: Cause) -> Doing {
        self.work.deletes.push(Removal { pod: pod.clone(), node: self.node, cause: cause.clone() });
        Doing::Deleting { pod: pod.name().to_string(), cause }
    }
}
