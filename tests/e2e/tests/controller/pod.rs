//! The controller as `deploy/` describes it: pods of its own image, on real nodes, with its own service account. It takes over
//! what another has left, and gives it back, and no container is started again.

use crate::world::{HELLO, LIMIT};
use anyhow::{Context as _, ensure};
use e2e::{Cluster, Kubectl, Part, binary, eventually, eventually_equal, import_image, newest_and_oldest};
use std::process::Command;
use std::time::Duration;

const RIGHTS: &str = include_str!("../../../../deploy/manifests/rights.yaml");
const DEPLOYMENT: &str = include_str!("../../../../deploy/manifests/deployment.yaml");
/// A large image is unpacked first.
const START: Duration = Duration::from_secs(120);

/// A pod of the Deployment's template: no controller of Deployments runs here.
fn pod(name: &str) -> String {
    let (_, template) = DEPLOYMENT.split_once("  template:\n").unwrap();
    let template: String =
        template.lines().map(|line| line.strip_prefix("    ").unwrap_or(line).to_string() + "\n").collect();
    let named = format!("metadata:\n  name: {name}\n  namespace: kube-system\n");
    format!("apiVersion: v1\nkind: Pod\n{}", template.replacen("metadata:\n", &named, 1))
}

/// Which containers the example's pods run.
fn containers(kubectl: &Kubectl) -> Vec<String> {
    let path = "{range .items[*]}{.spec.nodeName}={.status.containerStatuses[0].containerID} {end}";
    let text = kubectl.value(&["get", "pods", "-l", "app=hello"], path).unwrap_or_default();
    let mut all: Vec<String> = text.split_whitespace().map(str::to_string).collect();
    all.sort();
    all
}

fn reason(kubectl: &Kubectl) -> String {
    let path = r#"{.status.conditions[?(@.type=="Degraded")].reason}"#;
    kubectl.value(&["get", "ds", "hello"], path).unwrap_or_default()
}

/// The conditions are ours alone: without them a status is as another controller writes it.
fn strip_conditions(kubectl: &Kubectl) {
    let patch = r#"{"status": {"conditions": null}}"#;
    kubectl.ok(&["patch", "ds", "hello", "--subresource=status", "--type=merge", "-p", patch]);
}

#[test]
fn pods_of_its_image_take_over_and_give_back_without_a_restart() {
    // TK-1, TK-9, OW-28.
    let (_, path) = newest_and_oldest().unwrap().remove(0);
    let mut cluster =
        Cluster::start(&["--runtime", "cri", "--nodes", "2", "--without-loop", "daemonsets"]).unwrap();
    let kubectl = cluster.kubectl(&path);
    cluster.wait_for_nodes(&kubectl, &["n1", "n2"]);
    let other = || Part::start(&["controller", "--leader-elect=false"], &cluster.kubeconfig()).unwrap();
    let mut before = other();
    kubectl.ok_with(&["apply", "-f", "-"], HELLO);
    eventually_equal("the other one serves", LIMIT, "AsExpected".to_string(), || reason(&kubectl));
    kubectl.ok(&["rollout", "status", "ds/hello", "--timeout=60s"]);
    let running = containers(&kubectl);
    assert_eq!((running.len(), before.stop()), (2, 0));
    strip_conditions(&kubectl);

    let image = Command::new(binary()).args(["images", "--own"]).output().unwrap();
    assert!(image.status.success(), "{}", String::from_utf8_lossy(&image.stderr));
    import_image(&cluster.data_dir(), &image.stdout, 2).unwrap();
    kubectl.ok_with(&["apply", "-f", "-"], RIGHTS);
    for name in ["c1", "c2"] {
        kubectl.ok_with(&["apply", "-f", "-"], &pod(name));
    }
    let limit = format!("--timeout={}s", START.as_secs());
    kubectl.ok(&["wait", "-n", "kube-system", "pod/c1", "pod/c2", "--for=condition=Ready", &limit]);
    eventually_equal("it is taken over", LIMIT, "AsExpected".to_string(), || reason(&kubectl));
    assert_eq!(containers(&kubectl), running, "something was started again");

    // It works with its rights: a rollout, events, history.
    kubectl.ok(&["set", "image", "ds/hello", "hello=everynode.dev/hello:2"]);
    kubectl.ok(&["rollout", "status", "ds/hello", "--timeout=60s"]);
    let running = eventually("both are new", LIMIT, || {
        let now = containers(&kubectl);
        ensure!(now.len() == 2 && now.iter().all(|container| !running.contains(container)), "{now:?}");
        Ok(now)
    });
    let lease = ["get", "lease", "-n", "kube-system", "everynode-daemonsets"];
    let holder = kubectl.value(&lease, "{.spec.holderIdentity}").unwrap();
    assert!(!holder.is_empty());
    for name in ["c1", "c2"] {
        let log = kubectl.ok(&["logs", "-n", "kube-system", name]);
        assert!(!log.contains("orbidden"), "{log}");
    }

    // And back: the lease is released at once.
    kubectl.ok(&["delete", "pod", "-n", "kube-system", "c1", "c2"]);
    eventually("the lease is released", LIMIT, || {
        let holder = kubectl.value(&lease, "{.spec.holderIdentity}").context("no lease")?;
        ensure!(holder.is_empty(), "{holder}");
        Ok(())
    });
    strip_conditions(&kubectl);
    let mut after = other();
    eventually_equal("the other one has it again", LIMIT, "AsExpected".to_string(), || reason(&kubectl));
    assert_eq!((containers(&kubectl), after.stop()), (running, 0));
}
