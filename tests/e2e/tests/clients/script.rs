//! The acceptance script of issue 4 (wire, appendix B), line by line, with kubectl 1.28, 1.32 and 1.33, on both stores.
//!
//! exec, cp and port-forward need real containers: they have their own tests.

use crate::{LIMIT, World};
use e2e::{Etcd, Kubectl, assert_says, eventually, eventually_equal, kubectls};

const DS: &str = "apiVersion: apps/v1
kind: DaemonSet
metadata: {name: x, namespace: t}
spec:
  selector: {matchLabels: {app: x}}
  template:
    metadata: {labels: {app: x}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: c, image: 'img:1'}
";

#[test]
fn the_acceptance_script_passes_unchanged() {
    play(&World::start());
}

#[test]
fn the_acceptance_script_passes_unchanged_on_etcd() {
    play(&World::on(&Etcd::start().unwrap()));
}

#[track_caller]
fn play(world: &World) {
    for wanted in [28, 32, 33] {
        let found = kubectls().unwrap().into_iter().find(|(minor, _)| *minor == wanted);
        let Some((_, path)) = found else { panic!("no kubectl.1.{wanted} on this machine") };
        let kubectl = world.cluster.kubectl(&path).in_namespace("t");
        looks_around(&kubectl);
        rolls_out(&kubectl);
        shares_ownership(&kubectl);
        nodes_and_logs(&kubectl);
        ends(&kubectl);
    }
}

fn looks_around(kubectl: &Kubectl) {
    assert_says(&kubectl.ok(&["version"]), "Server Version: v1.33.0+everynode");
    assert_says(&kubectl.ok(&["api-resources"]), "daemonsets");
    assert_says(&kubectl.ok(&["get", "ns,nodes"]), "node/n1");
    assert_eq!(kubectl.ok(&["create", "ns", "t"]), "namespace/t created\n");
    assert_eq!(kubectl.ok(&["auth", "can-i", "create", "ds", "-n", "t"]), "yes\n");
    assert_eq!(kubectl.ok_with(&["apply", "-f", "-"], DS), "daemonset.apps/x created\n");
    assert_eq!(kubectl.ok_with(&["apply", "-f", "-"], DS), "daemonset.apps/x unchanged\n");
    assert_eq!(kubectl.value(&["get", "ds", "x"], "{.metadata.generation}").unwrap(), "1");
    assert_says(&kubectl.ok(&["get", "ds", "-o", "wide"]), "app=x");
    // A simulated node runs nothing that could be measured.
    let top = kubectl.fails(&["top", "node"]);
    assert_says(
        &top,
        "Warning: no metrics of node n1: node n1 is simulated: no process runs in its containers",
    );
    assert_says(&top, "error: metrics not available yet");
}

fn rolls_out(kubectl: &Kubectl) {
    kubectl.ok(&["rollout", "status", "ds/x", "--timeout=60s"]);
    let mut watching = kubectl.start(&["get", "ds", "x", "-w"]);
    watching.line(LIMIT, |line| line.starts_with("x "));
    kubectl.ok(&["set", "image", "ds/x", "c=img:2"]);
    kubectl.ok(&["rollout", "status", "ds/x", "--timeout=60s"]);
    // The watch has shown the moment in which nothing was up to date.
    let columns = |line: &str| line.split_whitespace().nth(4).map(str::to_string);
    watching.line(LIMIT, |line| columns(line).as_deref() == Some("0"));
    drop(watching);
    let history = kubectl.ok(&["rollout", "history", "ds/x"]);
    assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
    kubectl.ok(&["rollout", "undo", "ds/x", "--to-revision=1"]);
    kubectl.ok(&["rollout", "status", "ds/x", "--timeout=60s"]);
    let same = kubectl.run_with_input(&["diff", "-f", "-"], DS);
    assert_eq!((same.code, same.stdout.as_str()), (0, ""), "{}", same.stderr);
}

fn shares_ownership(kubectl: &Kubectl) {
    assert_eq!(
        kubectl.ok_with(&["apply", "--server-side", "-f", "-"], DS),
        "daemonset.apps/x serverside-applied\n"
    );
    let managers = "{.metadata.managedFields[*].manager}";
    let managers = kubectl.value(&["get", "ds", "x", "--show-managed-fields"], managers).unwrap();
    assert!(!managers.contains("client-side-apply"), "the migration is not done: {managers}");
    kubectl.ok(&["patch", "ds", "x", "--field-manager=o", "-p", r#"{"spec":{"minReadySeconds":1}}"#]);
    assert_says(&kubectl.ok(&["describe", "ds", "x"]), "Number of Nodes Misscheduled: 0");
    assert_says(&kubectl.ok(&["explain", "ds.spec"]), "minReadySeconds");
}

fn nodes_and_logs(kubectl: &Kubectl) {
    for (arguments, expected) in [
        (&["label", "ds", "x", "a=b"] as &[&str], "labeled"),
        (&["annotate", "ds", "x", "a=b"], "annotated"),
        (&["taint", "node", "n1", "k=v:PreferNoSchedule"], "tainted"),
        (&["taint", "node", "n1", "k-"], "untainted"),
        (&["cordon", "n1"], "cordoned"),
        (&["drain", "n1", "--ignore-daemonsets", "--timeout=60s"], "drained"),
        (&["uncordon", "n1"], "uncordoned"),
        (&["run", "gone", "--image=x"], "created"),
        (&["delete", "pod", "gone", "--wait=false"], "deleted"),
    ] {
        assert_says(&kubectl.ok(arguments), expected);
    }
    // Gone already, or seen going.
    let waited = kubectl.run(&["wait", "--for=delete", "pod/gone", "--timeout=60s"]);
    assert!(waited.code == 0 || waited.stderr.contains("NotFound"), "{}", waited.stderr);
}

fn ends(kubectl: &Kubectl) {
    let pods = |path: &str| kubectl.value(&["get", "pods", "-l", "app=x"], path).unwrap_or_default();
    let uids = "{.items[*].metadata.uid}";
    kubectl.ok(&["rollout", "status", "ds/x", "--timeout=60s"]);
    let before = pods(uids);
    kubectl.ok(&["delete", "ds", "x", "--cascade=orphan"]);
    assert_eq!(pods(uids), before);
    kubectl.ok_with(&["apply", "-f", "-"], DS);
    eventually("the orphans are adopted", LIMIT, || {
        let owners = pods("{.items[*].metadata.ownerReferences[0].kind}");
        anyhow::ensure!(owners == "DaemonSet DaemonSet", "{owners}");
        Ok(())
    });
    kubectl.ok(&["delete", "ds", "x", "--cascade=foreground"]);
    eventually_equal("no pods", LIMIT, String::new(), || pods(uids));
    kubectl.ok(&["delete", "ns", "t"]);
}
