//! PURE. Whether and when an ended container starts again.
//!
//! The first restart is immediate; each further one waits 10 s, 20 s, … up to 5 minutes after the end of the last
//! run. A container that ran for 10 minutes has earned a fresh start.
//!
//! Kubernetes: kuberuntime_manager.go `doBackOff`, client-go flowcontrol/backoff.go.

use jiff::{SignedDuration, Timestamp};

/// The first delay. Kubernetes: `initialNodeBackoff…` / `containerBackOff`.
const FIRST_DELAY: SignedDuration = SignedDuration::from_secs(10);
/// No delay is longer. Kubernetes: `MaxCrashLoopBackOff`.
pub const LONGEST_DELAY: SignedDuration = SignedDuration::from_secs(300);
/// After this long without a crash the delays begin anew: twice the longest delay.
const RESET_AFTER: SignedDuration = SignedDuration::from_secs(600);

/// `spec.restartPolicy`, or `Always` for a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Whatever the exit code.
    Always,
    /// After an exit code other than 0.
    OnFailure,
    /// Not at all.
    Never,
}

impl Policy {
    /// Reads the field; what is missing or unknown means `Always`, which is the server's default.
    #[must_use]
    pub fn parse(text: Option<&str>) -> Self {
        match text {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            _ => Self::Always,
        }
    }
}

/// The memory of a container that keeps ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashLoop {
    /// How long the next restart waits after the end of the run before it.
    pub delay: SignedDuration,
    /// When this was decided.
    pub since: Timestamp,
}

/// What becomes of an ended container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It stays as it is.
    Never,
    /// It starts now; the memory to keep if it does.
    Now(CrashLoop),
    /// It starts later: `CrashLoopBackOff`.
    Later {
        /// When.
        at: Timestamp,
        /// The delay, for the message.
        delay: SignedDuration,
    },
}

/// What becomes of a container that ended with `code` at `finished_at`.
#[must_use]
pub fn decide(
    policy: Policy,
    code: i32,
    finished_at: Timestamp,
    memory: Option<&CrashLoop>,
    now: Timestamp,
) -> Restart {
    let again = match policy {
        Policy::Always => true,
        Policy::OnFailure => code != 0,
        Policy::Never => false,
    };
    if !again {
        return Restart::Never;
    }
    let Some(memory) = memory.filter(|memory| finished_at.duration_since(memory.since) <= RESET_AFTER) else {
        return Restart::Now(CrashLoop { delay: FIRST_DELAY, since: now });
    };
    let at = finished_at.saturating_add(memory.delay).unwrap_or(Timestamp::MAX);
    if now < at {
        return Restart::Later { at, delay: memory.delay };
    }
    Restart::Now(CrashLoop { delay: memory.delay.saturating_mul(2).min(LONGEST_DELAY), since: now })
}

/// A time as Kubernetes' messages print it: `10s`, `1m20s`, `5m0s`, `87ms`, `1.5s`. What is below a millisecond is cut.
#[must_use]
pub fn go_duration(time: SignedDuration) -> String {
    let (seconds, millis) = (time.as_secs(), time.subsec_millis());
    if seconds == 0 && millis > 0 {
        return format!("{millis}ms");
    }
    let fraction = if millis == 0 { String::new() } else { format!(".{millis:03}") };
    let fraction = fraction.trim_end_matches('0');
    match seconds {
        ..60 => format!("{seconds}{fraction}s"),
        60..3600 => format!("{}m{}{fraction}s", seconds / 60, seconds % 60),
        _ => format!("{}h{}m{}{fraction}s", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_crashing_container_waits_twice_as_long_each_time() {
        let mut memory = None;
        let mut now = 1000;
        let mut waits = Vec::new();
        for _ in 0..8 {
            let finished = at(now);
            if let Restart::Later { at: when, .. } =
                decide(Policy::Always, 1, finished, memory.as_ref(), finished)
            {
                waits.push(when.as_second() - now);
                now = when.as_second();
            }
            match decide(Policy::Always, 1, finished, memory.as_ref(), at(now)) {
                Restart::Now(next) => memory = Some(next),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_long_run_is_forgiven() {
        let memory = CrashLoop { delay: LONGEST_DELAY, since: at(0) };
        let fresh = CrashLoop { delay: FIRST_DELAY, since: at(601) };
        assert_eq!(decide(Policy::Always, 1, at(601), Some(&memory), at(601)), Restart::Now(fresh));
    }

    #[test]
    fn the_policy_is_asked_first() {
        let restarts = |policy, code| decide(policy, code, at(0), None, at(0)) != Restart::Never;
        let answers =
            [Policy::Always, Policy::OnFailure, Policy::Never].map(|p| (restarts(p, 0), restarts(p, 1)));
        assert_eq!(answers, [(true, true), (false, true), (false, false)]);
    }

    #[test]
    fn times_are_printed_as_go_prints_them() {
        for (millis, expected) in [
            (0, "0s"),
            (87, "87ms"),
            (1_000, "1s"),
            (1_050, "1.05s"),
            (59_999, "59.999s"),
            (60_000, "1m0s"),
            (160_000, "2m40s"),
            (3_600_500, "1h0m0.5s"),
        ] {
            assert_eq!(go_duration(SignedDuration::from_millis(millis)), expected);
        }
    }
}
