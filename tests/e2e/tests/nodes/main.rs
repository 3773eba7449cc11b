//! `everynode up` with three real nodes, as a user sees it: one test a line of what must work with unmodified kubectl.
//!
//! Each test has a cluster of its own, with the newest and with the oldest supported kubectl, and checks at its end that
//! nothing stays behind on the machine.

mod daemons;
mod failures;
mod listing;
mod rollouts;

use e2e::{Cluster, Kubectl, eventually_equal, newest_and_oldest};
use std::time::Duration;

/// A debug build on two busy cores.
const LIMIT: Duration = Duration::from_secs(90);
/// Silent nodes are found early, so that the tests need not wait for Kubernetes' 40 s.
const GRACE: &str = "8";

const HELLO: &str = include_str!("../../../../examples/hello.yaml");
/// In front of the example.
const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: hello}
spec: {selector: {app: hello}, ports: [{name: http, port: 80, targetPort: http}]}
";

/// Runs a check on three nodes, with the newest kubectl and with the oldest that is supported.
fn check(test: impl Fn(&mut World)) {
    for (_, path) in newest_and_oldest().unwrap() {
        let mut cluster = Cluster::start(&["--runtime", "cri", "--node-grace", GRACE]).unwrap();
        let kubectl = cluster.kubectl(&path);
        cluster.wait_for_nodes(&kubectl, &["n1", "n2", "n3"]);
        let data_dir = cluster.data_dir();
        let mut world = World { cluster, kubectl };
        test(&mut world);
        drop(world);
        e2e::assert_clean(&data_dir);
    }
}

/// A cluster and its administrator.
struct World {
    cluster: Cluster,
    kubectl: Kubectl,
}

impl World {
    /// Applies the example and waits until it runs on every node.
    fn hello(&self) {
        self.kubectl.ok_with(&["apply", "-f", "-"], HELLO);
        self.rolled_out();
    }

    /// Applies the example with one text replaced.
    fn apply_with(&self, from: &str, to: &str) {
        assert!(HELLO.contains(from), "the example has no {from:?} any more");
        self.kubectl.ok_with(&["apply", "-f", "-"], &HELLO.replace(from, to));
    }

    fn rolled_out(&self) {
        self.kubectl.ok(&["rollout", "status", "ds/hello", "--timeout=90s"]);
    }

    /// What stands in one field of all pods of the example, sorted.
    fn pods(&self, path: &str) -> Vec<String> {
        let path = format!("{{range .items[*]}}{{{path}}}{{\" \"}}{{end}}");
        let text = self.kubectl.value(&["get", "pods", "-l", "app=hello"], &path).unwrap_or_default();
        let mut values: Vec<String> = text.split_whitespace().map(str::to_string).collect();
        values.sort();
        values
    }

    /// The containers, which change when one is restarted.
    fn containers(&self) -> Vec<String> {
        self.pods(".status.containerStatuses[0].containerID")
    }

    /// The same for the pods of some nodes.
    fn containers_of(&self, nodes: &[&str]) -> Vec<String> {
        let path = "{range .items[*]}{.spec.nodeName}={.status.containerStatuses[0].containerID} {end}";
        let text = self.kubectl.value(&["get", "pods", "-l", "app=hello"], path).unwrap_or_default();
        let pods = text.split_whitespace().filter_map(|pod| pod.split_once('='));
        let mut found: Vec<String> =
            pods.filter(|(node, _)| nodes.contains(node)).map(|(_, id)| id.to_string()).collect();
        found.sort();
        found
    }

    /// Waits until the example's pods are on exactly these nodes.
    #[track_caller]
    fn runs_on(&self, nodes: &[&str]) {
        let expected: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        eventually_equal("the nodes of the pods", LIMIT, expected, || self.pods(".spec.nodeName"));
    }

    /// Waits until the service has the pods of these nodes behind it, ready ones and others, in the old form and the new.
    #[track_caller]
    fn has_behind_it(&self, ready: &[&str], others: &[&str]) {
        let expected = (ready.join(" "), others.join(" "));
        let nodes = |of: &[&str], path: &str| {
            let found = self.kubectl.value(of, path).unwrap_or_default();
            let mut nodes: Vec<&str> = found.split_whitespace().collect();
            nodes.sort_unstable();
            nodes.join(" ")
        };
        eventually_equal("the Endpoints", LIMIT, expected.clone(), || {
            let of = ["get", "endpoints", "hello"];
            let path = |list: &str| format!("{{.subsets[*].{list}[*].nodeName}}");
            (nodes(&of, &path("addresses")), nodes(&of, &path("notReadyAddresses")))
        });
        eventually_equal("the EndpointSlices", LIMIT, expected, || {
            let of = ["get", "endpointslices", "-l", "kubernetes.io/service-name=hello"];
            let path =
                |ready: &str| format!("{{.items[*].endpoints[?(@.conditions.ready=={ready})].nodeName}}");
            (nodes(&of, &path("true")), nodes(&of, &path("false")))
        });
    }

    /// The name of the example's pod on a node.
    fn pod_on(&self, node: &str) -> String {
        let field = format!("spec.nodeName={node}");
        self.kubectl
            .value(
                &["get", "pods", "-l", "app=hello", "--field-selector", &field],
                "{.items[0].metadata.name}",
            )
            .unwrap()
    }

    /// Waits until the words of a condition of a node are so.
    #[track_caller]
    fn node_is(&self, node: &str, ready: &str) {
        eventually_equal(&format!("{node} Ready={ready}"), LIMIT, ready.to_string(), || {
            let path = r#"{.status.conditions[?(@.type=="Ready")].status}"#;
            self.kubectl.value(&["get", "node", node], path).unwrap_or_default()
        });
    }
}
