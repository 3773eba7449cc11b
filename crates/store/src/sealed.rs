//! A store that lays some of its values down encrypted, on top of any other one.
//!
//! 1. Which keys are confidential is the caller's word (a predicate of the key); their values never reach the store below
//!    in the clear. The key itself is not hidden.
//! 2. An envelope is `MAGIC`, the id of its [`Key`], a random nonce, and what AES-256-GCM makes of the value. The store's key is
//!    bound into it: a value that is moved to another key cannot be opened.
//! 3. Writes use the newest key. Reads take any key that was ever given to this process, and values in the clear, which
//!    a store from before has until [`SealedStore::reseal`] is through.
//! 4. Where several processes share a store, a key that is not known here is asked for ([`Keeper`]), and a process that has not
//!    looked for the newest key in time seals nothing ([`SealedStore::good_until`]).
//! 5. What cannot be opened is an error and never an empty value. Only the previous value of an event is left out then, when it
//!    was sealed with a key that is gone.
//!
//! Random nonces of 96 bits are good for 2^32 values with one key; a cluster that writes ten secrets a second
//! gets there in 13 years. Kubernetes: `apiserver/pkg/storage/value/encrypt/aes`.

use crate::watch::Source;
use crate::{Batch, Entry, Error, Event, EventKind, Listing, Result, Revision, Store, Watch, check_size};
use bytes::Bytes;
use futures::future::BoxFuture;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::time::Instant;

/// How an envelope begins; nothing that is text does.
const MAGIC: &[u8] = b"\0sealed\x01";
/// Bytes of a key's id.
const ID: usize = 4;
/// Bytes before the ciphertext.
const HEAD: usize = MAGIC.len() + ID + NONCE_LEN;
/// Times that [`SealedStore::reseal`] goes through the store. The second time finds only what a writer had under way when
/// the key changed; a third time has never been needed.
const PASSES: usize = 8;
/// Written and removed by [`SealedStore::reseal`]: behind every write that was under way, and the last change of the store.
const MARK: &str = "/sealed/mark";

/// Which keys are confidential.
pub type Confidential = fn(&str) -> bool;

/// A secret key with its public name.
#[derive(Clone)]
pub struct Key {
    id: [u8; ID],
    cipher: Arc<LessSafeKey>,
}

/// Knows the keys that other processes have made since.
pub trait Keeper: Send + Sync {
    /// All keys that may be needed now.
    fn keys(&self) -> BoxFuture<'_, Result<Vec<Key>>>;
}

/// See the top of this file. Clones are the same store.
#[derive(Clone)]
pub struct SealedStore {
    below: Arc<dyn Store>,
    sealing: Arc<Sealing>,
}

struct Sealing {
    confidential: Confidential,
    ring: RwLock<Ring>,
    keeper: Option<Arc<dyn Keeper>>,
    random: SystemRandom,
}

struct Ring {
    /// Until when the newest is the newest; none: nobody else makes keys.
    good_until: Option<Instant>,
    newest: Key,
    all: BTreeMap<[u8; ID], Key>,
}

impl Key {
    /// A key of 32 random bytes under a random id. None when there are not 32.
    pub fn new(id: u32, secret: &[u8]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, secret).ok()?;
        Some(Self { id: id.to_be_bytes(), cipher: Arc::new(LessSafeKey::new(key)) })
    }

    /// Its name in envelopes and in the key file.
    pub fn id(&self) -> u32 {
        u32::from_be_bytes(self.id)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:08x})", self.id())
    }
}

/// The id of the key that a stored value is sealed with; none when it lies in the clear.
pub fn sealed_with(value: &[u8]) -> Option<u32> {
    let id = value.strip_prefix(MAGIC)?.get(..ID)?;
    Some(u32::from_be_bytes(id.try_into().ok()?))
}

/// What [`SealedStore::reseal`] has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Values that had lain in the clear.
    pub clear: usize,
    /// Values that were sealed with an older key.
    pub older: usize,
}

impl SealedStore {
    /// Seals with the first key, and opens with all of them. None without a key.
    pub fn new(below: Arc<dyn Store>, confidential: Confidential, keys: &[Key]) -> Option<Self> {
        Self::with(below, confidential, keys, None)
    }

    /// The same where other processes make keys, too.
    pub fn shared(
        below: Arc<dyn Store>,
        confidential: Confidential,
        keys: &[Key],
        keeper: Arc<dyn Keeper>,
    ) -> Option<Self> {
        Self::with(below, confidential, keys, Some(keeper))
    }

    fn with(
        below: Arc<dyn Store>,
        confidential: Confidential,
        keys: &[Key],
        keeper: Option<Arc<dyn Keeper>>,
    ) -> Option<Self> {
        let newest = keys.first()?.clone();
        let all = keys.iter().map(|key| (key.id, key.clone())).collect();
        let ring = RwLock::new(Ring { newest, all, good_until: None });
        let sealing = Sealing { confidential, ring, keeper, random: SystemRandom::new() };
        Some(Self { below, sealing: Arc::new(sealing) })
    }

    /// Confidential values are refused from then on, unless the end is moved: somebody may have made a newer key.
    pub fn good_until(&self, end: Instant) {
        self.sealing.ring.write().unwrap_or_else(PoisonError::into_inner).good_until = Some(end);
    }

    /// From now on seals with this key. Older ones stay known for as long as this process runs, because what they sealed may
    /// still be on its way to a watcher.
    pub fn seal_with(&self, key: Key) {
        let mut ring = self.sealing.ring.write().unwrap_or_else(PoisonError::into_inner);
        ring.all.insert(key.id, key.clone());
        ring.newest = key;
    }

    /// Writes everything confidential anew that is not sealed with the newest key. May be cut off at any point and be done
    /// again. Afterwards no key but the newest is needed to open what stands in the store, and the last change
    /// in it is not one of a confidential value.
    pub async fn reseal(&self) -> Result<Resealed> {
        let mut done = Resealed::default();
        for _ in 0..PASSES {
            self.mark().await?;
            let now = self.pass().await?;
            if now == Resealed::default() {
                break;
            }
            done = Resealed { clear: done.clear + now.clear, older: done.older + now.older };
        }
        Ok(done)
    }

    /// Whether everything confidential is sealed with the newest key already. Writes nothing.
    pub async fn is_sealed(&self) -> Result<bool> {
        let newest = self.sealing.newest().id();
        let entries = self.below.list("").await?.entries;
        let mut confidential = entries.iter().filter(|entry| (self.sealing.confidential)(&entry.key));
        Ok(confidential.all(|entry| sealed_with(&entry.value) == Some(newest)))
    }

    async fn mark(&self) -> Result<()> {
        let made = match self.below.create(MARK, Bytes::new()).await {
            Err(Error::Exists { .. }) => self.below.get(MARK).await?.map(|entry| entry.revision),
            made => Some(made?),
        };
        let Some(revision) = made else { return Ok(()) };
        match self.below.delete(MARK, revision).await {
            Ok(_) | Err(Error::Missing { .. } | Error::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn pass(&self) -> Result<Resealed> {
        let (mut done, newest) = (Resealed::default(), self.sealing.newest().id());
        for Entry { key, value, revision, .. } in self.below.list("").await?.entries {
            let with = sealed_with(&value);
            if !(self.sealing.confidential)(&key) || with == Some(newest) {
                continue;
            }
            let open = self.sealing.opened(|sealing| sealing.open(&key, value.clone())).await?;
            let sealed = self.sealing.seal(&key, &open)?;
            match self.below.update(&key, sealed, revision).await {
                Ok(_) if with.is_none() => done.clear += 1,
                // Who wrote in between has sealed it; the next pass looks.
                Ok(_) | Err(Error::Conflict { .. } | Error::Missing { .. }) => done.older += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

impl Sealing {
    /// What `open` finds; after asking for keys, if it lacks one.
    async fn opened<T>(&self, open: impl Fn(&Self) -> Result<T>) -> Result<T> {
        match (open(self), &self.keeper) {
            (Err(Error::Unreadable { .. }), Some(keeper)) => {
                self.learn(keeper.keys().await?);
                open(self)
            }
            (found, _) => found,
        }
    }

    fn learn(&self, keys: Vec<Key>) {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        ring.all.extend(keys.into_iter().map(|key| (key.id, key)));
    }

    /// The key to seal with, if it is certain that there is no newer one.
    fn current(&self) -> Result<Key> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        match ring.good_until {
            Some(end) if Instant::now() >= end => Err(Error::Unavailable {
                reason: "whether there is a newer encryption key could not be asked in time".into(),
            }),
            _ => Ok(ring.newest.clone()),
        }
    }

    fn newest(&self) -> Key {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).newest.clone()
    }

    fn key(&self, id: [u8; ID]) -> Option<Key> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).all.get(&id).cloned()
    }

    /// The bytes for the store below.
    fn seal(&self, path: &str, value: &Bytes) -> Result<Bytes> {
        check_size(path, value)?;
        if !(self.confidential)(path) {
            return Ok(value.clone());
        }
        let failed = |_| unreadable(path, "it could not be sealed: the system gives no random numbers");
        let key = self.current()?;
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(failed)?;
        let mut body = value.to_vec();
        let (aad, once) = (Aad::from(path.as_bytes()), Nonce::assume_unique_for_key(nonce));
        key.cipher.seal_in_place_append_tag(once, aad, &mut body).map_err(failed)?;
        Ok([MAGIC, &key.id, &nonce, &body].concat().into())
    }

    /// What was sealed.
    fn open(&self, path: &str, value: Bytes) -> Result<Bytes> {
        if !(self.confidential)(path) || !value.starts_with(MAGIC) {
            return Ok(value);
        }
        let (Some(head), Some(body)) = (value.get(MAGIC.len()..HEAD), value.get(HEAD..)) else {
            return Err(unreadable(path, "its sealed value is cut off"));
        };
        let (id, nonce) = head.split_at(ID);
        let id: [u8; ID] = id.try_into().unwrap_or_default();
        let Some(key) = self.key(id) else {
            let id = u32::from_be_bytes(id);
            return Err(unreadable(
                path,
                &format!("it is sealed with key {id:08x}, which is not in the key file"),
            ));
        };
        let nonce: [u8; NONCE_LEN] = nonce.try_into().unwrap_or_default();
        let (aad, once) = (Aad::from(path.as_bytes()), Nonce::assume_unique_for_key(nonce));
        let mut body = body.to_vec();
        let opened = key.cipher.open_in_place(once, aad, &mut body).map(|opened| opened.len());
        let length = opened.map_err(|_| unreadable(path, "its sealed value was changed or moved here"))?;
        body.truncate(length);
        Ok(body.into())
    }

    fn entry(&self, mut entry: Entry) -> Result<Entry> {
        entry.value = self.open(&entry.key, entry.value)?;
        Ok(entry)
    }

    fn event(&self, mut event: Event) -> Result<Event> {
        event.previous = event.previous.and_then(|value| self.open(&event.key, value).ok());
        if let EventKind::Put { value, .. } = &mut event.kind {
            *value = self.open(&event.key, std::mem::take(value))?;
        }
        Ok(event)
    }
}

fn unreadable(key: &str, reason: &str) -> Error {
    Error::Unreadable { key: key.into(), reason: reason.into() }
}

impl Store for SealedStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        Box::pin(async move {
            let found = self.below.get(key).await?;
            self.sealing.opened(|sealing| found.clone().map(|entry| sealing.entry(entry)).transpose()).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Listing>> {
        Box::pin(async move {
            let Listing { revision, entries } = self.below.list(prefix).await?;
            let open =
                |sealing: &Sealing| entries.iter().cloned().map(|entry| sealing.entry(entry)).collect();
            let entries: Vec<Entry> = self.sealing.opened(open).await?;
            Ok(Listing { revision, entries })
        })
    }

    fn create<'a>(&'a self, key: &'a str, value: Bytes) -> BoxFuture<'a, Result<Revision>> {
        Box::pin(async move { self.below.create(key, self.sealing.seal(key, &value)?).await })
    }

    fn update<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: Revision,
    ) -> BoxFuture<'a, Result<Revision>> {
        Box::pin(async move { self.below.update(key, self.sealing.seal(key, &value)?, expected).await })
    }

    fn delete<'a>(&'a self, key: &'a str, expected: Revision) -> BoxFuture<'a, Result<Revision>> {
        self.below.delete(key, expected)
    }

    fn current(&self) -> BoxFuture<'_, Result<Revision>> {
        self.below.current()
    }

    fn watch<'a>(&'a self, prefix: &'a str, after: Revision) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move {
            let below = self.below.watch(prefix, after).await?;
            Ok(Watch::new(Opening { below, held: None, sealing: self.sealing.clone() }))
        })
    }

    fn compact(&self, before: Revision) -> BoxFuture<'_, Result<()>> {
        self.below.compact(before)
    }
}

/// A watch that opens what it delivers.
struct Opening {
    below: Watch,
    /// Come and not yet delivered: a future that is dropped while it asks for keys loses nothing.
    held: Option<Batch>,
    sealing: Arc<Sealing>,
}

impl Source for Opening {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Batch>>> {
        Box::pin(async move {
            if self.held.is_none() {
                match self.below.next().await? {
                    Ok(batch) => self.held = Some(batch),
                    Err(error) => return Some(Err(error)),
                }
            }
            let batch = self.held.as_ref()?;
            let open =
                |sealing: &Sealing| batch.events.iter().cloned().map(|event| sealing.event(event)).collect();
            let events: Result<Vec<Event>> = self.sealing.opened(open).await;
            let up_to = self.held.take()?.up_to;
            Some(events.map(|events| Batch { events, up_to }))
        })
    }

    fn up_to(&self) -> Revision {
        self.below.up_to()
    }
}
