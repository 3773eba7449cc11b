//! Whole files made from what is in memory: a backup beside a running writer, and a restored store.
//!
//! Memory shows only what is committed (invariant 3 of [`super`]), so a copy of it under the reader's lock is a
//! consistent state, and writing it out holds up nobody. A copy has the same format and the same window of changes.
//!
//! A restored store begins [`AHEAD`] revisions later and without a window: whatever a client has seen of the store
//! that is lost, its revision is too old to watch after (410 on the wire), and is never given to another write.
//! Kubernetes: `etcdutl snapshot restore --bump-revision --mark-compacted`.

use super::file::{self, Tally};
use super::lock::unused;
use super::refusal::{OpenError, io_error, sqlite_error};
use super::row::checksum;
use crate::Revision;
use crate::history::{Change, History, Version};
use rusqlite::{Connection, params};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// Revisions that a restored store skips: seven years of 5,000 writes a second after the backup was made.
pub const AHEAD: Revision = 1 << 40;

/// All rows of a file, by revision.
pub(super) struct Copy {
    rows: BTreeMap<Revision, (Arc<str>, Option<Version>)>,
    current: Revision,
    floor: Revision,
}

impl Copy {
    /// A whole history: what stands, what its window says, and what stood before that.
    pub(super) fn of(history: &History) -> Self {
        let mut rows = BTreeMap::new();
        let mut keep = |key: &Arc<str>, version: &Version| {
            rows.insert(version.revision, (key.clone(), Some(version.clone())));
        };
        history.entries().for_each(|(key, version)| keep(key, version));
        for change in history.window() {
            change.previous.iter().for_each(|version| keep(&change.key, version));
        }
        for Change { revision, key, version, .. } in history.window() {
            rows.insert(*revision, (key.clone(), version.clone()));
        }
        Self { rows, current: history.current(), floor: history.floor() }
    }

    /// What it is a copy of.
    pub(super) fn current(&self) -> Revision {
        self.current
    }

    /// Only what stands, [`AHEAD`] of everything that was.
    fn ahead(history: &History) -> Self {
        let current = history.current().saturating_add(AHEAD);
        let rows =
            history.entries().map(|(key, version)| (version.revision, (key.clone(), Some(version.clone()))));
        Self { rows: rows.collect(), current, floor: current }
    }

    /// Writes a new file, for its owner only. It is on the disk when this returns; one that is there is refused.
    pub(super) fn write(&self, path: &Path) -> Result<(), OpenError> {
        let failed = |source| io_error(path, source);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        self.fill(path).map_err(|source| sqlite_error(path, source))?;
        File::open(path).and_then(|file| file.sync_all()).map_err(failed)
    }

    fn fill(&self, path: &Path) -> rusqlite::Result<()> {
        let mut connection = Connection::open(path)?;
        file::create(&connection)?;
        let transaction = connection.transaction()?;
        let mut tally = Tally { current: self.current, floor: self.floor, rows: 0, sum: 0 };
        {
            let mut insert = transaction.prepare("INSERT INTO log VALUES (?, ?, ?, ?, ?)")?;
            for (revision, (key, version)) in &self.rows {
                let created = version.as_ref().map_or(0, |version| version.created);
                let value = version.as_ref().map(|version| version.value.bytes());
                let sum = checksum(*revision, key, created, value.as_deref());
                insert.execute(params![*revision as i64, key, created as i64, value.as_deref(), sum])?;
                tally.rows += 1;
                tally.sum = tally.sum.wrapping_add(sum);
            }
        }
        file::seal(&transaction, &tally)?;
        transaction.commit()
    }
}

/// Copies a store that no server has open to the new file `to`, with its revisions and its window. Answers its revision.
pub fn copy(from: &Path, to: &Path) -> Result<Revision, OpenError> {
    let copy = Copy::of(&read(from)?);
    copy.write(to).map(|()| copy.current)
}

/// Makes a store at `to` of the copy at `from`, which is left as it is. Answers the revision it begins at.
pub fn restore(from: &Path, to: &Path) -> Result<Revision, OpenError> {
    let copy = Copy::ahead(&read(from)?);
    copy.write(to)?;
    Ok(copy.current)
}

/// What a store or a copy of one holds, with every check of an opening store and SQLite's own full one. Nothing at
/// `path` or beside it is touched: the work is done on a copy in the system's folder for temporary files.
pub fn read(path: &Path) -> Result<History, OpenError> {
    unused(path)?;
    let folder = Scratch::new().map_err(|source| io_error(path, source))?;
    let copy = folder.0.join("store.db");
    for suffix in ["", "-wal"] {
        let (from, to) = (file::with_suffix(path, suffix), file::with_suffix(&copy, suffix));
        match copy_private(&from, &to) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && suffix == "-wal" => {}
            other => other.map_err(|source| io_error(path, source))?,
        }
    }
    let opened = file::open(&copy, super::Options::default()).map_err(|error| error.about(&copy, path))?;
    opened.database.check_fully().map_err(|error| error.about(&copy, path))?;
    Ok(opened.history)
}

fn copy_private(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    std::io::copy(&mut source, &mut target).map(drop)
}

/// A folder of our own that goes with us.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let nanoseconds = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos());
        let name = format!("everynode-store-{}-{nanoseconds}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Fails when somebody else made it before us.
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is in a folder for temporary files, and nobody else can read it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
