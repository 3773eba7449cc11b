//! "Day 7", static pods: a file in a node's `/etc/kubernetes/manifests` is a pod, and no controller's business.

use crate::world::{LIMIT, World, like};
use e2e::{eventually, eventually_equal};
use std::path::PathBuf;

/// The same labels as those of the DaemonSet beside it.
const MANIFEST: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: watchdog
  labels:
    app: static
spec:
  terminationGracePeriodSeconds: 2
  containers:
  - name: hello
    image: everynode.dev/hello:1
";

const DAEMON: &str = "\
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: static
spec:
  selector:
    matchLabels:
      app: static
  template:
    metadata:
      labels:
        app: static
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: hello
        image: everynode.dev/hello:1
";

pub fn seed(world: &World) {
    let file = manifests(world).join("watchdog.yaml");
    std::fs::create_dir_all(manifests(world)).unwrap();
    std::fs::write(&file, MANIFEST).unwrap();
    world.shows("kubectl get pods", "watchdog-n2 1/1 Running 0 *");
    is_shown_as_a_mirror(world);
    is_nobody_elses(world);
    is_not_touched_through_the_server(world);
    follows_its_file(world, &file);
}

/// n2's own view of `/etc/kubernetes`.
fn manifests(world: &World) -> PathBuf {
    world.data_dir().join("nodes/n2/etc/kubernetes/manifests")
}

fn container(world: &World) -> String {
    world.value("pod watchdog-n2", "{.status.containerStatuses[0].containerID}")
}

fn is_shown_as_a_mirror(world: &World) {
    let node = world.value("node n2", "{.metadata.uid}");
    let owner = "{.metadata.ownerReferences[*].kind} {.metadata.ownerReferences[*].name} {.metadata.ownerReferences[*].uid}";
    assert_eq!(world.value("pod watchdog-n2", owner), format!("Node n2 {node}"));
    let annotation = |name: &str| {
        world.value("pod watchdog-n2", &format!("{{.metadata.annotations.kubernetes\\.io/config\\.{name}}}"))
    };
    assert_eq!((annotation("source").as_str(), annotation("hash")), ("file", annotation("mirror")));
    assert!(!annotation("seen").is_empty());
    let described = world.says("kubectl describe pod watchdog-n2");
    like(&described, "Controlled By: Node/n2").unwrap();
    // kubectl looks for the events of what the mirror shows.
    world.shows("kubectl describe pod watchdog-n2", "Normal Started * kubelet Started container hello");
    eventually("its log", LIMIT, || {
        let log = world.says("kubectl logs watchdog-n2");
        anyhow::ensure!(log.contains("hello:1"), "{log}");
        Ok(())
    });
}

/// NP-20, OW-13: a DaemonSet whose selector fits makes a pod of its own beside it.
fn is_nobody_elses(world: &World) {
    let before = container(world);
    world.apply("static.yaml", DAEMON, "daemonset.apps/static created");
    world.rolled_out("default", "static");
    world.runs_on("default", "app=static", &["n1", "n2", "n2", "n3"]);
    world.says("kubectl delete ds static");
    world.runs_on("default", "app=static", &["n2"]);
    assert_eq!(container(world), before);
    let drained = world.says("kubectl drain n2 --ignore-daemonsets");
    assert!(!drained.contains("watchdog"), "{drained}");
    world.says("kubectl uncordon n2");
    assert_eq!(container(world), before);
}

fn is_not_touched_through_the_server(world: &World) {
    let before = container(world);
    delete_mirror(world);
    assert_eq!(container(world), before);
    world.cluster.everynode(&["node", "stop", "n2"]);
    // The old agent has ended before this command, or it has not yet and is followed by the new one.
    let said = world.cluster.everynode(&["node", "start", "n2"]);
    let started = || {
        said.contains("the agent of n2 is starting")
            || world.cluster.output().contains("n2: the agent has ended and starts again")
    };
    eventually_equal("a new agent", LIMIT, true, started);
    // The old agent is gone, so only the new one can bring the mirror back.
    delete_mirror(world);
    assert_eq!(container(world), before, "a new agent restarts nothing");
}

/// Deletes the mirror and waits for another that is Ready.
#[track_caller]
fn delete_mirror(world: &World) {
    let uid = world.value("pod watchdog-n2", "{.metadata.uid}");
    world.says("kubectl delete pod watchdog-n2 --wait=false");
    eventually("another mirror", LIMIT, || {
        let now = world.value("pod watchdog-n2", "{.metadata.uid}");
        anyhow::ensure!(!now.is_empty() && now != uid, "{now}");
        Ok(())
    });
    world.shows("kubectl get pods", "watchdog-n2 1/1 Running 0 *");
}

fn follows_its_file(world: &World, file: &std::path::Path) {
    let before = container(world);
    std::fs::write(manifests(world).join("broken.yaml"), "kind: Deployment\n").unwrap();
    let event = "manifest broken.yaml: is not one v1 Pod but \"Deployment\" of \"\"";
    eventually("the complaint", LIMIT, || {
        let events = world.says("kubectl get events -A");
        anyhow::ensure!(events.contains("InvalidStaticPod") && events.contains(event), "{events}");
        Ok(())
    });
    assert_eq!(container(world), before);
    std::fs::write(file, MANIFEST.replace("hello:1", "hello:2")).unwrap();
    eventually("the new image", LIMIT, || {
        let image = world.value("pod watchdog-n2", "{.status.containerStatuses[0].image}");
        anyhow::ensure!(image == "everynode.dev/hello:2", "{image}");
        Ok(())
    });
    world.shows("kubectl get pods", "watchdog-n2 1/1 Running 0 *");
    assert_ne!(container(world), before);
    std::fs::remove_file(file).unwrap();
    world.runs_on("default", "app=static", &[]);
    std::fs::remove_file(manifests(world).join("broken.yaml")).unwrap();
}
