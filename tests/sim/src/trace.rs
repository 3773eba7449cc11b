//! What has happened, line by line, and the first promise that was broken.
//!
//! The hash over all lines says whether two runs were the same; only the last lines are kept.

use crate::clock;
use crate::coverage::Coverage;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lines that are kept: more than all but the longest runs have, and a few megabytes.
const KEPT: usize = 20_000;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The promise.
    pub promise: &'static str,
    /// How it was broken.
    pub how: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.how)
    }
}

/// The trace of one run. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    lines: VecDeque<String>,
    hash: u64,
    steps: u64,
    broken: Option<Broken>,
    coverage: Coverage,
}

impl Trace {
    /// Notes a line, with the time.
    pub(crate) fn say(&self, line: impl fmt::Display) {
        let at = clock::elapsed();
        let line = format!("{:>5}.{:03} {line}", at.as_secs(), at.subsec_millis());
        let mut inner = self.lock();
        inner.hash = line.bytes().fold(inner.hash ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        if inner.lines.len() >= KEPT {
            inner.lines.pop_front();
        }
        inner.lines.push_back(line);
    }

    /// One more write was looked at.
    pub(crate) fn step(&self) {
        self.lock().steps += 1;
    }

    /// How many writes were looked at.
    pub(crate) fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// Something of the table was met.
    pub(crate) fn met(&self, group: &str, name: &str) {
        self.lock().coverage.count(group, name);
    }

    /// Whether something of the table was met.
    pub(crate) fn has_met(&self, group: &str, name: &str) -> bool {
        self.lock().coverage.has(group, name)
    }

    /// What was met, together with these faults.
    pub(crate) fn coverage(&self, faults: &BTreeMap<&'static str, u64>) -> Coverage {
        let mut coverage = self.lock().coverage.clone();
        coverage.faults(faults);
        coverage
    }

    /// A promise is broken; the first one counts.
    pub(crate) fn broken(&self, promise: &'static str, how: impl fmt::Display) {
        let broken = Broken { promise, how: how.to_string() };
        if self.lock().broken.is_some() {
            return;
        }
        self.say(format_args!("BROKEN {broken}"));
        self.lock().broken = Some(broken);
    }

    /// The promise that was broken first.
    pub(crate) fn first_broken(&self) -> Option<Broken> {
        self.lock().broken.clone()
    }

    /// The last lines, the hash over all, and the number of steps.
    pub(crate) fn end(&self) -> (Vec<String>, u64, u64) {
        let inner = self.lock();
        (inner.lines.iter().cloned().collect(), inner.hash, inner.steps)
    }

    /// Takes the lines that came since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        self.lock().lines.drain(..).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
