//! PURE. Whether what concurrent clients saw of one key fits one order of their calls.
//!
//! The order must keep real time (a call that ended before another began comes first), every answer must be right at
//! its place in it, and revisions must rise along it. A write whose answer was lost may stand anywhere after its
//! beginning, or nowhere.
//!
//! Every written value is unique, so a value names its write and, once seen, its revision. The search is Wing and
//! Gong's with Lowe's memory: a set of calls and the state they leave is never tried twice. It has a limit
//! ([`MOST_STATES`]): above it the answer is [`Violation::TooLong`], and not that all is well.

pub mod workload;

use crate::Revision;
use std::collections::{BTreeMap, BTreeSet};

/// States that are tried for one key: some hundred megabytes at the length of our histories.
pub const MOST_STATES: usize = 1_000_000;

/// What a value is to the checker: every write has its own.
pub type Value = u64;

/// One call of one client on the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// When it began, on a clock that all clients share.
    pub began: u64,
    /// When its answer came; none: it never came.
    pub ended: Option<u64>,
    /// What was asked.
    pub ask: Ask,
    /// What was answered; none: the answer is lost.
    pub answer: Option<Answer>,
}

/// What is asked of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// What stands there.
    Get,
    /// Write it if it is not there.
    Create(Value),
    /// Replace what was written at this revision.
    Update(Value, Revision),
    /// Remove what was written at this revision.
    Delete(Revision),
}

/// What a store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// To a get.
    Stands(Option<(Value, Revision)>),
    /// The write happened at this revision.
    Written(Revision),
    /// It is there already.
    Exists,
    /// Something else stands there, of this revision.
    Conflict(Revision),
    /// Nothing stands there.
    Missing,
}

/// Why there is no order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// One value, two revisions.
    #[error("value {0} was seen at revision {1} and at revision {2}")]
    TwoRevisions(Value, Revision, Revision),
    /// A value that nobody wrote.
    #[error("value {0} was read and never written")]
    Invented(Value),
    /// The search has ended without an order; this is how many calls of the longest attempt fit.
    #[error("no order fits: {fits} of {calls} calls do, then comes one of {stuck:?}")]
    NoOrder {
        /// Calls in order in the best attempt.
        fits: usize,
        /// All calls.
        calls: usize,
        /// The calls that could have come next there, and do not fit.
        stuck: Vec<Call>,
    },
    /// The limit was reached.
    #[error("{MOST_STATES} states were tried without an answer")]
    TooLong,
}

/// Whether the calls on one key, which nothing was at in the beginning, have an order.
pub fn check(calls: &[Call]) -> Result<(), Violation> {
    let revisions = revisions(calls)?;
    let calls = worth_a_place(calls, &revisions);
    let read = revisions.values().copied().collect();
    Search { calls: &calls, revisions: &revisions, read, tried: BTreeSet::new(), best: (0, Vec::new()) }.run()
}

/// The revision of every value, as far as anybody saw it.
fn revisions(calls: &[Call]) -> Result<BTreeMap<Value, Revision>, Violation> {
    let written: BTreeSet<Value> = calls.iter().filter_map(|call| call.ask.value()).collect();
    let mut revisions = BTreeMap::new();
    for call in calls {
        let seen = match (call.ask, call.answer) {
            (_, Some(Answer::Stands(Some((value, _))))) if !written.contains(&value) => {
                return Err(Violation::Invented(value));
            }
            (_, Some(Answer::Stands(seen))) => seen,
            (ask, Some(Answer::Written(revision))) => ask.value().map(|value| (value, revision)),
            _ => None,
        };
        if let Some((value, revision)) = seen
            && let Some(other) = revisions.insert(value, revision).filter(|other| *other != revision)
        {
            return Err(Violation::TwoRevisions(value, other, revision));
        }
    }
    Ok(revisions)
}

/// Without writes that nobody can have seen: a later write would have had to name their revision.
fn worth_a_place(calls: &[Call], revisions: &BTreeMap<Value, Revision>) -> Vec<Call> {
    let known: BTreeSet<Revision> = revisions.values().copied().collect();
    let strange = calls.iter().any(|call| match call.answer {
        Some(Answer::Conflict(revision)) => !known.contains(&revision),
        Some(Answer::Exists) => true,
        _ => false,
    });
    let unseen = |call: &Call| {
        call.answer.is_none() && call.ask.value().is_some_and(|value| !revisions.contains_key(&value))
    };
    let lost_reads = |call: &Call| call.answer.is_none() && call.ask == Ask::Get;
    let mut calls: Vec<Call> =
        calls.iter().filter(|call| !lost_reads(call) && (strange || !unseen(call))).cloned().collect();
    calls.sort_by_key(|call| call.began);
    calls
}

impl Ask {
    fn value(self) -> Option<Value> {
        match self {
            Self::Create(value) | Self::Update(value, _) => Some(value),
            Self::Get | Self::Delete(_) => None,
        }
    }
}

/// What stands at the key, and the highest revision so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    value: Option<Value>,
    /// Of the value. None for one of a lost answer, until somebody has named it without reading the value.
    revision: Option<Revision>,
    last: Revision,
}

impl State {
    const NOTHING: Self = Self { value: None, revision: None, last: 0 };

    /// The same, with this as the value's revision; none when it has another one.
    fn at(self, revision: Revision, read: &BTreeSet<Revision>) -> Option<Self> {
        match (self.value, self.revision) {
            (Some(_), Some(known)) => (known == revision).then_some(self),
            (Some(_), None) if !read.contains(&revision) && revision >= self.last => {
                Some(Self { revision: Some(revision), last: revision, ..self })
            }
            _ => None,
        }
    }
}

/// Which calls have their place already.
type Placed = Vec<u64>;

struct Search<'a> {
    calls: &'a [Call],
    revisions: &'a BTreeMap<Value, Revision>,
    /// Revisions whose values are known.
    read: BTreeSet<Revision>,
    tried: BTreeSet<(Placed, State)>,
    best: (usize, Vec<Call>),
}

/// A call that was placed, and how to take it back.
struct Step {
    call: usize,
    before: State,
}

impl Search<'_> {
    fn run(mut self) -> Result<(), Violation> {
        let mut placed: Placed = vec![0; self.calls.len().div_ceil(64)];
        let (mut path, mut state): (Vec<Step>, _) = (Vec::new(), State::NOTHING);
        let mut from = 0;
        loop {
            match self.next(&placed, state, from) {
                Some((call, after)) => {
                    set(&mut placed, call, true);
                    path.push(Step { call, before: state });
                    (state, from) = (after, 0);
                    if self.is_done(&placed) {
                        return Ok(());
                    }
                    if self.tried.len() > MOST_STATES {
                        return Err(Violation::TooLong);
                    }
                }
                None if self.is_done(&placed) => return Ok(()),
                None => {
                    self.remember(&placed, path.len());
                    let Some(Step { call, before }) = path.pop() else { break };
                    set(&mut placed, call, false);
                    (state, from) = (before, call + 1);
                }
            }
        }
        let (fits, stuck) = self.best;
        Err(Violation::NoOrder { fits, calls: self.calls.len(), stuck })
    }

    /// The first call from `from` on that may come next, fits, and leads to something new.
    fn next(&mut self, placed: &Placed, state: State, from: usize) -> Option<(usize, State)> {
        for call in self.candidates(placed) {
            if call < from {
                continue;
            }
            let Some(after) = self.step(&self.calls[call], state) else { continue };
            let mut then = placed.clone();
            set(&mut then, call, true);
            if self.tried.insert((then, after)) {
                return Some((call, after));
            }
        }
        None
    }

    /// Calls that no other call must come before: they began before the first answer that is still to come.
    fn candidates(&self, placed: &Placed) -> Vec<usize> {
        let mut first_end = u64::MAX;
        let mut candidates = Vec::new();
        for (number, call) in self.calls.iter().enumerate() {
            if call.began > first_end {
                break;
            }
            if !is_set(placed, number) {
                candidates.push(number);
                first_end = first_end.min(call.ended.unwrap_or(u64::MAX));
            }
        }
        candidates.retain(|number| self.calls[*number].began <= first_end);
        candidates
    }

    /// Every answered call has its place.
    fn is_done(&self, placed: &Placed) -> bool {
        let mut calls = self.calls.iter().enumerate();
        calls.all(|(number, call)| call.answer.is_none() || is_set(placed, number))
    }

    /// The state after a call at this place; none when its answer is wrong there.
    fn step(&self, call: &Call, state: State) -> Option<State> {
        let at = |value: Value| self.revisions.get(&value).copied();
        let stands_at = |expected: Revision| state.at(expected, &self.read).is_some();
        let written = |value: Option<Value>, revision: Option<Revision>| {
            let last = revision.unwrap_or(state.last + 1);
            (last > state.last).then_some(State { value, revision, last })
        };
        match (call.ask, call.answer) {
            (Ask::Get, Some(Answer::Stands(seen))) => {
                (seen.map(|seen| seen.0) == state.value).then_some(state)
            }
            (Ask::Create(value), Some(Answer::Written(revision))) if state.value.is_none() => {
                written(Some(value), Some(revision))
            }
            (Ask::Update(value, expected), Some(Answer::Written(revision))) if stands_at(expected) => {
                written(Some(value), Some(revision))
            }
            (Ask::Delete(expected), Some(Answer::Written(revision))) if stands_at(expected) => {
                written(None, Some(revision))
            }
            (Ask::Create(_), Some(Answer::Exists)) => state.value.map(|_| state),
            (Ask::Update(..) | Ask::Delete(_), Some(Answer::Missing)) if state.value.is_none() => Some(state),
            (Ask::Update(_, expected) | Ask::Delete(expected), Some(Answer::Conflict(actual)))
                if actual != expected =>
            {
                state.at(actual, &self.read)
            }
            // A lost answer: here it happens. That it never happens is to give it no place.
            (Ask::Create(value), None) if state.value.is_none() => written(Some(value), at(value)),
            (Ask::Update(value, expected), None) if stands_at(expected) => written(Some(value), at(value)),
            (Ask::Delete(expected), None) if stands_at(expected) => written(None, None),
            _ => None,
        }
    }

    fn remember(&mut self, placed: &Placed, depth: usize) {
        if depth >= self.best.0 {
            let stuck = self.candidates(placed);
            self.best = (depth, stuck.into_iter().map(|call| self.calls[call].clone()).collect());
        }
    }
}

fn is_set(placed: &Placed, number: usize) -> bool {
    placed[number / 64] & (1 << (number % 64)) != 0
}

fn set(placed: &mut Placed, number: usize, to: bool) {
    let bit = 1 << (number % 64);
    match to {
        true => placed[number / 64] |= bit,
        false => placed[number / 64] &= !bit,
    }
}

#[cfg(test)]
mod tests;
