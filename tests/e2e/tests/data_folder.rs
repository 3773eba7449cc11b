//! The data folder of a server: full, not ours to use, of another version, damaged. Each time the folder or file is named
//! with what to do, nothing in it is changed, and nothing that was answered is lost.

use e2e::{Kubectl, Server, SmallDisk, assert_says, newest_and_oldest};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// MiB of a disk on which a server starts and some ConfigMaps fit.
const SMALL: u32 = 12;
/// More ConfigMaps than fit there.
const TOO_MANY: usize = 60;
/// Bytes of one ConfigMap.
const BLOB: usize = 700_000;
/// Longer than kubectl needs for one try, and shorter than its ten tries at an answer with `Retry-After`.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A disk, or the reason why this test cannot be done here.
fn small_disk(mebibytes: u32) -> Option<SmallDisk> {
    SmallDisk::mount(mebibytes).map_err(|why| println!("skipped: no small disk can be mounted: {why:#}")).ok()
}

#[test]
fn a_full_disk_refuses_writes_keeps_reads_and_heals_without_a_restart() {
    for (_, path) in newest_and_oldest().unwrap() {
        let Some(disk) = small_disk(SMALL) else { return };
        let mut server = Server::start_on(&disk.path().join("data")).unwrap();
        let kubectl = server.kubectl(&path);
        server.wait_until_ready(&kubectl);
        let blob = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&blob, "x".repeat(BLOB)).unwrap();
        let write = |name: &str| {
            kubectl.run(&[
                "create",
                "configmap",
                name,
                &format!("--from-file=blob={}", blob.path().display()),
            ])
        };
        let refused = |name: &str| {
            let begun = std::time::Instant::now();
            let answer = write(name);
            let took = begun.elapsed();
            let file = server_file(&disk);
            for expected in [file.as_str(), "no space left on the disk", "free some space and try again"] {
                assert_says(&answer.stderr, expected);
            }
            assert!(took < AT_ONCE, "the refusal took {took:?}");
        };

        let fitting = (0..TOO_MANY).take_while(|number| write(&format!("big-{number}")).code == 0).count();
        assert!((1..TOO_MANY).contains(&fitting), "{fitting} fit");
        let before = everything(&kubectl);
        assert_eq!(before.matches("big-").count(), fitting);
        refused("more");
        assert_eq!(everything(&kubectl), before);

        server.kill_and_start_again().unwrap();
        server.wait_until_ready(&kubectl);
        assert_eq!(everything(&kubectl), before);
        refused("more");

        disk.grow(8 * SMALL).unwrap();
        assert_eq!(write("more").stdout, "configmap/more created\n");
        kubectl.ok(&["delete", "configmap", "big-0"]);
        let after = everything(&kubectl);
        assert_eq!(after.matches("big-").count(), fitting - 1);
        server.kill_and_start_again().unwrap();
        server.wait_until_ready(&kubectl);
        assert_eq!(everything(&kubectl), after);
        assert!(!server.log().contains("panicked"), "{}", server.log());
    }
}

fn server_file(disk: &SmallDisk) -> String {
    disk.path().join("data/server/store.db").display().to_string()
}

/// The ConfigMaps of the tests with their versions.
fn everything(kubectl: &Kubectl) -> String {
    let path = r#"{range .items[*]}{.metadata.name}={.metadata.resourceVersion}{"\n"}{end}"#;
    kubectl.value(&["get", "configmaps"], path).unwrap()
}

#[test]
fn a_disk_that_is_full_from_the_beginning_is_named() {
    let Some(disk) = small_disk(1) else { return };
    let data_dir = disk.path().join("data");
    std::fs::write(disk.path().join("ballast"), vec![0; (1 << 20) - (40 << 10)]).unwrap();
    let answer = Server::refused(&[], &data_dir, "127.0.0.1:0").unwrap();
    assert_refused(&answer, &data_dir, &["No space left|no space left", "free some space"]);
}

#[test]
fn a_folder_that_may_not_be_used_is_named_with_what_to_do() {
    let Some(disk) = small_disk(SMALL) else { return };
    let nobody = ["setpriv", "--reuid", "65534", "--clear-groups"];
    let data_dir = disk.path().join("data");
    make(&data_dir);
    let before = contents(&data_dir);
    let refused = |wrapper: &[&str], data_dir: &Path, expected: &[&str]| {
        let answer = Server::refused(wrapper, data_dir, "127.0.0.1:0").unwrap();
        assert_refused(&answer, data_dir, expected);
    };
    let elsewhere = "or choose another with --data-dir";
    refused(&nobody, &data_dir, &["Permission denied", "start as its owner", elsewhere]);
    std::fs::create_dir(disk.path().join("roots")).unwrap();
    refused(
        &nobody,
        &disk.path().join("roots/data"),
        &["Permission denied", "start as its owner", elsewhere],
    );
    disk.set_read_only(true).unwrap();
    refused(&[], &data_dir, &["read-only", "make it writable", "or choose another data folder"]);
    refused(&[], &disk.path().join("new"), &["Read-only", "make its file system writable", elsewhere]);
    disk.set_read_only(false).unwrap();
    assert_eq!(contents(&data_dir), before);
}

#[test]
fn a_folder_of_another_version_or_with_damage_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good");
    make(&good);
    type Harm = fn(&Path);
    let cases: &[(&str, Harm, &[&str])] = &[
        (
            "newer",
            |data| std::fs::write(data.join("version"), "2\n").unwrap(),
            &["has version 2 and this everynode knows version 1", "use the everynode that made it"],
        ),
        (
            "not-ours",
            |data| std::fs::remove_file(data.join("version")).unwrap(),
            &["is not empty and was not made by everynode", "choose another with --data-dir"],
        ),
        (
            "damaged",
            |data| harm_every_page(&data.join("server/store.db")),
            &["server/store.db: damaged", "bring back a backup", "was left as it is"],
        ),
        (
            "cut-off",
            |data| cut_in_half(&data.join("server/store.db")),
            &["server/store.db: damaged", "bring back a backup", "was left as it is"],
        ),
        (
            "overwritten",
            |data| std::fs::write(data.join("server/store.db"), "dear diary, ".repeat(500)).unwrap(),
            &["server/store.db: damaged|server/store.db: not a store of everynode", "move the file away"],
        ),
        (
            "without-key",
            |data| std::fs::remove_file(data.join("pki/ca.key")).unwrap(),
            &["pki/ca.key is missing", "restore it"],
        ),
        (
            "without-authority",
            |data| std::fs::write(data.join("pki/ca.crt"), "what").unwrap(),
            &["pki/ca.crt: is not what it should be"],
        ),
    ];
    for (name, harm, expected) in cases {
        let data_dir = folder.path().join(name);
        let copied = Command::new("cp").arg("-a").args([&good, &data_dir]).status().unwrap();
        assert!(copied.success());
        harm(&data_dir);
        let before = contents(&data_dir);
        let answer = Server::refused(&[], &data_dir, "127.0.0.1:0").unwrap();
        assert_refused(&answer, &data_dir, expected);
        assert_eq!(contents(&data_dir), before, "{name}: something was changed");
    }
}

/// A data folder with something in it, of a server that was killed.
fn make(data_dir: &Path) {
    let mut server = Server::start_on(data_dir).unwrap();
    let (_, path) = newest_and_oldest().unwrap().remove(0);
    let kubectl = server.kubectl(&path);
    server.wait_until_ready(&kubectl);
    kubectl.ok(&["create", "configmap", "kept", "--from-literal=a=b"]);
    // The second start moves the log into the file.
    server.kill_and_start_again().unwrap();
    server.wait_until_ready(&kubectl);
    assert_eq!(kubectl.value(&["get", "configmap", "kept"], "{.data.a}").unwrap(), "b");
    server.kill().unwrap();
}

/// Exit code 1, the folder, what is expected, and no panic.
#[track_caller]
fn assert_refused(answer: &e2e::Answer, data_dir: &Path, expected: &[&str]) {
    let said = &answer.stderr;
    assert_eq!(answer.code, 1, "{said}");
    for expected in expected.iter().copied().chain([&*data_dir.to_string_lossy()]) {
        assert_says(said, expected);
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// Every file below a folder with its length and a hash of its bytes. Empty ones hold nothing that could be lost: locks,
/// and the log of a store that was closed.
fn contents(folder: &Path) -> BTreeMap<String, (usize, u64)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            let below = contents(&path).into_iter();
            found.extend(below.map(|(inner, what)| (format!("{name}/{inner}"), what)));
            continue;
        }
        // A socket that a server has left behind holds nothing either.
        if !entry.file_type().unwrap().is_file() {
            continue;
        }
        let bytes = std::fs::read(path).unwrap();
        if !bytes.is_empty() {
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            found.insert(name, (bytes.len(), hasher.finish()));
        }
    }
    found
}

fn harm_every_page(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    assert!(bytes.len() > 4096, "the file has {} bytes", bytes.len());
    for page in bytes.chunks_mut(4096) {
        page.iter_mut().skip(1024).for_each(|byte| *byte ^= 0x5a);
    }
    std::fs::write(file, bytes).unwrap();
}

fn cut_in_half(file: &Path) {
    let length = std::fs::metadata(file).unwrap().len();
    std::fs::File::options().write(true).open(file).unwrap().set_len(length / 2).unwrap();
}
