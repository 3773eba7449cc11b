//! Parts that are killed and return; containers go on.

use crate::{LIMIT, check};
use e2e::eventually_equal;

#[test]
fn a_silent_node_is_not_ready_and_keeps_its_daemon() {
    check(|world| {
        world.hello();
        world.kubectl.ok_with(&["apply", "-f", "-"], crate::SERVICE);
        world.has_behind_it(&["n1", "n2", "n3"], &[]);
        let before = world.containers();
        world.cluster.everynode(&["node", "stop", "n2"]);
        world.node_is("n2", "Unknown");
        world.has_behind_it(&["n1", "n3"], &["n2"]);
        let taints =
            || world.kubectl.value(&["get", "node", "n2"], "{.spec.taints[*].key}").unwrap_or_default();
        let expected = "node.kubernetes.io/unreachable node.kubernetes.io/unreachable".to_string();
        eventually_equal("the taints of n2", LIMIT, expected, taints);
        world.runs_on(&["n1", "n2", "n3"]);
        world.cluster.everynode(&["node", "start", "n2"]);
        world.node_is("n2", "True");
        eventually_equal("no taints", LIMIT, String::new(), taints);
        world.has_behind_it(&["n1", "n2", "n3"], &[]);
        assert_eq!(world.containers(), before);
    });
}

#[test]
fn a_killed_server_returns_and_restarts_no_container() {
    check(|world| {
        world.hello();
        let before = world.containers();
        world.cluster.kill_child("server --tied").unwrap();
        eventually_equal("every object", LIMIT, before, || world.containers());
        world.kubectl.ok(&["label", "node", "n1", "still=here"]);
        world.rolled_out();
    });
}

#[test]
fn after_a_kill_of_everything_the_next_start_cleans_up_and_goes_on() {
    check(|world| {
        world.hello();
        world.cluster.kill().unwrap();
        world.cluster.start_again().unwrap();
        let kubectl = world.kubectl.clone();
        world.cluster.wait_for_nodes(&kubectl, &["n1", "n2", "n3"]);
        world.runs_on(&["n1", "n2", "n3"]);
        world.rolled_out();
    });
}

#[test]
fn a_containerd_that_dies_is_started_again_and_restarts_no_container() {
    check(|world| {
        world.hello();
        let before = world.containers();
        assert_eq!(e2e::kill_in_nodes(&world.cluster.data_dir(), "containerd"), 3);
        eventually_equal("said so", LIMIT, 3, || {
            world.cluster.output().matches("containerd has ended (signal 9) and is started again").count()
        });
        for node in ["n1", "n2", "n3"] {
            world.node_is(node, "True");
        }
        assert_eq!(world.containers(), before);
        world.kubectl.ok(&["delete", "pod", &world.pod_on("n1")]);
        world.runs_on(&["n1", "n2", "n3"]);
        world.rolled_out();
    });
}
