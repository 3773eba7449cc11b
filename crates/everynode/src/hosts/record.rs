//! What a cluster has made on this machine: `<data-dir>/hosts.json`.
//!
//! Written before the thing itself is made, so that a start after a crash knows of everything. Names follow from the data
//! folder ([`super::names`]); here stands what does not: addresses, nodes, processes.

use super::addresses::Network;
use crate::pki::{PkiError, write_private};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The record of one cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Its addresses; none with simulated nodes.
    pub network: Option<Network>,
    /// The nodes that shall run, by number.
    pub nodes: BTreeSet<u32>,
    /// Simulated nodes of these that were stopped.
    pub stopped: BTreeSet<u32>,
    /// Our processes, by what they are.
    pub processes: BTreeMap<String, Process>,
}

/// A process, told from a later one with the same number by its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub id: u32,
    /// When it started, in ticks since the machine did (`/proc/<pid>/stat`, field 22).
    pub started: u64,
}

impl Record {
    /// The file.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("hosts.json")
    }

    /// Reads the record; a folder without one has made nothing.
    pub fn read(data_dir: &Path) -> Result<Self, PkiError> {
        let path = Self::path(data_dir);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| PkiError::Unreadable { path, reason: error.to_string() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(PkiError::File { path, source }),
        }
    }

    /// Writes it.
    pub fn write(&self, data_dir: &Path) -> Result<(), PkiError> {
        let path = Self::path(data_dir);
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| PkiError::Unreadable { path: path.clone(), reason: error.to_string() })?;
        write_private(&path, &text)
    }
}

impl Process {
    /// The process with this number, as it is now.
    pub fn of(id: u32) -> Option<Self> {
        started(id).map(|started| Self { id, started })
    }

    /// Whether it still runs.
    pub fn is_alive(self) -> bool {
        started(self.id) == Some(self.started)
    }
}

/// A zombie does not count: it holds nothing any more.
fn started(id: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields after it are plain.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_a_broken_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Record::read(dir.path()).unwrap(), Record::default());
        let process = Process::of(std::process::id()).unwrap();
        let record = Record {
            network: Some(super::super::addresses::choose(None, None, &[]).unwrap()),
            nodes: BTreeSet::from([1, 2, 3]),
            stopped: BTreeSet::from([2]),
            processes: BTreeMap::from([("server".to_string(), process)]),
        };
        record.write(dir.path()).unwrap();
        assert_eq!(Record::read(dir.path()).unwrap(), record);
        std::fs::write(Record::path(dir.path()), "{").unwrap();
        assert!(Record::read(dir.path()).unwrap_err().to_string().contains("hosts.json"));
    }

    #[test]
    fn another_process_with_the_same_number_is_not_the_same() {
        let process = Process::of(std::process::id()).unwrap();
        assert!(process.is_alive());
        assert!(!Process { started: process.started + 1, ..process }.is_alive());
    }
}
