//! A control plane without the DaemonSet loop, simulated nodes, and the example on them.

use e2e::{Door, Kubectl, Part, Server, eventually, eventually_equal, newest_and_oldest};
use std::time::Duration;

pub const NODES: u32 = 6;
/// A debug build on two busy cores.
pub const LIMIT: Duration = Duration::from_secs(60);

pub const HELLO: &str = include_str!("../../../../examples/hello.yaml");
/// The node that a daemon pod is for, also before it is bound.
const PINNED: &str = ".spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution\
                      .nodeSelectorTerms[0].matchFields[0].values[0]";
const IMAGE: &str = ".spec.containers[0].image";

/// A control plane without the loop, and simulated nodes.
pub struct World {
    pub server: Server,
    _nodes: Part,
    pub kubectl: Kubectl,
}

impl World {
    pub fn start() -> Self {
        Self::with_nodes(NODES)
    }

    /// The same with so many nodes.
    pub fn with_nodes(count: u32) -> Self {
        Self::with(count, &[])
    }

    /// The same with such flags of the server.
    pub fn with(count: u32, flags: &[&str]) -> Self {
        let server = Server::start_with(&[&["--without-loop", "daemonsets"], flags].concat()).unwrap();
        let (_, path) = newest_and_oldest().unwrap().remove(0);
        let kubectl = server.kubectl(&path);
        server.wait_until_ready(&kubectl);
        let fleet = ["internal", "fleet", "--first", "1", "--nodes", &count.to_string(), "--lease", "40"];
        let nodes = Part::start(&fleet, &server.kubeconfig()).unwrap();
        let world = Self { server, _nodes: nodes, kubectl };
        let ready = r#"{.items[*].status.conditions[?(@.type=="Ready")].status}"#;
        eventually_equal("the nodes are Ready", LIMIT, vec!["True"; count as usize].join(" "), || {
            world.kubectl.value(&["get", "nodes"], ready).unwrap_or_default()
        });
        world
    }

    pub fn controller(&self, flags: &[&str]) -> Part {
        let arguments: Vec<&str> = ["controller"].iter().chain(flags).copied().collect();
        Part::start(&arguments, &self.server.kubeconfig()).unwrap()
    }

    /// A controller that goes through this door.
    pub fn controller_through(&self, door: &Door, flags: &[&str]) -> Part {
        let arguments: Vec<&str> = ["controller"].iter().chain(flags).copied().collect();
        Part::start(&arguments, &door.kubeconfig()).unwrap()
    }

    /// Applies the example, which then takes a second for each node.
    pub fn apply(&self) {
        let slow = HELLO.replacen("  selector:", "  minReadySeconds: 1\n  selector:", 1);
        self.kubectl.ok_with(&["apply", "-f", "-"], &slow);
    }

    pub fn set_image(&self, tag: &str) {
        self.kubectl.ok(&["set", "image", "ds/hello", &format!("hello=everynode.dev/hello:{tag}")]);
    }

    /// Waits until every node has exactly one pod of this tag, and at no look more than one that does not end.
    #[track_caller]
    pub fn converges_to(&self, tag: &str) {
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
    pub fn pods(&self) -> Vec<String> {
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
    pub fn in_the_middle_of(&self, tag: &str) {
        eventually("the middle of a rollout", LIMIT, || {
            let pods = self.pods();
            let done = pods.iter().filter(|pod| pod.ends_with(&format!(":{tag}"))).count();
            anyhow::ensure!((1..NODES as usize).contains(&done), "{pods:?}");
            Ok(())
        });
    }

    /// Who holds the lease, by process id; empty if nobody does.
    pub fn holder(&self) -> String {
        let lease = ["get", "lease", "-n", "kube-system", "everynode-daemonsets"];
        let identity = self.kubectl.value(&lease, "{.spec.holderIdentity}").unwrap_or_default();
        identity.rsplit('_').next().unwrap_or_default().to_string()
    }

    #[track_caller]
    pub fn led_by(&self, controller: &Part, limit: Duration) {
        eventually_equal("the holder of the lease", limit, controller.pid().to_string(), || self.holder());
    }
}
