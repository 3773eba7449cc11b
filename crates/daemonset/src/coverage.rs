//! What shall be created and deleted on one node, so that every wanted node has exactly one daemon, and others none?
//!
//! 1. A node that wants a daemon and where nobody sits gets one (MG-6 A). A terminating pod still sits there: without
//!    surge its replacement waits (MG-4). So does a pod that we have just created and do not see yet.
//! 2. A pod that ended by itself is deleted once per back-off window and replaced in a later plan (MG-9, MG-12).
//! 3. Of several running pods one stays; with surge one of each version may (MG-13, MG-14).
//!
//! Kubernetes: `podsShouldBeOnNode`, `getPodsWithoutNode`.
//! Differs: `Succeeded` pods wait like failed ones (BUG-7). A failed pod in its back-off occupies the node under surge
//! too (BUG-1). The wait ends when it ends, not after its full length again (BUG-19). Old and new are told apart as in
//! the rollout (RU-5), not by the hash alone. The one that stays is one that serves, if there is any: upstream keeps the
//! oldest (BUG-17), and so ends daemons that serve, on all nodes at once, when a template changes twice during a surge, or is
//! taken back together with `maxSurge`.

use crate::backoff::{Backoff, Failure};
use crate::placement::{Placement, Reason};
use crate::plan::{Cause, Doing, Event, Name};
use crate::seats::{Phase, Seat, Sitter};
use jiff::Timestamp;

/// What one node asks for.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Duty {
    /// A pod.
    pub(crate) create: bool,
    /// In order.
    pub(crate) deletes: Vec<Removal>,
    /// Until when a failed pod waits.
    pub(crate) until: Option<Timestamp>,
    /// What is to be said of the node, if coverage decides it.
    pub(crate) doing: Option<Doing>,
}

/// A pod to delete.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Removal {
    pub(crate) name: Name,
    pub(crate) uid: Box<str>,
    pub(crate) resource_version: Box<str>,
    pub(crate) cause: Cause,
    /// For a pod that ended by itself: the event to tell, and the failure to remember.
    pub(crate) failure: Option<(Event, Failure)>,
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

impl Removal {
    pub(crate) fn of(pod: &Sitter, cause: Cause) -> Self {
        Self {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            resource_version: pod.resource_version.clone(),
            cause,
            failure: None,
        }
    }
}

/// Decides for one node (MG-6).
pub(crate) fn decide(node: &str, seat: &Seat, question: Question<'_>) -> Duty {
    let mut visit = Visit { node, question, duty: Duty::default() };
    visit.duty.doing = match &seat.placement {
        None => visit.clear_strays(seat),
        Some(Placement::Leave(reason)) => visit.clear(seat, reason),
        Some(Placement::Stay(_)) => visit.tend(seat),
        Some(Placement::Run) if seat.sitters.is_empty() && seat.coming == 0 => Some(visit.create()),
        Some(Placement::Run) => visit.tend(seat),
    };
    visit.duty
}

/// A visit to one node: what is found to be done there is noted.
struct Visit<'q> {
    node: &'q str,
    question: Question<'q>,
    duty: Duty,
}

impl Visit<'_> {
    /// MG-15. A pod that is bound to a node which is gone is the garbage collector's work (MG-16).
    fn clear_strays(&mut self, seat: &Seat) -> Option<Doing> {
        first(seat.strays().map(|pod| self.delete(pod, Cause::NodeGone)))
    }

    /// MG-6 C.
    fn clear(&mut self, seat: &Seat, reason: &Reason) -> Option<Doing> {
        let gone = seat.live().map(|pod| self.delete(pod, Cause::NotWanted(reason.to_string())));
        first(gone)
    }

    /// MG-7…MG-14.
    fn tend(&mut self, seat: &Seat) -> Option<Doing> {
        let ended: Vec<&Sitter> =
            seat.live().filter(|pod| matches!(pod.phase(), Phase::Failed | Phase::Succeeded)).collect();
        let waits = first(ended.iter().map(|pod| self.replace(pod)));
        let running: Vec<&Sitter> = seat.running().collect();
        let surges = self.question.surges;
        if surges && seat.wanted() && running.is_empty() && seat.coming == 0 && ended.is_empty() {
            return Some(self.create());
        }
        let pruned = match surges {
            false => self.keep_one(&running),
            true => self.keep_one_of_each(&running),
        };
        pruned.or(waits)
    }

    /// MG-9, MG-11.
    fn replace(&mut self, pod: &Sitter) -> Doing {
        let Question { generation, backoff, now, .. } = self.question;
        // A second one in the same plan waits for the window that the first has just opened.
        let opened = self.duty.deletes.iter().find_map(|removal| removal.failure.as_ref());
        let opened = opened.and_then(|(_, failure)| failure.last.checked_add(failure.delay).ok());
        if let Some(until) = opened.or_else(|| backoff.until(self.node, generation, now)) {
            self.duty.until = Some(until);
            return Doing::BackingOff { pod: pod.name.clone(), until };
        }
        let (event, cause) = self.farewell(pod);
        let doing = self.delete(pod, cause);
        let failure = backoff.next(self.node, generation, now);
        if let Some(removal) = self.duty.deletes.last_mut() {
            removal.failure = Some((event, failure));
        }
        doing
    }

    fn farewell(&self, pod: &Sitter) -> (Event, Cause) {
        let (namespace, name, node) = (self.question.namespace, &pod.name, self.node);
        match pod.phase() {
            Phase::Succeeded => {
                let text = format!(
                    "Found succeeded daemon pod {namespace}/{name} on node {node}, will try to delete it"
                );
                (Event::normal("SucceededDaemonPod", text), Cause::Succeeded)
            }
            _ => {
                let text =
                    format!("Found failed daemon pod {namespace}/{name} on node {node}, will try to kill it");
                (Event::warning("FailedDaemonPod", text), Cause::Failed)
            }
        }
    }

    /// MG-13.
    fn keep_one(&mut self, running: &[&Sitter]) -> Option<Doing> {
        let kept = self.best(running, |_| true)?;
        self.delete_all_but(&[kept], running)
    }

    /// MG-14.
    fn keep_one_of_each(&mut self, running: &[&Sitter]) -> Option<Doing> {
        let (new, old) = (self.best(running, |pod| pod.updated), self.best(running, |pod| !pod.updated));
        match (new, old) {
            (Some(new), Some(old)) => {
                let doing = self.hand_over(new, old);
                self.delete_all_but(&[new, old], running);
                Some(doing)
            }
            _ => self.keep_one(running),
        }
    }

    /// The one of some that stays: the first that is available, or at least ready, or just the first.
    fn best<'p>(&self, running: &[&'p Sitter], is_one: fn(&Sitter) -> bool) -> Option<&'p Sitter> {
        let some = running.iter().copied().filter(|pod| is_one(pod));
        some.min_by_key(|pod| (!pod.is_available(self.question.now), !pod.ready))
    }

    /// An old pod that is not ready goes before its successor is available: it serves nobody, and may hold the port or the
    /// memory that the successor waits for.
    fn hand_over(&mut self, new: &Sitter, old: &Sitter) -> Doing {
        match !old.ready || new.is_available(self.question.now) {
            true => self.delete(old, Cause::Superseded),
            false => Doing::WaitingForNew { old: old.name.clone() },
        }
    }

    fn delete_all_but(&mut self, kept: &[&Sitter], running: &[&Sitter]) -> Option<Doing> {
        let kept_name = &kept.first()?.name;
        let rest = running.iter().filter(|pod| !kept.iter().any(|kept| std::ptr::eq(**pod, *kept)));
        let cause = || Cause::Duplicate { kept: kept_name.clone() };
        first(rest.map(|pod| self.delete(pod, cause())))
    }

    fn create(&mut self) -> Doing {
        self.duty.create = true;
        Doing::Creating
    }

    fn delete(&mut self, pod: &Sitter, cause: Cause) -> Doing {
        self.duty.deletes.push(Removal::of(pod, cause.clone()));
        Doing::Deleting { pod: pod.name.clone(), cause }
    }
}

/// All are done; the first is shown.
fn first(doings: impl Iterator<Item = Doing>) -> Option<Doing> {
    doings.fold(None, |shown, doing| shown.or(Some(doing)))
}
