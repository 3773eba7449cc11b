//! `everynode up --runtime simulated`: what happens where there is no root or no containerd.

use e2e::{Cluster, Kubectl, assert_says, eventually, eventually_equal, newest_and_oldest};
use std::time::Duration;

/// A debug build on two busy cores.
const LIMIT: Duration = Duration::from_secs(60);

const HELLO: &str = include_str!("../../../examples/hello.yaml");

/// Runs a check with the newest kubectl and with the oldest that is supported.
fn check(nodes: u32, test: impl Fn(&Kubectl)) {
    check_cluster(nodes, |_, kubectl| test(kubectl));
}

fn check_cluster(nodes: u32, test: impl Fn(&Cluster, &Kubectl)) {
    for (_, path) in newest_and_oldest().unwrap() {
        let mut cluster = Cluster::start(&["--runtime", "simulated", "--nodes", &nodes.to_string()]).unwrap();
        let kubectl = cluster.kubectl(&path);
        let names: Vec<String> = (1..=nodes).map(|number| format!("n{number}")).collect();
        cluster.wait_for_nodes(&kubectl, &names.iter().map(String::as_str).collect::<Vec<_>>());
        test(&cluster, &kubectl);
    }
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
    check(3, |kubectl| {
        eventually_equal("three nodes", LIMIT, "node/n1\nnode/n2\nnode/n3\n".to_string(), || {
            kubectl.run(&["get", "nodes", "-o", "name"]).stdout
        });
        kubectl.ok(&["wait", "--for=condition=Ready", "node", "--all", "--timeout=60s"]);
        kubectl.ok_with(&["apply", "-f", "-"], HELLO);
        rolled_out(kubectl);
        assert_eq!(pods(kubectl, ".spec.nodeName"), ["n1", "n2", "n3"]);
        for command in [&["exec", "ds/hello", "--", "true"][..], &["port-forward", "ds/hello", ":8080"]] {
            assert_says(&kubectl.fails(command), "is simulated: no process runs in its containers");
        }
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
    check(3, |kubectl| {
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
    check(2, |kubectl| {
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

#[test]
fn a_cordoned_node_keeps_its_daemon_and_gets_a_missing_one() {
    // DR-7, NP-16, EL-17.
    check(2, |kubectl| {
        let on = |node: &str| {
            let field = format!("spec.nodeName={node}");
            let arguments = ["get", "pods", "-l", "app=hello", "--field-selector", &field];
            kubectl.value(&arguments, "{.items[*].metadata.name}").unwrap_or_default()
        };
        kubectl.ok_with(&["apply", "-f", "-"], HELLO);
        rolled_out(kubectl);
        let before = on("n1");
        kubectl.ok(&["drain", "n1", "--ignore-daemonsets"]);
        assert!(kubectl.ok(&["get", "node", "n1"]).contains("SchedulingDisabled"));
        assert_eq!(on("n1"), before);
        let eviction = format!(
            "{{\"apiVersion\": \"policy/v1\", \"kind\": \"Eviction\", \"metadata\": {{\"name\": \"{before}\"}}}}"
        );
        let path = format!("/api/v1/namespaces/default/pods/{before}/eviction");
        kubectl.ok_with(&["create", "--raw", &path, "-f", "-"], &eviction);
        eventually("another daemon on the cordoned node", LIMIT, || {
            let now = on("n1");
            anyhow::ensure!(!now.is_empty() && !now.contains(&before), "{now}");
            Ok(())
        });
        rolled_out(kubectl);
        assert!(kubectl.ok(&["get", "node", "n1"]).contains("SchedulingDisabled"));
    });
}

#[test]
fn a_node_that_is_removed_takes_its_pods_along() {
    check_cluster(3, |cluster, kubectl| {
        kubectl.ok_with(&["apply", "-f", "-"], HELLO);
        rolled_out(kubectl);
        assert_eq!(pods(kubectl, ".spec.nodeName"), ["n1", "n2", "n3"]);
        let said = cluster.everynode(&["node", "remove", "n2"]);
        assert_says(&said, "n2 is gone; its Node object and 1 pod are deleted");
        assert_eq!(pods(kubectl, ".spec.nodeName"), ["n1", "n3"]);
        assert_eq!(kubectl.ok(&["get", "nodes", "-o", "name"]), "node/n1\nnode/n3\n");
    });
}
