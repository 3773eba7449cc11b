//! Which store is behind the server, and that it belongs to this cluster.
//!
//! Several servers on one etcd must be one cluster: the same authority, so that whoever one of them lets in the others
//! do too, and the same encryption key, so that each can read what the others write. The first server leaves the
//! authority's fingerprint and the key's name in the store; another with different ones is refused.

use super::sealing::{self, Sealed};
use crate::config;
use crate::pki::Authority;
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::sync::Arc;
use store::etcd::{EtcdStore, Login, Options, Tls};
use store::sealed::SealedStore;
use store::{Error, Store};

/// Beside the objects: whose cluster this is.
const AUTHORITY: &str = "/everynode/authority";
/// Beside the objects: the name of the key that Secrets are encrypted with.
const KEY: &str = "/everynode/encryption-key";
/// How another server gets what it lacks.
const CURE: &str = "copy the pki folder of one of its servers and name the copy with --pki-dir, or choose another \
                    --store-prefix";

/// A store that is open, and perhaps another cluster's.
pub enum Opened {
    /// In the data folder, for this server alone.
    Embedded(Sealed),
    /// Shared with other servers.
    Etcd(EtcdStore),
}

/// A store of this cluster.
pub enum Backing {
    /// See [`Opened::Embedded`].
    Embedded(Sealed),
    /// See [`Opened::Etcd`]; with what seals it.
    Etcd(EtcdStore, SealedStore),
}

/// Opens what was asked for.
pub async fn open(config: &config::Store, data_dir: &Path) -> Result<Opened> {
    match config {
        config::Store::Embedded => Ok(Opened::Embedded(sealing::open(data_dir).await?)),
        config::Store::Etcd(etcd) => Ok(Opened::Etcd(EtcdStore::open(options(etcd)?).await?)),
    }
}

impl Opened {
    /// Refuses a shared store of a cluster with another authority or key.
    pub async fn of(self, authority: &Authority, keys: &Path) -> Result<Backing> {
        let etcd = match self {
            Self::Embedded(sealed) => return Ok(Backing::Embedded(sealed)),
            Self::Etcd(etcd) => etcd,
        };
        let own = authority.fingerprint();
        let found = left_by_the_first(&etcd, AUTHORITY, &own).await?;
        if found != own {
            bail!(
                "the store belongs to a cluster with another certificate authority ({found}, ours is {own}): {CURE}"
            );
        }
        let (sealed, file, keys) = sealing::seal(Arc::new(etcd.clone()), keys).await?;
        let names: Vec<String> = keys.keys().iter().map(|key| format!("{:08x}", key.id())).collect();
        let own = names.first().map(String::as_str).unwrap_or_default();
        let found = left_by_the_first(&etcd, KEY, own).await?;
        if !names.contains(&found) {
            bail!(
                "{}: lacks the key {found}, which encrypts Secrets in this store: {CURE}",
                file.path().display()
            );
        }
        Ok(Backing::Etcd(etcd, sealed))
    }
}

impl Backing {
    /// The store as the server uses it.
    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Embedded(sealed) => Arc::new(sealed.store.clone()),
            Self::Etcd(_, store) => Arc::new(store.clone()),
        }
    }

    /// Whether other servers may be on it.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Etcd(..))
    }

    /// Waits until it can go on no more, and says why.
    pub async fn stopped(&self) -> Error {
        match self {
            Self::Embedded(sealed) => sealed.below.stopped().await,
            Self::Etcd(below, _) => below.stopped().await,
        }
    }

    /// Follows a rotation of the encryption key; a shared store has none yet. Never ends.
    pub async fn follow(&self) {
        match self {
            Self::Embedded(sealed) => sealed.follow().await,
            Self::Etcd(..) => std::future::pending().await,
        }
    }
}

/// What stands at a key beside the objects; our own word, if we are the first.
async fn left_by_the_first(store: &EtcdStore, key: &str, own: &str) -> Result<String> {
    let found = match store.get(key).await? {
        Some(entry) => entry,
        None => {
            match store.create(key, own.to_string().into()).await {
                // Somebody was faster, or the answer is lost: what stands there decides.
                Ok(_) | Err(Error::Exists { .. } | Error::Unknown { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            store.get(key).await?.with_context(|| format!("the store did not keep {key}"))?
        }
    };
    Ok(String::from_utf8_lossy(&found.value).into_owned())
}

fn options(etcd: &config::Etcd) -> Result<Options> {
    let read = |path: &Path| -> Result<String> {
        std::fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))
    };
    let identity = etcd.identity.as_ref().map(|(certificate, key)| Ok((read(certificate)?, read(key)?)));
    let identity: Result<Option<(String, String)>> = identity.transpose();
    let identity = identity?;
    let tls = etcd.ca.as_ref().map(|ca| Ok(Tls { ca_pem: read(ca)?, identity }));
    let tls: Result<Option<Tls>> = tls.transpose();
    let login = etcd.login.as_ref().map(|(user, file)| {
        let password = read(file)?.trim_end_matches(['\r', '\n']).to_string();
        Ok(Login { user: user.clone(), password })
    });
    let login: Result<Option<Login>> = login.transpose();
    Ok(Options { endpoints: etcd.endpoints.clone(), prefix: etcd.prefix.clone(), tls: tls?, login: login? })
}
