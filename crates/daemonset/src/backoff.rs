//! How long does a node wait before a failed daemon is replaced again? (MG-9, MG-10)
//!
//! One second, doubled at every failure, at most fifteen minutes; forgotten after thirty quiet minutes, and at once
//! when the DaemonSet gets a new generation. A value: the plan reads it and says what to [`Backoff::apply`]; the loop
//! keeps one for each DaemonSet uid.
//!
//! Kubernetes: `client-go/util/flowcontrol/backoff.go`, `daemon_controller.go` (`failedPodsBackoffKey`).
//! Differs: the generation is the object's own, which `status.observedGeneration` follows within one plan.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// The first wait: long enough that a pod which fails at once does not spin.
pub const FIRST: SignedDuration = SignedDuration::from_secs(1);
/// The longest wait: upstream's, so that a mended node recovers within a quarter of an hour.
pub const LONGEST: SignedDuration = SignedDuration::from_mins(15);
/// After so long without a failure a node starts anew.
pub const FORGOTTEN: SignedDuration = SignedDuration::from_mins(30);

/// The last of one node's failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The DaemonSet's generation when it failed.
    pub generation: i64,
    /// The wait that the last failure earned.
    pub delay: SignedDuration,
    /// When that was.
    pub last: Timestamp,
}

/// The failures of one DaemonSet, by node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Backoff(BTreeMap<String, Failure>);

impl Backoff {
    /// Until when the node waits; `None` if it may try now.
    pub fn until(&self, node: &str, generation: i64, now: Timestamp) -> Option<Timestamp> {
        let failure = self.live(node, generation, now)?;
        failure.last.checked_add(failure.delay).ok().filter(|end| now < *end)
    }

    /// One more failure on this node.
    pub fn next(&self, node: &str, generation: i64, now: Timestamp) -> Failure {
        let delay = match self.live(node, generation, now) {
            Some(failure) => failure.delay.saturating_mul(2).min(LONGEST),
            None => FIRST,
        };
        Failure { generation, delay, last: now }
    }

    /// Remembers what a plan has decided ([`Plan::backoff`](crate::Plan::backoff)), and forgets what is too old.
    pub fn apply(&mut self, failures: impl IntoIterator<Item = (String, Failure)>, now: Timestamp) {
        self.0.extend(failures);
        self.0.retain(|_, failure| is_fresh(failure, now));
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn live(&self, node: &str, generation: i64, now: Timestamp) -> Option<&Failure> {
        self.0.get(node).filter(|failure| failure.generation == generation && is_fresh(failure, now))
    }
}

fn is_fresh(failure: &Failure, now: Timestamp) -> bool {
    now.duration_since(failure.last) <= FORGOTTEN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    fn fail(backoff: &mut Backoff, generation: i64, at: Timestamp) -> SignedDuration {
        let entry = backoff.next("n1", generation, at);
        backoff.apply([("n1".to_string(), entry)], at);
        entry.delay
    }

    #[test]
    fn waits_double_up_to_a_quarter_of_an_hour() {
        let mut backoff = Backoff::default();
        let mut now = second(0);
        let waits: Vec<i64> = (0..12)
            .map(|_| {
                let wait = fail(&mut backoff, 1, now);
                now += wait;
                wait.as_secs()
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900], "MG-10");
    }

    #[test]
    fn a_node_waits_until_its_delay_is_over() {
        let mut backoff = Backoff::default();
        fail(&mut backoff, 1, second(10));
        assert_eq!(backoff.until("n1", 1, second(10)), Some(second(11)));
        assert_eq!(backoff.until("n1", 1, second(11)), None);
        assert_eq!(backoff.until("n2", 1, second(10)), None);
        assert_eq!(backoff.until("n1", 2, second(10)), None, "a new generation starts anew");
    }

    #[test]
    fn half_an_hour_of_peace_is_forgotten() {
        let mut backoff = Backoff::default();
        fail(&mut backoff, 1, second(0));
        fail(&mut backoff, 1, second(1));
        assert_eq!(backoff.next("n1", 1, second(1801)).delay.as_secs(), 4);
        assert_eq!(backoff.next("n1", 1, second(1802)).delay, FIRST);
        backoff.apply([], second(1802));
        assert!(backoff.is_empty());
    }
}
