//! Torn, cut and flipped bytes: what was flushed is there, or the file is refused. Never less without a word.

use crate::{Random, State, beside, state};
use bytes::Bytes;
use std::path::{Path, PathBuf};
use store::sqlite::{OpenError, SqliteStore};
use store::{EMPTY, Revision, Store};
use tempfile::TempDir;

/// Writes of one client after each other: one transaction each.
const WRITES: usize = 60;

/// A store that was never closed: its file, its log, and the state after each write.
struct Crashed {
    folder: TempDir,
    states: Vec<State>,
}

impl Crashed {
    async fn make() -> Self {
        let live = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&live.path().join("store.db")).unwrap();
        let mut states = vec![State::new()];
        for step in 0..WRITES {
            write(&store, step).await;
            states.push(state(&store).await);
        }
        for name in ["store.db", "store.db-wal"] {
            std::fs::copy(live.path().join(name), folder.path().join(name)).unwrap();
        }
        Self { folder, states }
    }

    /// The same files again, with a log of other bytes.
    fn with_log(&self, log: &[u8]) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store.db");
        std::fs::copy(self.folder.path().join("store.db"), &file).unwrap();
        std::fs::write(beside(&file, "-wal"), log).unwrap();
        (folder, file)
    }

    fn log(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("store.db-wal")).unwrap()
    }

    /// The revision it opens with, after a look at the state and one more write.
    async fn opens_whole(&self, store: SqliteStore) -> Revision {
        let revision = store.current().await.unwrap();
        assert_eq!(state(&store).await, self.states[(revision - EMPTY) as usize], "half a write is visible");
        assert_eq!(store.create("later", "v".into()).await.unwrap(), revision + 1);
        revision
    }
}

async fn write(store: &SqliteStore, step: usize) {
    let key = format!("key-{}", step % 11);
    let value = Bytes::from(vec![step as u8; step * 97 % 6_000]);
    match store.get(&key).await.unwrap() {
        None => store.create(&key, value).await.unwrap(),
        Some(entry) if step.is_multiple_of(3) => store.delete(&key, entry.revision).await.unwrap(),
        Some(entry) => store.update(&key, value, entry.revision).await.unwrap(),
    };
}

#[tokio::test]
async fn a_log_cut_anywhere_gives_a_state_that_once_was() {
    let crashed = Crashed::make().await;
    let log = crashed.log();
    let mut random = Random(7);
    let mut cuts: Vec<usize> = (0..60).map(|_| random.below(log.len() as u64) as usize).collect();
    cuts.extend([0, 1, 31, 32, 33, 55, 56, 57, log.len() - 1, log.len()]);
    cuts.sort();
    let mut last = EMPTY;
    for cut in cuts {
        let (_folder, file) = crashed.with_log(&log[..cut]);
        let store = SqliteStore::open(&file).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        let revision = crashed.opens_whole(store).await;
        assert!(revision >= last, "a longer log gives no less");
        last = revision;
    }
    assert_eq!(last, EMPTY + WRITES as u64, "the whole log gives everything");
}

#[tokio::test]
async fn a_tail_of_rubbish_is_cut_and_what_was_flushed_stays() {
    let crashed = Crashed::make().await;
    for length in [1, 23, 24, 4_119, 4_120, 9_000] {
        let mut log = crashed.log();
        log.extend((0..length).map(|byte| (byte * 31 % 256) as u8));
        let (_folder, file) = crashed.with_log(&log);
        let revision = crashed.opens_whole(SqliteStore::open(&file).unwrap()).await;
        assert_eq!(revision, EMPTY + WRITES as u64);
    }
}

#[tokio::test]
async fn a_flipped_bit_in_the_log_is_refused_unless_it_looks_torn() {
    let crashed = Crashed::make().await;
    let mut random = Random(11);
    let (mut refused, rounds) = (0, 150);
    for round in 0..rounds {
        let mut log = crashed.log();
        // The header's 32 bytes in turn, then anywhere.
        let at = if round < 32 { round } else { random.below(log.len() as u64) as usize };
        log[at] ^= 1 << random.below(8);
        let (_folder, file) = crashed.with_log(&log);
        match SqliteStore::open(&file) {
            Err(OpenError::Damaged { file: named, .. }) => {
                assert_eq!(named, beside(&file, "-wal"));
                assert_eq!(std::fs::read(named).unwrap(), log, "a refused file is left as it was");
                refused += 1;
            }
            Err(other) => panic!("byte {at}: {other}"),
            Ok(store) => {
                let revision = crashed.opens_whole(store).await;
                let lost = EMPTY + WRITES as u64 - revision;
                assert!(lost <= 2, "byte {at}: {lost} flushed writes were lost without a word");
            }
        }
    }
    assert!(refused > rounds * 8 / 10, "only {refused} of {rounds} were noticed");
}

#[tokio::test]
async fn a_log_without_its_file_is_refused() {
    let crashed = Crashed::make().await;
    let (_folder, file) = crashed.with_log(&crashed.log());
    std::fs::remove_file(&file).unwrap();
    let error = SqliteStore::open(&file).err().unwrap();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn a_file_that_is_refused_keeps_its_log_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let mut bytes = closed().await.0;
    std::fs::write(&file, &bytes).unwrap();
    let store = SqliteStore::open(&file).unwrap();
    write(&store, 1).await;
    let log = std::fs::read(beside(&file, "-wal")).unwrap();
    drop(store);
    bytes.iter_mut().skip(3 * 4096).for_each(|byte| *byte ^= 0x5a);
    std::fs::write(&file, &bytes).unwrap();
    std::fs::write(beside(&file, "-wal"), &log).unwrap();
    let error = SqliteStore::open(&file).err().unwrap();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(std::fs::read(&file).unwrap() == bytes, "the file was changed");
    assert!(std::fs::read(beside(&file, "-wal")).unwrap() == log, "the log was moved into a damaged file");
}

/// A closed store with pruned rows in it, as bytes, and what it holds.
async fn closed() -> (Vec<u8>, State) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let store = SqliteStore::open(&file).unwrap();
    for step in 0..WRITES {
        write(&store, step).await;
    }
    store.compact(EMPTY + 40).await.unwrap();
    for step in WRITES..2 * WRITES {
        write(&store, step).await;
    }
    let state = state(&store).await;
    drop(store);
    assert!(!beside(&file, "-wal").exists(), "closing moves the log into the file");
    (std::fs::read(&file).unwrap(), state)
}

async fn opens_same_or_refuses(bytes: &[u8], expected: &State, what: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    std::fs::write(&file, bytes).unwrap();
    match SqliteStore::open(&file) {
        Err(error) => {
            assert!(error.to_string().contains(&*file.to_string_lossy()), "{error}");
            true
        }
        Ok(store) => {
            assert!(state(&store).await == *expected, "{what}: opened, but with another content");
            false
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_in_the_file_is_refused_or_harmless() {
    let (bytes, expected) = closed().await;
    let mut random = Random(3);
    let mut refused = 0;
    for round in 0..400 {
        let at = if round < 100 { round } else { random.below(bytes.len() as u64) as usize };
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << random.below(8);
        refused += usize::from(opens_same_or_refuses(&flipped, &expected, &format!("byte {at}")).await);
    }
    assert!(refused > 100, "only {refused} were noticed");
}

#[tokio::test]
async fn a_page_of_zeros_or_a_missing_end_is_refused_or_harmless() {
    let (bytes, expected) = closed().await;
    let pages = bytes.len() / 4096;
    let mut refused = 0;
    for page in 0..pages {
        let mut zeroed = bytes.clone();
        zeroed[page * 4096..(page + 1) * 4096].fill(0);
        refused += usize::from(opens_same_or_refuses(&zeroed, &expected, &format!("page {page}")).await);
        if page > 0 {
            let cut = &bytes[..page * 4096];
            assert!(opens_same_or_refuses(cut, &expected, &format!("cut at page {page}")).await);
        }
    }
    assert!(refused > pages / 2, "only {refused} of {pages} were noticed");
}

#[tokio::test]
async fn a_row_that_vanished_or_came_is_noticed() {
    for change in [
        "DELETE FROM log WHERE revision = (SELECT max(revision) FROM log)",
        "DELETE FROM log WHERE revision = (SELECT min(revision) FROM log)",
        "UPDATE log SET value = x'00' WHERE revision = (SELECT max(revision) FROM log)",
        "UPDATE log SET key = 'other' WHERE revision = (SELECT max(revision) FROM log)",
        "INSERT INTO log SELECT revision + 1, key, created, value, sum FROM log ORDER BY revision DESC LIMIT 1",
        "UPDATE state SET current = current - 1",
        "UPDATE state SET floor = floor + 1",
        "DELETE FROM state",
        "DROP TABLE log",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store.db");
        std::fs::write(&file, closed().await.0).unwrap();
        edit(&file, change);
        let error = SqliteStore::open(&file).err().unwrap_or_else(|| panic!("{change}: not noticed"));
        assert!(matches!(error, OpenError::Damaged { .. }), "{change}: {error}");
    }
}

fn edit(file: &Path, sql: &str) {
    rusqlite::Connection::open(file).unwrap().execute_batch(sql).unwrap();
}
