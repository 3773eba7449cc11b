//! The encryption keys that several servers on one store have in common: a ring, which lies in the store itself.
//!
//! 1. The ring is the text of a key file ([`KeyFile`]): the first key seals, all of them open. It is sealed with a key that is
//!    made of the authority's private key, which every server of the cluster has and nobody else. So a server takes keys
//!    that others have made, also while it was away, and the key file on its disk is a copy.
//! 2. Every server looks at the ring each second ([`Shared::follow`]), and lays down no Secret when it could not look for
//!    [`FRESH`]. A value that is sealed with a key it does not know yet makes it look at once.
//! 3. A rotation puts a new key first; [`SETTLED`] later nobody seals with an older one any more; then every Secret is sealed
//!    anew, and the older keys leave the ring. Each step is one write with the revision that was seen. Whoever finds a ring that
//!    has not moved for [`ABANDONED`] in the middle of this finishes it.
//!
//! Kubernetes does these steps by hand, with a restart of every server for each: "Rotating a decryption key" in its
//! documentation of `--encryption-provider-config`.

use crate::pki::Authority;
use crate::pki::encryption::{KeyFile, Keys};
use anyhow::{Context as _, Result, bail};
use apiserver::encode::is_confidential;
use futures::future::BoxFuture;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::sealed::{Keeper, Key, SealedStore};
use store::{Error, Revision, Store};
use tokio::time::Instant;

/// Beside the objects.
const RING: &str = "/everynode/encryption-keys";
/// How often a server looks at it: one small read.
const LOOK: Duration = Duration::from_secs(1);
/// How long a look is good for sealing. An etcd that elects a leader is away for a few seconds.
const FRESH: Duration = Duration::from_secs(10);
/// After a new key has come: every server has looked since, or seals nothing, and what it had begun has ended.
const SETTLED: Duration = Duration::from_secs(15);
/// Whoever rotates needs [`SETTLED`] and a pass over all Secrets; a ring that stands still longer was left.
const ABANDONED: Duration = Duration::from_secs(60);

/// The ring of a cluster.
#[derive(Clone)]
pub struct Ring {
    /// The store, which opens the ring and nothing else.
    record: SealedStore,
}

/// A store that several servers use, and what seals it.
pub struct Shared {
    /// What the server uses.
    pub store: SealedStore,
    ring: Ring,
    file: KeyFile,
    keys: Mutex<Keys>,
}

impl Ring {
    /// The ring in a store, for servers with this authority.
    pub fn new(store: Arc<dyn Store>, authority: &Authority) -> Result<Self> {
        let key = PrivateKeyDer::from_pem_slice(authority.key_pem().as_bytes());
        let key = key.map_err(|error| anyhow::anyhow!("the authority's key cannot be read: {error}"))?;
        let made =
            Sha256::new().chain_update(b"everynode encryption key ring\0").chain_update(key.secret_der());
        let key = Key::new(0, &made.finalize()).context("no key for the ring")?;
        let record = SealedStore::new(store, |path| path == RING, &[key]).context("no key for the ring")?;
        Ok(Self { record })
    }

    /// The keys, and when they were written; none before the first server.
    pub async fn read(&self) -> Result<Option<(Keys, Revision)>, Error> {
        let Some(entry) = self.record.get(RING).await? else { return Ok(None) };
        let unreadable = || Error::Unreadable { key: RING.into(), reason: "a broken line".into() };
        let text = std::str::from_utf8(&entry.value).map_err(|_| unreadable())?;
        Ok(Some((Keys::parse(text).ok_or_else(unreadable)?, entry.revision)))
    }

    /// The keys that are there, or these from now on.
    async fn begin(&self, own: &Keys) -> Result<Keys, Error> {
        match self.record.create(RING, own.print().into()).await {
            // Somebody was faster, or the answer is lost: what stands there decides.
            Ok(_) | Err(Error::Exists { .. } | Error::Unknown { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(self.read().await?.map_or_else(|| own.clone(), |(keys, _)| keys))
    }

    /// Replaces the ring as it was seen. False: somebody else has.
    async fn replace(&self, keys: &Keys, seen: Revision) -> Result<bool, Error> {
        match self.record.update(RING, keys.print().into(), seen).await {
            Ok(_) => Ok(true),
            Err(Error::Conflict { .. } | Error::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Keeper for Ring {
    fn keys(&self) -> BoxFuture<'_, store::Result<Vec<Key>>> {
        Box::pin(async move { Ok(self.read().await?.map(|(keys, _)| keys.keys()).unwrap_or_default()) })
    }
}

impl Shared {
    /// Seals a store with the keys of its ring. `own` is what the key file has; the first server's begin the ring.
    pub async fn open(below: Arc<dyn Store>, ring: Ring, dir: &Path, own: &Keys) -> Result<Self> {
        let keys = match ring.read().await? {
            Some((keys, _)) => keys,
            None => ring.begin(own).await?,
        };
        // Also those of the file: a store that was set back to an older copy may need them.
        let all = keys.clone().before(own);
        let asked = Arc::new(ring.clone());
        let store =
            SealedStore::shared(below, is_confidential, &all.keys(), asked).context("there is no key")?;
        store.good_until(Instant::now() + FRESH);
        let shared = Self { store, ring, file: KeyFile::new(dir), keys: Mutex::new(own.clone()) };
        shared.take(&keys);
        Ok(shared)
    }

    /// Follows the ring while the server runs. Never ends.
    pub async fn follow(&self) {
        tokio::join!(self.look(), self.finish_what_was_left());
    }

    async fn look(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let began = Instant::now();
            match tokio::time::timeout(FRESH, self.ring.read()).await {
                Ok(Ok(Some((keys, _)))) => {
                    self.take(&keys);
                    self.store.good_until(began + FRESH);
                }
                Ok(Ok(None)) => tracing::error!("the ring of encryption keys is gone from the store"),
                Ok(Err(error)) => tracing::debug!(%error, "the ring of encryption keys was not seen"),
                Err(_) => {}
            }
        }
    }

    /// Seals with the first of these keys from now on, and copies them to the key file.
    fn take(&self, keys: &Keys) {
        let mut known = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == *keys {
            return;
        }
        // The oldest first, so that the newest is the one that seals.
        keys.keys().into_iter().rev().for_each(|key| self.store.seal_with(key));
        tracing::info!(key = keys.id(), rotating = keys.is_rotating(), "the encryption keys of this cluster");
        if let Err(error) = self.file.write(keys) {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "the key file keeps the older keys; the store has the newer ones");
        }
        known.clone_from(keys);
    }

    async fn finish_what_was_left(&self) {
        let mut seen = None;
        loop {
            tokio::time::sleep(ABANDONED).await;
            let Ok(Some((keys, revision))) = self.ring.read().await else { continue };
            if keys.is_rotating() && seen == Some(revision) {
                match self.finish(&keys, revision).await {
                    Ok(secrets) => {
                        tracing::info!(key = keys.id(), secrets, "a rotation that was cut off is finished")
                    }
                    Err(error) => {
                        tracing::warn!(error = format!("{error:#}"), "a rotation is not finished yet")
                    }
                }
            }
            seen = Some(revision);
        }
    }

    /// Seals everything with the first key and takes the others out of the ring; how many Secrets that were.
    async fn finish(&self, keys: &Keys, seen: Revision) -> Result<usize> {
        let done = self.store.reseal().await?;
        if self.ring.replace(&keys.newest(), seen).await? {
            self.take(&keys.newest());
        }
        Ok(done.clear + done.older)
    }

    /// A new key for everybody, to the end; how many Secrets were sealed anew. One that was cut off goes on.
    pub async fn rotate(&self) -> Result<(String, usize)> {
        let (keys, revision) = loop {
            let Some((keys, revision)) = self.ring.read().await? else { bail!("there is no ring of keys") };
            if keys.is_rotating() {
                break (keys, revision);
            }
            let new = Keys::generate()?.before(&keys);
            self.ring.replace(&new, revision).await?;
        };
        self.take(&keys);
        let settled = Instant::now() + SETTLED;
        while Instant::now() < settled {
            tokio::time::sleep(LOOK).await;
            self.store.good_until(Instant::now() + FRESH);
        }
        // Beside the work the ring is looked at: it may take longer than a look is good for.
        let secrets = tokio::select! {
            () = self.look() => 0,
            done = self.finish(&keys, revision) => done?,
        };
        Ok((keys.id(), secrets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::memory::MemoryStore;
    use store::sealed::sealed_with;

    const SECRET: &str = "/registry/core/secrets/default/s";

    struct World {
        below: Arc<MemoryStore>,
        authority: Authority,
        dir: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let authority = Authority::open(&dir.path().join("pki"), jiff::Timestamp::now()).unwrap();
            Self { below: Arc::new(MemoryStore::new()), authority, dir }
        }

        fn folder(&self, name: &str) -> std::path::PathBuf {
            let folder = self.dir.path().join(name);
            crate::pki::private_dir(&folder).unwrap();
            folder
        }

        /// A server with a key file of its own, as it was copied or made.
        async fn server(&self, name: &str, own: &Keys) -> Shared {
            let ring = Ring::new(self.below.clone(), &self.authority).unwrap();
            Shared::open(self.below.clone(), ring, &self.folder(name), own).await.unwrap()
        }

        fn file(&self, name: &str) -> Keys {
            KeyFile::new(&self.folder(name)).read().unwrap().unwrap()
        }

        async fn sealed_with(&self) -> String {
            let value = self.below.get(SECRET).await.unwrap().unwrap().value;
            format!("{:08x}", sealed_with(&value).unwrap())
        }
    }

    async fn word(server: &Shared) -> String {
        String::from_utf8(server.store.get(SECRET).await.unwrap().unwrap().value.to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_rotation_reaches_every_server_also_one_that_was_away() {
        let world = World::new();
        let old = Keys::generate().unwrap();
        let (a, b) = (world.server("a", &old).await, world.server("b", &old).await);
        a.store.create(SECRET, "1".into()).await.unwrap();
        assert_eq!(world.sealed_with().await, old.id());
        let work = async {
            let (id, secrets) = a.rotate().await.unwrap();
            assert_eq!((secrets, world.sealed_with().await), (1, id.clone()));
            assert_ne!(id, old.id());
            tokio::time::sleep(LOOK * 2).await;
            for name in ["a", "b"] {
                assert!(world.file(name).id() == id && !world.file(name).is_rotating(), "{name}");
            }
            let entry = b.store.get(SECRET).await.unwrap().unwrap();
            b.store.update(SECRET, "2".into(), entry.revision).await.unwrap();
            assert_eq!(world.sealed_with().await, id);
        };
        tokio::select! {
            () = async { tokio::join!(a.follow(), b.follow()); } => unreachable!(),
            () = work => {}
        }
        let late = world.server("c", &old).await;
        assert_eq!(word(&late).await, "2");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_see_the_ring_seals_nothing() {
        let world = World::new();
        let old = Keys::generate().unwrap();
        let (a, b) = (world.server("a", &old).await, world.server("b", &old).await);
        a.store.create(SECRET, "1".into()).await.unwrap();
        a.rotate().await.unwrap();
        // It runs and never looked: it reads what the other has sealed, and writes nothing with the old key.
        assert_eq!(word(&b).await, "1");
        let entry = b.store.get(SECRET).await.unwrap().unwrap();
        let refused = b.store.update(SECRET, "2".into(), entry.revision).await;
        assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
        b.store.create("/registry/core/configmaps/default/m", "x".into()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_rotation_that_was_cut_off_is_finished_by_a_server_or_by_the_next_command() {
        let world = World::new();
        let old = Keys::generate().unwrap();
        let a = world.server("a", &old).await;
        a.store.create(SECRET, "1".into()).await.unwrap();
        for by_a_server in [true, false] {
            let (before, _) = a.ring.read().await.unwrap().unwrap();
            let cut = tokio::time::timeout(SETTLED / 2, a.rotate()).await;
            assert!(cut.is_err());
            let (keys, _) = a.ring.read().await.unwrap().unwrap();
            assert!(keys.is_rotating() && world.sealed_with().await == before.id());
            if by_a_server {
                let b = world.server("b", &old).await;
                let _ = tokio::time::timeout(ABANDONED * 3, b.follow()).await;
            } else {
                assert_eq!(a.rotate().await.unwrap(), (keys.id(), 1));
            }
            let (after, _) = a.ring.read().await.unwrap().unwrap();
            assert!(after == keys.newest() && world.sealed_with().await == keys.id(), "{by_a_server}");
            assert_eq!(word(&a).await, "1");
        }
    }

    #[tokio::test]
    async fn only_servers_of_the_cluster_can_read_the_ring() {
        let world = World::new();
        let own = Keys::generate().unwrap();
        world.server("a", &own).await;
        let stored = world.below.get(RING).await.unwrap().unwrap().value;
        let line = own.print();
        let secret = line.split_whitespace().nth(1).unwrap();
        assert!(!stored.windows(secret.len()).any(|window| window == secret.as_bytes()));
        let other = Authority::open(&world.folder("other"), jiff::Timestamp::now()).unwrap();
        let refused = Ring::new(world.below.clone(), &other).unwrap().read().await;
        assert!(matches!(refused, Err(Error::Unreadable { .. })));
    }
}
