//! `everynode controller` beside a control plane without a DaemonSet loop: nothing happens without it, it can be killed at any
//! time, and of two that are elected one stands by.

mod bad_days;
mod crowds;
mod flags;
mod pod;
mod takeover;
mod traces;
mod world;

use e2e::{assert_says, binary, run_to_end};
use std::process::Command;
use std::time::Duration;
use world::{LIMIT, World};

/// Less than a lease holds without renewal (15 s): whoever waits for its end comes too late.
const AT_ONCE: Duration = Duration::from_secs(10);

const PROBE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: probe}
spec: {containers: [{name: probe, image: everynode.dev/hello:1}]}
";

#[test]
fn without_a_controller_nothing_happens_and_one_that_is_killed_is_replaced() {
    let mut world = World::start();
    world.apply();
    // Whoever looks at pods has looked at what came before this one.
    world.kubectl.ok_with(&["apply", "-f", "-"], PROBE);
    world.kubectl.ok(&["wait", "pod/probe", "--for=condition=Ready", "--timeout=60s"]);
    assert_eq!(world.pods(), Vec::<String>::new());
    assert_eq!(world.kubectl.value(&["get", "ds", "hello"], "{.status.observedGeneration}").unwrap(), "");

    let mut first = world.controller(&["--leader-elect=false"]);
    world.converges_to("1");
    world.set_image("2");
    world.in_the_middle_of("2");
    first.kill().unwrap();
    let mut second = world.controller(&["--leader-elect=false"]);
    world.converges_to("2");
    let revisions = ["get", "controllerrevisions", "--sort-by=.revision"];
    assert_eq!(world.kubectl.value(&revisions, "{.items[*].revision}").unwrap(), "1 2");

    world.server.kill_and_start_again().unwrap();
    world.server.wait_until_ready(&world.kubectl);
    world.set_image("1");
    world.converges_to("1");
    second.still_runs().unwrap();
    assert_eq!(second.stop(), 0);
}

#[test]
fn a_cluster_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let broken = folder.path().join("broken");
    std::fs::write(&broken, "what").unwrap();
    for path in [missing, broken] {
        let mut command = Command::new(binary());
        let answer = run_to_end(command.arg("controller").arg("--kubeconfig").arg(&path), "").unwrap();
        assert_eq!(answer.code, 1, "{}", answer.stderr);
        assert_says(&answer.stderr, &format!("{}: cannot be used as a kubeconfig", path.display()));
    }
}

#[test]
fn of_two_that_are_elected_one_stands_by_and_takes_over() {
    let world = World::start();
    let mut first = world.controller(&[]);
    world.led_by(&first, LIMIT);
    let mut second = world.controller(&[]);
    world.apply();
    world.converges_to("1");
    second.still_runs().unwrap();
    world.led_by(&first, Duration::ZERO);

    // A clean end in the middle of a rollout gives the lease back.
    world.set_image("2");
    world.in_the_middle_of("2");
    assert_eq!(first.stop(), 0);
    world.led_by(&second, AT_ONCE);
    world.converges_to("2");

    // After a kill the lease has to run out.
    let third = world.controller(&[]);
    world.set_image("1");
    world.in_the_middle_of("1");
    second.kill().unwrap();
    world.led_by(&third, LIMIT);
    world.converges_to("1");
}
