//! The embedded store: SQLite on the disk, everything that is read in memory.
//!
//! Invariants:
//! 1. One process has the file (`<file>-lock`, and SQLite's own exclusive lock); in it one thread has the
//!    connection. Nobody else writes, so memory and disk cannot part.
//! 2. A write is decided against what is committed plus what its batch decided before it. A batch is one
//!    transaction; write-ahead log, `synchronous=FULL`: when COMMIT returns, it is on the disk.
//! 3. In this order: COMMIT, visible in memory, watchers are woken, writers are answered. So an answered write
//!    is durable, and nothing is seen that a crash could take back.
//! 4. The table `log` has one row a write. A row goes when the history has forgotten the change that
//!    superseded it; so live rows and the watch window survive a restart, and revisions never come back.
//! 5. Every transaction also writes the number of rows and the sum of their checksums. A row that changed or
//!    vanished refuses the file at the next start; it is never repaired by guessing.
//! 6. After a failed flush nobody knows what the disk has: the store stops writing until the file is read anew.
//!    Only a full disk is different: the transaction is rolled back, nothing happened, the next may succeed.
//! 7. The log is moved into the file (checkpoint) by the writer, when it is idle or the log is long.
//!
//! Why SQLite and not a log of our own: ecosystem note, section f.

mod copy;
mod file;
mod lock;
mod refusal;
mod row;
mod wal;
mod writer;

pub use copy::{AHEAD, copy, read, restore};
pub use refusal::OpenError;

use crate::history::{Intent, Limits, Write};
use crate::watch::{Reader, Watch, feed};
use crate::{Entry, Error, Listing, Result, Revision, Store, check_size};
use bytes::Bytes;
use futures::future::BoxFuture;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot, watch};
use writer::{Job, Writer};

/// Writes that may wait for the writer; more callers wait at the door. Some ten flushes' worth.
const QUEUE: usize = 1_024;

/// How a store is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// How far back watchers may ask.
    pub limits: Limits,
    /// Bytes that the file may grow to; beyond, writes get [`Error::Full`]. None: as far as the disk goes.
    pub quota: Option<u64>,
}

/// A store in one file.
pub struct SqliteStore {
    file: PathBuf,
    reader: Reader,
    /// None only while dropping.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    failure: watch::Receiver<Option<Error>>,
}

impl SqliteStore {
    /// Opens the store at `path`, or begins one there. The folder must exist.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, Options::default())
    }

    /// The same with a window and a size of its own.
    pub fn open_with(path: &Path, options: Options) -> Result<Self, OpenError> {
        let opened = file::open(path, options)?;
        let (feed, reader) = feed(opened.history);
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (failed, failure) = watch::channel(None);
        let thread = Writer::new(opened.database, feed, opened.forgotten, failed)
            .and_then(|writer| {
                std::thread::Builder::new().name("store-writer".into()).spawn(move || writer.run(queue))
            })
            .map_err(|source| OpenError::Io { file: path.into(), source })?;
        Ok(Self { file: path.into(), reader, jobs: Some(jobs), writer: Some(thread), failure })
    }

    /// Forgets all history of a store that nobody has open, and writes its file anew, so that nothing of what was deleted or
    /// overwritten is left in the file or its log. For values that should not have lain there in the clear.
    pub fn scrub(path: &Path) -> Result<(), OpenError> {
        file::scrub(path)
    }

    /// Waits until the store can write no more, and says why. For whoever supervises the process.
    pub async fn stopped(&self) -> Error {
        let mut failure = self.failure.clone();
        let why = failure.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        why.unwrap_or_else(|| self.writer_ended())
    }

    /// Writes a copy of everything to the new file `to`, while the store goes on. Answers its revision. Blocks until it
    /// is on the disk: call it where blocking is allowed.
    pub fn backup(&self, to: &Path) -> Result<Revision, OpenError> {
        let copy = self::copy::Copy::of(&self.reader.history());
        copy.write(to).map(|()| copy.current())
    }

    async fn write(&self, key: &str, intent: Intent) -> Result<Revision> {
        let write = Write { key: key.into(), intent };
        self.ask(|answer| Job::Write(write, answer)).await
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<Result<T>>) -> Job) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or_else(|| self.writer_ended())?;
        jobs.send(job(answer)).await.map_err(|_| self.writer_ended())?;
        answered.await.unwrap_or_else(|_| Err(self.writer_ended()))
    }

    fn writer_ended(&self) -> Error {
        let reason = "its writer thread ended: this is a bug, please report it; start the server again";
        Error::Stopped { file: self.file.clone(), reason: reason.into() }
    }
}

impl Drop for SqliteStore {
    /// Waits for the last flush, so that the file can be opened again at once.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            // A panic of the writer was reported where it happened, and answered to those who wrote.
            let _ = writer.join();
        }
    }
}

impl Store for SqliteStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        Box::pin(async move { Ok(self.reader.history().get(key)) })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Listing>> {
        Box::pin(async move { Ok(self.reader.history().list(prefix)) })
    }

    fn create<'a>(&'a self, key: &'a str, value: Bytes) -> BoxFuture<'a, Result<Revision>> {
        Box::pin(async move {
            check_size(key, &value)?;
            self.write(key, Intent::Create(value)).await
        })
    }

    fn update<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: Revision,
    ) -> BoxFuture<'a, Result<Revision>> {
        Box::pin(async move {
            check_size(key, &value)?;
            self.write(key, Intent::Update(value, expected)).await
        })
    }

    fn delete<'a>(&'a self, key: &'a str, expected: Revision) -> BoxFuture<'a, Result<Revision>> {
        Box::pin(self.write(key, Intent::Delete(expected)))
    }

    fn current(&self) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(async move { Ok(self.reader.history().current()) })
    }

    fn watch<'a>(&'a self, prefix: &'a str, after: Revision) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move { self.reader.watch(prefix, after) })
    }

    fn compact(&self, before: Revision) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.ask(move |answer| Job::Compact(before, answer)))
    }
}
