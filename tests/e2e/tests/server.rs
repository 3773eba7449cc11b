//! `everynode server` as kubectl sees it, with two minors that differ on the wire (wire 6.0.2): up to 1.31 bodies are JSON,
//! from 1.32 on some are protobuf.

use e2e::{Kubectl, Server, newest_and_oldest};

const HELLO: &str = include_str!("../../../examples/hello.yaml");

/// Runs a check with the newest kubectl and with the oldest that is supported.
fn check(test: impl Fn(&mut Server, &Kubectl)) {
    for (_, path) in newest_and_oldest().unwrap() {
        let mut server = Server::start().unwrap();
        let kubectl = server.kubectl(&path);
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
fn a_port_and_a_folder_in_use_are_named() {
    check(|server, kubectl| {
        for (folder, listen, expected) in [
            (server.data_dir().join("other"), server.listen(), "cannot listen on"),
            (server.data_dir(), "127.0.0.1:0", "in use by another server"),
        ] {
            let answer = Server::refused(&[], &folder, listen).unwrap();
            assert_eq!((answer.code, answer.stderr.contains(expected)), (1, true), "{}", answer.stderr);
        }
        server.wait_until_ready(kubectl);
    });
}

#[test]
fn server_side_apply_takes_over_from_client_side_apply() {
    // Wire 4.7.
    let said = |kubectl: &Kubectl, arguments: &[&str], manifest: &str| kubectl.ok_with(arguments, manifest);
    let on_server = ["apply", "--server-side", "-f", "-"];
    check(|_, kubectl| {
        said(kubectl, &["apply", "-f", "-"], HELLO);
        for _ in 0..2 {
            assert_eq!(said(kubectl, &on_server, HELLO), "daemonset.apps/hello serverside-applied\n");
        }
        assert_eq!(kubectl.value(&["get", "ds", "hello"], "{.metadata.generation}").unwrap(), "1");
        let newer = HELLO.replace("hello:1", "hello:2");
        let other = ["apply", "--server-side", "--field-manager=other", "-f", "-"];
        let refused = kubectl.fails_with(&other, &newer);
        let text = "Apply failed with 1 conflict: conflict with \"kubectl\": \
             .spec.template.spec.containers[name=\"hello\"].image";
        assert!(refused.contains(text), "{refused}");
        let forced = ["apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-"];
        said(kubectl, &forced, &newer);
        let image = "{.spec.template.spec.containers[0].image}";
        assert_eq!(kubectl.value(&["get", "ds", "hello"], image).unwrap(), "everynode.dev/hello:2");
        let managers = kubectl
            .value(&["get", "ds", "hello", "--show-managed-fields"], "{.metadata.managedFields[*].manager}");
        assert!(managers.unwrap().contains("other"));
    });
}

#[test]
fn roles_say_what_their_users_may_do() {
    // Wire 7.7.
    check(|_, kubectl| {
        let may = |user: &str, action: &[&str]| {
            let arguments = [["auth", "can-i"].as_slice(), action, &["--as", user]].concat();
            kubectl.run(&arguments).stdout.trim().to_string()
        };
        assert_eq!(may("alice", &["list", "pods"]), "no");
        kubectl.ok(&["create", "role", "reader", "--verb=get,list", "--resource=pods,daemonsets.apps"]);
        kubectl.ok(&["create", "rolebinding", "alice", "--role=reader", "--user=alice"]);
        kubectl.ok(&[
            "create",
            "clusterrolebinding",
            "sa",
            "--clusterrole=view",
            "--serviceaccount=default:default",
        ]);
        assert_eq!(may("alice", &["list", "pods"]), "yes");
        assert_eq!(may("alice", &["list", "pods", "-n", "kube-system"]), "no");
        assert_eq!(may("alice", &["delete", "daemonsets"]), "no");
        assert_eq!(may("system:serviceaccount:default:default", &["list", "pods", "-A"]), "yes");
        assert_eq!(may("system:serviceaccount:default:default", &["get", "secrets"]), "no");
        let refused = kubectl.fails_with(&["delete", "ds", "hello", "--as", "alice"], "");
        let text =
            "daemonsets.apps \"hello\" is forbidden: User \"alice\" cannot delete resource \"daemonsets\"";
        assert!(refused.contains(text), "{refused}");
    });
}
