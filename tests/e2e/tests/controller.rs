//! `everynode controller` beside a control plane without a DaemonSet loop: nothing happens without it, it can be killed at any
//! time, and of two that are elected one stands by.

use e2e::{
    Kubectl, Part, Server, assert_says, binary, eventually, eventually_equal, newest_and_oldest, run_to_end,
};
use std::process::Command;
use std::time::Duration;

const NODES: u32 = 6;
/// A debug build on two busy cores.
const LIMIT: Duration = Duration::from_secs(60);
/// Less than a lease holds without renewal (15 s): whoever waits for its end comes too late.
const AT_ONCE: Duration = Duration::from_secs(10);

const HELLO: &str = include_str!("../../../examples/hello.yaml");
const PROBE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: probe}
spec: {containers: [{name: probe, image: everynode.dev/hello:1}]}
";

/// The node that a daemon pod is for, also before it is bound.
const PINNED: &str = ".spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution\
                      .nodeSelectorTerms[0].matchFields[0].values[0]";
const IMAGE: &str = ".spec.containers[0].image";

/// A control plane without the loop, and simulated nodes.
struct World {
    server: Server,
    _nodes: Part,
    kubectl: Kubectl,
}

impl World {
    fn start() -> Self {
        let server = Server::start_with(&["--without-loop", "daemonsets"]).unwrap();
        let (_, path) = newest_and_oldest().unwrap().remove(0);
        let kubectl = server.kubectl(&path);
        server.wait_until_ready(&kubectl);
        let fleet = ["internal", "fleet", "--first", "1", "--nodes", &NODES.to_string()];
        let nodes = Part::start(&fleet, &server.kubeconfig()).unwrap();
        let world = Self { server, _nodes: nodes, kubectl };
        let ready = r#"{.items[*].status.conditions[?(@.type=="Ready")].status}"#;
        eventually_equal("the nodes are Ready", LIMIT, ["True"; NODES as usize].join(" "), || {
            world.kubectl.value(&["get", "nodes"], ready).unwrap_or_default()
        });
        world
    }

    fn controller(&self, flags: &[&str]) -> Part {
        let arguments: Vec<&str> = ["controller"].iter().chain(flags).copied().collect();
        Part::start(&arguments, &self.server.kubeconfig()).unwrap()
    }

    /// Applies the example, which then takes a second for each node.
    fn apply(&self) {
        let slow = HELLO.replacen("  selector:", "  minReadySeconds: 1\n  selector:", 1);
        self.kubectl.ok_with(&["apply", "-f", "-"], &slow);
    }

    fn set_image(&self, tag: &str) {
        self.kubectl.ok(&["set", "image", "ds/hello", &format!("hello=everynode.dev/hello:{tag}")]);
    }

    /// Waits until every node has exactly one pod of this tag, and at no look more than one that does not end.
    #[track_caller]
    fn converges_to(&self, tag: &str) {
        let mut expected: Vec<String> =
            (1..=NODES).map(|n| format!("n{n}=everynode.dev/hello:{tag}")).collect();
        expected.sort();
        eventually_equal("one pod on each node", LIMIT, expected, || self.pods());
        self.kubectl.ok(&["rollout", "status", "ds/hello", "--timeout=60s"]);
        let status =
            "{.status.desiredNumberScheduled} {.status.numberAvailable} {.status.numberMisscheduled}";
        assert_eq!(
            self.kubectl.value(&["get", "ds", "hello"], status).unwrap(),
            format!("{NODES} {NODES} 0")
        );
    }

    /// `node=image` of every pod of the example, sorted. Two on one node that both do not end are a failure.
    #[track_caller]
    fn pods(&self) -> Vec<String> {
        let path =
            format!("{{range .items[*]}}{{.metadata.deletionTimestamp}},{{{PINNED}}}={{{IMAGE}}} {{end}}");
        let text = self.kubectl.value(&["get", "pods", "-l", "app=hello"], &path).unwrap_or_default();
        let pods: Vec<(&str, &str)> = text.split_whitespace().filter_map(|pod| pod.split_once(',')).collect();
        let mut nodes: Vec<&str> = pods
            .iter()
            .filter(|(ending, _)| ending.is_empty())
            .filter_map(|(_, pod)| pod.split('=').next())
            .collect();
        let count = nodes.len();
        nodes.sort_unstable();
        nodes.dedup();
        assert_eq!(nodes.len(), count, "two pods on one node: {text}");
        let mut all: Vec<String> = pods.iter().map(|(_, pod)| pod.to_string()).collect();
        all.sort();
        all
    }

    /// Waits until a rollout to this tag has begun and not ended.
    #[track_caller]
    fn in_the_middle_of(&self, tag: &str) {
        eventually("the middle of a rollout", LIMIT, || {
            let pods = self.pods();
            let done = pods.iter().filter(|pod| pod.ends_with(&format!(":{tag}"))).count();
            anyhow::ensure!((1..NODES as usize).contains(&done), "{pods:?}");
            Ok(())
        });
    }

    /// Who holds the lease, by process id; empty if nobody does.
    fn holder(&self) -> String {
        let lease = ["get", "lease", "-n", "kube-system", "everynode-daemonsets"];
        let identity = self.kubectl.value(&lease, "{.spec.holderIdentity}").unwrap_or_default();
        identity.rsplit('_').next().unwrap_or_default().to_string()
    }

    #[track_caller]
    fn led_by(&self, controller: &Part, limit: Duration) {
        eventually_equal("the holder of the lease", limit, controller.pid().to_string(), || self.holder());
    }
}

#[test]
fn without_a_controller_nothing_happens_and_one_that_is_killed_is_replaced() {
    let mut world = World::start();
    world.apply();
    // Whoever looks at pods has looked at what came before this one.
    world.kubectl.ok_with(&["apply", "-f", "-"], PROBE);
    world.kubectl.ok(&["wait", "pod/probe", "--for=condition=Ready", "--timeout=60s"]);
    assert_eq!(world.pods(), Vec::<String>::new());
    assert_eq!(world.kubectl.value(&["get", "ds", "hello"], "{.status.observedGeneration}").unwrap(), "");

    let mut first = world.controller(&[]);
    world.converges_to("1");
    world.set_image("2");
    world.in_the_middle_of("2");
    first.kill().unwrap();
    let mut second = world.controller(&[]);
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
    let mut first = world.controller(&["--leader-elect"]);
    world.led_by(&first, LIMIT);
    let mut second = world.controller(&["--leader-elect"]);
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
    let third = world.controller(&["--leader-elect"]);
    world.set_image("1");
    world.in_the_middle_of("1");
    second.kill().unwrap();
    world.led_by(&third, LIMIT);
    world.converges_to("1");
}
