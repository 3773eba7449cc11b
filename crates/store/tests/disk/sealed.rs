//! What is confidential is on the disk only in its envelope.

use crate::beside;
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use store::sealed::{Key, Resealed, SealedStore, sealed_with};
use store::sqlite::SqliteStore;
use store::{Error, EventKind, Store};

const WORD: &[u8] = b"correct horse battery staple";

fn confidential(key: &str) -> bool {
    key.starts_with("s/")
}

fn key(id: u32) -> Key {
    Key::new(id, &[id as u8; 32]).unwrap()
}

fn sealed(path: &Path, keys: &[Key]) -> (Arc<SqliteStore>, SealedStore) {
    let below = Arc::new(SqliteStore::open(path).unwrap());
    (below.clone(), SealedStore::new(below, confidential, keys).unwrap())
}

/// Whether the word stands in the file, its log, or anything beside it.
fn is_on_disk(path: &Path) -> bool {
    let folder = std::fs::read_dir(path.parent().unwrap()).unwrap();
    let files = folder.map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    files.into_iter().any(|bytes| bytes.windows(WORD.len()).any(|window| window == WORD))
}

#[tokio::test]
async fn a_confidential_value_is_nowhere_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (below, store) = sealed(&path, &[key(1)]);
    let first = store.create("s/a", Bytes::from_static(WORD)).await.unwrap();
    store.update("s/a", [WORD, b"!"].concat().into(), first).await.unwrap();
    assert!(beside(&path, "-wal").exists() && !is_on_disk(&path));
    assert_eq!(&store.get("s/a").await.unwrap().unwrap().value[..], [WORD, b"!"].concat());
    drop((below, store));
    assert!(!is_on_disk(&path));
    let (_below, store) = sealed(&path, &[key(1)]);
    assert_eq!(&store.list("s/").await.unwrap().entries[0].value[..], [WORD, b"!"].concat());
    store.create("p/a", Bytes::from_static(WORD)).await.unwrap();
    assert!(is_on_disk(&path), "the test sees what is not confidential");
}

#[tokio::test]
async fn a_store_from_before_is_sealed_and_scrubbed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let before = SqliteStore::open(&path).unwrap();
    for name in ["s/a", "s/b", "s/gone"] {
        let revision = before.create(name, Bytes::from_static(WORD)).await.unwrap();
        if name == "s/gone" {
            before.delete(name, revision).await.unwrap();
        }
    }
    drop(before);
    assert!(is_on_disk(&path));
    let (below, store) = sealed(&path, &[key(1)]);
    assert_eq!(store.get("s/a").await.unwrap().unwrap().value, WORD, "it is read before it is sealed");
    assert_eq!(store.reseal().await.unwrap(), Resealed { clear: 2, older: 0 });
    let current = store.current().await.unwrap();
    drop((below, store));
    SqliteStore::scrub(&path).unwrap();
    assert!(!is_on_disk(&path));
    let (_below, store) = sealed(&path, &[key(1)]);
    assert!(store.current().await.unwrap() >= current, "revisions never come back");
    assert_eq!(store.get("s/b").await.unwrap().unwrap().value, WORD);
    assert_eq!(store.reseal().await.unwrap(), Resealed::default());
}

#[tokio::test]
async fn a_rotation_can_be_cut_off_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (below, store) = sealed(&path, &[key(1)]);
    let mut watch = store.watch("s/", store.current().await.unwrap()).await.unwrap();
    store.create("s/a", "1".into()).await.unwrap();
    store.create("s/b", "2".into()).await.unwrap();
    store.seal_with(key(2));
    let revision = store.create("s/c", "3".into()).await.unwrap();
    drop((below.clone(), store));
    // Cut off: some are sealed with the one key, some with the other. The next start knows both.
    drop(below);
    let (below, store) = sealed(&path, &[key(2), key(1)]);
    assert_eq!(store.list("s/").await.unwrap().entries.len(), 3);
    assert_eq!(store.reseal().await.unwrap(), Resealed { clear: 0, older: 2 });
    assert_eq!(store.get("s/c").await.unwrap().unwrap().revision, revision, "what is new is left alone");
    let with = below.list("s/").await.unwrap().entries;
    assert!(with.iter().all(|entry| sealed_with(&entry.value) == Some(2)));
    drop((below, store));
    let (_below, store) = sealed(&path, &[key(2)]);
    assert_eq!(store.get("s/a").await.unwrap().unwrap().value, "1");
    // The watch of the first process has seen every value in the clear.
    let mut seen = Vec::new();
    while let Some(Ok(batch)) = watch.next().await {
        for event in batch.events {
            if let EventKind::Put { value, .. } = event.kind {
                seen.push(value);
            }
        }
    }
    assert_eq!(seen, ["1", "2", "3"]);
}

#[tokio::test]
async fn what_was_changed_moved_or_sealed_with_a_lost_key_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (below, store) = sealed(&path, &[key(1)]);
    store.create("s/a", Bytes::from_static(WORD)).await.unwrap();
    let envelope = below.get("s/a").await.unwrap().unwrap().value;
    below.create("s/moved", envelope.clone()).await.unwrap();
    below.create("s/cut", envelope.slice(..12)).await.unwrap();
    let mut changed = envelope.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    below.create("s/changed", changed.into()).await.unwrap();
    let other = SealedStore::new(below, confidential, &[key(2)]).unwrap();
    let check = async |store: &SealedStore, name: &str, why: &str| {
        let expected = Error::Unreadable { key: name.into(), reason: why.into() };
        assert_eq!(store.get(name).await, Err(expected));
    };
    check(&store, "s/moved", "its sealed value was changed or moved here").await;
    check(&store, "s/changed", "its sealed value was changed or moved here").await;
    check(&store, "s/cut", "its sealed value is cut off").await;
    check(&other, "s/a", "it is sealed with key 00000001, which is not in the key file").await;
}
