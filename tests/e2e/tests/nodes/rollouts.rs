//! Rollouts on real containers: one node after the other, there, back, and stuck.

use crate::{LIMIT, World, check};
use e2e::eventually;

fn images(world: &World) -> Vec<String> {
    world.pods(".spec.containers[0].image")
}

/// Waits until some pod of the example waits for this reason, and answers how many do.
fn waits_for(world: &World, reasons: &[&str]) -> usize {
    eventually(&format!("{reasons:?}"), LIMIT, || {
        let seen = world.pods(".status.containerStatuses[0].state.waiting.reason");
        let count = seen.iter().filter(|reason| reasons.contains(&reason.as_str())).count();
        anyhow::ensure!(count > 0, "{seen:?}");
        Ok(count)
    })
}

#[test]
fn a_new_image_goes_there_and_back() {
    check(|world| {
        world.hello();
        let kubectl = &world.kubectl;
        kubectl.ok(&["set", "image", "ds/hello", "hello=everynode.dev/hello:2"]);
        world.rolled_out();
        assert_eq!(images(world), ["everynode.dev/hello:2"; 3]);
        let history = kubectl.ok(&["rollout", "history", "ds/hello"]);
        assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
        kubectl.ok(&["rollout", "undo", "ds/hello", "--to-revision=1"]);
        world.rolled_out();
        assert_eq!(images(world), ["everynode.dev/hello:1"; 3]);
    });
}

#[test]
fn a_broken_image_stops_at_the_first_node_and_undo_cures_it() {
    check(|world| {
        world.hello();
        world.kubectl.ok(&["set", "image", "ds/hello", "hello=everynode.dev/hello:broken"]);
        assert_eq!(waits_for(world, &["CrashLoopBackOff"]), 1);
        assert_eq!(images(world).iter().filter(|image| image.ends_with(":broken")).count(), 1);
        world.kubectl.ok(&["rollout", "undo", "ds/hello"]);
        world.rolled_out();
        let state = || world.kubectl.ok(&["get", "ds,pods", "-o", "yaml"]);
        assert_eq!(images(world), ["everynode.dev/hello:1"; 3], "{}", state());
    });
}

#[test]
fn an_image_that_cannot_be_pulled_says_so() {
    check(|world| {
        world.hello();
        world.kubectl.ok(&["set", "image", "ds/hello", "hello=127.0.0.1:1/none:1"]);
        waits_for(world, &["ErrImagePull", "ImagePullBackOff"]);
        waits_for(world, &["ImagePullBackOff"]);
        world.kubectl.ok(&["rollout", "undo", "ds/hello"]);
        world.rolled_out();
    });
}
