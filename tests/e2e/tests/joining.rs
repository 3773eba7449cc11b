//! A machine that wants to be a node, and what it is told when it cannot.

use e2e::{Agent, Server, assert_says, binary, eventually, newest_and_oldest};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A debug build on two busy cores.
const LIMIT: Duration = Duration::from_secs(60);

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

/// As `kubectl create` takes it.
const BY_HAND: &str = r#"{"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
    "metadata": {"name": "bootstrap-token-byhand", "namespace": "kube-system"},
    "stringData": {"token-id": "byhand", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:rack4"}}"#;

#[test]
fn tokens_are_secrets_that_are_made_listed_deleted_and_go_when_they_are_over() {
    let server = Server::start().unwrap();
    let (_, path) = newest_and_oldest().unwrap().remove(0);
    let kubectl = server.kubectl(&path);
    server.wait_until_ready(&kubectl);
    let token = server.tell(&["token", "create", "--ttl", "90m", "--description", "rack 4"]).unwrap();
    let (authority, bare) = token.split_once(':').unwrap();
    let (id, _) = bare.split_once('.').unwrap();
    let list = server.tell(&["token", "list"]).unwrap();
    assert_says(&list, bare);
    assert_says(&list, "authentication   rack 4        <none>");
    let name = format!("bootstrap-token-{id}");
    kubectl.ok(&["get", "secret", "-n", "kube-system", &name]);

    // One that kubectl makes is as good.
    kubectl.ok_with(&["create", "-f", "-"], BY_HAND);
    let url = format!("https://{}", server.listen());
    let agent = Agent::start("a1", &url, &format!("{authority}:byhand.0123456789abcdef")).unwrap();
    eventually("a1 has joined", LIMIT, || {
        let found = kubectl.run(&["get", "node", "a1"]);
        anyhow::ensure!(found.code == 0, "{}", agent.log());
        Ok(())
    });
    let who = "{.items[?(@.spec.username==\"system:bootstrap:byhand\")].spec.groups}";
    assert_says(&kubectl.value(&["get", "csr"], who).unwrap(), "system:bootstrappers:rack4");

    let deleted = server.tell(&["token", "delete", &token]).unwrap();
    assert_eq!(deleted, format!("bootstrap token {id:?} deleted"));
    assert_says(&first_words(&server, &["--token", &token]), "the server does not know the token");

    let short = server.tell(&["token", "create", "--ttl", "1s"]).unwrap();
    let name = format!("bootstrap-token-{}", &short[65..71]);
    eventually("what is over is gone", LIMIT, || {
        let found = kubectl.run(&["get", "secret", "-n", "kube-system", &name]);
        anyhow::ensure!(found.stderr.contains("not found"), "{}{}", found.stdout, found.stderr);
        Ok(())
    });
}
