//! What holds for every cluster, however odd: drawn at random, shrunk when it fails.

mod any;
mod server;
#[path = "../support/mod.rs"]
mod support;

use any::{any_case, calm_case};
use daemonset::plan::{Action, Cause, Plan};
use daemonset::{BURST, Judge, Placement};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use objects::pod::{self, Availability};
use proptest::prelude::*;
use serde_json::Value;
use server::{act, heal};
use std::collections::{BTreeMap, BTreeSet};
use support::{Case, World, now, typed};

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_breaks_no_promise(case in any_case()) {
        let world = World::of(&case);
        let plan = world.plan();
        obstacles_explain(&world, &plan);
        creates_are_wanted(&plan);
        unseen_writes_are_not_repeated(&case, &plan);
        deletes_are_ours(&world, &plan);
        available_daemons_are_kept(&world, &plan);
        served_nodes_stay_served(&world, &plan);
        progress_has_a_next_step(&plan);
        prop_assert_eq!(&plan, &world.plan(), "the same snapshot gives the same plan");
        prop_assert_eq!(&plan, &world.plan_reversed(), "the order of the lists plays no part");
    }

    #[test]
    fn a_rollout_takes_as_many_as_allowed_and_no_more(case in calm_case()) {
        let world = World::of(&case);
        let plan = world.plan();
        available_daemons_are_kept(&world, &plan);
        rollouts_move(&world, &plan);
        prop_assert_eq!(&plan, &world.plan_reversed(), "the order of the lists plays no part");
    }

    #[test]
    fn rounds_come_to_rest_with_one_daemon_on_every_wanted_node(case in any_case()) {
        let mut world = World::of(&case);
        let mut time = now();
        for round in 0..80 {
            let plan = daemonset::plan(&world.snapshot(), time);
            creates_are_wanted(&plan);
            if plan.actions.is_empty() && plan.wake_at.is_none() {
                at_rest(&world, &plan);
                return Ok(());
            }
            // Long enough for every back-off and every unseen write.
            time += SignedDuration::from_mins(20);
            world.backoff.apply(plan.backoff.clone(), time);
            plan.actions.iter().enumerate().for_each(|(index, action)| {
                act(&mut world, action, &format!("{round}-{index}"), time);
            });
            heal(&mut world, time);
        }
        prop_assert!(false, "80 rounds and still busy: {}", daemonset::plan(&world.snapshot(), time));
    }
}

/// EL-3…EL-6: an obstacle is told exactly where the plan wants no daemon.
fn obstacles_explain(world: &World, plan: &Plan) {
    let spec = world.daemon_set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).unwrap();
    let judge = Judge::of(spec);
    for node in &world.nodes {
        let Some(verdict) = plan.nodes.get(objects::node::name(node)) else { continue };
        let obstacles = judge.obstacles(node);
        assert_eq!(obstacles.is_empty(), verdict.placement.runs(), "{obstacles:?}");
    }
}

/// MG-6: never twice on a node, never where no daemon is wanted, and never beside one of ours that runs; MG-17.
fn creates_are_wanted(plan: &Plan) {
    let mut creates = BTreeSet::new();
    for action in &plan.actions {
        let Action::CreatePod { node, pod } = action else { continue };
        assert!(creates.insert(node.clone()), "two pods for {node}");
        assert_eq!(plan.nodes[node.as_str()].placement, Placement::Run, "a pod for {node}");
        let pod: Pod = typed(pod.clone());
        assert_eq!(objects::node_affinity::target_node(pod.spec.as_ref().unwrap()), Ok(node.as_str()));
    }
    assert!(creates.len() <= BURST);
}

/// BUG-9: what we have written a moment ago and nobody has shown us yet is not written again.
fn unseen_writes_are_not_repeated(case: &Case, plan: &Plan) {
    if case.unseen.ago >= daemonset::unseen::EXPIRES.as_secs() {
        return;
    }
    let shown: BTreeSet<String> = case.pods.iter().map(|pod| format!("{}-uid", pod.name)).collect();
    for action in &plan.actions {
        match action {
            Action::CreatePod { node, .. } => {
                let coming =
                    case.unseen.creates.iter().find(|(uid, on)| *on == node && !shown.contains(*uid));
                assert_eq!(coming, None, "another pod for {node}");
            }
            Action::DeletePod { uid, .. } => {
                assert!(!case.unseen.deletes.contains(uid), "{uid} is deleted again")
            }
            _ => {}
        }
    }
}

/// Only pods of ours, each once, none that is ending.
fn deletes_are_ours(world: &World, plan: &Plan) {
    let mut deletes = BTreeSet::new();
    for action in &plan.actions {
        let Action::DeletePod { uid, .. } = action else { continue };
        assert!(deletes.insert(uid.clone()), "{uid} is deleted twice");
        let pod = world
            .pods
            .iter()
            .find(|pod| pod.metadata.uid.as_deref() == Some(uid))
            .expect("a pod of the world");
        assert!(!pod::is_terminating(pod), "{uid} is ending already");
        let controller = objects::owner::controller_of(&pod.metadata).map(|owner| owner.uid.as_str());
        assert!(matches!(controller, None | Some("d-uid")), "{uid} is not ours");
    }
}

/// RU-8: while available old pods are taken, no more wanted nodes are without an available daemon than allowed.
fn available_daemons_are_kept(world: &World, plan: &Plan) {
    let outdated = |action: &&Action| matches!(action, Action::DeletePod { cause: Cause::Outdated, .. });
    if !plan.actions.iter().any(|action| outdated(&action)) {
        return;
    }
    let (wanted, deleted) =
        (wanted(plan), plan.actions.iter().filter_map(deleted_uid).collect::<BTreeSet<_>>());
    let stays = |pod: &Pod| pod.metadata.uid.as_deref().is_none_or(|uid| !deleted.contains(uid));
    let dark = wanted.iter().filter(|node| !serving(world, node).any(stays)).count();
    let max = world.max_unavailable(wanted.len());
    assert!(dark <= max, "{dark} nodes without a daemon, allowed are {max}: {plan}");
}

/// RU-14, BUG-17: a wanted node loses its last available daemon only to a rollout without surge, which has a budget.
fn served_nodes_stay_served(world: &World, plan: &Plan) {
    let in_budget = |action: &Action| matches!(action, Action::DeletePod { cause: Cause::Outdated, .. });
    let deletes = plan.actions.iter().filter(|action| world.surges() || !in_budget(action));
    let deleted: BTreeSet<&str> = deletes.filter_map(deleted_uid).collect();
    for node in wanted(plan) {
        let mut live = serving(world, node).filter(|pod| !pod::is_terminating(pod)).peekable();
        let stays = |pod: &Pod| pod.metadata.uid.as_deref().is_none_or(|uid| !deleted.contains(uid));
        let is_served = live.peek().is_none() || live.any(stays);
        assert!(is_served, "{node} is without a daemon: {plan}");
    }
}

/// OPP-1: who says that something is in progress does it, or knows when to look again.
fn progress_has_a_next_step(plan: &Plan) {
    let is_step = |action: &Action| !matches!(action, Action::WriteStatus(_));
    if plan.actions.iter().any(is_step) || plan.wake_at.is_some() || plan.more {
        return;
    }
    assert_ne!(condition(plan, "Progressing"), "True", "it will never end: {plan}");
}

/// The status of a condition.
fn condition<'p>(plan: &'p Plan, type_: &str) -> &'p str {
    let mut conditions = plan.status.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == type_).map(|found| &*found.status).unwrap_or_default()
}

fn wanted(plan: &Plan) -> Vec<&str> {
    plan.nodes.iter().filter(|(_, v)| v.placement.runs()).map(|(node, _)| &**node).collect()
}

/// The available daemons on a node that are ours or will be.
fn serving<'w>(world: &'w World, node: &'w str) -> impl Iterator<Item = &'w Pod> {
    world.pods.iter().filter(move |pod| {
        let controller = objects::owner::controller_of(&pod.metadata).map(|owner| owner.uid.as_str());
        let target = pod.spec.as_ref().and_then(|spec| objects::node_affinity::target_node(spec).ok());
        target == Some(node)
            && matches!(controller, None | Some("d-uid"))
            && pod::label(pod, "app") == Some("d")
            && pod::is_available(pod, world.min_ready(), now()) == Availability::Yes
    })
}

/// RU-8, the other way: what the budget allows is done. In a calm cluster every node wants its one pod.
fn rollouts_move(world: &World, plan: &Plan) {
    let ending = world.pods.iter().filter(|pod| pod::is_terminating(pod)).count();
    let live = || world.pods.iter().filter(|pod| !pod::is_terminating(pod));
    let available = |pod: &Pod| pod::is_available(pod, world.min_ready(), now()) == Availability::Yes;
    let dark = ending + live().filter(|pod| !available(pod)).count();
    let old = |pod: &&Pod| pod::hash_label(pod) == Some("old");
    let broken = live().filter(old).filter(|pod| !available(pod)).count();
    let candidates = live().filter(old).filter(|pod| available(pod)).count();
    let room = world.max_unavailable(world.nodes.len()).saturating_sub(dark);
    let deletes = plan.actions.iter().filter_map(deleted_uid).count();
    assert_eq!(deletes, broken + candidates.min(room), "{plan}");
}

fn deleted_uid(action: &Action) -> Option<&str> {
    match action {
        Action::DeletePod { uid, .. } => Some(uid),
        _ => None,
    }
}

/// Nothing to do: then every wanted node has one daemon, an up-to-date one unless updates wait for deletion.
fn at_rest(world: &World, plan: &Plan) {
    let mut daemons: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in &world.pods {
        if objects::owner::is_controlled_by(&pod.metadata, "d-uid")
            && let Some(node) = pod::node_name(pod)
        {
            *daemons.entry(node).or_default() += 1;
        }
    }
    for (node, verdict) in &plan.nodes {
        let found = daemons.get(&**node).copied().unwrap_or_default();
        match verdict.placement {
            Placement::Run => assert_eq!(found, 1, "{node} wants one"),
            Placement::Stay(_) => assert!(found <= 1, "{node} keeps at most one"),
            Placement::Leave(_) => assert_eq!(found, 0, "{node} wants none"),
        }
    }
    let status = &plan.status;
    assert_eq!(status.current_number_scheduled, status.desired_number_scheduled);
    assert_eq!(status.number_available, Some(status.desired_number_scheduled));
    if !world.updates_on_delete() {
        assert_eq!(status.updated_number_scheduled, Some(status.desired_number_scheduled), "{plan}");
    }
    assert_eq!(plan.problems, Vec::<String>::new());
    let conditions = ["Progressing", "Available", "Degraded"].map(|type_| condition(plan, type_));
    assert_eq!(conditions, ["False", "True", "False"], "OPP-1 {plan}");
}

trait Facts {
    fn max_unavailable(&self, wanted: usize) -> usize;
    fn min_ready(&self) -> i32;
    fn updates_on_delete(&self) -> bool;
    fn surges(&self) -> bool;
}

impl Facts for World {
    /// RU-4, counted by hand.
    fn max_unavailable(&self, wanted: usize) -> usize {
        let max = match &self.raw["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] {
            Value::String(percent) => {
                let percent: usize = percent.trim_end_matches('%').parse().unwrap();
                (percent * wanted).div_ceil(100)
            }
            number => usize::try_from(number.as_u64().unwrap_or(0)).unwrap(),
        };
        max.max(usize::from(wanted > 0))
    }

    fn min_ready(&self) -> i32 {
        self.daemon_set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or_default()
    }

    fn updates_on_delete(&self) -> bool {
        self.raw["spec"]["updateStrategy"]["type"] == "OnDelete"
    }

    fn surges(&self) -> bool {
        let surge = &self.raw["spec"]["updateStrategy"]["rollingUpdate"]["maxSurge"];
        !self.updates_on_delete() && !surge.is_null() && *surge != 0
    }
}
