//! Which limit of ours, or of the server, slows the work down?
//!
//! A wait longer than [`NOTICED`] is counted, and one line a minute for each limit says how long: enough to know which flag to
//! turn, and never a log that grows with the load.

use crate::metrics::{Metrics, table};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A wait that a person would notice.
pub const NOTICED: Duration = Duration::from_secs(1);
/// Between two lines.
const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// Something that may be waited for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Requests a second, and at once.
    Rate {
        /// A second.
        qps: f64,
        /// At once.
        burst: u32,
    },
    /// DaemonSets at a time.
    Workers(usize),
    /// The server has answered 429.
    Server,
}

/// Counts waits, and says which limit binds.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    metrics: Metrics,
    told: Arc<Mutex<BTreeMap<&'static str, Instant>>>,
}

impl Limits {
    /// With these metrics.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, told: Arc::default() }
    }

    /// Somebody has waited so long for a limit.
    pub fn waited(&self, limit: Limit, wait: Duration) {
        if limit != Limit::Server && wait < NOTICED {
            return;
        }
        let seconds = wait.as_secs_f64();
        let (label, text) = match limit {
            Limit::Rate { qps, burst } => (
                "rate",
                format!("--kube-api-qps={qps} --kube-api-burst={burst}: a request waited {seconds:.1} s"),
            ),
            Limit::Workers(workers) => {
                ("workers", format!("--concurrent-syncs={workers}: a DaemonSet waited {seconds:.1} s"))
            }
            Limit::Server => ("server", "the API server, which answers 429 Too Many Requests".to_string()),
        };
        self.metrics.count(&table::LIMITS, &[label]);
        if self.may_tell(label, Instant::now()) {
            tracing::warn!(limit = label, "slowed down by {text}");
        }
    }

    fn may_tell(&self, label: &'static str, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let may = told.get(label).is_none_or(|last| now.duration_since(*last) >= BETWEEN_LINES);
        if may {
            told.insert(label, now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_limit_has_a_line_once_a_minute_and_short_waits_do_not_count() {
        let limits = Limits::default();
        let now = Instant::now();
        assert!(limits.may_tell("workers", now));
        assert!(!limits.may_tell("workers", now + Duration::from_secs(59)));
        assert!(limits.may_tell("rate", now + Duration::from_secs(59)), "no limit speaks for another");
        assert!(limits.may_tell("workers", now + Duration::from_secs(60)));
        limits.waited(Limit::Workers(2), Duration::from_millis(999));
        assert!(!limits.metrics.text().contains("workers"));
        limits.waited(Limit::Workers(2), NOTICED);
        limits.waited(Limit::Server, Duration::ZERO);
        let text = limits.metrics.text();
        assert!(text.contains("{limit=\"workers\"} 1") && text.contains("{limit=\"server\"} 1"), "{text}");
    }
}
