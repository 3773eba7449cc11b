//! A backup of a running server becomes a cluster again: the same objects and keys, at revisions that nobody has seen.

use e2e::{Answer, Server, assert_says, binary, newest_and_oldest, run_to_end};
use std::path::Path;
use std::process::Command;

fn everynode(arguments: &[&str], data_dir: &Path) -> Answer {
    run_to_end(Command::new(binary()).args(arguments).arg("--data-dir").arg(data_dir), "").unwrap()
}

#[test]
fn a_backup_of_a_running_server_becomes_a_cluster_again() {
    let folder = tempfile::tempdir().unwrap();
    let (file, restored) = (folder.path().join("backup.tar"), folder.path().join("restored"));
    let (_, path) = newest_and_oldest().unwrap().remove(0);
    let mut server = Server::start().unwrap();
    let kubectl = server.kubectl(&path);
    server.wait_until_ready(&kubectl);
    kubectl.ok(&["create", "configmap", "before", "--from-literal=a=b"]);
    kubectl.ok(&["create", "secret", "generic", "word", "--from-literal=a=xyzzy"]);
    let backup = everynode(&["backup", &file.display().to_string()], &server.data_dir());
    assert_eq!(backup.code, 0, "{}", backup.stderr);
    assert_says(&backup.stdout, "all objects as of revision");
    kubectl.ok(&["create", "configmap", "after", "--from-literal=a=b"]);
    let seen = kubectl.value(&["get", "configmap", "after"], "{.metadata.resourceVersion}").unwrap();

    // Whoever runs is not looked into, and nothing is restored over it.
    let check = everynode(&["check"], &server.data_dir());
    assert_eq!(check.code, 1);
    assert_says(&check.stderr, "in use by another server");
    let over = everynode(&["restore", &file.display().to_string()], &server.data_dir());
    assert_eq!(over.code, 1);
    assert_says(&over.stderr, "is not empty");
    server.kill().unwrap();
    let check = everynode(&["check"], &server.data_dir());
    assert_eq!(check.code, 0, "{}", check.stderr);
    assert_says(&check.stdout, "everything is whole");
    // Without a server it is made of the folder.
    let idle =
        everynode(&["backup", &folder.path().join("idle.tar").display().to_string()], &server.data_dir());
    assert_eq!(idle.code, 0, "{}", idle.stderr);

    let done = everynode(&["restore", &file.display().to_string()], &restored);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let check = everynode(&["check"], &restored);
    assert_eq!(check.code, 0, "{}", check.stderr);
    assert_says(&check.stdout, "1 of them encrypted");
    let server = Server::start_on(&restored).unwrap();
    let kubectl = server.kubectl(&path);
    server.wait_until_ready(&kubectl);
    assert_eq!(kubectl.value(&["get", "configmap", "before"], "{.data.a}").unwrap(), "b");
    assert_eq!(kubectl.value(&["get", "secret", "word"], "{.data.a}").unwrap(), "eHl6enk=");
    assert_says(&kubectl.fails(&["get", "configmap", "after"]), "not found");
    let watch = format!("/api/v1/configmaps?watch=true&timeoutSeconds=5&resourceVersion={seen}");
    let gone = kubectl.run(&["get", "--raw", &watch]);
    assert_says(&format!("{}{}", gone.stdout, gone.stderr), "too old resource version");
}
