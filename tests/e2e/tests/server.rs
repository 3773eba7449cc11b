//! `everynode server` as kubectl sees it, with two minors that differ on the wire (wire 6.0.2): up to 1.31 bodies are JSON,
//! from 1.32 on some are protobuf.

use e2e::{Kubectl, Server, eventually_equal, kubectls};
use std::time::Duration;

/// 1.27 and 1.28 ask for OpenAPI v2, which is not served yet.
const OLDEST: u32 = 29;

/// A debug build on two busy cores.
const LIMIT: Duration = Duration::from_secs(60);

const HELLO: &str = include_str!("../../../examples/hello.yaml");

/// Runs a check with the newest kubectl and with the oldest that is supported.
fn check(test: impl Fn(&mut Server, &Kubectl)) {
    check_with_nodes(0, test);
}

fn check_with_nodes(nodes: u32, test: impl Fn(&mut Server, &Kubectl)) {
    let found = kubectls().unwrap();
    let usable: Vec<_> = found.iter().filter(|(minor, _)| (OLDEST..=34).contains(minor)).collect();
    let (newest, oldest) = (usable.first(), usable.last());
    assert!(newest.is_some(), "no kubectl between 1.{OLDEST} and 1.34 on this machine: {found:?}");
    for (_, path) in newest.into_iter().chain(oldest) {
        let mut server = Server::start(nodes).unwrap();
        let kubectl = server.kubectl(path);
        server.wait_until_ready(&kubectl);
        test(&mut server, &kubectl);
    }
}

#[test]
fn a_second_apply_is_unchanged_and_raises_no_generation() {
    check(|_, kubectl| {
        assert_eq!(kubectl.ok_with(&["apply", "-f", "-"], HELLO), "daemonset.apps/hello created\n");
        assert_eq!(kubectl.ok_with(&["apply", "-f", "-"], HELLO), "daemonset.apps/hello unchanged\n");
        let generation = || kubectl.value(&["get", "ds", "hello"], "{.metadata.generation}").unwrap();
        assert_eq!(generation(), "1");
        kubectl.ok(&["set", "image", "ds/hello", "hello=everynode.dev/hello:2"]);
        assert_eq!(generation(), "2");
        kubectl.ok(&["label", "ds", "hello", "a=b"]);
        assert_eq!(generation(), "2");
    });
}

#[test]
fn a_killed_server_returns_with_every_object() {
    check(|server, kubectl| {
        kubectl.ok(&["create", "namespace", "kept"]);
        kubectl.ok_with(&["apply", "-f", "-"], HELLO);
        server.kill_and_start_again().unwrap();
        server.wait_until_ready(kubectl);
        let image =
            kubectl.value(&["get", "ds", "hello"], "{.spec.template.spec.containers[0].image}").unwrap();
        assert_eq!(image, "everynode.dev/hello:1");
        assert_eq!(kubectl.value(&["get", "ns", "kept"], "{.status.phase}").unwrap(), "Active");
    });
}

#[test]
fn the_columns_and_the_documentation_are_kubernetes_own() {
    check(|_, kubectl| {
        kubectl.ok_with(&["apply", "-f", "-"], HELLO);
        let table = kubectl.ok(&["get", "ds", "hello"]);
        let header: Vec<&str> = table.lines().next().unwrap().split("  ").map(str::trim).collect();
        let header: Vec<&str> = header.into_iter().filter(|h| !h.is_empty()).collect();
        let expected =
            ["NAME", "DESIRED", "CURRENT", "READY", "UP-TO-DATE", "AVAILABLE", "NODE SELECTOR", "AGE"];
        assert_eq!(header, expected);
        let explained = kubectl.ok(&["explain", "daemonset.spec.updateStrategy"]);
        assert!(explained.contains("rollingUpdate") && explained.contains("DESCRIPTION"), "{explained}");
        assert_eq!(kubectl.ok(&["auth", "can-i", "create", "daemonsets"]).trim(), "yes");
        let made = kubectl.ok(&["create", "deploy", "x", "--image=y", "--dry-run=client", "-o", "yaml"]);
        assert!(made.contains("kind: Deployment"), "{made}");
    });
}

#[test]
fn bad_manifests_are_refused_by_field_and_change_nothing() {
    let cases = [
        (("image:", "imagee:"), "unknown field \"spec.template.spec.containers[0].imagee\""),
        (("app: hello", "app: Other!"), "spec.selector.matchLabels"),
        (("maxUnavailable: 1", "maxUnavailable: 150%"), "must not be greater than 100%"),
        (("maxUnavailable: 1", "maxUnavailable: -1"), "must be greater than or equal to 0"),
        (("maxUnavailable: 1", "maxUnavailable: abc"), "a valid percent string"),
        (("maxUnavailable: 1", "maxUnavailable: 0"), "cannot be 0 when maxSurge is 0"),
    ];
    check(|_, kubectl| {
        for ((from, to), expected) in cases {
            assert!(HELLO.contains(from), "the example has no {from:?} any more");
            let said = kubectl.fails_with(&["apply", "-f", "-"], &HELLO.replace(from, to));
            assert!(said.contains(expected), "{to}: {said}");
        }
        assert_eq!(kubectl.ok(&["get", "ds", "-o", "name"]), "");
    });
}

#[test]
fn a_port_and_a_folder_in_use_are_named() {
    check(|server, kubectl| {
        for (folder, listen, expected) in [
            (server.data_dir().join("other"), server.listen(), "cannot listen here"),
            (server.data_dir(), "127.0.0.1:0", "in use by another server"),
        ] {
            let output = Server::another(&folder, listen).unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!((output.status.code(), said.contains(expected)), (Some(1), true), "{said}");
        }
        server.wait_until_ready(kubectl);
    });
}

/// What stands in one column of all pods, sorted.
fn pods(kubectl: &Kubectl, path: &str) -> Vec<String> {
    let path = format!("{{range .items[*]}}{{{path}}}{{\" \"}}{{end}}");
    let text = kubectl.value(&["get", "pods", "-l", "app=hello"], &path).unwrap_or_default();
    let mut values: Vec<String> = text.split_whitespace().map(str::to_string).collect();
    values.sort();
    values
}

fn rolled_out(kubectl: &Kubectl) {
    kubectl.ok(&["rollout", "status", "ds/hello", "--timeout=60s"]);
}

#[test]
fn every_node_runs_one_and_a_rollout_goes_there_and_back() {
    check_with_nodes(3, |_, kubectl| {
        eventually_equal("three nodes", LIMIT, "node/n1\nnode/n2\nnode/n3\n".to_string(), || {
            kubectl.run(&["get", "nodes", "-o", "name"]).stdout
        });
        kubectl.ok(&["wait", "--for=condition=Ready", "node", "--all", "--timeout=60s"]);
        kubectl.ok_with(&["apply", "-f", "-"], HELLO);
        rolled_out(kubectl);
        assert_eq!(pods(kubectl, ".spec.nodeName"), ["n1", "n2", "n3"]);
        let events = kubectl.ok(&["describe", "ds", "hello"]);
        assert_eq!(events.matches("daemonset-controller  Created pod: hello-").count(), 3, "{events}");

        kubectl.ok(&["set", "image", "ds/hello", "hello=everynode.dev/hello:2"]);
        rolled_out(kubectl);
        assert_eq!(pods(kubectl, ".spec.containers[0].image"), ["everynode.dev/hello:2"; 3]);
        let history = kubectl.ok(&["rollout", "history", "ds/hello"]);
        assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
        kubectl.ok(&["rollout", "undo", "ds/hello", "--to-revision=1"]);
        rolled_out(kubectl);
        assert_eq!(pods(kubectl, ".spec.containers[0].image"), ["everynode.dev/hello:1"; 3]);
    });
}

#[test]
fn labels_and_taints_decide_at_once_where_it_runs() {
    check_with_nodes(3, |_, kubectl| {
        let nodes = |expected: &[&str]| {
            let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
            eventually_equal("the nodes of the pods", LIMIT, expected, || pods(kubectl, ".spec.nodeName"));
        };
        kubectl.ok_with(&["apply", "-f", "-"], HELLO);
        nodes(&["n1", "n2", "n3"]);
        kubectl.ok(&["taint", "node", "n2", "k=v:NoExecute"]);
        nodes(&["n1", "n3"]);
        kubectl.ok(&["taint", "node", "n2", "k-"]);
        nodes(&["n1", "n2", "n3"]);
        kubectl.ok(&["label", "node", "n1", "disk=ssd"]);
        let selected = HELLO.replace(
            "terminationGracePeriodSeconds",
            "nodeSelector: {disk: ssd}\n      terminationGracePeriodSeconds",
        );
        kubectl.ok_with(&["apply", "-f", "-"], &selected);
        nodes(&["n1"]);
        kubectl.ok(&["label", "node", "n3", "disk=ssd"]);
        nodes(&["n1", "n3"]);
        kubectl.ok(&["label", "node", "n1", "disk-"]);
        nodes(&["n3"]);
    });
}

#[test]
fn orphans_are_adopted_and_a_deleted_daemonset_takes_its_pods_along() {
    check_with_nodes(2, |_, kubectl| {
        kubectl.ok_with(&["apply", "-f", "-"], HELLO);
        eventually_equal("two pods", LIMIT, 2, || pods(kubectl, ".metadata.uid").len());
        rolled_out(kubectl);
        let before = pods(kubectl, ".metadata.uid");
        kubectl.ok(&["delete", "ds", "hello", "--cascade=orphan"]);
        assert_eq!(pods(kubectl, ".metadata.uid"), before);
        kubectl.ok_with(&["apply", "-f", "-"], HELLO);
        eventually_equal("adopted", LIMIT, vec!["DaemonSet".to_string(); 2], || {
            pods(kubectl, ".metadata.ownerReferences[0].kind")
        });
        rolled_out(kubectl);
        assert_eq!(pods(kubectl, ".metadata.uid"), before);
        kubectl.ok(&["delete", "ds", "hello"]);
        eventually_equal("no pods", LIMIT, Vec::<String>::new(), || pods(kubectl, ".metadata.uid"));
    });
}
