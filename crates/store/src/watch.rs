//! How changes reach those who wait for them: a cursor into the shared history, and a bell.
//!
//! A watcher pulls. Nothing is queued for it: a slow one costs what the history keeps because it has not read it yet
//! ([`Places`]), and finds [`Error::Compacted`] when it comes back too late. The bell carries only the newest revision.

use crate::history::{Change, History};
use crate::{Error, Event, Result, Revision};
use futures::Stream;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;
use tokio::sync::watch as bell;

/// Most events in one [`Batch`]: readers hold the history's lock for less than a millisecond.
pub const BATCH_EVENTS: usize = 1_000;

/// Some changes, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Never empty.
    pub events: Vec<Event>,
    /// There is no other change below the prefix up to this revision.
    pub up_to: Revision,
}

/// A running watch. Dropping it ends it.
pub struct Watch {
    source: Box<dyn Source>,
}

/// Where a backend's changes come from.
pub trait Source: Send {
    /// See [`Watch::next`]. Must lose nothing when the future is dropped.
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Batch>>>;

    /// See [`Watch::up_to`].
    fn up_to(&self) -> Revision;
}

impl Watch {
    /// Made by a backend.
    pub fn new(source: impl Source + 'static) -> Self {
        Self { source: Box::new(source) }
    }

    /// Waits for the next changes. An error is the last answer before none; none means that the store is
    /// closed. The future may be dropped without losing a change.
    pub async fn next(&mut self) -> Option<Result<Batch>> {
        self.source.next().await
    }

    /// Everything up to this revision was delivered. It moves on while [`Watch::next`] is polled, also when only
    /// other prefixes change: what a bookmark may promise.
    pub fn up_to(&self) -> Revision {
        self.source.up_to()
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Batch>> + Send {
        futures::stream::unfold(self, |mut watch| async move { Some((watch.next().await?, watch)) })
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("up_to", &self.up_to()).finish_non_exhaustive()
    }
}

/// The writing end: whoever holds it may change the history. Dropping it ends every watch.
pub(crate) struct Feed {
    history: Arc<RwLock<History>>,
    places: Places,
    bell: bell::Sender<Revision>,
}

/// The reading end.
#[derive(Clone)]
pub(crate) struct Reader {
    history: Arc<RwLock<History>>,
    places: Places,
    bell: bell::Receiver<Revision>,
}

/// How far each watcher has read.
#[derive(Clone, Default)]
struct Places(Arc<Mutex<Read>>);

#[derive(Default)]
struct Read {
    next: u64,
    up_to: BTreeMap<u64, Revision>,
}

/// One watcher's entry there, as long as it lives.
struct Place {
    places: Places,
    number: u64,
}

impl Places {
    fn begin(&self, after: Revision) -> Place {
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = read.next;
        read.next += 1;
        read.up_to.insert(number, after);
        Place { places: self.clone(), number }
    }

    /// The farthest that all have come.
    fn of_all(&self) -> Revision {
        let read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        read.up_to.values().copied().min().unwrap_or(Revision::MAX)
    }
}

impl Place {
    fn note(&self, up_to: Revision) {
        self.places.0.lock().unwrap_or_else(PoisonError::into_inner).up_to.insert(self.number, up_to);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.0.lock().unwrap_or_else(PoisonError::into_inner).up_to.remove(&self.number);
    }
}

/// Both ends of a history.
pub(crate) fn feed(history: History) -> (Feed, Reader) {
    let (sender, receiver) = bell::channel(history.current());
    let (history, places) = (Arc::new(RwLock::new(history)), Places::default());
    let feed = Feed { history: history.clone(), places: places.clone(), bell: sender };
    (feed, Reader { history, places, bell: receiver })
}

impl Feed {
    /// What is visible now.
    pub(crate) fn history(&self) -> RwLockReadGuard<'_, History> {
        read(&self.history)
    }

    /// Makes changes visible, then rings. Answers what left the window.
    pub(crate) fn apply(&self, changes: Vec<Change>, now: Instant) -> Vec<Change> {
        let (left, current) = {
            let mut history = self.history.write().unwrap_or_else(PoisonError::into_inner);
            history.note_read(self.places.of_all());
            (history.apply(changes, now), history.current())
        };
        self.bell.send_replace(current);
        left
    }

    /// See [`History::compact`].
    pub(crate) fn compact(&self, before: Revision) -> Vec<Change> {
        self.history.write().unwrap_or_else(PoisonError::into_inner).compact(before)
    }
}

impl Reader {
    /// What is visible now.
    pub(crate) fn history(&self) -> RwLockReadGuard<'_, History> {
        read(&self.history)
    }

    /// See [`crate::Store::watch`].
    pub(crate) fn watch(&self, prefix: &str, after: Revision) -> Result<Watch> {
        // Under the lock: nothing is forgotten between the look and the note.
        let history = self.history();
        let oldest = history.floor();
        if after < oldest {
            return Err(Error::Compacted { oldest });
        }
        let place = self.places.begin(after);
        let cursor = Cursor { reader: self.clone(), prefix: prefix.into(), up_to: after, place, over: false };
        Ok(Watch::new(cursor))
    }
}

fn read(history: &RwLock<History>) -> RwLockReadGuard<'_, History> {
    // A panic of a writer leaves a whole history: changes are applied one by one, each complete.
    history.read().unwrap_or_else(PoisonError::into_inner)
}

/// A place in the history.
struct Cursor {
    reader: Reader,
    prefix: Box<str>,
    up_to: Revision,
    place: Place,
    over: bool,
}

impl Source for Cursor {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Batch>>> {
        Box::pin(self.wait())
    }

    fn up_to(&self) -> Revision {
        self.up_to
    }
}

impl Cursor {
    async fn wait(&mut self) -> Option<Result<Batch>> {
        while !self.over {
            // Marked as seen before looking, so that a change in between rings again.
            self.reader.bell.borrow_and_update();
            if let Some(answer) = self.look() {
                return Some(answer);
            }
            self.over = self.reader.bell.changed().await.is_err();
        }
        None
    }

    fn look(&mut self) -> Option<Result<Batch>> {
        let found = self.reader.history().events_after(&self.prefix, self.up_to, BATCH_EVENTS);
        match found {
            Ok((events, up_to)) => {
                self.up_to = up_to;
                self.place.note(up_to);
                (!events.is_empty()).then_some(Ok(Batch { events, up_to }))
            }
            Err(error) => {
                self.over = true;
                Some(Err(error))
            }
        }
    }
}
