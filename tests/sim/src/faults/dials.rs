//! Which faults may strike, and how often.
//!
//! Numbers are per thousand calls or events. A seed turns each dial on with a chance of one half, and then to a strength
//! of its own: runs in which everything is a little broken find less than runs in which one thing is broken much.

use super::{Call, Fate, Moment, What};
use crate::chance::Chance;
use std::time::Duration;

/// The strength of every fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Dials {
    /// Calls that come late, and how late at most.
    pub(crate) late: usize,
    pub(crate) latest: Duration,
    pub(crate) refused: usize,
    pub(crate) conflicts: usize,
    pub(crate) lost_before: usize,
    pub(crate) lost_after: usize,
    pub(crate) crashes: usize,
    /// Watch events that come late, and how late at most.
    pub(crate) events_late: usize,
    pub(crate) events_latest: Duration,
    pub(crate) events_twice: usize,
    /// Watches that break before an event.
    pub(crate) cuts: usize,
    /// Watches that cannot be resumed (410).
    pub(crate) expired: usize,
    /// Watches that fall silent, and for how long at most before they break.
    pub(crate) silences: usize,
    pub(crate) longest_silence: Duration,
    /// Processes that pause, nodes that die and return, clocks that jump: per thousand moves of the users.
    pub(crate) disasters: usize,
}

impl Dials {
    /// A part of all faults, by chance.
    pub(crate) fn swarm(chance: &mut Chance) -> Self {
        let mut dial = |most: usize| if chance.percent(50) { chance.between(1, most) } else { 0 };
        let (late, refused, conflicts, lost_before) = (dial(300), dial(100), dial(150), dial(100));
        let (lost_after, crashes, events_late) = (dial(100), dial(10), dial(300));
        let (events_twice, cuts, expired) = (dial(200), dial(50), dial(300));
        let (silences, disasters) = (dial(10), dial(300));
        let latest = Duration::from_millis([5, 100, 2_000][chance.below(3)]);
        let events_latest = Duration::from_millis([20, 500, 5_000, 20_000][chance.below(4)]);
        let longest_silence = Duration::from_secs([5, 30][chance.below(2)]);
        Self {
            late,
            latest,
            refused,
            conflicts,
            lost_before,
            lost_after,
            crashes,
            events_late,
            events_latest,
            events_twice,
            cuts,
            expired,
            silences,
            longest_silence,
            disasters,
        }
    }

    /// The longest that one call can be under way.
    pub(super) fn longest_call(&self) -> Duration {
        if self.late > 0 { self.latest * 2 } else { Duration::ZERO }
    }

    /// What happens to a call.
    pub(super) fn fate(&self, call: &Call, chance: &mut Chance) -> Fate {
        let mut late =
            || if chance.per_mille(self.late) { chance.within(self.latest) } else { Duration::ZERO };
        let (late, answer_late) = (late(), late());
        Fate { late, answer_late, what: self.what(call, chance) }
    }

    fn what(&self, call: &Call, chance: &mut Chance) -> What {
        let writes = matches!(call.verb, "post" | "put" | "patch" | "delete");
        // A node is not a process that could be crashed here; it dies as a whole.
        let may_crash = !call.client.starts_with("node ");
        match () {
            () if may_crash && chance.per_mille(self.crashes) => match chance.percent(50) {
                true => What::Crash(Moment::Before),
                false => What::Crash(Moment::After),
            },
            () if chance.per_mille(self.refused) => {
                What::Refused(*chance.pick(&[429, 500, 503]).unwrap_or(&500))
            }
            () if matches!(call.verb, "put" | "patch") && chance.per_mille(self.conflicts) => {
                What::Refused(409)
            }
            () if chance.per_mille(self.lost_before) => What::LostBefore,
            () if writes && chance.per_mille(self.lost_after) => match chance.percent(50) {
                true => What::LostAfter,
                false => What::TimeoutAfter,
            },
            () => What::Served,
        }
    }
}
