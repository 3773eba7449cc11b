//! Parts that are killed and return; containers go on.

use crate::{LIMIT, check};
use e2e::eventually_equal;

#[test]
fn a_silent_node_is_not_ready_and_keeps_its_daemon() {
    check(|world| {
        world.hello();
        let before = world.containers();
        world.cluster.everynode(&["node", "stop", "n2"]);
        world.node_is("n2", "Unknown");
        let taints =
            || world.kubectl.value(&["get", "node", "n2"], "{.spec.taints[*].key}").unwrap_or_default();
        let expected = "node.kubernetes.io/unreachable node.kubernetes.io/unreachable".to_string();
        eventually_equal("the taints of n2", LIMIT, expected, taints);
        world.runs_on(&["n1", "n2", "n3"]);
        world.cluster.everynode(&["node", "start", "n2"]);
        world.node_is("n2", "True");
        eventually_equal("no taints", LIMIT, String::new(), taints);
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
