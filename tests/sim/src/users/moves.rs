//! What a user does: drawn, told and made.

use super::sets;
use crate::chance::Chance;
use crate::clock::{self, Party};
use crate::hands::{NODES, Outcome, PODS, SETS};
use crate::machines::{Make, client_of};
use crate::seed::Size;
use crate::world::World;
use agent::runtime::simulated::Stages;
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

/// Machines that users buy in addition to the first ones.
const MORE_MACHINES: usize = 2;

/// One move.
pub(super) enum Move {
    Apply { name: String, set: Value },
    Change { name: String, what: &'static str, patch: Value },
    Undo { name: String },
    Delete { name: String, propagation: &'static str },
    DeletePod { key: String },
    FailPod { key: String, phase: &'static str },
    Orphan { key: String },
    Release { key: String },
    Label { node: String, disk: &'static str },
    Taint { node: String, taints: Value },
    Cordon { node: String, is_cordoned: bool },
    Buy { number: u32, make: Make },
    Sell { node: String },
    SwitchOff { node: String },
    SwitchOn { node: String },
    Hang { node: String, hangs: bool },
    Crash { process: String },
    Clock { party: Party, seconds: i64 },
}

impl Move {
    /// A move that makes sense in this world.
    pub(super) fn draw(world: &World, size: Size, chance: &mut Chance) -> Self {
        let machines = world.machines.names();
        let is_room = machines.len() < size.machines + MORE_MACHINES;
        if machines.is_empty() || (is_room && chance.percent(6)) {
            return Self::buy(world, chance);
        }
        let set = a_name(size, chance);
        let exists = world.observer.truth().sets.get(&format!("default/{set}")).is_some();
        match chance.below(100) {
            _ if !exists => Self::Apply { set: sets::any(&set, chance), name: set },
            0..30 => change(set, chance),
            30..36 => Self::Undo { name: set },
            36..40 => Self::Delete {
                name: set,
                propagation: ["Background", "Foreground", "Orphan"][chance.below(3)],
            },
            40..60 => on_pod(world, chance).unwrap_or_else(|| change(set, chance)),
            60..85 => on_node(&machines, chance),
            _ => disaster(&machines, &world.processes, chance),
        }
    }

    /// One more machine.
    pub(super) fn buy(world: &World, chance: &mut Chance) -> Self {
        buy(world, chance)
    }

    /// Makes it.
    pub(super) async fn make(self, world: &mut World) -> Outcome {
        let hands = world.hands.clone();
        match self {
            Self::Apply { set, .. } => hands.create(SETS, &set).await,
            Self::Change { name, patch, .. } => hands.patch(&format!("{SETS}/{name}"), &patch).await,
            Self::Undo { name } => super::undo(world, &name).await,
            Self::Delete { name, propagation } => hands.delete(&format!("{SETS}/{name}"), propagation).await,
            Self::DeletePod { key } => hands.delete(&format!("{PODS}/{key}"), "Background").await,
            Self::FailPod { key, phase } => {
                hands.merge(&format!("{PODS}/{key}/status"), &json!({"status": {"phase": phase}})).await
            }
            Self::Orphan { key } => {
                let patch = json!({"metadata": {"ownerReferences": null}});
                hands.merge(&format!("{PODS}/{key}"), &patch).await
            }
            Self::Release { key } => {
                let patch = json!({"metadata": {"labels": {"app": null}}});
                hands.merge(&format!("{PODS}/{key}"), &patch).await
            }
            Self::Label { node, disk } => {
                let patch = json!({"metadata": {"labels": {"disk": disk}}});
                hands.merge(&format!("{NODES}/{node}"), &patch).await
            }
            Self::Taint { node, taints } => {
                hands.merge(&format!("{NODES}/{node}"), &json!({"spec": {"taints": taints}})).await
            }
            Self::Cordon { node, is_cordoned } => {
                let patch = json!({"spec": {"unschedulable": is_cordoned}});
                hands.merge(&format!("{NODES}/{node}"), &patch).await
            }
            Self::Sell { node } => {
                world.machines.sell(&node);
                hands.delete(&format!("{NODES}/{node}"), "Background").await
            }
            other => other.at_machine(world),
        }
    }

    fn at_machine(self, world: &mut World) -> Outcome {
        match self {
            Self::Buy { number, make } => {
                world.machines.buy(number, make);
            }
            Self::SwitchOff { node } => world.machines.switch_off(&node),
            Self::SwitchOn { node } => world.machines.switch_on(&node),
            Self::Hang { node, hangs } => world.faults.hang(&client_of(&node), hangs),
            Self::Crash { process } => world.faults.crash(&process),
            Self::Clock { party, seconds } => clock::jump(party, SignedDuration::from_secs(seconds)),
            _ => {}
        }
        Ok(Value::Null)
    }
}

fn a_name(size: Size, chance: &mut Chance) -> String {
    sets::NAMES[chance.below(size.sets.min(sets::NAMES.len()))].to_string()
}

fn buy(world: &World, chance: &mut Chance) -> Move {
    let taken: Vec<String> = world.machines.names().into_iter().map(|(name, _)| name).collect();
    let free = (1..).find(|number| !taken.contains(&format!("n{number}")));
    let disk = ["ssd", "hdd"][chance.below(2)];
    let slow = |chance: &mut Chance, seconds: u64| chance.within(Duration::from_secs(seconds));
    let stages = chance.percent(70).then(|| Stages {
        sandbox: slow(chance, 1),
        pull: slow(chance, 3),
        start: slow(chance, 1),
        stop: slow(chance, 5),
    });
    let labels = [("disk".to_string(), disk.to_string())].into();
    Move::Buy { number: free.unwrap_or(1), make: Make { labels, taints: Vec::new(), stages } }
}

fn change(name: String, chance: &mut Chance) -> Move {
    let (what, patch) = match chance.below(10) {
        0..4 => {
            let containers = json!([{"name": "c", "image": sets::image(chance)}]);
            ("set image", json!({"spec": {"template": {"spec": {"containers": containers}}}}))
        }
        4 | 5 => {
            let mut strategy = sets::strategy(chance);
            strategy["$patch"] = "replace".into();
            ("change the strategy", json!({"spec": {"updateStrategy": strategy}}))
        }
        6 => ("change minReadySeconds", json!({"spec": {"minReadySeconds": 15 * chance.below(3)}})),
        7 => {
            let disk = [json!("ssd"), json!("hdd"), Value::Null][chance.below(3)].clone();
            let spec = json!({"nodeSelector": {"disk": disk}});
            ("change the node selector", json!({"spec": {"template": {"spec": spec}}}))
        }
        8 => {
            let paused = [json!("true"), Value::Null, Value::Null][chance.below(3)].clone();
            ("pause or resume", json!({"metadata": {"annotations": {"everynode.dev/paused": paused}}}))
        }
        _ => ("change the history limit", json!({"spec": {"revisionHistoryLimit": chance.below(3)}})),
    };
    Move::Change { name, what, patch }
}

fn on_pod(world: &World, chance: &mut Chance) -> Option<Move> {
    let keys: Vec<String> = world.observer.truth().pods.now().map(|(key, _)| key.clone()).collect();
    let key = chance.pick(&keys)?.trim_start_matches("default/").to_string();
    Some(match chance.below(10) {
        0..5 => Move::DeletePod { key },
        5..8 => Move::FailPod { key, phase: ["Failed", "Succeeded"][chance.below(2)] },
        8 => Move::Orphan { key },
        _ => Move::Release { key },
    })
}

fn on_node(machines: &[(String, bool)], chance: &mut Chance) -> Move {
    let node = chance.pick(machines).map(|(name, _)| name.clone()).unwrap_or_default();
    match chance.below(10) {
        0..3 => Move::Label { node, disk: ["ssd", "hdd"][chance.below(2)] },
        3..7 => Move::Taint { node, taints: taints(chance) },
        7..9 => Move::Cordon { node, is_cordoned: chance.percent(50) },
        _ => Move::Sell { node },
    }
}

fn taints(chance: &mut Chance) -> Value {
    let taint = |effect: &str| json!([{"key": "team", "value": "x", "effect": effect}]);
    match chance.below(5) {
        0 => taint("NoSchedule"),
        1 => taint("NoExecute"),
        _ => json!([]),
    }
}

fn disaster(machines: &[(String, bool)], processes: &[String], chance: &mut Chance) -> Move {
    let process = chance.pick(processes).cloned().unwrap_or_default();
    let Some((node, runs)) = chance.pick(machines).cloned() else { return Move::Crash { process } };
    match chance.below(10) {
        0..4 if runs => Move::SwitchOff { node },
        0..4 => Move::SwitchOn { node },
        4..6 => Move::Hang { node, hangs: true },
        6..8 => Move::Hang { node, hangs: false },
        8 => clock_jump(chance),
        _ => Move::Crash { process },
    }
}

fn clock_jump(chance: &mut Chance) -> Move {
    let party = [Party::Server, Party::Loops, Party::Nodes][chance.below(3)];
    Move::Clock { party, seconds: [-90, -5, 0, 5, 90][chance.below(5)] }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apply { name, set } => write!(f, "apply {name}: {}", set["spec"]),
            Self::Change { name, what, patch } => write!(f, "{what} of {name}: {patch}"),
            Self::Undo { name } => write!(f, "undo {name}"),
            Self::Delete { name, propagation } => write!(f, "delete {name} ({propagation})"),
            Self::DeletePod { key } => write!(f, "delete pod {key}"),
            Self::FailPod { key, phase } => write!(f, "pod {key} turns {phase}"),
            Self::Orphan { key } => write!(f, "pod {key} loses its owner"),
            Self::Release { key } => write!(f, "pod {key} loses its label"),
            Self::Label { node, disk } => write!(f, "label node {node} disk={disk}"),
            Self::Taint { node, taints } => write!(f, "taints of node {node}: {taints}"),
            Self::Cordon { node, is_cordoned } => {
                write!(f, "{} node {node}", if *is_cordoned { "cordon" } else { "uncordon" })
            }
            Self::Buy { number, make } => write!(f, "buy machine n{number} {:?}", make.labels),
            Self::Sell { node } => write!(f, "sell machine {node}"),
            Self::SwitchOff { node } => write!(f, "machine {node} dies"),
            Self::SwitchOn { node } => write!(f, "machine {node} returns"),
            Self::Hang { node, hangs: true } => write!(f, "machine {node} hangs"),
            Self::Hang { node, hangs: false } => write!(f, "machine {node} goes on"),
            Self::Crash { process } => write!(f, "process {process} is killed"),
            Self::Clock { party, seconds } => write!(f, "the clock of {party:?} is {seconds} s fast"),
        }
    }
}
