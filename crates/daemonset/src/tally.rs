//! What do the seats sum up to? (ST-1…ST-7)
//!
//! A sum over nodes of what one node adds, so that a change of one node is one subtraction and one addition. Only
//! listed nodes count, and on each only its oldest pod ([`Seat::speaker`]).

use crate::seats::Seat;
use jiff::Timestamp;
use std::ops::{AddAssign, SubAssign};

/// Numbers of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) desired: i32,
    pub(crate) current: i32,
    pub(crate) misscheduled: i32,
    pub(crate) ready: i32,
    pub(crate) updated: i32,
    pub(crate) available: i32,
    /// Wanted nodes that are silent, and whose daemon is not available.
    pub(crate) silent: i32,
    /// Wanted nodes where a daemon has failed and waits.
    pub(crate) failing: i32,
    /// Wanted nodes about which something has just been done, or is to be done now.
    pub(crate) moving: i32,
}

impl Tally {
    /// What one node adds. `fails`: its daemon has failed and waits.
    pub(crate) fn of(seat: &Seat, fails: bool, now: Timestamp) -> Self {
        if seat.placement.is_none() {
            return Self::default();
        }
        let speaker = seat.speaker();
        if !seat.wanted() {
            return Self { misscheduled: speaker.is_some().into(), ..Self::default() };
        }
        let is_available = speaker.is_some_and(|pod| pod.is_available(now));
        Self {
            desired: 1,
            current: speaker.is_some().into(),
            misscheduled: 0,
            ready: speaker.is_some_and(|pod| pod.ready).into(),
            updated: speaker.is_some_and(|pod| pod.updated).into(),
            available: is_available.into(),
            silent: (seat.silent && !is_available).into(),
            failing: fails.into(),
            moving: seat.is_moving().into(),
        }
    }

    /// Nodes whose daemon is of an older template.
    pub(crate) fn outdated(&self) -> i32 {
        self.current - self.updated
    }

    /// Nodes that should have an available daemon and have none; a silent node cannot have one.
    pub(crate) fn lacking(&self) -> i32 {
        self.desired - self.silent - self.available
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        *self = combined(*self, other, i32::saturating_add);
    }
}

impl SubAssign for Tally {
    fn sub_assign(&mut self, other: Self) {
        *self = combined(*self, other, i32::saturating_sub);
    }
}

fn combined(a: Tally, b: Tally, with: fn(i32, i32) -> i32) -> Tally {
    Tally {
        desired: with(a.desired, b.desired),
        current: with(a.current, b.current),
        misscheduled: with(a.misscheduled, b.misscheduled),
        ready: with(a.ready, b.ready),
        updated: with(a.updated, b.updated),
        available: with(a.available, b.available),
        silent: with(a.silent, b.silent),
        failing: with(a.failing, b.failing),
        moving: with(a.moving, b.moving),
    }
}
