//! All seats of one DaemonSet, and what they come to: sums, who has something to do, who is of which class, who waits.
//!
//! 1. Everything here follows from the seats. All are entered at once with [`Book::of`], one with [`Book::put`], and
//!    nothing else changes the sums: one node's change costs that node and some sorted sets, never a pass over all nodes.
//! 2. A node that wants no daemon and has none adds nothing, and need not be kept ([`Book::forget_idle`]).

use crate::conditions::DEADLINE;
use crate::coverage::{self, Duty, Question};
use crate::plan::{Doing, Name};
use crate::rollout::{Class, Shelves};
use crate::seats::Seat;
use crate::tally::{Share, Tally};
use crate::work::{BURST, Work};
use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};
use std::collections::{BTreeMap, BTreeSet};

/// A pod becomes available strictly after its time (RU-3).
const JUST_AFTER: SignedDuration = SignedDuration::from_nanos(1);

/// The seats and their sums.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Book {
    entries: BTreeMap<Name, Entry>,
    tally: Tally,
    shelves: Shelves,
    creates: BTreeSet<Name>,
    deletes: BTreeSet<Name>,
    /// Nodes where a daemon is expected and waited for, since when.
    waits: BTreeSet<(Timestamp, Name)>,
    /// Nodes where none is expected, and that take a part of a rollout's budget all the same (RU-11), since when.
    stalls: BTreeSet<(Timestamp, Name)>,
    timers: BTreeSet<(Timestamp, Name)>,
}

/// A seat, and what it adds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) seat: Seat,
    /// What coverage wants here; mostly nothing, and then it takes no room.
    pub(crate) duty: Option<Box<Duty>>,
    pub(crate) class: Option<Class>,
    share: Share,
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
            share: Share::of(&seat, fails, now),
            waits_since: seat.waits_since(now),
            timer: matures.into_iter().chain(duty.until).min(),
            seat,
            duty: (duty != Duty::default()).then(|| Box::new(duty)),
        }
    }

    fn wait(&self) -> Option<Timestamp> {
        self.waits_since.filter(|_| self.seat.is_expectant())
    }

    fn stall(&self) -> Option<Timestamp> {
        let is_stall = || !self.seat.is_expectant() && self.class.is_some_and(Class::is_unavailable);
        self.waits_since.filter(|_| is_stall())
    }

    /// Whether coverage has something to do here.
    pub(crate) fn is_work(&self) -> bool {
        self.creates() || self.deletes()
    }

    fn creates(&self) -> bool {
        self.duty.as_ref().is_some_and(|duty| duty.create)
    }

    fn deletes(&self) -> bool {
        self.duty.as_ref().is_some_and(|duty| !duty.deletes.is_empty())
    }

    /// What coverage has to say.
    pub(crate) fn doing(&self) -> Option<Doing> {
        self.duty.as_ref()?.doing.clone()
    }
}

impl Book {
    /// A book of these seats.
    pub(crate) fn of(seats: BTreeMap<Name, Seat>, question: Question<'_>) -> Self {
        // Collected, and not put one by one: a sorted list becomes a sorted map without searching for places.
        let entries = seats.into_iter().map(|(node, seat)| {
            let entry = Entry::of(&node, seat, question);
            (node, entry)
        });
        let entries: BTreeMap<Name, Entry> = entries.collect();
        let named = |is_one: fn(&Entry) -> bool| {
            entries.iter().filter(|(_, entry)| is_one(entry)).map(|(node, _)| node.clone()).collect()
        };
        let timed = |time: fn(&Entry) -> Option<Timestamp>| {
            entries.iter().filter_map(|(node, entry)| Some((time(entry)?, node.clone()))).collect()
        };
        Self {
            tally: entries.values().map(|entry| entry.share).sum(),
            shelves: entries.iter().filter_map(|(node, entry)| Some((entry.class?, node.clone()))).collect(),
            creates: named(Entry::creates),
            deletes: named(Entry::deletes),
            waits: timed(Entry::wait),
            stalls: timed(Entry::stall),
            timers: timed(|entry| entry.timer),
            entries,
        }
    }

    /// Enters what a node's seat is now, in place of what it was.
    pub(crate) fn put(&mut self, node: Name, seat: Seat, question: Question<'_>) {
        self.remove(&node);
        let entry = Entry::of(&node, seat, question);
        self.tally += entry.share;
        self.creates.extend(entry.creates().then(|| node.clone()));
        self.deletes.extend(entry.deletes().then(|| node.clone()));
        self.waits.extend(entry.wait().map(|since| (since, node.clone())));
        self.stalls.extend(entry.stall().map(|since| (since, node.clone())));
        self.timers.extend(entry.timer.map(|at| (at, node.clone())));
        if let Some(class) = entry.class {
            self.shelves.add(class, node.clone());
        }
        self.entries.insert(node, entry);
    }

    /// Strikes a node out, and gives its seat.
    pub(crate) fn remove(&mut self, node: &str) -> Option<(Name, Seat)> {
        let (name, entry) = self.entries.remove_entry(node)?;
        self.strike(&name, &entry);
        Some((name, entry.seat))
    }

    /// Takes back what an entry has added.
    fn strike(&mut self, node: &Name, old: &Entry) {
        self.tally -= old.share;
        if let Some(class) = old.class {
            self.shelves.remove(class, node);
        }
        if old.duty.is_some() {
            self.creates.remove(node);
            self.deletes.remove(node);
        }
        if let Some(since) = old.waits_since {
            let wait = (since, node.clone());
            let _ = self.waits.remove(&wait) || self.stalls.remove(&wait);
        }
        if let Some(at) = old.timer {
            self.timers.remove(&(at, node.clone()));
        }
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

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Name, &Entry)> {
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
        let duty = |node: &Name| self.entries.get(node).and_then(|entry| entry.duty.as_ref());
        let removals = |node: &Name| {
            let all = duty(node).into_iter().flat_map(|duty| &duty.deletes).cloned();
            all.map(|removal| (node.clone(), removal)).collect::<Vec<_>>()
        };
        Work {
            creates: self.creates.iter().take(BURST + 1).cloned().collect(),
            deletes: self.deletes.iter().flat_map(removals).take(BURST + 1).collect(),
        }
    }

    /// The nodes about which time alone has changed something.
    pub(crate) fn due(&self, now: Timestamp) -> impl Iterator<Item = &Name> {
        self.timers.iter().take_while(move |(at, _)| *at <= now).map(|(_, node)| node)
    }

    /// When it will change something next (BUG-15, BUG-19).
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| on_the_tick(*at))
    }

    /// Since when daemons are waited for where they are expected, the longest wait first.
    pub(crate) fn waits(&self) -> impl DoubleEndedIterator<Item = Timestamp> {
        self.waits.iter().map(|(since, _)| *since)
    }

    /// The same for the nodes that only hold up a rollout.
    pub(crate) fn stalls(&self) -> impl DoubleEndedIterator<Item = Timestamp> + ExactSizeIterator {
        self.stalls.iter().map(|(since, _)| *since)
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
