//! kubectl drain and daemons, on a server without loops: nodes and pods are what the test writes (DR-1…DR-6).

use e2e::{Kubectl, Server, eventually, newest_and_oldest};
use serde_json::{Value, json};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const HELLO: &str = include_str!("../../../examples/hello.yaml");
const LOOPS: &[&str] = &["daemonsets", "scheduling", "node-lifecycle", "garbage", "pod-gc", "certificates"];

/// A node `n1`, a DaemonSet `hello`, and no pods.
fn check(test: impl Fn(&Kubectl)) {
    for (_, path) in newest_and_oldest().unwrap() {
        let server = Server::without(LOOPS).unwrap();
        let kubectl = server.kubectl(&path);
        server.wait_until_ready(&kubectl);
        kubectl.ok_with(&["create", "-f", "-"], "apiVersion: v1\nkind: Node\nmetadata: {name: n1}");
        kubectl.ok_with(&["apply", "-f", "-"], HELLO);
        eventually("the account of pods", LIMIT, || kubectl.value(&["get", "sa", "default"], "{.kind}"));
        test(&kubectl);
    }
}

/// A pod on `n1` with changes of its own.
fn pod(kubectl: &Kubectl, name: &str, owner: &Value, metadata: Value, spec: Value) {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"nodeName": "n1", "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "i:1"}]}});
    for (part, changes) in [("metadata", metadata), ("spec", spec)] {
        pod[part].as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    }
    if !owner.is_null() {
        pod["metadata"]["ownerReferences"] = json!([owner]);
    }
    kubectl.ok_with(&["create", "-f", "-"], &pod.to_string());
}

fn owner(api: &str, kind: &str, name: &str, uid: &str) -> Value {
    json!({"apiVersion": api, "kind": kind, "name": name, "uid": uid, "controller": true})
}

/// The DaemonSet of the example.
fn hello(kubectl: &Kubectl) -> Value {
    owner(
        "apps/v1",
        "DaemonSet",
        "hello",
        &kubectl.value(&["get", "ds", "hello"], "{.metadata.uid}").unwrap(),
    )
}

/// Something that is no DaemonSet.
fn replica_set() -> Value {
    owner("apps/v1", "ReplicaSet", "r", "uid-of-r")
}

fn emptied() -> Value {
    json!({"volumes": [{"name": "v", "emptyDir": {}}]})
}

fn left(kubectl: &Kubectl) -> Vec<String> {
    let names = kubectl.value(&["get", "pods"], "{.items[*].metadata.name}").unwrap();
    names.split_whitespace().map(str::to_string).collect()
}

fn is_cordoned(kubectl: &Kubectl) -> bool {
    kubectl.value(&["get", "node", "n1"], "{.spec.unschedulable}").unwrap() == "true"
}

#[test]
fn a_daemon_stops_a_drain_before_anything_is_evicted() {
    // DR-1, DR-2, DR-3, DR-4, TE-46.
    check(|kubectl| {
        let daemon = hello(kubectl);
        pod(kubectl, "daemon-1", &daemon, json!({}), json!({}));
        pod(kubectl, "daemon-2", &daemon, json!({}), emptied());
        pod(kubectl, "worker", &replica_set(), json!({}), json!({}));
        let answer = kubectl.run(&["drain", "n1"]);
        assert_ne!(answer.code, 0);
        assert!(answer.stdout.starts_with("node/n1 cordoned\n"), "{}", answer.stdout);
        let text = "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): default/daemon-1, default/daemon-2";
        assert!(answer.stderr.contains(text), "{}", answer.stderr);
        assert!(is_cordoned(kubectl));
        assert_eq!(left(kubectl), ["daemon-1", "daemon-2", "worker"]);
    });
}

#[test]
fn ignored_daemons_stay_with_their_empty_dirs_and_all_else_goes() {
    // DR-1, DR-3, DR-5, DR-6, TE-46: the rule of daemons comes before those of mirrors, local storage and replication.
    check(|kubectl| {
        let daemon = hello(kubectl);
        pod(kubectl, "daemon-1", &daemon, json!({}), json!({}));
        pod(kubectl, "daemon-2", &daemon, json!({}), emptied());
        pod(kubectl, "worker", &replica_set(), json!({}), json!({}));
        let mirror = json!({"annotations": {"kubernetes.io/config.mirror": "m"}});
        let node = owner("v1", "Node", "n1", "uid-of-n1");
        pod(kubectl, "mirror", &node, mirror, json!({}));
        pod(kubectl, "stored", &replica_set(), json!({}), emptied());
        pod(kubectl, "free", &Value::Null, json!({}), json!({}));
        let refused = kubectl.fails(&["drain", "n1", "--ignore-daemonsets"]);
        for text in [
            "cannot delete Pods with local storage (use --delete-emptydir-data to override): default/stored",
            "(use --force to override): default/free",
        ] {
            assert!(refused.contains(text), "{refused}");
        }
        assert!(!refused.contains("DaemonSet-managed Pods (use"), "{refused}");
        assert_eq!(left(kubectl).len(), 6);
        kubectl.ok(&["delete", "pod", "stored", "free", "--wait=false"]);
        let answer = kubectl.run(&["drain", "n1", "--ignore-daemonsets", "--timeout=60s"]);
        assert_eq!(answer.code, 0, "{}{}", answer.stdout, answer.stderr);
        let text = "Warning: ignoring DaemonSet-managed Pods: default/daemon-1, default/daemon-2\n";
        assert!(answer.stderr.contains(text), "{}", answer.stderr);
        assert!(answer.stdout.ends_with("node/n1 drained\n"), "{}", answer.stdout);
        assert_eq!(left(kubectl), ["daemon-1", "daemon-2", "mirror"]);
    });
}

#[test]
fn a_daemon_without_its_set_goes_by_force_only() {
    // DR-3, TE-46. kubectl's own warning about it is lost among its later filters.
    check(|kubectl| {
        let gone = owner("apps/v1", "DaemonSet", "gone", "uid-of-gone");
        pod(kubectl, "lost", &gone, json!({}), json!({}));
        let refused = kubectl.fails(&["drain", "n1", "--ignore-daemonsets"]);
        assert!(
            refused.contains("cannot delete daemonsets.apps \"gone\" not found: default/lost"),
            "{refused}"
        );
        assert_eq!(left(kubectl), ["lost"]);
        let answer = kubectl.run(&["drain", "n1", "--ignore-daemonsets", "--force", "--timeout=60s"]);
        assert_eq!(answer.code, 0, "{}{}", answer.stdout, answer.stderr);
        assert_eq!(left(kubectl), Vec::<String>::new());
    });
}

#[test]
fn daemons_that_have_ended_go_without_a_word() {
    // DR-3, TE-46; DR-1: a pod that is being deleted already can be passed over.
    check(|kubectl| {
        let daemon = hello(kubectl);
        for (name, phase) in [("done", "Succeeded"), ("failed", "Failed")] {
            pod(kubectl, name, &daemon, json!({}), json!({}));
            let status = json!({"status": {"phase": phase}}).to_string();
            kubectl.ok(&["patch", "pod", name, "--subresource=status", "-p", &status]);
        }
        kubectl.ok(&["drain", "n1", "--timeout=60s"]);
        assert_eq!(left(kubectl), Vec::<String>::new());
        pod(kubectl, "held", &daemon, json!({"finalizers": ["example.com/hold"]}), json!({}));
        kubectl.ok(&["delete", "pod", "held", "--wait=false"]);
        eventually("the pod is passed over", LIMIT, || {
            let answer = kubectl.run(&["drain", "n1", "--skip-wait-for-delete-timeout=1", "--timeout=60s"]);
            anyhow::ensure!(answer.code == 0, "{}", answer.stderr);
            Ok(())
        });
        assert_eq!(left(kubectl), ["held"]);
    });
}
