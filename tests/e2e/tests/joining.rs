//! A machine that wants to be a node, and what it is told when it cannot.

use e2e::{Server, binary, newest_and_oldest};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

/// The first line that an agent says; then it is ended.
fn first_words(server: &Server, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Command::new(binary())
        .args(["agent", "--node-name", "a1", "--server", &format!("https://{}", server.listen())])
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .arg("--log-dir")
        .arg(folder.path().join("log"))
        .args(arguments)
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut words = String::new();
    BufReader::new(agent.stderr.take().unwrap()).read_line(&mut words).unwrap();
    let _ = agent.kill();
    let _ = agent.wait();
    words
}

#[test]
fn a_wrong_token_and_a_missing_runtime_are_named_and_no_node_appears() {
    let server = Server::start().unwrap();
    let (_, path) = newest_and_oldest().unwrap().remove(0);
    let kubectl = server.kubectl(&path);
    server.wait_until_ready(&kubectl);
    let good = server.token().unwrap();
    let (authority, secret) = good.split_once(':').unwrap();
    let other_secret = format!("{authority}:{}.0000000000000000", secret.split_once('.').unwrap().0);
    let other_authority = format!("{}:{secret}", "0".repeat(64));
    let socket = "/nonexistent/containerd.sock";
    for (arguments, expected) in [
        (vec!["--token", &other_secret], "the server does not know the token"),
        (vec!["--token", &other_authority], "a token of another cluster"),
        (vec!["--token", "x"], "the join token must look like"),
        (vec![], "has no identity"),
        (vec!["--token", &good, "--log-port", "0", "--runtime-socket", socket], socket),
    ] {
        let said = first_words(&server, &arguments);
        assert!(said.contains(expected), "{expected:?} is not in {said}");
        assert!(!said.contains(secret), "the secret stands in {said}");
    }
    assert_eq!(kubectl.ok(&["get", "nodes", "-o", "name"]), "");
}
