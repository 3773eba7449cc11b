//! What a user does: drawn, told and made.

use super::sets;
use crate::chance::Chance;
use crate::clock::{self, Party};
use crate::hands::{NAMESPACES, NODES, Outcome, path, quotas};
use crate::invariants::OTHERS;
use crate::machines::{Make, client_of};
use crate::seed::Size;
use crate::world::World;
use agent::runtime::simulated::Stages;
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

/// [`Move::Precede`] in the table.
pub(super) const PRECEDE: &str = "another controller was here";
/// The name of the one quota of a namespace.
pub(super) const QUOTA: &str = "few";
/// The longest time that a process is cut off from the server: twice as long as a lease holds, and some more.
const LONGEST_CUT: Duration = Duration::from_secs(40);
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
    CutOff { process: String, time: Duration },
    Clock { party: Party, seconds: i64 },
    DeleteNamespace,
    Quota { namespace: &'static str, pods: usize },
    LiftQuota { namespace: &'static str },
    Precede { name: String },
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
        let exists = world.observer.truth().sets.get(&key_of(&set)).is_some();
        match chance.below(100) {
            _ if !exists => Self::Apply { set: sets::any(&set, chance), name: set },
            0..26 => change(set, chance),
            26..30 => on_namespace(sets::namespace(&set), chance),
            30..32 => Self::Precede { name: set },
            32..36 => Self::Undo { name: set },
            36..40 => Self::Delete {
                name: set,
                propagation: ["Background", "Foreground", "Orphan"][chance.below(3)],
            },
            40..60 => on_pod(world, chance).unwrap_or_else(|| change(set, chance)),
            60..85 => on_node(&machines, chance),
            _ => disaster(&machines, world, chance),
        }
    }

    /// One more machine.
    pub(super) fn buy(world: &World, chance: &mut Chance) -> Self {
        buy(world, chance)
    }

    /// Its name in [`crate::coverage`].
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Apply { .. } => "apply",
            Self::Change { what, .. } => what,
            Self::Undo { .. } => "undo",
            Self::Delete { propagation: "Background", .. } => "delete (Background)",
            Self::Delete { propagation: "Foreground", .. } => "delete (Foreground)",
            Self::Delete { .. } => "delete (Orphan)",
            Self::DeletePod { .. } => "delete a pod",
            Self::FailPod { .. } => "fail a pod",
            Self::Orphan { .. } => "orphan a pod",
            Self::Release { .. } => "release a pod",
            Self::Label { .. } => "label a node",
            Self::Taint { .. } => "taint a node",
            Self::Cordon { .. } => "cordon",
            Self::Buy { .. } => "buy",
            Self::Sell { .. } => "sell",
            Self::SwitchOff { .. } => "switch a machine off",
            Self::SwitchOn { .. } => "switch a machine on",
            Self::Hang { hangs: true, .. } => "hang a machine",
            Self::Hang { .. } => "let it go on",
            Self::Crash { .. } => "kill a process",
            Self::CutOff { .. } => "cut a process off",
            Self::Clock { .. } => "a clock jumps",
            Self::DeleteNamespace => "delete a namespace",
            Self::Quota { .. } => "set a quota",
            Self::LiftQuota { .. } => "lift a quota",
            Self::Precede { .. } => PRECEDE,
        }
    }

    /// Makes it.
    pub(super) async fn make(self, world: &mut World) -> Outcome {
        let hands = world.hands.clone();
        match self {
            Self::Apply { name, set } => apply(world, &name, &set).await,
            Self::Change { name, patch, .. } => hands.patch(&path_of(&name), &patch).await,
            Self::Undo { name } => super::undo(world, &name).await,
            Self::Delete { name, propagation } => hands.delete(&path_of(&name), propagation).await,
            Self::DeletePod { key } => hands.delete(&pod(&key), "Background").await,
            Self::FailPod { key, phase } => {
                hands.merge(&format!("{}/status", pod(&key)), &json!({"status": {"phase": phase}})).await
            }
            Self::Orphan { key } => {
                hands.merge(&pod(&key), &json!({"metadata": {"ownerReferences": null}})).await
            }
            Self::Release { key } => {
                hands.merge(&pod(&key), &json!({"metadata": {"labels": {"app": null}}})).await
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
            Self::DeleteNamespace => {
                hands.delete(&format!("{NAMESPACES}/{}", sets::TEAM), "Background").await
            }
            Self::Quota { namespace, pods } => {
                let quota = json!({"kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": QUOTA},
                    "spec": {"hard": {"pods": pods.to_string()}}});
                hands.create(&quotas(namespace), &quota).await
            }
            Self::LiftQuota { namespace } => {
                hands.delete(&format!("{}/{QUOTA}", quotas(namespace)), "Background").await
            }
            Self::Precede { name } => precede(world, &name).await,
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
            Self::CutOff { process, time } => world.faults.cut_off(&process, time),
            Self::Clock { party, seconds } => {
                clock::jump(party, SignedDuration::from_secs(seconds));
                if party == Party::Controller {
                    world.trace.met("apart", "its clock jumps alone");
                }
            }
            _ => {}
        }
        Ok(Value::Null)
    }
}

/// A DaemonSet, and the namespace in which it shall live if that is not there.
async fn apply(world: &World, name: &str, set: &Value) -> Outcome {
    let namespace = sets::namespace(name);
    if namespace == sets::TEAM {
        let made = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": namespace}});
        // Its first pods wait for the account that another loop makes in it.
        world.faults.accounts_are_late();
        // It may be there, or on its way out.
        if world.hands.create(NAMESPACES, &made).await.is_ok() {
            world.trace.met("user", "make a namespace");
        }
    }
    world.hands.create(&path(namespace, "daemonsets"), set).await
}

/// Another controller has seen a new template, and its last status takes all daemons for updated (TK-5). Ours, if it is one
/// beside the server, is away while that one is there: it asks before its first write when it comes back.
async fn precede(world: &World, name: &str) -> Outcome {
    if world.is_apart {
        world.ours().for_each(|process| world.faults.crash(process));
        world.trace.met("apart", "comes after another controller");
    }
    let count = {
        let truth = world.observer.truth();
        let set = truth.sets.get(&key_of(name)).ok_or("it is gone")?;
        set.object.status.as_ref().map(|status| status.current_number_scheduled)
    };
    let template = json!({"metadata": {"annotations": {"before": world.trace.steps().to_string()}}});
    let changed = world.hands.patch(&path_of(name), &json!({"spec": {"template": template}})).await?;
    let status = json!({"conditions": null, "updatedNumberScheduled": count,
        "observedGeneration": changed["metadata"]["generation"]});
    world.faults.somebody_else("put", "daemonsets", &key_of(name));
    world.hands.merge(&format!("{}/status", path_of(name)), &json!({"status": status})).await
}

fn key_of(set: &str) -> String {
    format!("{}/{set}", sets::namespace(set))
}

fn path_of(set: &str) -> String {
    format!("{}/{set}", path(sets::namespace(set), "daemonsets"))
}

fn pod(key: &str) -> String {
    let (namespace, name) = key.split_once('/').unwrap_or(("default", key));
    format!("{}/{name}", path(namespace, "pods"))
}

fn on_namespace(namespace: &'static str, chance: &mut Chance) -> Move {
    match chance.below(6) {
        0 | 1 if namespace == sets::TEAM => Move::DeleteNamespace,
        0..4 => Move::Quota { namespace, pods: chance.below(4) },
        _ => Move::LiftQuota { namespace },
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
    let key = chance.pick(&keys)?.clone();
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

fn disaster(machines: &[(String, bool)], world: &World, chance: &mut Chance) -> Move {
    let process = chance.pick(&world.processes).cloned().unwrap_or_default();
    let Some((node, runs)) = chance.pick(machines).cloned() else { return Move::Crash { process } };
    match chance.below(10) {
        0..4 if runs => Move::SwitchOff { node },
        0..4 => Move::SwitchOn { node },
        4..6 => Move::Hang { node, hangs: true },
        6..8 => Move::Hang { node, hangs: false },
        8 => clock_jump(world, chance),
        // The way to the server is a network only for who is beside it.
        _ if world.is_apart && process != OTHERS && chance.percent(50) => {
            Move::CutOff { process, time: chance.within(LONGEST_CUT) }
        }
        _ => Move::Crash { process },
    }
}

fn clock_jump(world: &World, chance: &mut Chance) -> Move {
    let party = chance.pick(Party::all(world.is_apart)).copied().unwrap_or(Party::Server);
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
            Self::CutOff { process, time } => {
                write!(f, "process {process} is cut off from the server for {} s", time.as_secs_f64())
            }
            Self::Clock { party, seconds } => write!(f, "the clock of {party:?} is {seconds} s fast"),
            Self::DeleteNamespace => write!(f, "delete namespace {}", sets::TEAM),
            Self::Quota { namespace, pods } => write!(f, "{pods} pods at most in {namespace}"),
            Self::LiftQuota { namespace } => write!(f, "any number of pods in {namespace}"),
            Self::Precede { name } => write!(f, "another controller took all daemons of {name} for updated"),
        }
    }
}
