//! What the store says when it cannot: each text names the file and what to do, and nothing was changed.

use crate::{beside, child_command, child_file, state};
use bytes::Bytes;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use store::sqlite::{OpenError, Options, SqliteStore};
use store::{Error, Store};

fn refused(file: &Path) -> OpenError {
    SqliteStore::open(file).err().expect("it should not open")
}

/// The file's name comes first, then what to do.
fn check_text(error: &impl std::fmt::Display, file: &Path, advice: &str) {
    let text = error.to_string();
    assert!(text.starts_with(&*file.to_string_lossy()) && text.contains(advice), "{text}");
}

#[tokio::test]
async fn two_servers_cannot_open_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let first = SqliteStore::open(&file).unwrap();
    check_text(&refused(&file), &file, "in use by another server: stop that one");
    let other_process = output(child_command("refusal::child_that_opens", &file));
    assert!(other_process.contains("in use by another server"), "{other_process}");
    first.create("k", "v".into()).await.unwrap();
    drop(first);
    let second = SqliteStore::open(&file).unwrap();
    assert_eq!(state(&second).await.len(), 1);
}

#[test]
fn only_the_owner_may_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let _store = SqliteStore::open(&file).unwrap();
    for suffix in ["", "-wal", "-lock"] {
        let mode = std::fs::metadata(beside(&file, suffix)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{suffix}");
    }
}

#[test]
fn a_missing_folder_is_named() {
    let file = Path::new("/nowhere/at/all/store.db");
    check_text(&refused(file), file, "folder does not exist: create it");
}

#[test]
fn a_file_of_another_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "dear diary, ".repeat(500)).unwrap();
    check_text(&refused(&text), &text, "not a store of everynode");
    assert_eq!(std::fs::read_to_string(&text).unwrap(), "dear diary, ".repeat(500));
    let other = folder.path().join("other.db");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
    check_text(&refused(&other), &other, "not a store of everynode");
}

#[test]
fn another_format_is_refused_by_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    drop(SqliteStore::open(&file).unwrap());
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.execute_batch("UPDATE format SET version = 7; DROP TABLE log").unwrap();
    drop(connection);
    check_text(&refused(&file), &file, "format 7, this version reads format 1");
}

#[tokio::test]
async fn beyond_its_quota_the_store_says_so_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let options = Options { quota: Some(256 << 10), ..Options::default() };
    let store = SqliteStore::open_with(&file, options).unwrap();
    let value = Bytes::from(vec![7; 20_000]);
    let mut written = Vec::new();
    let full = loop {
        match store.create(&format!("k{}", written.len()), value.clone()).await {
            Ok(revision) => written.push(revision),
            Err(error) => break error,
        }
    };
    assert_eq!(full, Error::Full { file: file.clone() });
    check_text(&full, &file, "free some space");
    let before = state(&store).await;
    assert_eq!(before.len(), written.len(), "nothing of the refused write is visible");
    assert_eq!(store.create("again", value.clone()).await, Err(full));
    drop(store);
    let store = SqliteStore::open(&file).unwrap();
    assert_eq!(state(&store).await, before);
    store.create("again", value).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        println!("not tested: only root can mount a small disk");
        return;
    };
    let file = folder.path().join("store.db");
    let ballast = folder.path().join("ballast");
    std::fs::write(&ballast, vec![1; 600_000]).unwrap();
    let store = SqliteStore::open(&file).unwrap();
    let value = Bytes::from(vec![7; 50_000]);
    let mut count = 0;
    while store.create(&format!("k{count}"), value.clone()).await.is_ok() {
        count += 1;
    }
    let refusal = store.create("more", value.clone()).await;
    assert_eq!(refusal, Err(Error::Full { file: file.clone() }));
    let before = state(&store).await;
    assert_eq!(before.len(), count);
    std::fs::remove_file(&ballast).unwrap();
    store.create("more", value).await.expect("there is room again");
    let before = state(&store).await;
    drop(store);
    let store = SqliteStore::open(&file).unwrap();
    assert_eq!(state(&store).await, before);
    drop(store);
    drop(disk);
}

/// Four MiB that are unmounted in the end.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(folder: &'a Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(folder);
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).output();
    }
}

#[test]
fn without_permission_it_says_whose_it_is() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let file = folder.path().join("store.db");
    drop(SqliteStore::open(&file).unwrap());
    let mut command = child_command("refusal::child_that_opens", &file);
    // Root may everything; somebody else must try.
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if is_root {
        command.uid(65_534);
    } else {
        for suffix in ["", "-lock"] {
            std::fs::set_permissions(beside(&file, suffix), std::fs::Permissions::from_mode(0o000)).unwrap();
        }
    }
    let text = output(command);
    assert!(text.contains("store.db: no permission to read and write it: start as its owner"), "{text}");
}

#[test]
#[ignore = "started by the tests above"]
fn child_that_opens() {
    let Some(file) = child_file() else { return };
    println!("{}", refused(&file));
}

/// The kernel refuses to let the log grow, in the middle of a commit.
#[tokio::test]
async fn after_a_failed_write_the_store_stops_and_what_was_answered_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let child = child_command("refusal::child_whose_disk_breaks", &file);
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 600; exec \"$0\" \"$@\""]).arg(child.get_program());
    limited.args(child.get_args()).env("STORE_FILE", &file);
    let text = output(limited);
    let answered: usize =
        text.lines().find_map(|line| line.strip_prefix("answered ")).unwrap().parse().unwrap();
    assert!(answered > 3 && text.contains("reads go on"), "{text}");
    let store = SqliteStore::open(&file).unwrap();
    let found = state(&store).await.len();
    assert!(found == answered || found == answered + 1, "{answered} answered, {found} found");
}

#[tokio::test]
#[ignore = "started by the test above"]
async fn child_whose_disk_breaks() {
    let Some(file) = child_file() else { return };
    let store = SqliteStore::open(&file).unwrap();
    let mut answered = 0;
    let broken = loop {
        match store.create(&format!("k{answered}"), Bytes::from(vec![1; 20_000])).await {
            Ok(_) => answered += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(broken, Error::Stopped { .. }), "{broken}");
    check_text(&broken, &file, "check the disk, then start the server again");
    assert_eq!(store.create("small", "v".into()).await, Err(broken.clone()), "never tried again");
    assert_eq!(store.stopped().await, broken);
    assert_eq!(state(&store).await.len(), answered);
    println!("reads go on\nanswered {answered}");
}

fn output(mut command: Command) -> String {
    let Output { stdout, stderr, status } = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{text}");
    text
}
