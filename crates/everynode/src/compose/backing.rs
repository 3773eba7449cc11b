//! Which store is behind the server, and that it belongs to this cluster.
//!
//! Several servers on one etcd must be one cluster: the same authority, so that whoever one of them lets in the others
//! do too. The first server leaves its fingerprint in the store; another with a different one is refused. The encryption
//! keys are in the store, too ([`super::key_ring`]). A cluster from before has only the name of its key there: the first server
//! with that key puts it in.

use super::key_ring::{Ring, Shared};
use super::sealing::{self, Sealed};
use crate::config;
use crate::pki::Authority;
use crate::pki::encryption::KeyFile;
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::sync::Arc;
use store::etcd::{EtcdStore, Login, Options, Tls};
use store::{Error, Store};

/// Beside the objects: whose cluster this is.
const AUTHORITY: &str = "/everynode/authority";
/// Beside the objects: the name of the key that Secrets were encrypted with before there was a ring.
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
    Etcd(EtcdStore, Shared),
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
        let below: Arc<dyn Store> = Arc::new(etcd.clone());
        let ring = Ring::new(below.clone(), authority)?;
        let file = KeyFile::new(keys);
        if let Some((in_ring, _)) = ring.read().await? {
            crate::pki::private_dir(keys)?;
            let own = match file.read()? {
                Some(own) => own,
                None => {
                    file.write(&in_ring)?;
                    in_ring
                }
            };
            return Ok(Backing::Etcd(etcd, Shared::open(below, ring, keys, &own).await?));
        }
        let (_, _, own_keys) = sealing::seal(below.clone(), keys).await?;
        let names: Vec<String> = own_keys.keys().iter().map(|key| format!("{:08x}", key.id())).collect();
        let own = names.first().map(String::as_str).unwrap_or_default();
        let found = left_by_the_first(&etcd, KEY, own).await?;
        if !names.contains(&found) {
            bail!(
                "{}: lacks the key {found}, which encrypts Secrets in this store: {CURE}",
                file.path().display()
            );
        }
        Ok(Backing::Etcd(etcd, Shared::open(below, ring, keys, &own_keys).await?))
    }
}

impl Backing {
    /// The store as the server uses it.
    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Embedded(sealed) => Arc::new(sealed.store.clone()),
            Self::Etcd(_, shared) => Arc::new(shared.store.clone()),
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

    /// Follows a rotation of the encryption key. Never ends.
    pub async fn follow(&self) {
        match self {
            Self::Embedded(sealed) => sealed.follow().await,
            Self::Etcd(_, shared) => shared.follow().await,
        }
    }
}

/// `everynode rotate-encryption-key` for the servers on one etcd; `common` is the folder with their authority. Answers what to
/// tell.
pub async fn rotate(config: &config::Store, common: &Path) -> Result<String> {
    let authority = Authority::find(common)?;
    let authority = authority.with_context(|| format!("{}: holds no authority", common.display()))?;
    let config::Store::Etcd(etcd) = config else { bail!("name the etcd of the servers with --store") };
    let store = EtcdStore::open(options(etcd)?).await?;
    if store.get(AUTHORITY).await?.is_none() {
        bail!("no server has kept its objects in this store yet");
    }
    let opened = Opened::Etcd(store);
    let Backing::Etcd(_, shared) = opened.of(&authority, common).await? else { bail!("not an etcd") };
    let (key, secrets) = shared.rotate().await?;
    Ok(format!("encryption key {key} is in use by all servers; {secrets} Secrets were encrypted anew"))
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
