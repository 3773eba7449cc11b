//! All seats of one DaemonSet, and what they come to: sums, who has something to do, who is of which class, who waits.
//!
//! 1. Everything here follows from the seats. A seat is entered with [`Book::put`] and nothing else changes the sums, so
//!    one node's change costs that node and some sorted sets, never a pass over all nodes.
//! 2. A node that wants no daemon and has none adds nothing, and need not be kept ([`Book::forget_idle`]).

use crate::conditions::DEADLINE;
use crate::coverage::{self, Duty, Question};
use crate::plan::Doing;
use crate::rollout::{Class, Shelves};
use crate::seats::{NodeName, Seat};
use crate::tally::Tally;
use crate::work::{BURST, Work};
use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};
use std::collections::{BTreeMap, BTreeSet};

/// A pod becomes available strictly after its time (RU-3).
const JUST_AFTER: SignedDuration = SignedDuration::from_nanos(1);

/// The seats and their sums.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Book {
    entries: BTreeMap<NodeName, Entry>,
    tally: Tally,
    shelves: Shelves,
    creates: BTreeSet<NodeName>,
    deletes: BTreeSet<NodeName>,
    waits: BTreeSet<(Timestamp, NodeName)>,
    timers: BTreeSet<(Timestamp, NodeName)>,
}

/// A seat, and what it adds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) seat: Seat,
    pub(crate) duty: Duty,
    pub(crate) class: Option<Class>,
    tally: Tally,
    waits_since: Option<Timestamp>,
    /// When time alone changes what this seat adds.
    timer: Option<Timestamp>,
}

impl Entry {
    fn of(node: &str, seat: Seat, question: Question<'_>) -> Self {
        let now = question.now;
        let duty = coverage::decide(node, &seat, question);
        let fails = matches!(duty.doing, Some(Doing::BackingOff { .. }));
        let matures = seat.matures(now).and_then(|time| time.checked_add(JUST_AFTER).ok());
        Self {
            class: Class::of(&seat, now),
            tally: Tally::of(&seat, fails, now),
            waits_since: seat.waits_since(now),
            timer: matures.into_iter().chain(duty.until).min(),
            seat,
            duty,
        }
    }
}

impl Book {
    /// Enters what a node's seat is now, in place of what it was.
    pub(crate) fn put(&mut self, node: NodeName, seat: Seat, question: Question<'_>) {
        self.take(&node);
        let entry = Entry::of(&node, seat, question);
        self.tally += entry.tally;
        if let Some(class) = entry.class {
            self.shelves.put(class, node.clone());
        }
        if entry.duty.create {
            self.creates.insert(node.clone());
        }
        if !entry.duty.deletes.is_empty() {
            self.deletes.insert(node.clone());
        }
        self.waits.extend(entry.waits_since.map(|since| (since, node.clone())));
        self.timers.extend(entry.timer.map(|at| (at, node.clone())));
        self.entries.insert(node, entry);
    }

    /// Strikes a node out, and gives its seat.
    pub(crate) fn take(&mut self, node: &str) -> Option<(NodeName, Seat)> {
        let (name, entry) = self.entries.remove_entry(node)?;
        self.tally -= entry.tally;
        if let Some(class) = entry.class {
            self.shelves.take(class, node);
        }
        self.creates.remove(node);
        self.deletes.remove(node);
        if let Some(since) = entry.waits_since {
            self.waits.remove(&(since, name.clone()));
        }
        if let Some(at) = entry.timer {
            self.timers.remove(&(at, name.clone()));
        }
        Some((name, entry.seat))
    }

    /// Strikes out the nodes that add nothing.
    pub(crate) fn forget_idle(&mut self) {
        self.entries.retain(|_, entry| !entry.seat.is_idle());
    }

    /// The same for one node.
    pub(crate) fn forget_if_idle(&mut self, node: &str) {
        if self.seat(node).is_some_and(Seat::is_idle) {
            self.entries.remove(node);
        }
    }

    pub(crate) fn entry(&self, node: &str) -> Option<&Entry> {
        self.entries.get(node)
    }

    pub(crate) fn seat(&self, node: &str) -> Option<&Seat> {
        self.entry(node).map(|entry| &entry.seat)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&NodeName, &Entry)> {
        self.entries.iter()
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// Nodes that want a daemon (RU-2).
    pub(crate) fn desired(&self) -> usize {
        usize::try_from(self.tally.desired).unwrap_or(0)
    }

    pub(crate) fn shelves(&self) -> &Shelves {
        &self.shelves
    }

    /// What coverage has to do, in the order of names; one more than a burst is enough to know that there is more.
    pub(crate) fn coverage(&self) -> Work {
        let duty = |node: &NodeName| self.entries.get(node).map(|entry| &entry.duty);
        let removals = |node: &NodeName| {
            let all = duty(node).into_iter().flat_map(|duty| &duty.deletes).cloned();
            all.map(|removal| (node.clone(), removal)).collect::<Vec<_>>()
        };
        Work {
            creates: self.creates.iter().take(BURST + 1).cloned().collect(),
            deletes: self.deletes.iter().flat_map(removals).take(BURST + 1).collect(),
        }
    }

    /// The nodes about which time alone has changed something.
    pub(crate) fn due(&self, now: Timestamp) -> impl Iterator<Item = &NodeName> {
        self.timers.iter().take_while(move |(at, _)| *at <= now).map(|(_, node)| node)
    }

    /// When it will change something next (BUG-15, BUG-19).
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| on_the_tick(*at))
    }

    /// Since when wanted daemons are waited for, the longest wait first.
    pub(crate) fn waits(&self) -> impl DoubleEndedIterator<Item = Timestamp> {
        self.waits.iter().map(|(since, _)| *since)
    }

    /// How many have been waited for longer than is good.
    pub(crate) fn overdue(&self, now: Timestamp) -> usize {
        self.waits().take_while(|since| now.duration_since(*since) >= DEADLINE).count()
    }
}

/// Alarm clocks are no finer than a millisecond.
fn on_the_tick(at: Timestamp) -> Timestamp {
    at.round(TimestampRound::new().smallest(Unit::Millisecond).mode(RoundMode::Ceil)).unwrap_or(at)
}
