//! Much at once: an image that is nowhere, on many nodes; many DaemonSets in one moment; a node that is never the same twice.
//!
//! What is asked of the server is bounded by the work, and when there is none, nothing is asked.

use crate::bad_days::{CLOCK, rests};
use crate::world::{HELLO, LIMIT, NODES, World};
use anyhow::ensure;
use e2e::{Door, Part, Witness, eventually, eventually_equal};
use std::time::Duration;

/// Many, for a debug build of all nodes on two busy cores. docs/performance.md tells of more.
const CROWD: u32 = 300;
/// Created at once.
const SETS: u32 = 500;
/// A debug build on two busy cores.
const CROWD_LIMIT: Duration = Duration::from_secs(120);
/// What a controller may hold for each pod, in an unoptimised build: its cache entry and its place in a ledger are 5 kB
/// (docs/performance.md); as much again while a watch brings it, and what an allocator keeps.
const EACH_POD: u64 = 32 << 10;
/// What it may hold with nothing to do.
const EMPTY: u64 = 100 << 20;

/// Simulated nodes, a door, and a controller behind it.
struct Crowd {
    ours: Part,
    witness: Witness,
    door: Door,
    world: World,
}

impl Crowd {
    fn of(nodes: u32) -> Self {
        let world = World::with_nodes(nodes);
        let door = Door::open(&world.kubectl).unwrap();
        let witness = Witness::of(&world.kubectl, "app=hello");
        let ours = world.controller_through(&door, &CLOCK);
        world.led_by(&ours, LIMIT);
        Self { ours, witness, door, world }
    }

    #[track_caller]
    fn holds_at_most(&self, pods: u32) {
        let (memory, most) = (self.ours.memory().unwrap(), EMPTY + EACH_POD * u64::from(pods));
        println!("{} MB", memory >> 20);
        assert!(memory < most, "{} MB of {}", memory >> 20, most >> 20);
    }
}

#[test]
fn an_image_that_is_nowhere_costs_one_pod_on_each_node_and_then_nothing() {
    let mut crowd = Crowd::of(CROWD);
    let before = crowd.door.calls();
    let missing = HELLO.replace("hello:1", "hello:missing");
    crowd.world.kubectl.ok_with(&["apply", "-f", "-"], &missing);
    let reasons = "{.items[*].status.containerStatuses[0].state.waiting.reason}";
    eventually("no image on any node", CROWD_LIMIT, || {
        let told = crowd.world.kubectl.value(&["get", "pods", "-l", "app=hello"], reasons)?;
        let waiting = told.split_whitespace().filter(|reason| reason.contains("ImagePull")).count();
        crowd.ours.still_runs()?;
        ensure!(waiting == CROWD as usize, "{waiting}");
        Ok(())
    });
    rests(&crowd.door);
    let calls = &crowd.door.calls() - &before;
    println!("{calls}");
    assert_eq!(crowd.witness.pods(), CROWD as usize);
    assert_eq!(calls.of("POST pods"), u64::from(CROWD), "{calls}");
    // The status as pods come; events are few, however many pods.
    assert!(calls.of_work() <= 2 * u64::from(CROWD) + 60, "{calls}");
    crowd.holds_at_most(CROWD);

    // One image later all is well.
    crowd.world.kubectl.ok(&[
        "patch",
        "ds",
        "hello",
        "--type=merge",
        "-p",
        r#"{"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "100%"}}}}"#,
    ]);
    crowd.world.set_image("2");
    let ready = || crowd.world.kubectl.value(&["get", "ds", "hello"], "{.status.numberAvailable}").unwrap();
    eventually_equal("all serve", CROWD_LIMIT, CROWD.to_string(), ready);
    assert_eq!(crowd.witness.pods(), 2 * CROWD as usize);
}

/// The example under another name, with a label of its own, and without a port of the node.
fn alone(name: &str) -> String {
    let mut text = String::new();
    for line in HELLO.lines().filter(|line| !line.contains("hostPort")) {
        let indent = line.len() - line.trim_start().len();
        text += &line
            .replace("name: hello", &format!("name: {name}"))
            .replace(&format!("- name: {name}"), "- name: hello");
        text += "\n";
        if line.trim() == "app: hello" {
            text += &format!("{}set: {name}\n", " ".repeat(indent));
        }
    }
    text
}

#[test]
fn many_daemonsets_at_once_each_get_their_pod_and_are_left_alone() {
    let mut crowd = Crowd::of(1);
    let before = crowd.door.calls();
    let all: String = (0..SETS).map(|n| alone(&format!("hello-{n}")) + "---\n").collect();
    crowd.world.kubectl.ok_with(&["create", "-f", "-"], &all);
    let path = "{.items[*].status.currentNumberScheduled}";
    eventually("each has its pod", CROWD_LIMIT, || {
        let told = crowd.world.kubectl.value(&["get", "ds"], path)?;
        let served = told.split_whitespace().filter(|count| *count == "1").count();
        crowd.ours.still_runs()?;
        ensure!(served == SETS as usize, "{served}");
        Ok(())
    });
    rests(&crowd.door);
    let calls = &crowd.door.calls() - &before;
    println!("{calls}");
    assert_eq!(crowd.witness.pods(), SETS as usize);
    for sort in ["POST pods", "POST controllerrevisions"] {
        assert_eq!(calls.of(sort), u64::from(SETS), "{calls}");
    }
    assert!(calls.of_work() <= 10 * u64::from(SETS), "{calls}");
    crowd.holds_at_most(SETS);
}

#[test]
fn a_node_that_is_never_the_same_twice_keeps_its_pods() {
    // EL-17, WE-13.
    const FLAPS: u32 = 12;
    let mut crowd = Crowd::of(NODES);
    crowd.world.kubectl.ok_with(&["apply", "-f", "-"], HELLO);
    crowd.world.converges_to("1");
    rests(&crowd.door);
    let before = crowd.door.calls();
    for n in 0..FLAPS {
        let is = if n % 2 == 0 { "False" } else { "True" };
        let condition = format!(r#"{{"type": "Ready", "status": "{is}", "reason": "Flaps"}}"#);
        let patch = format!(r#"{{"status": {{"conditions": [{condition}]}}}}"#);
        crowd.world.kubectl.ok(&["patch", "node", "n1", "--subresource=status", "-p", &patch]);
    }
    crowd.world.converges_to("1");
    rests(&crowd.door);
    let calls = &crowd.door.calls() - &before;
    println!("{calls}");
    assert_eq!(crowd.witness.pods(), NODES as usize, "a pod was replaced");
    assert_eq!(calls.of("* pods"), 0, "{calls}");
    // Each flap may make the pod unready, and ready: a status each, and one more if it has met another write.
    assert!(calls.of_work() <= u64::from(4 * FLAPS), "{calls}");
}
