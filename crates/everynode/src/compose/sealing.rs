//! Secrets lie encrypted on the disk: the store with its keys, and the rotation of these.
//!
//! 1. The first start makes a key. A store that holds Secrets in the clear, from an older version, is encrypted before
//!    anything else, and its file is written anew so that no trace of them stays in it.
//! 2. `everynode rotate-encryption-key` puts a new key first. A running server sees it ([`follow`]), writes every Secret anew,
//!    and then takes the older keys out of the file; without a server the command does the same by itself. What was cut off
//!    is finished by the next start.
//! 3. A store with sealed values and no key file is refused: a new key could open none of them.

use crate::pki::encryption::{KeyFile, Keys};
use anyhow::{Context as _, Result, bail};
use apiserver::encode::is_confidential;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use store::sealed::{SealedStore, sealed_with};
use store::sqlite::{OpenError, SqliteStore};

/// How often a running server looks into the key file, of a hundred bytes.
const LOOK: Duration = Duration::from_secs(1);
/// How long the command waits for a running server: ten thousand Secrets take some seconds.
const PATIENCE: Duration = Duration::from_secs(300);

/// An open store and what seals it.
pub struct Sealed {
    /// The store below.
    pub below: Arc<SqliteStore>,
    /// What the server uses.
    pub store: SealedStore,
    file: KeyFile,
    keys: Keys,
}

/// Opens the embedded store of a data folder; afterwards nothing confidential lies in it in the clear.
pub async fn open(data_dir: &Path) -> Result<Sealed> {
    let path = data_dir.join("server").join("store.db");
    let first = open_once(data_dir, &path).await?;
    // Nobody writes yet. A server starts on a full disk, too, if there is nothing to seal.
    let clear = match !first.keys.is_rotating() && first.store.is_sealed().await? {
        true => 0,
        false => first.store.reseal().await.context("the Secrets cannot be encrypted")?.clear,
    };
    let sealed = match clear {
        0 => first,
        clear => {
            drop(first);
            SqliteStore::scrub(&path)?;
            tracing::info!(secrets = clear, "Secrets of an older version were encrypted on the disk");
            open_once(data_dir, &path).await?
        }
    };
    if sealed.keys.is_rotating() {
        sealed.file.write(&sealed.keys.newest())?;
    }
    Ok(Sealed { keys: sealed.keys.newest(), ..sealed })
}

async fn open_once(data_dir: &Path, path: &Path) -> Result<Sealed> {
    crate::pki::private_dir(&data_dir.join("server"))?;
    let below = Arc::new(SqliteStore::open(path)?);
    let (store, file, keys) = seal(below.clone(), &data_dir.join("pki")).await?;
    Ok(Sealed { below, store, file, keys })
}

/// Any store with the keys of a folder, which are made where nothing is sealed yet.
pub async fn seal(below: Arc<dyn Store>, dir: &Path) -> Result<(SealedStore, KeyFile, Keys)> {
    crate::pki::private_dir(dir)?;
    let file = KeyFile::new(dir);
    let keys = match file.read()? {
        Some(keys) => keys,
        None => {
            let entries = below.list("").await?.entries;
            if let Some(id) = entries.iter().find_map(|entry| sealed_with(&entry.value)) {
                bail!(
                    "{}: is missing, and Secrets are encrypted with key {id:08x}; bring it back from a backup",
                    file.path().display()
                );
            }
            let keys = Keys::generate()?;
            file.write(&keys)?;
            keys
        }
    };
    let sealed = SealedStore::new(below, is_confidential, &keys.keys());
    let store = sealed.with_context(|| format!("{}: holds no key", file.path().display()))?;
    Ok((store, file, keys))
}

impl Sealed {
    /// Follows the key file while the server runs. Never ends; a failure is told and tried again when the file changes.
    pub async fn follow(&self) {
        let mut known = self.keys.clone();
        loop {
            tokio::time::sleep(LOOK).await;
            let found = match self.file.read() {
                Ok(Some(found)) if found != known => found,
                Ok(_) => continue,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the key file cannot be read");
                    tokio::time::sleep(LOOK * 60).await;
                    continue;
                }
            };
            known = match self.rotate(&found).await {
                Ok(()) => found.newest(),
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "the encryption key was not rotated");
                    found
                }
            };
        }
    }

    /// Seals everything with the first of these keys, then takes the others out of the file.
    async fn rotate(&self, keys: &Keys) -> Result<()> {
        // The oldest first, so that the newest is the one that seals.
        keys.keys().into_iter().rev().for_each(|key| self.store.seal_with(key));
        let done = self.store.reseal().await?;
        self.file.write(&keys.newest())?;
        tracing::info!(
            key = keys.id(),
            secrets = done.older + done.clear,
            "Secrets have a new encryption key"
        );
        Ok(())
    }
}

/// `everynode rotate-encryption-key`. Answers what to tell.
pub async fn rotate(data_dir: &Path) -> Result<String> {
    let file = KeyFile::new(&data_dir.join("pki"));
    let Some(old) = file.read()? else {
        bail!("{}: there is no key yet; start a server first", file.path().display());
    };
    // A rotation that was cut off is finished, not begun anew.
    let keys = if old.is_rotating() { old } else { Keys::generate()?.before(&old) };
    file.write(&keys)?;
    let path = data_dir.join("server").join("store.db");
    match SqliteStore::open(&path) {
        Ok(store) => {
            drop(store);
            drop(open(data_dir).await?);
            // What the old key sealed goes from the file, too.
            SqliteStore::scrub(&path)?;
            Ok(format!("encryption key {} is in use; no server was running", keys.id()))
        }
        Err(OpenError::Locked { .. }) => {
            let done = async {
                while file.read()?.is_some_and(|found| found.is_rotating()) {
                    tokio::time::sleep(LOOK / 10).await;
                }
                anyhow::Ok(())
            };
            tokio::time::timeout(PATIENCE, done).await.with_context(|| {
                format!(
                    "the running server has not taken the new key within {} s; its log says why",
                    PATIENCE.as_secs()
                )
            })??;
            Ok(format!("encryption key {} is in use by the running server", keys.id()))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "/registry/core/secrets/default/s";
    const WORD: &[u8] = b"correct horse battery staple";

    fn is_on_disk(data_dir: &Path) -> bool {
        let folder = std::fs::read_dir(data_dir.join("server")).unwrap();
        let files = folder.map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        files.into_iter().any(|bytes| bytes.windows(WORD.len()).any(|window| window == WORD))
    }

    async fn word(sealed: &Sealed) -> Vec<u8> {
        sealed.store.get(KEY).await.unwrap().unwrap().value.to_vec()
    }

    #[tokio::test]
    async fn a_folder_of_an_older_version_is_encrypted_at_its_first_start() {
        let dir = tempfile::tempdir().unwrap();
        crate::pki::private_dir(&dir.path().join("server")).unwrap();
        let old = SqliteStore::open(&dir.path().join("server/store.db")).unwrap();
        old.create(KEY, WORD.into()).await.unwrap();
        drop(old);
        assert!(is_on_disk(dir.path()));
        let sealed = open(dir.path()).await.unwrap();
        assert!(!is_on_disk(dir.path()));
        assert_eq!(word(&sealed).await, WORD);
    }

    #[tokio::test]
    async fn without_its_key_file_a_store_is_refused_and_no_key_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = open(dir.path()).await.unwrap();
        sealed.store.create(KEY, WORD.into()).await.unwrap();
        drop(sealed);
        let file = dir.path().join("pki/encryption-keys");
        std::fs::rename(&file, dir.path().join("backup")).unwrap();
        let error = open(dir.path()).await.err().unwrap().to_string();
        assert!(error.contains("encryption-keys: is missing") && error.contains("backup"), "{error}");
        assert!(!file.exists());
    }

    #[tokio::test]
    async fn a_key_is_rotated_with_and_without_a_server() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = open(dir.path()).await.unwrap();
        sealed.store.create(KEY, WORD.into()).await.unwrap();
        let id = async |sealed: &Sealed| {
            sealed_with(&sealed.below.get(KEY).await.unwrap().unwrap().value).unwrap()
        };
        let first = id(&sealed).await;
        tokio::select! {
            () = sealed.follow() => unreachable!(),
            told = rotate(dir.path()) => assert!(told.unwrap().ends_with("by the running server")),
        }
        let second = id(&sealed).await;
        assert_ne!(first, second);
        assert_eq!(word(&sealed).await, WORD);
        drop(sealed);
        assert!(rotate(dir.path()).await.unwrap().ends_with("no server was running"));
        let sealed = open(dir.path()).await.unwrap();
        assert_ne!(id(&sealed).await, second);
        assert_eq!(word(&sealed).await, WORD);
        assert!(!is_on_disk(dir.path()));
    }

    #[tokio::test]
    async fn a_rotation_that_was_cut_off_is_finished_by_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = open(dir.path()).await.unwrap();
        sealed.store.create(KEY, WORD.into()).await.unwrap();
        let (file, old) = (sealed.file.clone(), sealed.keys.clone());
        drop(sealed);
        let keys = Keys::generate().unwrap().before(&old);
        file.write(&keys).unwrap();
        let sealed = open(dir.path()).await.unwrap();
        assert_eq!(word(&sealed).await, WORD);
        assert!(file.read().unwrap().unwrap() == keys.newest());
        let with = sealed_with(&sealed.below.get(KEY).await.unwrap().unwrap().value).unwrap();
        assert_eq!(format!("{with:08x}"), keys.id());
    }
}
