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
mod kin;
pub mod ring;

use crate::custom::catalog::Catalog;
use crate::encode;
use crate::resources::{KINDS, Kind, KindRef, customresourcedefinitions};
use collection::{Collection, Written};
use item::{Filter, Item};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use store::{Entry, EventKind, Revision, Store};
use tokio::sync::{Notify, watch};

/// All collections.
pub struct Cache {
    store: Arc<dyn Store>,
    /// Kinds that the program knows, by prefix.
    fixed: BTreeMap<String, Arc<Collection>>,
    /// Kinds that somebody has defined. They change only together with the catalog.
    defined: RwLock<BTreeMap<String, Arc<Collection>>>,
    catalog: watch::Sender<Arc<Catalog>>,
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
            (prefix, Arc::new(Collection::new(kind.into(), items, revision)))
        });
        let cache = Self {
            fixed: collections.collect(),
            defined: RwLock::default(),
            catalog: watch::Sender::default(),
            store,
            reached: AtomicU64::new(revision),
            moved: Notify::new(),
            now,
        };
        cache.redefine().await?;
        Ok(cache)
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
        for (prefix, collection) in &self.fixed {
            collection.replace(found.remove(prefix).unwrap_or_default(), revision);
        }
        self.redefine().await?;
        let defined: Vec<_> = self.collections().into_iter().filter(|c| c.kind.custom().is_some()).collect();
        for collection in defined {
            let (items, revision) = self.items(&collection.kind).await?;
            collection.replace(items, revision);
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
            let up_to = batch.up_to;
            if self.apply(batch)? {
                self.redefine().await?;
            }
            self.reached.store(up_to, Ordering::Release);
            self.moved.notify_waiters();
        }
        Ok(())
    }

    /// Puts a batch into the collections. True when a definition is among it.
    fn apply(&self, batch: store::Batch) -> Result<bool, CacheError> {
        let now = (self.now)();
        let all = self.by_prefix();
        let mut changes: BTreeMap<String, Vec<Written>> = BTreeMap::new();
        for event in batch.events {
            let prefix = prefix_of(&event.key);
            let Some(collection) = all.get(prefix) else { continue };
            let item = match event.kind {
                EventKind::Put { value, .. } => {
                    let read =
                        Item::read(&collection.kind, event.key.clone(), event.revision, value, Some(now));
                    let damaged = |source| CacheError::Damaged { key: event.key.to_string(), source };
                    Some(read.map_err(damaged)?)
                }
                EventKind::Delete => None,
            };
            let prefix = prefix.to_string();
            changes.entry(prefix).or_default().push((event.key, event.revision, item));
        }
        let redefined = changes.contains_key(&encode::prefix(&customresourcedefinitions::KIND));
        for (prefix, collection) in &all {
            collection.apply(changes.remove(prefix).unwrap_or_default(), batch.up_to);
        }
        Ok(redefined)
    }

    /// Makes the catalog of the definitions as they are now. A kind that is new, or another than before, gets a collection
    /// of what the store holds of it; the watches of one that is gone, or was another, end.
    async fn redefine(&self) -> Result<(), CacheError> {
        let definitions = self.of(&customresourcedefinitions::KIND);
        let items = definitions.map(|all| all.select(&Filter::default()).items).unwrap_or_default();
        let stored: Vec<_> = items.iter().filter_map(|item| item.object().ok()).collect();
        let before = self.catalog();
        let next = before.next(&stored);
        let mut made = Vec::new();
        for definition in next.definitions().filter(|definition| !before.has(definition)) {
            let kind = KindRef::Custom(definition.storage.clone());
            let (items, revision) = self.items(&kind).await?;
            made.push(Arc::new(Collection::new(kind, items, revision)));
        }
        let gone = before.definitions().filter(|definition| !next.has(definition));
        let mut defined = self.defined.write().unwrap_or_else(PoisonError::into_inner);
        for definition in gone {
            if let Some(collection) = defined.remove(&encode::prefix(&definition.storage)) {
                collection.ended.cancel();
            }
        }
        defined.extend(made.into_iter().map(|collection| (collection.prefix.clone(), collection)));
        drop(defined);
        self.catalog.send_replace(Arc::new(next));
        Ok(())
    }

    /// What the store holds of a defined kind.
    async fn items(&self, kind: &Kind) -> Result<(Vec<Item>, Revision), CacheError> {
        let listing = self.store.list(&encode::prefix(kind)).await?;
        let mut items = Vec::new();
        for Entry { key, value, revision, .. } in listing.entries {
            let name = key.to_string();
            let item = Item::read(kind, key, revision, value, None);
            items.push(item.map_err(|source| CacheError::Damaged { key: name, source })?);
        }
        Ok((items, listing.revision))
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
    pub fn of(&self, kind: &Kind) -> Option<Arc<Collection>> {
        let prefix = encode::prefix(kind);
        match kind.custom() {
            None => self.fixed.get(&prefix).cloned(),
            Some(_) => self.defined.read().unwrap_or_else(PoisonError::into_inner).get(&prefix).cloned(),
        }
    }

    /// All collections.
    pub fn collections(&self) -> Vec<Arc<Collection>> {
        self.by_prefix().into_values().collect()
    }

    fn by_prefix(&self) -> BTreeMap<String, Arc<Collection>> {
        let defined = self.defined.read().unwrap_or_else(PoisonError::into_inner);
        self.fixed.iter().chain(defined.iter()).map(|(prefix, all)| (prefix.clone(), all.clone())).collect()
    }

    /// The defined kinds.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.borrow().clone()
    }

    /// Rings when a definition has been written.
    pub fn definitions(&self) -> watch::Receiver<Arc<Catalog>> {
        self.catalog.subscribe()
    }

    /// The kind behind a URL.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<KindRef> {
        let known = crate::resources::find(group, version, plural).map(KindRef::Fixed);
        known.or_else(|| self.catalog().find(group, version, plural).map(KindRef::Custom))
    }

    /// The kind that a definition's objects are stored as; none when it is not served.
    pub fn storage_of(&self, definition: &str) -> Option<KindRef> {
        let catalog = self.catalog();
        let mut all = catalog.definitions();
        all.find(|known| known.name == definition).map(|known| KindRef::Custom(known.storage.clone()))
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
