//! A closed store opens with all that it had: entries, revisions, and the window of changes.

use crate::state;
use std::path::Path;
use std::time::Duration;
use store::history::Limits;
use store::sqlite::{Options, SqliteStore};
use store::{Error, EventKind, Store};

#[tokio::test]
async fn a_reopened_store_has_everything_also_its_history() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let store = SqliteStore::open(&file).unwrap();
    let a = store.create("a", "1".into()).await.unwrap();
    let b = store.create("b", "1".into()).await.unwrap();
    let a2 = store.update("a", "2".into(), a).await.unwrap();
    let gone = store.delete("b", b).await.unwrap();
    let before = state(&store).await;
    drop(store);

    let store = SqliteStore::open(&file).unwrap();
    assert_eq!(state(&store).await, before);
    assert_eq!(store.current().await, Ok(gone), "also when the last write was a deletion");
    assert_eq!(store.get("a").await.unwrap().map(|e| (e.revision, e.created)), Some((a2, a)));
    let mut watch = store.watch("", a).await.unwrap();
    let events = watch.next().await.unwrap().unwrap().events;
    let seen: Vec<_> = events.iter().map(|e| (e.revision, &*e.key, e.previous.clone())).collect();
    assert_eq!(seen, [(b, "b", None), (a2, "a", Some("1".into())), (gone, "b", Some("1".into()))]);
    assert_eq!(events[2].kind, EventKind::Delete);
    assert!(store.create("c", "1".into()).await.unwrap() > gone);
}

#[tokio::test]
async fn pruning_keeps_the_file_small_and_a_reopened_store_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let limits = Limits {
        events: 50,
        events_kept: 10,
        age: Duration::from_secs(600),
        bytes: 1 << 20,
        bytes_read: 1 << 20,
    };
    let options = Options { limits, quota: None };
    let store = SqliteStore::open_with(&file, options).unwrap();
    let live = store.create("live", "never written again".into()).await.unwrap();
    let mut revision = store.create("busy", "0".into()).await.unwrap();
    for round in 0..2_000 {
        revision = store.update("busy", round.to_string().into(), revision).await.unwrap();
        if round % 10 == 0 {
            let short = store.create("short", "v".into()).await.unwrap();
            store.delete("short", short).await.unwrap();
        }
    }
    let (before, current) = (state(&store).await, store.current().await);
    drop(store);
    assert!(rows(&file) < 120, "{} rows stand in the file", rows(&file));

    let store = SqliteStore::open_with(&file, options).unwrap();
    assert_eq!((state(&store).await, store.current().await), (before, current));
    assert_eq!(store.get("live").await.unwrap().map(|e| e.created), Some(live));
    assert!(matches!(store.watch("", live).await, Err(Error::Compacted { .. })));
}

#[tokio::test]
async fn compaction_is_carried_out_while_the_writer_is_idle() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let store = SqliteStore::open(&file).unwrap();
    let mut revision = store.create("k", "0".into()).await.unwrap();
    for _ in 0..1_500 {
        revision = store.update("k", "v".into(), revision).await.unwrap();
    }
    store.compact(revision).await.unwrap();
    // Three steps of pruning, some hundred milliseconds of idleness each; then the floor is on the disk.
    let copy = folder.path().join("copy.db");
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        std::fs::copy(&file, &copy).unwrap();
        std::fs::copy(crate::beside(&file, "-wal"), crate::beside(&copy, "-wal")).unwrap();
        if rows(&copy) <= 2 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{} rows are left", rows(&copy));
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(crate::beside(&copy, suffix));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(store.get("k").await.unwrap().map(|e| e.revision), Some(revision));
}

#[tokio::test]
async fn a_watch_ends_when_its_store_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("store.db")).unwrap();
    let mut watch = store.watch("", 1).await.unwrap();
    drop(store);
    assert!(watch.next().await.is_none());
}

fn rows(file: &Path) -> i64 {
    let connection = rusqlite::Connection::open(file).unwrap();
    connection.query_row("SELECT count(*) FROM log", [], |row| row.get(0)).unwrap()
}
