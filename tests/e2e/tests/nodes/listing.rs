//! What `get`, `describe`, `logs` and `curl` show.

use crate::{LIMIT, World, check};
use e2e::{Kubectl, assert_says, eventually, eventually_equal};
use std::process::Command;

#[test]
fn nodes_say_what_they_are() {
    check(|world| {
        let table = world.kubectl.ok(&["get", "nodes"]);
        let header: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
        assert_eq!(header, ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]);
        let wide = world.kubectl.ok(&["get", "nodes", "-o", "wide"]);
        for (line, node) in wide.lines().skip(1).zip(["n1", "n2", "n3"]) {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(words[..2], [node, "Ready"], "{line}");
            assert!(
                words[4].starts_with("v1.33.0") && words[5].ends_with(&format!(".1{}", &node[1..])),
                "{line}"
            );
            assert!(words.last().unwrap().starts_with("containerd://1"), "{line}");
        }
        world.hello();
        let described = world.kubectl.ok(&["describe", "node", "n1"]);
        for expected in ["MemoryPressure", "Taints:", "Capacity:", "Allocatable:", "hello-", "NodeReady"] {
            assert!(described.contains(expected), "no {expected} in\n{described}");
        }
        tops(&world.kubectl);
    });
}

/// `kubectl top` shows what the agents measure when they are asked.
fn tops(kubectl: &Kubectl) {
    let amount =
        |word: &str, unit: &str| word.strip_suffix(unit).and_then(|number| number.parse::<u64>().ok());
    let nodes = kubectl.ok(&["top", "node", "--no-headers"]);
    assert_eq!(nodes.lines().count(), 3, "{nodes}");
    for line in nodes.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(amount(words[1], "m") > Some(0) && amount(words[3], "Mi") > Some(0), "{line}");
    }
    eventually("every container has its numbers", LIMIT, || {
        let answer = kubectl.run(&["top", "pod", "--containers", "-l", "app=hello", "--no-headers"]);
        let rows = answer.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let good = rows.filter(|row| {
            matches!(row.as_slice(), [pod, "hello", cpu, memory]
                if pod.starts_with("hello-") && amount(cpu, "m").is_some() && amount(memory, "Mi").is_some())
        });
        anyhow::ensure!(good.count() == 3, "{}{}", answer.stdout, answer.stderr);
        Ok(())
    });
    let text = kubectl.ok(&["get", "--raw", "/api/v1/nodes/n1/proxy/metrics/resource"]);
    assert_says(
        &text,
        "container_cpu_usage_seconds_total{container=\"hello\",namespace=\"default\",pod=\"hello-",
    );
}

#[test]
fn a_daemonset_is_shown_with_its_pods_and_events() {
    check(|world| {
        world.hello();
        let kubectl = &world.kubectl;
        assert_eq!(kubectl.ok_with(&["apply", "-f", "-"], crate::HELLO), "daemonset.apps/hello unchanged\n");
        assert_eq!(kubectl.value(&["get", "ds", "hello"], "{.metadata.generation}").unwrap(), "1");
        let line: Vec<String> = kubectl
            .ok(&["get", "ds", "hello", "--no-headers"])
            .split_whitespace()
            .map(str::to_string)
            .collect();
        assert_eq!(line[..7], ["hello", "3", "3", "3", "3", "3", "<none>"]);
        assert!(kubectl.ok(&["get", "ds", "-o", "wide"]).contains("everynode.dev/hello:1"));
        let columns = "custom-columns=NAME:metadata.name,NODE:spec.nodeName";
        let by_node = kubectl.ok(&["get", "pods", "-l", "app=hello", "-o", columns]);
        let mut nodes: Vec<_> =
            by_node.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
        nodes.sort_unstable();
        assert_eq!(nodes, ["n1", "n2", "n3"]);
        let described = kubectl.ok(&["describe", "ds", "hello"]);
        assert_eq!(described.matches("daemonset-controller  Created pod: hello-").count(), 3, "{described}");
        assert!(
            described.contains("Pods Status:  3 Running / 0 Waiting / 0 Succeeded / 0 Failed"),
            "{described}"
        );
        let mut watch = kubectl.start(&["get", "pods", "-l", "app=hello", "-w"]);
        let pod = world.pod_on("n1");
        watch.line(LIMIT, |line| line.starts_with(&pod) && line.contains("Running"));
        kubectl.ok(&["delete", "pod", &pod, "--wait=false"]);
        watch.line(LIMIT, |line| line.starts_with(&pod) && line.contains("Terminating"));
        watch.line(LIMIT, |line| !line.starts_with(&pod) && line.contains("1/1"));
    });
}

#[test]
fn logs_are_read_followed_and_kept_for_the_one_before() {
    check(|world| {
        world.hello();
        let kubectl = &world.kubectl;
        let pod = world.pod_on("n2");
        eventually("a line of the log", LIMIT, || {
            let log = kubectl.run(&["logs", &pod]).stdout;
            anyhow::ensure!(log.contains("hello:1 on n2"), "{log}");
            Ok(())
        });
        let mut follow = kubectl.start(&["logs", "-f", &pod, "--tail=1"]);
        let first = follow.line(LIMIT, |line| line.contains("hello:1 on n2"));
        follow.line(LIMIT, |line| line.contains("hello:1 on n2") && line != first);
        kubectl.ok(&["set", "image", "ds/hello", "hello=everynode.dev/hello:broken"]);
        eventually("the log of the container before", LIMIT, || {
            let broken = world.pods(".metadata.name").into_iter().find(|name| {
                kubectl.run(&["logs", "--previous", name]).stdout.contains("it was built to fail")
            });
            anyhow::ensure!(broken.is_some());
            Ok(())
        });
    });
}

#[test]
fn every_nodes_host_port_answers_with_its_name_and_a_service_has_them_all() {
    check(|world| {
        runtime_classes(world);
        for node in ["n1", "n2", "n3"] {
            let path = r#"{.status.addresses[?(@.type=="InternalIP")].address}"#;
            let address = world.kubectl.value(&["get", "node", node], path).unwrap();
            eventually_equal(&format!("{node} answers"), LIMIT, node.to_string(), || {
                let answer =
                    Command::new("curl").args(["-s", "-m", "5", &format!("{address}:8080")]).output();
                answer.map(|a| String::from_utf8_lossy(&a.stdout).trim().to_string()).unwrap_or_default()
            });
        }
        service(world);
    });
}

/// A service shows the addresses of its pods, and takes them with it.
fn service(world: &World) {
    let kubectl = &world.kubectl;
    kubectl.ok_with(&["apply", "-f", "-"], crate::SERVICE);
    world.has_behind_it(&["n1", "n2", "n3"], &[]);
    let addresses: Vec<String> =
        world.pods(".status.podIP").iter().map(|address| format!("{address}:8080")).collect();
    let described = kubectl.ok(&["describe", "service", "hello"]);
    let listed = kubectl.ok(&["get", "endpoints", "hello"]);
    for address in &addresses {
        assert!(described.contains(address) && listed.contains(address), "{address}\n{described}{listed}");
    }
    let slices = kubectl.ok(&["get", "endpointslices", "-l", "kubernetes.io/service-name=hello"]);
    let words: Vec<&str> = slices.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert!(words[0].starts_with("hello-") && words[1..3] == ["IPv4", "8080"], "{slices}");
    kubectl.ok(&["delete", "service", "hello"]);
    eventually_equal("nothing is left of it", LIMIT, String::new(), || {
        kubectl
            .run(&["get", "endpoints,endpointslices", "-o", "name"])
            .stdout
            .lines()
            .filter(|name| name.contains("hello"))
            .collect()
    });
}

/// The example runs by a class whose handler containerd has; another one's pod says why it does not.
fn runtime_classes(world: &World) {
    let class = |name: &str, handler: &str| {
        let text = format!(
            "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {{name: {name}}}\nhandler: {handler}\n"
        );
        world.kubectl.ok_with(&["apply", "-f", "-"], &text);
    };
    class("ordinary", "runc");
    class("odd", "nothing");
    let listed = world.kubectl.ok(&["get", "runtimeclasses"]);
    let header: Vec<&str> = listed.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(header, ["NAME", "HANDLER", "AGE"]);
    let grace = "      terminationGracePeriodSeconds: 2\n";
    world.apply_with(grace, &format!("      runtimeClassName: ordinary\n{grace}"));
    world.rolled_out();
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: odd}\nspec: {runtimeClassName: odd, \
               terminationGracePeriodSeconds: 0, containers: [{name: c, image: everynode.dev/hello:1}]}\n";
    world.kubectl.ok_with(&["apply", "-f", "-"], pod);
    eventually("the runtime does not know the handler", LIMIT, || {
        let described = world.kubectl.run(&["describe", "pod", "odd"]).stdout;
        anyhow::ensure!(described.contains("no runtime for \"nothing\" is configured"), "{described}");
        Ok(())
    });
    world.kubectl.ok(&["delete", "pod", "odd", "--wait=false"]);
}

#[test]
fn the_small_commands_work() {
    check(|world| {
        world.hello();
        let kubectl = &world.kubectl;
        let explained = kubectl.ok(&["explain", "daemonset.spec.updateStrategy"]);
        assert!(explained.contains("rollingUpdate") && explained.contains("DESCRIPTION"), "{explained}");
        let made = kubectl.ok(&["create", "deploy", "x", "--image=y", "--dry-run=client", "-o", "yaml"]);
        assert!(made.contains("kind: Deployment"), "{made}");
        assert!(kubectl.ok(&["api-resources"]).contains("daemonsets"));
        assert!(kubectl.ok(&["version"]).contains("v1.33"));
        assert!(kubectl.ok(&["get", "events"]).contains("SuccessfulCreate"));
        assert_eq!(kubectl.ok(&["auth", "can-i", "delete", "nodes"]).trim(), "yes");
        assert_eq!(kubectl.ok(&["create", "namespace", "more"]), "namespace/more created\n");
        kubectl.ok(&["wait", "pod", "-l", "app=hello", "--for=condition=Ready", "--timeout=60s"]);
        kubectl.ok_with(&["delete", "-f", "-"], crate::HELLO);
        kubectl.ok(&["wait", "pod", "-l", "app=hello", "--for=delete", "--timeout=60s"]);
        kubectl.ok(&["delete", "namespace", "more", "--timeout=60s"]);
    });
}
