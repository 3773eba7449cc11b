//! What a run has really met: counted where it happens, and printed by `cargo xtask sim` as a table.
//!
//! A promise that is never put to the test holds for nothing. So everything that users, faults and loops can do in a
//! simulation stands in [`EXPECTED`], and what no seed has met stands in the table with a zero. What a write is about is
//! read in [`writes`].

pub(crate) mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How often something was met, by group and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<(&'static str, &'static str), u64>);

/// Everything that can be met. What is met and does not stand here is counted as [`OTHER`] of its group.
const EXPECTED: &[(&str, &[&str])] = &[
    ("write", &["lease", "heartbeat", "node", "pod", "pod, in detail", "daemonset", "status of a daemonset"]),
    ("write", &["revision", "event", "namespace", OTHER]),
    ("user", &["apply", "set image", "change the strategy", "change minReadySeconds"]),
    ("user", &["change the node selector", "pause or resume", "change the history limit", "undo"]),
    (
        "user",
        &["delete (Background)", "delete (Foreground)", "delete (Orphan)", "delete a pod", "fail a pod"],
    ),
    ("user", &["orphan a pod", "release a pod", "label a node", "taint a node", "cordon", "buy", "sell"]),
    ("user", &["switch a machine off", "switch a machine on", "hang a machine", "let it go on"]),
    ("user", &["kill a process", "a clock jumps", "delete a namespace", "make a namespace", "set a quota"]),
    ("user", &["cut a process off", "lift a quota", "another controller was here", "refused"]),
    ("fault", &["late", "answer late", "conflict", "too many requests", "refused", "lost before"]),
    ("fault", &["lost after", "timeout after", "crash before", "crash after"]),
    ("fault", &["watch cut", "watch silent", "watch expired", "event late", "event twice"]),
    ("loop", &["creates a pod", "creates one beside another"]),
    ("loop", &["ends: its node wants none", "ends: it had ended", "ends: another one is there"]),
    ("loop", &["ends: its template is old", "adopts", "releases", "labels what it adopts"]),
    ("loop", &["revision made", "revision renumbered", "revision let go", "collision counted"]),
    ("loop", &["loses its lease", "start again after a crash", "held against the budget"]),
    (
        "progressing",
        &["RollingOut", "CreatingPods", "WaitingForPods", "ProgressDeadlineExceeded", "Complete"],
    ),
    ("progressing", &["Paused", "OnDelete", "TakeoverMismatch"]),
    ("available", &["NoNodes", "AllAvailable", "WithinBudget", "NodesSilent", "NotAllAvailable"]),
    ("degraded", &["AsExpected", "FailedPods", "OverduePods", "TakeoverMismatch", "FailedCreate"]),
    ("apart", &["runs", "starts again", "loses its lease", "its clock jumps alone"]),
    ("apart", &["comes after another controller", "leaves a daemonset alone", "takes it after all"]),
    ("others", &["pod ended", "revision goes", "start again after a crash"]),
    ("others", &["node falls silent", "node is back", "node comes back under its name"]),
];

/// What has no name of its own.
pub(crate) const OTHER: &str = "other";

impl Coverage {
    /// Counts something that stands in the table.
    pub(crate) fn count(&mut self, group: &str, name: &str) {
        self.add(group, name, 1);
    }

    fn add(&mut self, group: &str, name: &str, times: u64) {
        let of_group = EXPECTED.iter().filter(|(known, _)| *known == group);
        let mut names = of_group.flat_map(|(group, names)| names.iter().map(move |name| (*group, *name)));
        let known = names.find(|(_, known)| *known == name);
        let known = known.or_else(|| {
            let group = EXPECTED.iter().find(|(known, _)| *known == group);
            group.map(|(group, _)| (*group, OTHER))
        });
        *self.0.entry(known.unwrap_or((OTHER, OTHER))).or_default() += times;
    }

    /// Whether something was met.
    pub(crate) fn has(&self, group: &str, name: &str) -> bool {
        self.0.keys().any(|(of, is)| *of == group && *is == name)
    }

    /// Counts what another one counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(what, times)| *self.0.entry(*what).or_default() += times);
    }

    /// Counts these faults.
    pub(crate) fn faults(&mut self, told: &BTreeMap<&'static str, u64>) {
        told.iter().for_each(|(name, times)| self.add("fault", name, *times));
    }
}

/// What many runs have met.
#[derive(Debug, Default)]
pub struct Table {
    runs: u64,
    times: Coverage,
    /// In how many runs.
    in_runs: Coverage,
}

impl Table {
    /// Of one run.
    pub fn of(run: &Coverage) -> Self {
        let mut table = Self::default();
        table.add(run);
        table
    }

    /// Adds a run.
    pub fn add(&mut self, run: &Coverage) {
        self.runs += 1;
        self.times.merge(run);
        run.0.keys().for_each(|what| *self.in_runs.0.entry(*what).or_default() += 1);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<48} {:>10} {:>9}", "what was met", "times", "of seeds")?;
        let expected =
            EXPECTED.iter().flat_map(|(group, names)| names.iter().map(move |name| (*group, *name)));
        let unexpected = self.times.0.keys().copied().filter(|(_, name)| *name == OTHER);
        let all: BTreeSet<(&str, &str)> = expected.chain(unexpected).collect();
        for (group, name) in all {
            let times = self.times.0.get(&(group, name)).copied().unwrap_or_default();
            let runs = self.in_runs.0.get(&(group, name)).copied().unwrap_or_default();
            let share = 100.0 * runs as f64 / self.runs.max(1) as f64;
            writeln!(f, "{:<48} {times:>10} {share:>7.1} %", format!("{group}: {name}"))?;
        }
        Ok(())
    }
}
