//! What do the seats sum up to? (ST-1…ST-7)
//!
//! A sum over nodes of what one node adds, so that a change of one node is one subtraction and one addition. Only
//! listed nodes count, and on each only its oldest pod ([`Seat::speaker`]).

use crate::seats::Seat;
use jiff::Timestamp;
use std::iter::Sum;
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
    /// Those of them whose daemon is of an older template.
    pub(crate) silent_outdated: i32,
    /// Wanted nodes where a daemon has failed and waits.
    pub(crate) failing: i32,
    /// Wanted nodes about which something has just been done, or is to be done now.
    pub(crate) moving: i32,
}

/// What one node adds: to each number one, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Share {
    desired: bool,
    current: bool,
    misscheduled: bool,
    ready: bool,
    updated: bool,
    available: bool,
    silent: bool,
    silent_outdated: bool,
    failing: bool,
    moving: bool,
}

impl Share {
    /// Of a node with this seat. `fails`: its daemon has failed and waits.
    pub(crate) fn of(seat: &Seat, fails: bool, now: Timestamp) -> Self {
        if seat.placement.is_none() {
            return Self::default();
        }
        let speaker = seat.speaker();
        if !seat.wanted() {
            return Self { misscheduled: speaker.is_some(), ..Self::default() };
        }
        let available = speaker.is_some_and(|pod| pod.is_available(now));
        let silent = seat.silent && !available;
        Self {
            desired: true,
            current: speaker.is_some(),
            misscheduled: false,
            ready: speaker.is_some_and(|pod| pod.ready),
            updated: speaker.is_some_and(|pod| pod.updated),
            available,
            silent,
            silent_outdated: silent && speaker.is_some_and(|pod| !pod.updated),
            failing: fails,
            moving: seat.is_moving(),
        }
    }
}

impl Tally {
    /// Nodes whose daemon is of an older template.
    pub(crate) fn outdated(&self) -> i32 {
        self.current - self.updated
    }

    /// Those of them about which something can be done; nothing is, on a silent node.
    pub(crate) fn replaceable(&self) -> i32 {
        self.outdated() - self.silent_outdated
    }

    /// Nodes that should have an available daemon and have none; a silent node cannot have one.
    pub(crate) fn lacking(&self) -> i32 {
        self.desired - self.silent - self.available
    }

    fn add(&mut self, share: Share, one: i32) {
        let add = |number: &mut i32, has: bool| *number += if has { one } else { 0 };
        add(&mut self.desired, share.desired);
        add(&mut self.current, share.current);
        add(&mut self.misscheduled, share.misscheduled);
        add(&mut self.ready, share.ready);
        add(&mut self.updated, share.updated);
        add(&mut self.available, share.available);
        add(&mut self.silent, share.silent);
        add(&mut self.silent_outdated, share.silent_outdated);
        add(&mut self.failing, share.failing);
        add(&mut self.moving, share.moving);
    }
}

impl AddAssign<Share> for Tally {
    fn add_assign(&mut self, share: Share) {
        self.add(share, 1);
    }
}

impl SubAssign<Share> for Tally {
    fn sub_assign(&mut self, share: Share) {
        self.add(share, -1);
    }
}

impl Sum<Share> for Tally {
    fn sum<I: Iterator<Item = Share>>(shares: I) -> Self {
        shares.fold(Self::default(), |mut tally, share| {
            tally += share;
            tally
        })
    }
}
