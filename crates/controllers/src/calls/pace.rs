//! PURE. When may the next request go out, if so many a second are polite, and so many at once?
//!
//! Turns are given out in the order of asking, each with its wait: nobody is overtaken. Kubernetes: `flowcontrol`
//! (`NewTokenBucketRateLimiter`), the same in what it lets through.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Requests a second, more than zero.
    pub qps: f64,
    /// Requests at once, after a rest.
    pub burst: u32,
}

impl Pace {
    /// What one controller may ask of a server that it shares: a write costs about a millisecond there, so this keeps a fifth
    /// of a core busy. Upstream's 20 and 30 make a roll-out over a thousand nodes wait for minutes.
    pub const POLITE: Self = Self { qps: 200.0, burst: 400 };
}

/// Gives out turns.
#[derive(Debug)]
pub(crate) struct Turns {
    pace: Pace,
    /// When all that was given out would be used up at an even pace.
    level: Mutex<Option<Instant>>,
}

impl Turns {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { pace, level: Mutex::new(None) }
    }

    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }

    /// How long the next one waits.
    pub(crate) fn next(&self, now: Instant) -> Duration {
        let each = Duration::try_from_secs_f64(1.0 / self.pace.qps).unwrap_or(Duration::ZERO);
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let before = level.map_or(now, |level| level.max(now));
        *level = Some(before + each);
        let at_once = each.saturating_mul(self.pace.burst.saturating_sub(1));
        before.duration_since(now).saturating_sub(at_once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_the_rest_evenly() {
        let turns = Turns::new(Pace { qps: 10.0, burst: 3 });
        let now = Instant::now();
        let waits = |at: u64, n: usize| -> Vec<u64> {
            let at = now + Duration::from_millis(at);
            (0..n).map(|_| turns.next(at).as_millis() as u64).collect()
        };
        assert_eq!(waits(0, 5), [0, 0, 0, 100, 200]);
        assert_eq!(waits(200, 1), [100]);
        assert_eq!(waits(10_000, 4), [0, 0, 0, 100], "a rest is not saved beyond the burst");
    }
}
