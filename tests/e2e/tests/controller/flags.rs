//! What the flags of `everynode controller` promise: nothing is written, only a part is taken over, one leads, and the rest can
//! be read off its metrics.

use crate::world::{HELLO, LIMIT, NODES, World};
use anyhow::ensure;
use e2e::{assert_says, eventually, eventually_equal, run_to_end};
use std::net::TcpListener;
use std::process::Command;

/// Short, so that a crash is noticed soon; long enough for a busy machine.
const TIMES: [&str; 3] = [
    "--leader-elect-lease-duration=10s",
    "--leader-elect-renew-deadline=7s",
    "--leader-elect-retry-period=1s",
];

impl World {
    fn observed(&self, namespace: &str) -> String {
        self.kubectl.value(&["get", "ds", "-n", namespace, "hello"], "{.status.observedGeneration}").unwrap()
    }

    /// A second daemon on the first node, as a second loop would make it.
    fn make_anothers_pod(&self) {
        let uid = self.kubectl.value(&["get", "ds", "hello"], "{.metadata.uid}").unwrap();
        let owner =
            format!("{{apiVersion: apps/v1, kind: DaemonSet, name: hello, uid: {uid}, controller: true}}");
        let pod = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{generateName: hello-, labels: {{app: hello}}, ownerReferences: [{owner}]}},
             spec: {{nodeName: n1, containers: [{{name: hello, image: everynode.dev/hello:1}}]}}}}"
        );
        self.kubectl.ok_with(&["create", "-f", "-"], &pod);
    }

    fn signal(pid: u32, name: &str) {
        let status = Command::new("kill").args([name, &pid.to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()));
    }
}

#[test]
fn a_rehearsal_writes_nothing_and_a_part_is_taken_over_without_the_rest() {
    let world = World::start();
    world.kubectl.ok(&["create", "namespace", "other"]);
    world.apply();
    let elsewhere = HELLO.replace("namespace: default", "namespace: other");
    world.kubectl.ok_with(&["apply", "-f", "-"], &elsewhere);
    let mut rehearsal = world.controller(&["--dry-run"]);
    let lines: Vec<String> = ["default", "other"]
        .iter()
        .flat_map(|ns| (1..=NODES).map(move |n| format!("{ns}/hello: create pod on n{n}")))
        .collect();
    eventually("every pod is told of", LIMIT, || {
        let log = rehearsal.log();
        ensure!(lines.iter().all(|line| log.lines().any(|told| told == line)), "{log}");
        Ok(())
    });
    assert_eq!(rehearsal.stop(), 0);
    let log = rehearsal.log();
    assert_eq!(log.matches("default/hello: create pod on n1\n").count(), 1, "{log}");
    assert_eq!(
        (world.pods().len(), world.observed("default"), world.holder()),
        (0, String::new(), String::new())
    );
    let told = ["get", "events", "-A", "--field-selector", "involvedObject.kind=DaemonSet"];
    for written in [&["get", "controllerrevisions", "-A"][..], &told] {
        assert_eq!(world.kubectl.value(written, "{.items[*].metadata.name}").unwrap(), "", "{written:?}");
    }

    let mut ours = world.controller(&["--namespaces", "default"]);
    world.converges_to("1");
    assert_eq!((world.observed("other"), ours.stop()), (String::new(), 0));
    world.kubectl.ok(&["label", "ds", "-n", "other", "hello", "by=us"]);
    world.set_image("2");
    let labelled = world.controller(&["--selector=by=us"]);
    eventually_equal("the labelled one", LIMIT, "1".to_string(), || world.observed("other"));
    assert_eq!(world.observed("default"), "1", "{}", labelled.log());
}

#[test]
fn a_leader_that_was_stopped_does_not_write_when_it_goes_on() {
    // TK-9.
    let world = World::start();
    let mut first = world.controller(&TIMES);
    world.led_by(&first, LIMIT);
    let second = world.controller(&TIMES);
    World::signal(first.pid(), "-STOP");
    world.led_by(&second, LIMIT);
    world.apply();
    World::signal(first.pid(), "-CONT");
    world.converges_to("1");
    eventually("the first has ended", LIMIT, || {
        ensure!(first.still_runs().is_err(), "it runs");
        Ok(())
    });
    assert_says(&first.log(), "was lost");
    world.led_by(&second, LIMIT);
}

#[test]
fn metrics_tell_of_work_limits_and_another_controller() {
    // TK-9.
    let world = World::start();
    world.apply();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let flags =
        ["--kube-api-qps=1", "--kube-api-burst=1", "--log-format=json", "--metrics-bind-address", &address];
    let ours = world.controller(&flags);
    world.converges_to("1");
    let get = |path: &str| {
        let answer =
            run_to_end(Command::new("curl").args(["-sS", &format!("http://{address}{path}")]), "").unwrap();
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        answer.stdout
    };
    assert_eq!((get("/healthz").as_str(), get("/readyz").as_str()), ("ok", "ok"));
    let text = get("/metrics");
    for line in [
        "everynode_daemonset_desired{namespace=\"default\",daemonset=\"hello\"} 6\n",
        "everynode_daemonset_unavailable{namespace=\"default\",daemonset=\"hello\",cause=\"missing\"} 0\n",
        "everynode_daemonset_seconds_since_progress{namespace=\"default\",daemonset=\"hello\"} 0\n",
        "leader_election_master_status{name=\"everynode-daemonsets\"} 1\n",
        "workqueue_depth{name=\"daemonset\"} ",
        "rest_client_requests_total{code=\"201\",method=\"POST\",host=\"127.0.0.1:",
        "process_resident_memory_bytes ",
        "everynode_limit_waits_total{limit=\"rate\"} ",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let log = ours.log();
    assert_eq!(
        log.matches("slowed down by --kube-api-qps=1 --kube-api-burst=1: a request waited").count(),
        1,
        "{log}"
    );
    assert!(log.lines().all(|line| line.starts_with('{')), "{log}");

    // Somebody else writes what only the controller writes.
    let mut ready = 0;
    eventually("the other one is noticed", LIMIT, || {
        ready += 1;
        let patch = format!(r#"{{"status": {{"numberReady": {ready}}}}}"#);
        world.kubectl.ok(&["patch", "ds", "hello", "--subresource=status", "--type=merge", "-p", &patch]);
        let about = ["get", "events", "--field-selector", "reason=ForeignController"];
        let told = world.kubectl.value(&about, "{.items[*].message}")?;
        ensure!(told.contains("its status was written by \"kubectl-patch\""), "{told}");
        Ok(())
    });
    assert_says(
        &get("/metrics"),
        "everynode_foreign_writes_total{manager=\"kubectl-patch\",what=\"status\"} ",
    );
    world.make_anothers_pod();
    eventually("the other one's pod is noticed, and is one too many", LIMIT, || {
        let about = ["get", "events", "--field-selector", "reason=ForeignController"];
        let told = world.kubectl.value(&about, "{.items[*].message}")?;
        ensure!(told.contains("a pod was created by \"kubectl-create\""), "{told}");
        let left = world.kubectl.value(&["get", "pods", "-l", "app=hello"], "{.items[*].metadata.name}")?;
        ensure!(left.split_whitespace().count() == NODES as usize, "{left}");
        Ok(())
    });
}
