//! Removes what a cluster has left on this machine: at its end, and at the start after a crash.
//!
//! Processes first: those of the record end by themselves when `up` does (their control pipe closes), so they get a
//! moment before they are killed. Then links, network namespaces, packet rules and cgroups, found by their names.

use super::names::Names;
use super::record::Record;
use super::{cgroups, network};
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// How long processes have to end by themselves.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a killed process has.
const AFTER_KILL: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What was done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// What was there and is gone.
    pub removed: Vec<String>,
    /// What could not be removed, each with its reason.
    pub left: Vec<String>,
}

/// Ends the processes of the record.
pub fn end_processes(record: &Record) -> Cleaned {
    let mut cleaned = Cleaned::default();
    let processes: Vec<_> = record.processes.iter().filter(|(_, process)| process.is_alive()).collect();
    let any_alive = || processes.iter().any(|(_, process)| process.is_alive());
    wait_until(PATIENCE, || !any_alive());
    for (_, process) in processes.iter().filter(|(_, process)| process.is_alive()) {
        if let Some(id) = i32::try_from(process.id).ok().and_then(Pid::from_raw) {
            let _ = kill_process(id, Signal::KILL);
        }
    }
    wait_until(AFTER_KILL, || !any_alive());
    for (name, process) in processes {
        match process.is_alive() {
            true => cleaned.left.push(format!("{name} (process {}) does not end", process.id)),
            false => cleaned.removed.push(format!("{name} (process {})", process.id)),
        }
    }
    cleaned
}

/// Removes links, network namespaces, packet rules and cgroups.
pub fn remove_things(names: &Names) -> Cleaned {
    let (removed, errors) = network::remove_all(names);
    let mut left: Vec<String> = errors.iter().map(ToString::to_string).collect();
    if let Err(error) = cgroups::remove(&names.cgroup()) {
        left.push(error);
    }
    cgroups::remove_if_empty("/everynode");
    Cleaned { removed, left }
}

fn wait_until(limit: Duration, done: impl Fn() -> bool) {
    let end = Instant::now() + limit;
    while !done() && Instant::now() < end {
        std::thread::sleep(LOOK_AGAIN);
    }
}
