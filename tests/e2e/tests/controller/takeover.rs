//! Taking over what another controller left: said beforehand, nothing is touched, and what surprises waits for a person.

use crate::world::{LIMIT, NODES, World};
use e2e::{Answer, assert_says, binary, eventually_equal, run_to_end};
use std::process::Command;

impl World {
    /// The example as another controller has left it: the status is without our conditions, and last written by somebody
    /// else.
    fn left_by_another(&self) {
        let mut other = self.controller(&["--leader-elect=false"]);
        self.apply();
        self.converges_to("1");
        assert_eq!(other.stop(), 0);
        let patch = r#"{"status": {"conditions": null}}"#;
        self.kubectl.ok(&["patch", "ds", "hello", "--subresource=status", "--type=merge", "-p", patch]);
    }

    fn check(&self, flags: &[&str]) -> Answer {
        let mut command = Command::new(binary());
        command.args(["takeover", "check", "--kubeconfig"]).arg(self.server.kubeconfig()).args(flags);
        run_to_end(&mut command, "").unwrap()
    }

    /// Names of the pods and how often each of their containers was started again.
    fn lives(&self) -> String {
        let path = "{range .items[*]}{.metadata.uid}={.status.containerStatuses[*].restartCount} {end}";
        self.kubectl.value(&["get", "pods", "-l", "app=hello"], path).unwrap()
    }

    fn degraded(&self) -> String {
        let path = r#"{.status.conditions[?(@.type=="Degraded")].reason}"#;
        self.kubectl.value(&["get", "ds", "hello"], path).unwrap_or_default()
    }
}

#[test]
fn what_another_controller_left_is_judged_before_and_taken_over_without_a_restart() {
    // TK-1, TK-5, TK-11.
    let world = World::start();
    world.left_by_another();
    let answer = world.check(&[]);
    assert_eq!(answer.code, 0, "{}{}", answer.stdout, answer.stderr);
    assert_says(&answer.stdout, "default/hello: nothing changes");
    let before = world.lives();
    let mut ours = world.controller(&[]);
    eventually_equal("our conditions", LIMIT, "AsExpected".to_string(), || world.degraded());
    assert_eq!(world.lives(), before);
    assert_eq!(ours.stop(), 0);
}

#[test]
fn what_surprises_is_left_alone_until_somebody_agrees() {
    // TK-5.
    let world = World::start();
    world.left_by_another();
    // While nobody looks: the other controller has counted it.
    let pod = world.kubectl.value(&["get", "pods", "-l", "app=hello"], "{.items[0].metadata.name}").unwrap();
    world.kubectl.ok(&["delete", "pod", &pod]);
    let answer = world.check(&["-A"]);
    assert_eq!(answer.code, 1, "{}{}", answer.stdout, answer.stderr);
    assert_says(&answer.stdout, "default/hello: would be left alone until someone agrees");
    assert_says(&answer.stdout, "unexpected: create pods on 1 nodes, where it counted 0 without one: n");
    let answer = world.check(&["-o", "json", "-n", "default"]);
    assert_says(&answer.stdout, "\"verdict\": \"WouldBeLeftAlone\"");
    let none = world.check(&["-l", "app=nothing"]);
    assert_eq!((none.code, none.stdout.lines().count()), (0, 1), "{}", none.stdout);

    let mut ours = world.controller(&[]);
    eventually_equal("the condition", LIMIT, "TakeoverWouldChange".to_string(), || world.degraded());
    let reasons = || {
        let about =
            ["get", "events", "--field-selector", "involvedObject.kind=DaemonSet,reason=TakeoverWouldChange"];
        world.kubectl.value(&about, "{.items[*].type}").unwrap_or_default()
    };
    eventually_equal("the event", LIMIT, "Warning".to_string(), reasons);
    assert_eq!(world.pods().len(), NODES as usize - 1);
    world.kubectl.ok(&["annotate", "ds", "hello", "everynode.dev/takeover-agreed=true"]);
    world.converges_to("1");
    eventually_equal("nothing is wrong", LIMIT, "AsExpected".to_string(), || world.degraded());
    ours.still_runs().unwrap();
}

#[test]
fn a_cluster_that_cannot_be_read_is_neither_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command.args(["takeover", "check", "--kubeconfig"]).arg(folder.path().join("none"));
    let answer = run_to_end(&mut command, "").unwrap();
    assert_eq!(answer.code, 2, "{}", answer.stderr);
    assert_says(&answer.stderr, "none: cannot be used as a kubeconfig");
}
