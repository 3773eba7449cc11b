//! The file: opening it, refusing what cannot be trusted, and the one transaction that writes.
//!
//! See the invariants at the top of [`super`]; this file keeps 1, 4 and 5. Its format has a number
//! ([`FORMAT`]): a program that does not know the number refuses the file and touches nothing.

use super::lock::lock;
use super::refusal::{OpenError, io_error, sqlite_error};
use super::row::{Live, Row, checksum};
use super::{Options, wal};
use crate::history::{Change, History};
use crate::{EMPTY, Revision};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The tables below. Any change of them takes the next number.
pub(super) const FORMAT: i64 = 1;

/// Tells `file` and us whose database it is: "Evnd".
const APPLICATION: i64 = 0x4576_6e64;

/// Rows, sums and state; see invariants 4 and 5. `value` is null where the write was a deletion.
const SCHEMA: &str = "
    CREATE TABLE format (version INTEGER NOT NULL);
    CREATE TABLE log (
        revision INTEGER PRIMARY KEY,
        key TEXT NOT NULL,
        created INTEGER NOT NULL,
        value BLOB,
        sum INTEGER NOT NULL
    );
    CREATE TABLE state (
        current INTEGER NOT NULL,
        floor INTEGER NOT NULL,
        rows INTEGER NOT NULL,
        sum INTEGER NOT NULL
    );";

/// Memory for pages: the tail of one table is all that a writer needs.
const CACHE_KIB: i64 = 2_048;

/// What a row costs in the log beside its value: the pages it touches.
const ROW_LOG_BYTES: usize = 4_096;

/// Why a transaction did not happen.
pub(super) enum Failure {
    /// No room; rolled back.
    Full,
    /// Unknown what the disk has.
    Broken(rusqlite::Error),
}

/// Rows that are superfluous once `floor` is forgotten.
pub(super) struct Garbage {
    floor: Revision,
    superseded: Option<Revision>,
    deletion: bool,
}

impl Garbage {
    /// What a change leaves behind when the history forgets it.
    pub(super) fn of(change: &Change) -> Self {
        Self {
            floor: change.revision,
            superseded: change.previous.as_ref().map(|version| version.revision),
            deletion: change.version.is_none(),
        }
    }
}

/// An open file with all that it told.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) history: History,
    /// Changes in the file that the window has no room for.
    pub(super) forgotten: Vec<Change>,
}

/// The connection, its lock, and what the `state` row says.
pub(super) struct Database {
    file: PathBuf,
    connection: Connection,
    tally: Tally,
    log_bytes: usize,
    /// Held until the connection is closed.
    _lock: File,
}

/// The `state` row, where `sum` is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) current: Revision,
    pub(super) floor: Revision,
    pub(super) rows: i64,
    /// Of the rows' checksums.
    pub(super) sum: i64,
}

impl Tally {
    const NEW: Self = Self { current: EMPTY, floor: EMPTY - 1, rows: 0, sum: 0 };

    /// The sum as it is written: also over the row's own numbers.
    fn seal(&self) -> i64 {
        self.sum.wrapping_add(checksum(self.current, "", self.floor, None))
    }

    fn unseal(mut self) -> Self {
        let own = self.seal().wrapping_sub(self.sum);
        self.sum = self.sum.wrapping_sub(own);
        self
    }
}

/// Opens or begins a store.
pub(super) fn open(path: &Path, options: Options) -> Result<Opened, OpenError> {
    let lock = lock(path)?;
    check_log(path)?;
    let known = |source| sqlite_error(path, source);
    let connection = connect(path, options.quota).map_err(known)?;
    prepare(path, &connection)?;
    let damage: Option<String> = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map(|answer: String| (answer != "ok").then_some(answer))
        .map_err(known)?;
    if let Some(what) = damage {
        return Err(OpenError::Damaged { file: path.into(), what });
    }
    let tally = read_tally(&connection).map_err(known)?;
    let (changes, live) = read_log(path, &connection, tally)?;
    // From here on the file is trusted: its log may be moved into it.
    keep_log(&connection, false).map_err(known)?;
    let mut history = History::restored(options.limits, tally.current, live, tally.floor);
    let forgotten = history.apply(changes, Instant::now());
    let mut database = Database { file: path.into(), connection, tally, log_bytes: 0, _lock: lock };
    match database.checkpoint() {
        Ok(()) => {}
        // Reading needs no room; the writer tries again once a write went through.
        Err(Failure::Full) => database.log_bytes = length(&with_suffix(path, "-wal")),
        Err(Failure::Broken(source)) => return Err(sqlite_error(path, source)),
    }
    Ok(Opened { database, history, forgotten })
}

/// See [`super::SqliteStore::scrub`].
pub(super) fn scrub(path: &Path) -> Result<(), OpenError> {
    let mut opened = open(path, Options::default())?;
    let compacted = opened.history.compact(Revision::MAX);
    let forgotten = opened.forgotten.iter().chain(&compacted);
    let garbage: Vec<Garbage> = forgotten.map(Garbage::of).collect();
    let database = &mut opened.database;
    let failed = |failure| match failure {
        Failure::Full => OpenError::Full { file: path.into() },
        Failure::Broken(source) => sqlite_error(path, source),
    };
    database.commit(&[], &garbage).map_err(failed)?;
    // The copy that VACUUM makes on its way stays in memory.
    let anew = "PRAGMA temp_store = MEMORY; VACUUM;";
    database.connection.execute_batch(anew).map_err(|source| sqlite_error(path, source))?;
    database.checkpoint().map_err(failed)
}

impl Database {
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// About how much the write-ahead log grew since the last checkpoint.
    pub(super) fn log_bytes(&self) -> usize {
        self.log_bytes
    }

    /// One transaction, durable when this returns.
    pub(super) fn commit(&mut self, changes: &[Change], garbage: &[Garbage]) -> Result<(), Failure> {
        match self.transact(changes, garbage) {
            Ok(tally) => {
                self.tally = tally;
                let values = changes.iter().filter_map(|change| change.version.as_ref());
                self.log_bytes += values.map(|version| version.value.len()).sum::<usize>();
                self.log_bytes += (changes.len() + garbage.len() + 1) * ROW_LOG_BYTES;
                Ok(())
            }
            Err(error) => Err(self.failure(error)),
        }
    }

    fn transact(&mut self, changes: &[Change], garbage: &[Garbage]) -> rusqlite::Result<Tally> {
        let mut tally = self.tally;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO log VALUES (?, ?, ?, ?, ?)")?;
            for change in changes {
                let created = change.version.as_ref().map_or(0, |version| version.created);
                let value = change.version.as_ref().map(|version| version.value.bytes());
                let value = value.as_deref();
                let sum = checksum(change.revision, &change.key, created, value);
                insert.execute(params![change.revision as i64, change.key, created as i64, value, sum])?;
                tally.current = change.revision;
                tally.rows += 1;
                tally.sum = tally.sum.wrapping_add(sum);
            }
            let mut delete =
                transaction.prepare_cached("DELETE FROM log WHERE revision = ? RETURNING sum")?;
            for gone in garbage {
                let deletion = gone.deletion.then_some(gone.floor);
                for revision in gone.superseded.into_iter().chain(deletion) {
                    let sum: i64 = delete.query_row([revision as i64], |row| row.get(0))?;
                    tally.rows -= 1;
                    tally.sum = tally.sum.wrapping_sub(sum);
                }
                tally.floor = gone.floor;
            }
            seal(&transaction, &tally)?;
        }
        transaction.commit()?;
        Ok(tally)
    }

    /// Moves the write-ahead log into the file.
    pub(super) fn checkpoint(&mut self) -> Result<(), Failure> {
        let done = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        done.map_err(|error| self.failure(error))?;
        self.log_bytes = 0;
        Ok(())
    }

    /// SQLite's own check of every page and index; what [`open`] does is the quick one.
    pub(super) fn check_fully(&self) -> Result<(), OpenError> {
        let answer =
            self.connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0));
        match answer.map_err(|source| sqlite_error(&self.file, source))? {
            fine if fine == "ok" => Ok(()),
            what => Err(OpenError::Damaged { file: self.file.clone(), what }),
        }
    }

    /// Touches the disk no more, not even when the connection is closed: after a failed flush the log in the
    /// page cache and the log on the disk may differ.
    pub(super) fn abandon(&mut self) {
        // Without it SQLite would try a checkpoint at the end; that could not lose what was answered either.
        let _ = keep_log(&self.connection, true);
    }

    fn failure(&self, error: rusqlite::Error) -> Failure {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) if self.connection.is_autocommit() => Failure::Full,
            _ => Failure::Broken(error),
        }
    }
}

/// Writes the `state` row.
pub(super) fn seal(connection: &Connection, tally: &Tally) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE state SET current = ?, floor = ?, rows = ?, sum = ?")?
        .execute(params![tally.current as i64, tally.floor as i64, tally.rows, tally.seal()])
        .map(drop)
}

/// Looks at the write-ahead log before SQLite does, which would cut it at the first damage without a word.
fn check_log(path: &Path) -> Result<(), OpenError> {
    let log = with_suffix(path, "-wal");
    let verdict = wal::check(&log).map_err(|source| io_error(&log, source))?;
    let damaged = |what: &str| Err(OpenError::Damaged { file: log.clone(), what: what.into() });
    match verdict {
        wal::Verdict::Damaged(what) => damaged(&what),
        wal::Verdict::Written if length(path) == 0 => {
            damaged("it has writes, but the file that it belongs to is missing")
        }
        wal::Verdict::Written | wal::Verdict::Empty => Ok(()),
    }
}

fn connect(path: &Path, quota: Option<u64>) -> rusqlite::Result<Connection> {
    // SQLite would make it readable by everybody; its log gets the same mode as the file. An error is SQLite's
    // to report.
    let _ = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    keep_log(&connection, true)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    if let Some(quota) = quota {
        let page: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = i64::try_from(quota).unwrap_or(i64::MAX) / page.max(1);
        connection.pragma_update_and_check(None, "max_page_count", pages.max(1), |_| Ok(()))?;
    }
    Ok(connection)
}

/// Whether closing the connection leaves the write-ahead log as it is; else it is moved into the file then.
fn keep_log(connection: &Connection, keep: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(drop)
}

/// Makes the tables of a new file; refuses one that is not ours or of another format.
fn prepare(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let known = |source| sqlite_error(path, source);
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let tables = number("SELECT count(*) FROM sqlite_schema").map_err(known)?;
    let application = number("PRAGMA application_id").map_err(known)?;
    if tables == 0 && application == 0 {
        return create(connection).map_err(known);
    }
    if application != APPLICATION {
        return Err(OpenError::Foreign { file: path.into() });
    }
    match number("SELECT version FROM format").map_err(known)? {
        FORMAT => Ok(()),
        found => Err(OpenError::Format { file: path.into(), found }),
    }
}

pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "BEGIN; PRAGMA application_id = {APPLICATION}; {SCHEMA}
         INSERT INTO format VALUES ({FORMAT});
         INSERT INTO state VALUES ({}, {}, 0, {});
         COMMIT;",
        Tally::NEW.current,
        Tally::NEW.floor,
        Tally::NEW.seal()
    ))
}

fn read_tally(connection: &Connection) -> rusqlite::Result<Tally> {
    connection.query_row("SELECT current, floor, rows, sum FROM state", [], |row| {
        let (current, floor): (i64, i64) = (row.get(0)?, row.get(1)?);
        let tally =
            Tally { current: current as u64, floor: floor as u64, rows: row.get(2)?, sum: row.get(3)? };
        Ok(tally.unseal())
    })
}

/// Reads every row in the order of writing; compares them with their sums and the `state` row.
fn read_log(path: &Path, connection: &Connection, tally: Tally) -> Result<(Vec<Change>, Live), OpenError> {
    let known = |source| sqlite_error(path, source);
    let damaged = |what: String| OpenError::Damaged { file: path.into(), what };
    let (mut changes, mut live) = (Vec::new(), Live::new());
    let (mut rows, mut sum) = (0, 0i64);
    let mut statement = connection.prepare("SELECT * FROM log ORDER BY revision").map_err(known)?;
    let mut cursor = statement.query([]).map_err(known)?;
    while let Some(row) = cursor.next().map_err(known)? {
        let row = Row::read(row).map_err(known)?;
        if !row.is_intact() {
            return Err(damaged(format!("the checksum of revision {} is wrong", row.revision)));
        }
        rows += 1;
        sum = sum.wrapping_add(row.sum);
        let revision = row.revision;
        let change = row.replay(&mut live);
        if revision > tally.floor {
            changes.push(change);
        }
    }
    let window = tally.floor.max(EMPTY) + 1..=tally.current;
    if (rows, sum) != (tally.rows, tally.sum) || !changes.iter().map(|c| c.revision).eq(window) {
        return Err(damaged(format!("{rows} revisions are readable, {} were written", tally.rows)));
    }
    Ok((changes, live))
}

/// Bytes of a file; none when it is not there.
fn length(file: &Path) -> usize {
    std::fs::metadata(file).map_or(0, |file| file.len() as usize)
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
