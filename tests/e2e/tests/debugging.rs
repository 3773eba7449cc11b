//! `kubectl debug` of a pod and of a node, with a real container runtime and a debugger's image of its own.

use e2e::{Cluster, Image, Kubectl, Registry, assert_says, eventually, newest_and_oldest};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
/// The nodes' addresses: the registry must be named before there are any.
const BRIDGE: (&str, &str) = ("10.95.9.0/24", "10.95.9.1");
/// A pod whose image has no shell.
const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: bare}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: web, image: 'everynode.dev/hello:1'}]
";

#[test]
fn kubectl_debug_looks_into_a_pod_without_a_shell_and_at_a_node() {
    let port = Registry::free_port().unwrap();
    let open = format!("{}:{port}", BRIDGE.1);
    let arguments =
        ["--runtime", "cri", "--nodes", "1", "--bridge-network", BRIDGE.0, "--plain-http-registry", &open];
    let mut cluster = Cluster::start(&arguments).unwrap();
    let kubectls = newest_and_oldest().unwrap();
    let kubectl = cluster.kubectl(&kubectls[0].1);
    cluster.wait_for_nodes(&kubectl, &["n1"]);
    let registry = Registry::start(BRIDGE.1.parse().unwrap(), port, None).unwrap();
    registry.push(&Image::of_script("exec busybox sh").unwrap(), "box:1").unwrap();
    let image = format!("--image={open}/box:1");
    kubectl.ok_with(&["apply", "-f", "-"], POD);
    kubectl.ok(&["wait", "pod", "bare", "--for=condition=Ready", "--timeout=60s"]);

    // Attached with a terminal, with the processes of the pod's container before it.
    let look = "busybox sleep 2; busybox ps; exit 3";
    let ask =
        ["debug", "-it", "bare", &image, "--target=web", "-c", "one", "--", "busybox", "sh", "-c", look];
    let answer = kubectl.in_terminal((24, 120), &ask);
    assert_says(&answer.stdout, "/hello 1");
    let ended = r#"{.status.ephemeralContainerStatuses[?(@.name=="one")].state.terminated.exitCode}"#;
    eventually("the debugger has ended", LIMIT, || {
        let code = kubectl.value(&["get", "pod", "bare"], ended)?;
        anyhow::ensure!(code == "3", "{code}");
        Ok(())
    });
    assert_says(&kubectl.ok(&["logs", "bare", "-c", "one"]), "/hello 1");
    assert_says(&kubectl.ok(&["describe", "pod", "bare"]), "Ephemeral Containers:\n  one:");

    // One that goes on: exec, a restarted agent, and a namespace of its own without --target.
    let ask = ["debug", "bare", &image, "-c", "two", "--", "busybox", "sleep", "1000"];
    kubectl.ok(&ask);
    let running = r#"{.status.ephemeralContainerStatuses[?(@.name=="two")].state.running.startedAt}"#;
    let since = || kubectl.value(&["get", "pod", "bare"], running);
    eventually("the second runs", LIMIT, || {
        anyhow::ensure!(!since()?.is_empty(), "not yet");
        Ok(())
    });
    let before = since().unwrap();
    cluster.everynode(&["node", "stop", "n1"]);
    cluster.everynode(&["node", "start", "n1"]);
    let exec = ["exec", "bare", "-c", "two", "--", "busybox", "ps"];
    eventually("the agent is back", LIMIT, || {
        let answer = kubectl.run(&exec);
        anyhow::ensure!(answer.stdout.contains("sleep 1000"), "{}{}", answer.stdout, answer.stderr);
        anyhow::ensure!(!answer.stdout.contains("/hello"), "{}", answer.stdout);
        Ok(())
    });
    assert_eq!(since().unwrap(), before, "it goes on");
    let restarts =
        "{.status.containerStatuses[0].restartCount} {.status.conditions[?(@.type==\"Ready\")].status}";
    assert_eq!(kubectl.value(&["get", "pod", "bare"], restarts).unwrap(), "0 True");

    looks_at_the_node(&kubectl, &image);
    kubectl.ok(&["delete", "pod", "--all"]);
    let data_dir = cluster.data_dir();
    drop(cluster);
    e2e::assert_clean(&data_dir);
}

/// The node itself, as its root sees it.
fn looks_at_the_node(kubectl: &Kubectl, image: &str) {
    let look = "busybox sleep 2; busybox ps; busybox ls /host/run/everynode";
    let ask = ["debug", "-it", "node/n1", image, "--", "busybox", "sh", "-c", look];
    let answer = kubectl.in_terminal((24, 120), &ask);
    assert_says(&answer.stdout, "containerd");
    // What a container says at its very end may come too late for whoever is attached; its log has it.
    let debugger = answer.stdout.split_whitespace().find(|word| word.starts_with("node-debugger-n1-"));
    let debugger = debugger.expect("kubectl names the pod that it makes");
    eventually("the debugger has looked into the node", LIMIT, || {
        let said = kubectl.ok(&["logs", debugger]);
        anyhow::ensure!(said.contains("containerd.toml"), "{said}");
        Ok(())
    });
}
