//! The store for tests and simulation: everything of the trait, nothing on a disk.
//!
//! It answers within the call and is deterministic: same calls, same revisions. Its clock is tokio's, so that a
//! simulation with a paused clock also decides when changes leave the window.

use crate::history::{Draft, History, Intent, Limits, Version, Write};
use crate::watch::{Feed, Reader, Watch, feed};
use crate::{Entry, Listing, Result, Revision, Store, check_size};
use bytes::Bytes;
use futures::future::BoxFuture;
use std::sync::{Mutex, PoisonError};

/// A store that ends with its process.
pub struct MemoryStore {
    /// Writers take turns here; readers never wait for it.
    feed: Mutex<Feed>,
    reader: Reader,
}

impl MemoryStore {
    /// An empty one.
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    /// An empty one with a window of its own size.
    pub fn with_limits(limits: Limits) -> Self {
        let (feed, reader) = feed(History::new(limits));
        Self { feed: Mutex::new(feed), reader }
    }

    /// One that begins with what another one held: a copy, without the changes that led there.
    pub fn copy_of(listing: Listing) -> Self {
        let version = |entry: Entry| {
            let Entry { key, value, revision, created } = entry;
            (key, Version { value: value.into(), revision, created })
        };
        let (current, entries) = (listing.revision, listing.entries.into_iter().map(version).collect());
        let (feed, reader) = feed(History::restored(Limits::default(), current, entries, current));
        Self { feed: Mutex::new(feed), reader }
    }

    fn write(&self, key: &str, intent: Intent) -> Result<Revision> {
        let feed = self.feed.lock().unwrap_or_else(PoisonError::into_inner);
        let (revision, changes) = {
            let history = feed.history();
            let mut draft = Draft::new(&history);
            (draft.decide(&Write { key: key.into(), intent })?, draft.into_changes())
        };
        feed.apply(changes, tokio::time::Instant::now().into_std());
        Ok(revision)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        Box::pin(async move { Ok(self.reader.history().get(key)) })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Listing>> {
        Box::pin(async move { Ok(self.reader.history().list(prefix)) })
    }

    fn create<'a>(&'a self, key: &'a str, value: Bytes) -> BoxFuture<'a, Result<Revision>> {
        Box::pin(async move { check_size(key, &value).and_then(|()| self.write(key, Intent::Create(value))) })
    }

    fn update<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: Revision,
    ) -> BoxFuture<'a, Result<Revision>> {
        Box::pin(async move {
            check_size(key, &value).and_then(|()| self.write(key, Intent::Update(value, expected)))
        })
    }

    fn delete<'a>(&'a self, key: &'a str, expected: Revision) -> BoxFuture<'a, Result<Revision>> {
        Box::pin(async move { self.write(key, Intent::Delete(expected)) })
    }

    fn current(&self) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(async move { Ok(self.reader.history().current()) })
    }

    fn watch<'a>(&'a self, prefix: &'a str, after: Revision) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move { self.reader.watch(prefix, after) })
    }

    fn compact(&self, before: Revision) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.feed.lock().unwrap_or_else(PoisonError::into_inner).compact(before);
            Ok(())
        })
    }
}
