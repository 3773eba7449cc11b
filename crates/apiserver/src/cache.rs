//! Every object in memory, fed by one watch of the store.
//!
//! - One watch over all kinds: their order is the store's order.
//! - A read first waits until the cache has reached [`store::Store::current`]: who wrote sees the write.
//! - Lists and watches come from here; writes go to the store and come back through the watch. There is no second
//!   path.
//!
//! Kubernetes: `storage/cacher/cacher.go` with consistent reads.

pub mod collection;
pub mod item;
pub mod ring;

use crate::encode;
use crate::resources::{KINDS, Kind};
use collection::{Collection, Written};
use item::Item;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use store::{Entry, EventKind, Revision, Store};
use tokio::sync::Notify;

/// All collections.
pub struct Cache {
    store: Arc<dyn Store>,
    collections: BTreeMap<String, Arc<Collection>>,
    reached: AtomicU64,
    /// Rings when [`Cache::revision`] has moved; those who wait go on in the order in which they came.
    moved: Notify,
    now: fn() -> jiff::Timestamp,
}

/// Why the cache cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The store failed.
    #[error("the object cache cannot read the store")]
    Store(#[from] store::Error),
    /// A stored object is no JSON.
    #[error("the stored object {key} cannot be read; restore the data folder from a copy")]
    Damaged {
        /// Its key.
        key: String,
        /// What the reader said.
        #[source]
        source: serde_json::Error,
    },
    /// The store's watch ended without an error.
    #[error("the store's watch has ended")]
    Ended,
    /// The cache did not reach a revision in time.
    #[error("the object cache did not reach revision {wanted} within {} s, it is at {at}", CATCH_UP.as_secs())]
    Behind {
        /// What was waited for.
        wanted: Revision,
        /// How far it came.
        at: Revision,
    },
}

/// How long a read waits for the cache: the store's watch is in this process and takes milliseconds. Also the
/// wait for a revision that does not exist yet (3.1.3: about three seconds).
const CATCH_UP: Duration = Duration::from_secs(3);

/// After a store that is away the cache waits this long before it follows again.
const PAUSE: Duration = Duration::from_millis(500);

impl Cache {
    /// Reads everything. [`Cache::feed`] must run for the cache to move.
    pub async fn open(store: Arc<dyn Store>, now: fn() -> jiff::Timestamp) -> Result<Self, CacheError> {
        let listing = store.list(encode::ROOT).await?;
        let revision = listing.revision;
        let mut found = read(listing)?;
        let collections = KINDS.iter().map(|kind| {
            let prefix = encode::prefix(kind);
            let items = found.remove(&prefix).unwrap_or_default();
            (prefix, Arc::new(Collection::new(kind, items, revision)))
        });
        let (reached, moved) = (AtomicU64::new(revision), Notify::new());
        Ok(Self { collections: collections.collect(), store, reached, moved, now })
    }

    /// Follows the store until it fails. This future never ends well.
    pub async fn feed(&self) -> CacheError {
        let mut outcome = self.follow().await;
        loop {
            outcome = match outcome {
                // Only a store outside this process forgets what we have not read yet, or is away for a while.
                Err(CacheError::Store(store::Error::Compacted { .. })) => match self.relist().await {
                    Ok(()) => self.follow().await,
                    failed => failed,
                },
                Err(CacheError::Store(store::Error::Unavailable { .. })) => {
                    tokio::time::sleep(PAUSE).await;
                    self.follow().await
                }
                Ok(()) => return CacheError::Ended,
                Err(error) => return error,
            }
        }
    }

    /// Begins anew with what is stored now. Nobody knows what happened in between, so every watcher is closed and
    /// earlier revisions are too old; clients list again (3.3.3).
    async fn relist(&self) -> Result<(), CacheError> {
        let listing = self.store.list(encode::ROOT).await?;
        tracing::warn!(
            revision = listing.revision,
            "the store has forgotten changes; all objects are read anew"
        );
        let revision = listing.revision;
        let mut found = read(listing)?;
        for (prefix, collection) in &self.collections {
            collection.replace(found.remove(prefix).unwrap_or_default(), revision);
        }
        self.reached.store(revision, Ordering::Release);
        self.moved.notify_waiters();
        Ok(())
    }

    async fn follow(&self) -> Result<(), CacheError> {
        // Of all keys: what is beside the objects moves the store's revision too, which reads wait for.
        let mut watch = self.store.watch("", self.revision()).await?;
        while let Some(batch) = watch.next().await {
            let batch = batch?;
            self.apply(batch)?;
        }
        Ok(())
    }

    fn apply(&self, batch: store::Batch) -> Result<(), CacheError> {
        let now = (self.now)();
        let mut changes: BTreeMap<String, Vec<Written>> = BTreeMap::new();
        for event in batch.events {
            let prefix = prefix_of(&event.key);
            let Some(collection) = self.collections.get(prefix) else { continue };
            let item = match event.kind {
                EventKind::Put { value, .. } => {
                    let read =
                        Item::read(collection.kind, event.key.clone(), event.revision, value, Some(now));
                    let damaged = |source| CacheError::Damaged { key: event.key.to_string(), source };
                    Some(read.map_err(damaged)?)
                }
                EventKind::Delete => None,
            };
            let prefix = prefix.to_string();
            changes.entry(prefix).or_default().push((event.key, event.revision, item));
        }
        for (prefix, collection) in &self.collections {
            collection.apply(changes.remove(prefix).unwrap_or_default(), batch.up_to);
        }
        self.reached.store(batch.up_to, Ordering::Release);
        self.moved.notify_waiters();
        Ok(())
    }

    /// How far the cache is.
    pub fn revision(&self) -> Revision {
        self.reached.load(Ordering::Acquire)
    }

    /// Waits until the cache shows everything that was written before this call.
    pub async fn consistent(&self) -> Result<(), CacheError> {
        let current = self.store.current().await?;
        self.reach(current).await
    }

    /// Waits until the cache has reached a revision.
    pub async fn reach(&self, revision: Revision) -> Result<(), CacheError> {
        let end = tokio::time::Instant::now() + CATCH_UP;
        loop {
            // Asked for before looking, so that no move can come in between.
            let moved = self.moved.notified();
            if self.revision() >= revision {
                return Ok(());
            }
            if tokio::time::timeout_at(end, moved).await.is_err() {
                return Err(CacheError::Behind { wanted: revision, at: self.revision() });
            }
        }
    }

    /// The collection of a kind.
    pub fn of(&self, kind: &Kind) -> Option<&Arc<Collection>> {
        self.collections.get(&encode::prefix(kind))
    }

    /// All collections.
    pub fn collections(&self) -> impl Iterator<Item = &Arc<Collection>> {
        self.collections.values()
    }
}

/// What a list found, by prefix.
fn read(listing: store::Listing) -> Result<BTreeMap<String, Vec<Item>>, CacheError> {
    let kinds: BTreeMap<String, &'static Kind> = KINDS.iter().map(|k| (encode::prefix(k), k)).collect();
    let mut found: BTreeMap<String, Vec<Item>> = BTreeMap::new();
    for Entry { key, value, revision, .. } in listing.entries {
        let prefix = prefix_of(&key).to_string();
        // A kind that this version does not serve stays in the store untouched.
        let Some(kind) = kinds.get(&prefix) else { continue };
        let name = key.to_string();
        let item = Item::read(kind, key, revision, value, None);
        let item = item.map_err(|source| CacheError::Damaged { key: name, source })?;
        found.entry(prefix).or_default().push(item);
    }
    Ok(found)
}

/// `/registry/apps/daemonsets/default/x` → `/registry/apps/daemonsets/`.
fn prefix_of(key: &str) -> &str {
    let end = key.match_indices('/').nth(3).map_or(key.len(), |(at, _)| at + 1);
    key.get(..end).unwrap_or(key)
}
