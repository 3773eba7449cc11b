//! What time it is, for each of the parties: tokio's paused clock, plus how wrong that party's own clock is.
//!
//! The product takes its clock as a plain function, so these are functions too, and what they read lies in the thread:
//! one simulation, one thread.

use jiff::{SignedDuration, Timestamp};
use std::cell::Cell;
use std::time::Duration;
use tokio::time::Instant;

/// When every simulation begins: 2026-01-01T00:00:00Z.
const BEGINNING: i64 = 1_767_225_600;

/// Who has a clock of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Party {
    /// The API server: creation and deletion timestamps.
    Server,
    /// The control loops.
    Loops,
    /// The nodes: when a pod became ready.
    Nodes,
    /// The loop `daemonsets`, where it runs apart; elsewhere its clock is the loops'.
    Controller,
}

impl Party {
    /// All that have a clock of their own.
    pub(crate) fn all(is_apart: bool) -> &'static [Self] {
        let all = &[Self::Server, Self::Loops, Self::Nodes, Self::Controller];
        if is_apart { all } else { &all[..3] }
    }
}

#[derive(Clone, Copy)]
struct Clock {
    began: Instant,
    /// By party.
    skews: [SignedDuration; 4],
    jumped: bool,
    /// [`Party::Controller`] has a clock of its own.
    is_apart: bool,
}

thread_local! {
    static CLOCK: Cell<Option<Clock>> = const { Cell::new(None) };
}

/// The simulation begins now, with all clocks right.
pub(crate) fn begin() {
    let (began, skews) = (Instant::now(), [SignedDuration::ZERO; 4]);
    CLOCK.set(Some(Clock { began, skews, jumped: false, is_apart: false }));
}

/// [`Party::Controller`] has a clock of its own from now on.
pub(crate) fn set_apart() {
    CLOCK.set(CLOCK.get().map(|clock| Clock { is_apart: true, ..clock }));
}

/// A party's clock jumps: it is wrong by this much from now on.
pub(crate) fn jump(party: Party, skew: SignedDuration) {
    if let Some(mut clock) = CLOCK.get() {
        clock.skews[party as usize] = skew;
        clock.jumped |= !skew.is_zero();
        CLOCK.set(Some(clock));
    }
}

/// Whether a clock has ever jumped: then spans of time say nothing about what a party believed.
pub(crate) fn has_jumped() -> bool {
    CLOCK.get().is_some_and(|clock| clock.jumped)
}

/// How long the simulation has been running.
pub(crate) fn elapsed() -> Duration {
    CLOCK.get().map(|clock| clock.began.elapsed()).unwrap_or_default()
}

/// How long the simulation had been running when a clock that is right showed this.
pub(crate) fn when(time: Timestamp) -> Duration {
    let beginning = Timestamp::from_second(BEGINNING).unwrap_or_default();
    Duration::try_from(time.duration_since(beginning)).unwrap_or_default()
}

/// The true time.
pub(crate) fn now() -> Timestamp {
    let beginning = Timestamp::from_second(BEGINNING).unwrap_or_default();
    beginning.saturating_add(elapsed()).unwrap_or(beginning)
}

/// [`Party::Server`]'s time.
pub(crate) fn of_server() -> Timestamp {
    of(Party::Server)
}

/// [`Party::Loops`]' time.
pub(crate) fn of_loops() -> Timestamp {
    of(Party::Loops)
}

/// [`Party::Nodes`]' time.
pub(crate) fn of_nodes() -> Timestamp {
    of(Party::Nodes)
}

/// The time of the loop `daemonsets`.
pub(crate) fn of_controller() -> Timestamp {
    of(if CLOCK.get().is_some_and(|clock| clock.is_apart) { Party::Controller } else { Party::Loops })
}

fn of(party: Party) -> Timestamp {
    let skew = CLOCK.get().map(|clock| clock.skews[party as usize]).unwrap_or_default();
    now().saturating_add(skew).unwrap_or_else(|_| now())
}
