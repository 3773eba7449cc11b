//! Which outdated pod goes next? (RU)
//!
//! 1. Runs only when coverage has nothing to do, and never for `OnDelete` (RU-1).
//! 2. A rollout sees of a node only its [`Class`], and of all nodes only who is of which class: [`Shelves`].
//! 3. Of the available old pods at most as many go as the budget leaves. Candidates go in the order of their nodes'
//!    names. Kubernetes takes them in no order (RU-9).
//!
//! Kubernetes: `daemon/update.go` (`rollingUpdate`).
//! Differs: with surge, an old pod on a node that is gone is judged like one on a node that does not want it, and fails
//! nothing (BUG-5).

use crate::book::Book;
use crate::budget::Budget;
use crate::coverage::Removal;
use crate::plan::{Cause, Doing, Name};
use crate::seats::{Phase, Seat, Sitter};
use crate::work::{BURST, Work};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What a rollout sees of a node: its live pods by version (RU-6). Pods on the way count as new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// More than one of a version.
    Unclear,
    /// No pod that lives.
    Empty,
    New {
        available: bool,
    },
    Old {
        wanted: bool,
        available: bool,
    },
    Both {
        new_available: bool,
        old_available: bool,
    },
}

/// Nodes by class, in the order of names.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Shelves(BTreeMap<Class, BTreeSet<Name>>);

/// What the rollout does within its budget.
pub(crate) fn roll(book: &Book, budget: Budget) -> Work {
    let mut step = Step { book, work: Work::default() };
    match budget {
        Budget::Unavailable(max) => step.replace(max),
        Budget::Surge(max) => step.surge(max),
    }
    step.work
}

/// What is to be said of a node about which the rollout does nothing now. `more`: something was cut from this plan.
pub(crate) fn waiting(seat: &Seat, class: Class, budget: Budget, more: bool) -> Option<Doing> {
    let surges = matches!(budget, Budget::Surge(_));
    match class {
        // What no budget holds back was cut.
        Class::Old { available: false, .. } => Some(Doing::NextBurst),
        // Nothing waits for it; it goes when it is not needed any more (RU-16).
        Class::Old { wanted: false, .. } if surges => None,
        Class::Old { .. } if more => Some(Doing::NextBurst),
        Class::Old { .. } => Some(Doing::WaitingForBudget { pod: old(seat)?.name.clone() }),
        Class::Both { new_available: false, .. } if surges => {
            Some(Doing::WaitingForNew { old: old(seat)?.name.clone() })
        }
        Class::Both { .. } if surges => Some(Doing::NextBurst),
        // Two pods of a node are coverage's business.
        Class::Unclear | Class::Empty | Class::New { .. } | Class::Both { .. } => None,
    }
}

/// The one old pod of a node that has not more.
pub(crate) fn old(seat: &Seat) -> Option<&Sitter> {
    seat.residents().find(|pod| pod.phase() != Phase::Ending && !pod.updated)
}

impl Class {
    /// The class of a node; none for one that counts for nothing: not wanted, and nobody there (RU-2).
    pub(crate) fn of(seat: &Seat, now: Timestamp) -> Option<Self> {
        if !seat.wanted() && seat.coming == 0 && seat.residents().next().is_none() {
            return None;
        }
        let live = seat.residents().filter(|pod| pod.phase() != Phase::Ending);
        let (new, old): (Vec<_>, Vec<_>) = live.partition(|pod| pod.updated);
        let (wanted, is_available) = (seat.wanted(), |pod: &Sitter| pod.is_available(now));
        Some(match (new.as_slice(), seat.coming, old.as_slice()) {
            ([], 0, []) => Self::Empty,
            ([new], 0, []) => Self::New { available: is_available(new) },
            ([], 1, []) => Self::New { available: false },
            ([], 0, [old]) => Self::Old { wanted, available: is_available(old) },
            ([new], 0, [old]) => {
                Self::Both { new_available: is_available(new), old_available: is_available(old) }
            }
            ([], 1, [old]) => Self::Both { new_available: false, old_available: is_available(old) },
            _ => Self::Unclear,
        })
    }

    /// Whether the node counts as one without a daemon (RU-7). BUG-2, as upstream: a node whose pod cannot end because
    /// nobody is there to end it counts as well, and can hold up the whole rollout (RU-11).
    pub(crate) fn is_unavailable(self) -> bool {
        match self {
            Self::Unclear | Self::Empty | Self::Both { .. } => true,
            Self::New { available } | Self::Old { available, .. } => !available,
        }
    }

    /// Whether the node has one pod more than usual (RU-14).
    fn is_surging(self) -> bool {
        matches!(self, Self::Unclear | Self::Both { new_available: false, .. })
    }

    /// Whether the node's old pod, or its new one if there is no old, is available (RU-16).
    fn serves(self) -> bool {
        match self {
            Self::Unclear | Self::Empty => false,
            Self::New { available }
            | Self::Old { available, .. }
            | Self::Both { old_available: available, .. } => available,
        }
    }
}

/// From nodes in the order of names.
impl FromIterator<(Class, Name)> for Shelves {
    fn from_iter<I: IntoIterator<Item = (Class, Name)>>(nodes: I) -> Self {
        let mut shelves: BTreeMap<Class, Vec<Name>> = BTreeMap::new();
        nodes.into_iter().for_each(|(class, node)| shelves.entry(class).or_default().push(node));
        Self(shelves.into_iter().map(|(class, nodes)| (class, nodes.into_iter().collect())).collect())
    }
}

impl Shelves {
    pub(crate) fn add(&mut self, class: Class, node: Name) {
        self.0.entry(class).or_default().insert(node);
    }

    pub(crate) fn remove(&mut self, class: Class, node: &str) {
        if let Some(shelf) = self.0.get_mut(&class) {
            shelf.remove(node);
            if shelf.is_empty() {
                self.0.remove(&class);
            }
        }
    }

    fn count(&self, is_one: fn(Class) -> bool) -> usize {
        self.0.iter().filter(|(class, _)| is_one(**class)).map(|(_, nodes)| nodes.len()).sum()
    }

    /// The first `max` nodes of these classes, in the order of names; never many more than one plan can do.
    fn first(&self, classes: &[Class], max: usize) -> Vec<Name> {
        let max = max.min(BURST + 1);
        let shelves = classes.iter().filter_map(|class| self.0.get(class));
        let mut nodes: Vec<Name> = shelves.flat_map(|nodes| nodes.iter().take(max)).cloned().collect();
        nodes.sort();
        nodes.truncate(max);
        nodes
    }
}

/// Old pods that serve nobody, on nodes that want a daemon and on others.
const BROKEN: [Class; 2] =
    [Class::Old { wanted: true, available: false }, Class::Old { wanted: false, available: false }];
/// Old pods that serve, on the same.
const CANDIDATES: [Class; 2] =
    [Class::Old { wanted: true, available: true }, Class::Old { wanted: false, available: true }];
/// The new pod serves, the old one may go.
const REPLACED: [Class; 2] = [
    Class::Both { new_available: true, old_available: true },
    Class::Both { new_available: true, old_available: false },
];

/// One step of the rollout.
struct Step<'b> {
    book: &'b Book,
    work: Work,
}

impl Step<'_> {
    /// RU-7, RU-8.
    fn replace(&mut self, max: usize) {
        self.replace_broken();
        let room = max.saturating_sub(self.shelves().count(Class::is_unavailable));
        self.delete(&CANDIDATES, room, &Cause::Outdated);
    }

    /// BUG-18, as upstream: old pods that are not available go whatever the budget says. They serve nobody, and mending
    /// them is what the update may be for (RU-13); but two quick updates can take down everything.
    fn replace_broken(&mut self) {
        self.delete(&BROKEN, usize::MAX, &Cause::OutdatedUnavailable);
    }

    /// RU-14, RU-15, RU-16.
    fn surge(&mut self, max: usize) {
        let [broken_here, broken_elsewhere] = BROKEN;
        let [candidates, surplus] = CANDIDATES;
        let spare = self.shelves().count(Class::serves).saturating_sub(self.book.desired());
        let room = max.saturating_sub(self.shelves().count(Class::is_surging));
        self.create(broken_here, usize::MAX);
        self.create(candidates, room);
        self.delete(&REPLACED, usize::MAX, &Cause::Superseded);
        self.delete(&[broken_elsewhere], usize::MAX, &Cause::OutdatedUnavailable);
        self.delete(&[surplus], spare, &Cause::Surplus);
    }

    fn shelves(&self) -> &Shelves {
        self.book.shelves()
    }

    fn delete(&mut self, classes: &[Class], max: usize, cause: &Cause) {
        for node in self.shelves().first(classes, max) {
            if let Some(pod) = self.book.seat(&node).and_then(old) {
                self.work.deletes.push((node, Removal::of(pod, cause.clone())));
            }
        }
    }

    fn create(&mut self, class: Class, max: usize) {
        let nodes = self.shelves().first(&[class], max);
        self.work.creates.extend(nodes);
    }
}
