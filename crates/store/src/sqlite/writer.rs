//! The writer thread: many waiting writes, one flush; and the housekeeping between them.
//!
//! See the invariants at the top of [`super`]; this file keeps 2, 3, 6 and 7.

use super::file::{Database, Failure, Garbage};
use crate::history::{Change, Draft, Write};
use crate::watch::Feed;
use crate::{Error, Result, Revision};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

/// Writes in one transaction: above some hundred the flush no longer dominates, and the first would wait longer.
const BATCH: usize = 256;

/// Rows pruned in one step: less than a millisecond, so that no write waits for it.
const PRUNE: usize = 512;

/// Quiet for this long is idle.
const IDLE: Duration = Duration::from_millis(200);

/// A log above this is moved into the file when the writer is idle.
const IDLE_LOG: usize = 1 << 20;

/// A log above this is moved into the file at once: bounds the file and the time of the next start.
const LONGEST_LOG: usize = 16 << 20;

/// What the thread is asked.
pub(super) enum Job {
    Write(Write, oneshot::Sender<Result<Revision>>),
    Compact(Revision, oneshot::Sender<Result<()>>),
}

/// A decided write that waits for its flush.
type Answer = (oneshot::Sender<Result<Revision>>, Result<Revision>);

pub(super) struct Writer {
    database: Database,
    feed: Feed,
    garbage: VecDeque<Garbage>,
    failed: watch::Sender<Option<Error>>,
    /// Only for waiting with a limit.
    runtime: Runtime,
    /// The disk was full: no housekeeping until a write went through.
    held_up: bool,
}

impl Writer {
    pub(super) fn new(
        database: Database,
        feed: Feed,
        forgotten: Vec<Change>,
        failed: watch::Sender<Option<Error>>,
    ) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let garbage = forgotten.iter().map(Garbage::of).collect();
        Ok(Self { database, feed, garbage, failed, runtime, held_up: false })
    }

    /// Serves until every sender is gone.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(BATCH);
        loop {
            match self.wait(&mut queue, &mut jobs) {
                Woken::Jobs => self.serve(jobs.drain(..)),
                Woken::Idle => self.tidy_up(),
                Woken::Closed => break,
            }
        }
    }

    /// Blocks until there are jobs; with chores only until it is idle.
    fn wait(&self, queue: &mut mpsc::Receiver<Job>, jobs: &mut Vec<Job>) -> Woken {
        let taken = self.runtime.block_on(async {
            let taking = queue.recv_many(jobs, BATCH);
            match self.has_chores() {
                true => timeout(IDLE, taking).await.ok(),
                false => Some(taking.await),
            }
        });
        match taken {
            None => Woken::Idle,
            Some(0) => Woken::Closed,
            Some(_) => Woken::Jobs,
        }
    }

    fn serve(&mut self, jobs: impl Iterator<Item = Job>) {
        let mut writes = Vec::new();
        for job in jobs {
            match job {
                Job::Write(write, answer) => writes.push((write, answer)),
                Job::Compact(before, answer) => {
                    // A reader that gave up is no reason to stop: here and below.
                    let _ = answer.send(self.compact(before));
                }
            }
        }
        if !writes.is_empty() {
            self.write(writes);
        }
        if self.database.log_bytes() > LONGEST_LOG && !self.held_up {
            self.checkpoint();
        }
    }

    fn compact(&mut self, before: Revision) -> Result<()> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        let forgotten = self.feed.compact(before);
        self.discard(forgotten);
        Ok(())
    }

    /// Decide all, flush once, show all, answer all.
    fn write(&mut self, writes: Vec<(Write, oneshot::Sender<Result<Revision>>)>) {
        let (changes, answers) = self.decide(writes);
        passing("decided");
        match self.commit(&changes) {
            Ok(()) => {
                passing("committed");
                let forgotten = self.feed.apply(changes, Instant::now());
                passing("visible");
                self.discard(forgotten);
                for (answer, decision) in answers {
                    let _ = answer.send(decision);
                }
            }
            // Also those that were refused: what they were refused for may not have happened.
            Err(error) => {
                for (answer, _) in answers {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }

    fn decide(&self, writes: Vec<(Write, oneshot::Sender<Result<Revision>>)>) -> (Vec<Change>, Vec<Answer>) {
        let history = self.feed.history();
        let mut draft = Draft::new(&history);
        let answers =
            writes.into_iter().map(|(write, answer)| (answer, draft.decide(&write))).collect::<Vec<_>>();
        (draft.into_changes(), answers)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<()> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        if changes.is_empty() {
            return Ok(());
        }
        // Twice what comes in leaves the window's garbage no way to grow.
        let pruned = self.garbage.len().min(2 * changes.len());
        self.flush(changes, pruned)
    }

    fn flush(&mut self, changes: &[Change], pruned: usize) -> Result<()> {
        let garbage = self.garbage.make_contiguous().get(..pruned).unwrap_or_default();
        match self.database.commit(changes, garbage) {
            Ok(()) => {
                self.garbage.drain(..pruned);
                self.held_up = false;
                Ok(())
            }
            Err(failure) => Err(self.stop_for(failure)),
        }
    }

    fn has_chores(&self) -> bool {
        let chores = !self.garbage.is_empty() || self.database.log_bytes() > IDLE_LOG;
        chores && !self.held_up && self.failure().is_none()
    }

    /// One small step of pruning, or the checkpoint when nothing is left to prune.
    fn tidy_up(&mut self) {
        let pruned = self.garbage.len().min(PRUNE);
        if pruned > 0 {
            passing("pruning");
            // A full disk: the rows stay until there is room. A broken one is remembered by `stop_for`.
            if let Err(error) = self.flush(&[], pruned) {
                tracing::warn!(%error, "old revisions could not be pruned");
            }
        } else {
            self.checkpoint();
        }
    }

    fn checkpoint(&mut self) {
        if self.failure().is_some() {
            return;
        }
        passing("moving the log");
        if let Err(failure) = self.database.checkpoint() {
            let error = self.stop_for(failure);
            tracing::warn!(%error, "the log could not be moved into the file");
        }
        passing("moved the log");
    }

    /// Remembers a failure that is final.
    fn stop_for(&mut self, failure: Failure) -> Error {
        let file = self.database.file().to_path_buf();
        match failure {
            Failure::Full => {
                self.held_up = true;
                Error::Full { file }
            }
            Failure::Broken(source) => {
                let reason = format!(
                    "a write could not be made durable ({source}): what was answered before is safe; \
                     check the disk, then start the server again"
                );
                let error = Error::Stopped { file, reason: reason.into() };
                self.database.abandon();
                self.failed.send_replace(Some(error.clone()));
                error
            }
        }
    }

    fn failure(&self) -> Option<Error> {
        self.failed.borrow().clone()
    }

    fn discard(&mut self, forgotten: Vec<Change>) {
        self.garbage.extend(forgotten.iter().map(Garbage::of));
    }
}

/// A point at which a crash is interesting: the crash test listens and dies here.
fn passing(point: &'static str) {
    tracing::trace!(point);
}

/// Why the thread woke.
enum Woken {
    Jobs,
    Idle,
    Closed,
}
