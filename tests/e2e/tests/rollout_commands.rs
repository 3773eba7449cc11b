//! kubectl rollout, describe and set on DaemonSets: the server counts, stores and answers so that the words come out right.

use e2e::{Kubectl, Server, eventually, newest_and_oldest};
use serde_json::json;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const HELLO: &str = include_str!("../../../examples/hello.yaml");

/// With all loops and no nodes: revisions are made, pods are not.
fn check(test: impl Fn(&Kubectl)) {
    check_with(&[], test);
}

fn check_with(left_out: &[&str], test: impl Fn(&Kubectl)) {
    for (_, path) in newest_and_oldest().unwrap() {
        let server = Server::without(left_out).unwrap();
        let kubectl = server.kubectl(&path);
        server.wait_until_ready(&kubectl);
        test(&kubectl);
    }
}

fn get(kubectl: &Kubectl, path: &str) -> String {
    kubectl.value(&["get", "ds", "hello"], path).unwrap()
}

/// `number cause` of each line of the history.
fn history(kubectl: &Kubectl) -> Vec<String> {
    let table = kubectl.ok(&["rollout", "history", "ds/hello"]);
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("daemonset.apps/hello "));
    let header: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(header, ["REVISION", "CHANGE-CAUSE"], "{table}");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    lines.map(words).filter(|line| !line.is_empty()).collect()
}

/// Waits until the history has these numbers, and answers with its lines.
fn until_numbers(kubectl: &Kubectl, expected: &[&str]) -> Vec<String> {
    eventually("the history", LIMIT, || {
        let made = kubectl.ok(&["get", "controllerrevisions", "-o", "name"]).lines().count();
        anyhow::ensure!(made == expected.len(), "{made} revisions");
        let lines = history(kubectl);
        let numbers: Vec<&str> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
        anyhow::ensure!(numbers == expected, "{lines:?}");
        Ok(lines)
    })
}

/// The example with a second container, another image and a cause.
fn second() -> String {
    let caused = "  name: hello\n  annotations: {kubernetes.io/change-cause: two of them}\n";
    HELLO
        .replacen("  name: hello\n", caused, 1)
        .replace("everynode.dev/hello:1", "everynode.dev/hello:2")
        .replace(
            "      containers:\n",
            "      containers:\n      - name: side\n        image: everynode.dev/hello:2\n",
        )
}

#[test]
fn every_kind_of_change_raises_the_generation_once() {
    // TE-48, AP-16, AP-17, RV-27.
    check(|kubectl| {
        let generation = |expected: &str| assert_eq!(get(kubectl, "{.metadata.generation}"), expected);
        kubectl.ok_with(&["apply", "-f", "-"], HELLO);
        generation("1");
        kubectl.ok_with(&["apply", "-f", "-"], HELLO);
        generation("1");
        kubectl.ok(&["set", "image", "ds/hello", "*=everynode.dev/hello:2"]);
        generation("2");
        kubectl.ok(&["set", "env", "ds/hello", "foo=bar"]);
        generation("3");
        kubectl.ok(&["set", "resources", "ds/hello", "--limits=cpu=200m,memory=512Mi"]);
        generation("4");
        let owners = kubectl
            .value(&["get", "ds", "hello", "--show-managed-fields"], "{.metadata.managedFields[*].manager}")
            .unwrap();
        assert!(owners.contains("kubectl-set"), "{owners}");
        assert!(kubectl.ok(&["describe", "ds", "hello", "--chunk-size=1"]).starts_with("Name:"));
        assert_eq!(kubectl.ok(&["rollout", "restart", "ds/hello"]), "daemonset.apps/hello restarted\n");
        generation("5");
        let at = get(kubectl, "{.spec.template.metadata.annotations.kubectl\\.kubernetes\\.io/restartedAt}");
        assert!(at.contains('T') && at.contains(':'), "RV-27: {at}");
        let refused = kubectl.fails(&["rollout", "pause", "ds/hello"]);
        assert!(refused.contains("pausing is not supported"), "RV-27: {refused}");
        let refused = kubectl.fails(&["rollout", "resume", "ds/hello"]);
        assert!(refused.contains("resuming is not supported"), "RV-27: {refused}");
    });
}

#[test]
fn the_history_is_listed_shown_and_undone() {
    // TE-49, TE-46, RV-16, RV-21, RV-22, RV-23, RV-24.
    check(|kubectl| {
        let images = || get(kubectl, "{.spec.template.spec.containers[*].image}");
        let undo = |arguments: &[&str]| kubectl.ok(&[&["rollout", "undo", "ds/hello"], arguments].concat());
        let is_first = |line: &str, number: &str| {
            line.starts_with(&format!("{number} kubectl"))
                && line.contains(" apply ")
                && line.ends_with("--record=true")
        };
        let (one, two) = ("everynode.dev/hello:1", "everynode.dev/hello:2 everynode.dev/hello:2");
        kubectl.ok_with(&["apply", "-f", "-", "--record"], HELLO);
        let lines = until_numbers(kubectl, &["1"]);
        assert!(is_first(&lines[0], "1"), "{lines:?}");
        let refused = kubectl.fails(&["rollout", "undo", "ds/hello"]);
        assert!(refused.contains("no last revision to roll back to"), "{refused}");
        let skipped = "daemonset.apps/hello skipped rollback (current template already matches revision 1)\n";
        assert_eq!(undo(&["--to-revision=1"]), skipped);

        kubectl.ok_with(&["apply", "-f", "-"], &second());
        let lines = until_numbers(kubectl, &["1", "2"]);
        assert_eq!(lines[1], "2 two of them");
        for (revision, expected) in [("1", one), ("2", "everynode.dev/hello:2")] {
            let shown = kubectl.ok(&["rollout", "history", "ds/hello", &format!("--revision={revision}")]);
            let header = format!("daemonset.apps/hello with revision #{revision}\nPod Template:\n");
            assert!(shown.starts_with(&header) && shown.contains(expected), "{shown}");
        }
        let refused = kubectl.fails(&["rollout", "history", "ds/hello", "--revision=9"]);
        assert!(refused.contains("unable to find the specified revision"), "{refused}");

        let shown = undo(&["--dry-run=client"]);
        assert!(shown.contains("will roll back to") && shown.contains(one), "{shown}");
        assert_eq!(undo(&["--dry-run=server"]), "daemonset.apps/hello rolled back (server dry run)\n");
        assert_eq!(images(), two);
        assert_eq!(undo(&["--to-revision=1"]), "daemonset.apps/hello rolled back\n");
        assert_eq!(images(), one);
        let lines = until_numbers(kubectl, &["2", "3"]);
        assert!(lines[0] == "2 two of them" && is_first(&lines[1], "3"), "RV-24: {lines:?}");
        let refused = kubectl.fails(&["rollout", "undo", "ds/hello", "--to-revision=1000000"]);
        assert!(refused.contains("unable to find specified revision 1000000 in history"), "{refused}");
        assert_eq!(images(), one);
        assert_eq!(undo(&[]), "daemonset.apps/hello rolled back\n");
        assert_eq!(images(), two);
        until_numbers(kubectl, &["3", "4"]);
    });
}

/// Writes what the controller would write.
fn status(kubectl: &Kubectl, observed: i64, desired: i64, updated: i64, available: i64) {
    let status = json!({"status": {"observedGeneration": observed, "desiredNumberScheduled": desired,
        "currentNumberScheduled": desired, "numberReady": available, "updatedNumberScheduled": updated,
        "numberAvailable": available, "numberMisscheduled": 1}});
    let merge = ["--subresource=status", "--type=merge", "-p"];
    kubectl.ok(&[&["patch", "ds", "hello"], &merge[..], &[&status.to_string()]].concat());
}

#[test]
fn a_rollout_is_told_from_the_status_alone() {
    // RV-26, TE-46.
    check_with(&["daemonsets"], |kubectl| {
        kubectl.ok_with(&["apply", "-f", "-"], HELLO);
        assert!(
            kubectl.ok(&["rollout", "history", "ds/hello"]).contains("No rollout history found."),
            "RV-21"
        );
        let said = |expected: &str| {
            assert_eq!(kubectl.ok(&["rollout", "status", "ds/hello", "--watch=false"]), expected);
        };
        said("Waiting for daemon set spec update to be observed...\n");
        status(kubectl, 1, 3, 1, 0);
        said(
            "Waiting for daemon set \"hello\" rollout to finish: 1 out of 3 new pods have been updated...\n",
        );
        status(kubectl, 1, 3, 3, 2);
        said("Waiting for daemon set \"hello\" rollout to finish: 2 of 3 updated pods are available...\n");
        status(kubectl, 1, 3, 3, 3);
        said("daemon set \"hello\" successfully rolled out\n");
        let on_delete = json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}});
        kubectl.ok(&["patch", "ds", "hello", "--type=merge", "-p", &on_delete.to_string()]);
        let refused = kubectl.fails(&["rollout", "status", "ds/hello", "--watch=false"]);
        assert!(
            refused.contains("rollout status is only available for RollingUpdate strategy type"),
            "{refused}"
        );
    });
}

#[test]
fn describe_reads_as_for_any_cluster() {
    // ST-19.
    check_with(&["daemonsets"], |kubectl| {
        kubectl.ok_with(&["apply", "-f", "-"], HELLO);
        status(kubectl, 1, 3, 2, 1);
        let described = kubectl.ok(&["describe", "ds", "hello"]);
        let lines: Vec<String> = described
            .lines()
            .take_while(|line| !line.starts_with("Pod Template:"))
            .filter(|line| !line.starts_with(' '))
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        let annotations = "Annotations: deprecated.daemonset.template.generation: 1";
        let expected = [
            "Name: hello",
            "Selector: app=hello",
            "Node-Selector: <none>",
            "Labels: <none>",
            annotations,
            "Desired Number of Nodes Scheduled: 3",
            "Current Number of Nodes Scheduled: 3",
            "Number of Nodes Scheduled with Up-to-date Pods: 2",
            "Number of Nodes Scheduled with Available Pods: 1",
            "Number of Nodes Misscheduled: 1",
            "Pods Status: 0 Running / 0 Waiting / 0 Succeeded / 0 Failed",
        ];
        // Newer kubectls say the namespace first.
        let found: Vec<&str> =
            lines.iter().map(String::as_str).filter(|line| !line.starts_with("Namespace:")).collect();
        assert_eq!(found, expected, "{described}");
        assert!(described.contains("\nPod Template:\n") && described.contains("\nEvents:"), "{described}");
    });
}
