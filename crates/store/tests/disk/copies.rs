//! Copies: made beside a running writer they are a state that once was; restored they are ahead of all that was.

use crate::{beside, state};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use store::sqlite::{AHEAD, OpenError, SqliteStore, copy, read, restore};
use store::{Error, Event, Revision, Store};

async fn events(store: &SqliteStore, after: Revision) -> Vec<Event> {
    let (mut watch, end) = (store.watch("", after).await.unwrap(), store.current().await.unwrap());
    let mut events = Vec::new();
    while watch.up_to() < end {
        events.extend(watch.next().await.unwrap().unwrap().events);
    }
    events
}

async fn filled(file: &Path) -> (SqliteStore, Revision) {
    let store = SqliteStore::open(file).unwrap();
    let a = store.create("a", "1".into()).await.unwrap();
    let b = store.create("b", "1".into()).await.unwrap();
    let a = store.update("a", "2".into(), a).await.unwrap();
    store.compact(a).await.unwrap();
    let floor = a - 1;
    store.delete("b", b).await.unwrap();
    let a = store.update("a", "3".into(), a).await.unwrap();
    store.create("c", "".into()).await.unwrap();
    store.update("a", "4".into(), a).await.unwrap();
    (store, floor)
}

#[tokio::test]
async fn a_copy_is_the_same_store_also_its_history() {
    let folder = tempfile::tempdir().unwrap();
    let (file, backup) = (folder.path().join("store.db"), folder.path().join("backup.db"));
    let (store, floor) = filled(&file).await;
    let revision = store.backup(&backup).unwrap();
    assert_eq!(store.current().await, Ok(revision));
    assert_eq!(std::fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    let again = store.backup(&backup).unwrap_err();
    assert!(
        again.to_string().starts_with(&*backup.to_string_lossy()),
        "a file that is there is kept: {again}"
    );
    let copied = SqliteStore::open(&backup).unwrap();
    assert_eq!(state(&copied).await, state(&store).await);
    assert_eq!(copied.current().await, Ok(revision));
    assert_eq!(events(&copied, floor).await, events(&store, floor).await);
    assert!(matches!(copied.watch("", floor - 1).await, Err(Error::Compacted { oldest }) if oldest == floor));
    copied.create("d", "v".into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_busy_store_is_a_state_that_once_was() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&folder.path().join("store.db")).unwrap());
    let end = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (store, end) = (store.clone(), end.clone());
        async move {
            // Of two keys the first is always as new as the second, or one write ahead.
            let mut revisions = [store.create("x", "0".into()).await.unwrap(), 0];
            revisions[1] = store.create("y", "0".into()).await.unwrap();
            let mut round = 0u64;
            while !end.load(Ordering::Relaxed) {
                round += 1;
                for (key, revision) in ["x", "y"].into_iter().zip(&mut revisions) {
                    *revision = store.update(key, round.to_string().into(), *revision).await.unwrap();
                }
            }
            round
        }
    });
    let mut last = 0;
    for number in 0..20 {
        let backup = folder.path().join(format!("backup{number}.db"));
        let source = store.clone();
        let target = backup.clone();
        let revision = tokio::task::spawn_blocking(move || source.backup(&target)).await.unwrap().unwrap();
        let copied = SqliteStore::open(&backup).unwrap();
        assert_eq!(copied.current().await, Ok(revision));
        let state = state(&copied).await;
        let [x, y] = ["x", "y"].map(|key| state.get(key).map(|(value, _)| value.clone()));
        if let (Some(x), Some(y)) = (x, y) {
            let [x, y]: [u64; 2] = [x, y].map(|value| String::from_utf8_lossy(&value).parse().unwrap());
            assert!(x == y || x == y + 1, "{x} {y}");
            assert!(x >= last, "later copies are later");
            last = x;
        }
    }
    end.store(true, Ordering::Relaxed);
    assert!(writer.await.unwrap() > 20, "the writer was held up");
}

#[tokio::test]
async fn a_restored_store_is_ahead_of_everything_that_a_client_has_seen() {
    let folder = tempfile::tempdir().unwrap();
    let [file, backup, new] = ["store.db", "backup.db", "new.db"].map(|name| folder.path().join(name));
    let (store, _) = filled(&file).await;
    let made_at = store.backup(&backup).unwrap();
    let bytes = std::fs::read(&backup).unwrap();
    let before = state(&store).await;
    let a = before.get("a").unwrap().1;
    // What happens after the backup is lost with the disk, but a client has seen it.
    let lost = store.update("a", "lost".into(), a).await.unwrap();
    let begins = restore(&backup, &new).unwrap();
    assert_eq!(begins, made_at + AHEAD);
    assert!(std::fs::read(&backup).unwrap() == bytes, "the copy is left as it is");
    let restored = SqliteStore::open(&new).unwrap();
    assert_eq!(state(&restored).await, before);
    assert_eq!(restored.list("").await.unwrap().revision, begins);
    for seen in [a, made_at, lost, begins - 1] {
        assert!(matches!(restored.watch("", seen).await, Err(Error::Compacted { .. })), "{seen}");
    }
    assert!(matches!(restored.update("a", "x".into(), lost).await, Err(Error::Conflict { .. })));
    assert_eq!(restored.update("a", "x".into(), a).await, Ok(begins + 1));
    drop(restored);
    let restored = SqliteStore::open(&new).unwrap();
    assert_eq!(restored.current().await, Ok(begins + 1));
    assert!(restore(&backup, &new).is_err(), "a store that is there is kept");
}

#[tokio::test]
async fn reading_a_store_changes_nothing_and_sees_also_what_a_crash_left_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (file, crashed) = (folder.path().join("store.db"), folder.path().join("crashed.db"));
    let (store, floor) = filled(&file).await;
    let locked = read(&file).unwrap_err();
    assert!(matches!(&locked, OpenError::Locked { file: named } if *named == file), "{locked}");
    for suffix in ["", "-wal"] {
        std::fs::copy(beside(&file, suffix), beside(&crashed, suffix)).unwrap();
    }
    let files = || {
        let mut found: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap()).collect();
        found.sort_by_key(|entry| entry.file_name());
        found
            .iter()
            .map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap()))
            .collect::<Vec<_>>()
    };
    let before = files();
    let history = read(&crashed).unwrap();
    assert_eq!((history.current(), history.floor()), (store.current().await.unwrap(), floor));
    assert_eq!(history.entries().count(), 2);
    assert!(files() == before, "something was changed");
    let copied = folder.path().join("copied.db");
    assert_eq!(copy(&crashed, &copied).unwrap(), history.current());
    let mut bytes = std::fs::read(beside(&crashed, "-wal")).unwrap();
    bytes[5_000] ^= 1;
    std::fs::write(beside(&crashed, "-wal"), bytes).unwrap();
    let damaged = read(&crashed).unwrap_err();
    assert!(
        matches!(&damaged, OpenError::Damaged { file, .. } if *file == beside(&crashed, "-wal")),
        "{damaged}"
    );
    let nothing = read(&folder.path().join("nothing.db")).unwrap_err();
    assert!(matches!(nothing, OpenError::NoFile { .. }), "{nothing}");
}
