//! Simulated nodes: one process for each run of consecutive numbers.
//!
//! A node that is added or taken away changes the runs; only processes whose run has changed are started anew. Pods of
//! the others do not notice.

use super::Event;
use super::tied::{Tied, Who};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// The processes.
pub struct Fleets {
    kubeconfig: PathBuf,
    log: PathBuf,
    /// How long a node's Lease is good.
    lease: Duration,
    running: BTreeMap<Run, Tied>,
}

/// Consecutive numbers: the first, and how many.
type Run = (u32, u32);

impl Fleets {
    /// None yet.
    pub fn new(data_dir: &Path, lease: Duration) -> Self {
        let log = data_dir.join("logs/fleet.log");
        Self { kubeconfig: data_dir.join("kubeconfig"), log, lease, running: BTreeMap::new() }
    }

    /// Makes it so that exactly these nodes are simulated.
    pub async fn set(&mut self, nodes: &BTreeSet<u32>, events: &Sender<Event>) -> io::Result<()> {
        let wanted = runs(nodes);
        let gone: Vec<Run> = self.running.keys().filter(|run| !wanted.contains(run)).copied().collect();
        for run in gone {
            if let Some(process) = self.running.remove(&run) {
                process.end().await;
            }
        }
        for (first, count) in wanted {
            if !self.running.contains_key(&(first, count)) {
                let process = self.start(first, count, events.clone())?;
                self.running.insert((first, count), process);
            }
        }
        Ok(())
    }

    /// A process has ended; answers the nodes it was, or none if that was our wish.
    pub fn ended(&mut self, id: u32) -> Option<Run> {
        let run = self.running.iter().find(|(_, process)| process.is(id)).map(|(run, _)| *run)?;
        self.running.remove(&run);
        Some(run)
    }

    /// The processes, for the record.
    pub fn processes(&self) -> impl Iterator<Item = (String, crate::hosts::record::Process)> + '_ {
        self.running
            .iter()
            .filter_map(|((first, _), tied)| Some((format!("fleet from n{first}"), tied.process?)))
    }

    /// Ends all.
    pub async fn end(&mut self) {
        let all = std::mem::take(&mut self.running);
        futures::future::join_all(all.into_values().map(Tied::end)).await;
    }

    fn start(&self, first: u32, count: u32, events: Sender<Event>) -> io::Result<Tied> {
        let mut arguments: Vec<String> = ["internal", "fleet", "--kubeconfig"].map(String::from).into();
        arguments.push(self.kubeconfig.to_string_lossy().into_owned());
        arguments.extend(["--first".into(), first.to_string(), "--nodes".into(), count.to_string()]);
        arguments.extend(["--lease".into(), self.lease.as_secs().to_string()]);
        Tied::start(Who::Fleet(first), &arguments, &self.log, events)
    }
}

fn runs(nodes: &BTreeSet<u32>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for number in nodes {
        match runs.last_mut() {
            Some((first, count)) if *first + *count == *number => *count += 1,
            _ => runs.push((*number, 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_nodes_share_a_process() {
        assert_eq!(runs(&BTreeSet::new()), []);
        assert_eq!(runs(&BTreeSet::from([1, 2, 3])), [(1, 3)]);
        assert_eq!(runs(&BTreeSet::from([1, 3, 4, 7])), [(1, 1), (3, 2), (7, 1)]);
    }
}
