//! When is a certificate renewed, and when is it looked at again? PURE.
//!
//! 1. Renewed after 70 to 90 % of its life. Where in between, the certificate itself draws ([`Draw`]): nodes that joined
//!    together do not ask together, and a restart changes nothing.
//! 2. Looked at when that time comes, and at the latest after [`LOOK`]: clocks are set, and machines sleep.
//! 3. What could not be renewed is tried again after a tenth of the time that is left.
//!
//! Kubernetes: client-go `util/certificate.certificate_manager.go` (`nextRotationDeadline`).

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Part of its life, in percent, after which a certificate may be renewed, and by how much that differs between nodes.
const EARLIEST: i64 = 70;
const SPREAD: i64 = 20;
/// The longest time without a look: a clock that was set is noticed within it.
const LOOK: Duration = Duration::from_secs(600);
/// The pauses between attempts: no busy loop at the end of a life, and no lost days at its beginning.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A byte of the certificate that is as good as random, the same at every look.
pub(super) type Draw = u8;

/// When a certificate with this life is to be renewed.
pub(super) fn due(from: Timestamp, until: Timestamp, draw: Draw) -> Timestamp {
    let life = until.as_millisecond() - from.as_millisecond();
    let part = EARLIEST * i64::from(Draw::MAX) + SPREAD * i64::from(draw);
    let used = life.saturating_mul(part) / (100 * i64::from(Draw::MAX));
    from.checked_add(SignedDuration::from_millis(used)).unwrap_or(until)
}

/// How long to wait until the first of these is due.
pub(super) fn look_after(now: Timestamp, dues: impl IntoIterator<Item = Timestamp>) -> Duration {
    dues.into_iter().map(|due| left(now, due)).fold(LOOK, Duration::min)
}

/// How long to wait after an attempt that failed, while the first of these ends.
pub(super) fn retry_after(now: Timestamp, ends: impl IntoIterator<Item = Timestamp>) -> Duration {
    let least = ends.into_iter().map(|end| left(now, end)).min().unwrap_or_default();
    (least / 10).clamp(RETRY.0, RETRY.1)
}

fn left(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn a_certificate_is_renewed_after_70_to_90_percent_of_its_life() {
        let year = 365 * 24 * 3600;
        let check = |life: i64, draw: Draw, percent: i64| {
            let used = due(at(1000), at(1000 + life), draw).as_second() - 1000;
            assert_eq!(used, life * percent / 100, "{life}");
        };
        check(year, 0, 70);
        check(year, 255, 90);
        check(30, 0, 70);
        check(3600, 51, 74);
        check(10 * year, 255, 90);
    }

    #[test]
    fn the_look_follows_from_the_first_that_is_due_and_from_no_life_that_is_long() {
        let check = |now: i64, dues: &[i64], expected: u64| {
            let dues = dues.iter().map(|due| at(*due));
            assert_eq!(look_after(at(now), dues), Duration::from_secs(expected));
        };
        check(100, &[120, 110], 10);
        check(100, &[90, 110], 0);
        check(100, &[1_000_000], 600);
        check(100, &[], 600);
    }

    #[test]
    fn what_failed_is_tried_again_the_sooner_the_less_time_is_left() {
        let check = |ends: &[i64], expected: u64| {
            let ends = ends.iter().map(|end| at(*end));
            assert_eq!(retry_after(at(100), ends), Duration::from_secs(expected));
        };
        check(&[150, 1_000_000], 5);
        check(&[1_000_000], 60);
        check(&[101], 1);
        check(&[50], 1);
    }
}
