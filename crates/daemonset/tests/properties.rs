//! What holds for every cluster, however odd: drawn at random, shrunk when it fails.

mod support;

use daemonset::plan::{Action, Cause, Plan};
use daemonset::{BURST, Placement};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use objects::pod::{self, Availability};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use support::{BackoffCase, Case, Owner, PodCase, RevisionCase, UnseenCase, World, now, typed};

const NODES: &[&str] = &["n1", "n2", "n3", "n4", "n5"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_breaks_no_promise(case in any_case()) {
        let world = World::of(&case);
        let plan = world.plan();
        creates_are_wanted(&plan);
        unseen_writes_are_not_repeated(&case, &plan);
        deletes_are_ours(&world, &plan);
        available_daemons_are_kept(&world, &plan);
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

/// MG-6: never twice on a node, never where no daemon is wanted, and never beside one of ours that runs; MG-17.
fn creates_are_wanted(plan: &Plan) {
    let mut creates = BTreeSet::new();
    for action in &plan.actions {
        let Action::CreatePod { node, pod } = action else { continue };
        assert!(creates.insert(node.clone()), "two pods for {node}");
        assert_eq!(plan.nodes[node].placement, Placement::Run, "a pod for {node}");
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
    let deleted: BTreeSet<&str> = plan.actions.iter().filter_map(deleted_uid).collect();
    let serves = |node: &str| {
        world.pods.iter().any(|pod| {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            let controller = objects::owner::controller_of(&pod.metadata).map(|owner| owner.uid.as_str());
            pod::node_name(pod) == Some(node)
                && matches!(controller, None | Some("d-uid"))
                && pod::label(pod, "app") == Some("d")
                && !deleted.contains(uid)
                && pod::is_available(pod, world.min_ready(), now()) == Availability::Yes
        })
    };
    let wanted: Vec<&String> =
        plan.nodes.iter().filter(|(_, v)| v.placement.runs()).map(|(node, _)| node).collect();
    let dark = wanted.iter().filter(|node| !serves(node)).count();
    let max = world.max_unavailable(wanted.len());
    assert!(dark <= max, "{dark} nodes without a daemon, allowed are {max}: {plan}");
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
        let found = daemons.get(node.as_str()).copied().unwrap_or_default();
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
}

/// Does what an API server would do.
fn act(world: &mut World, action: &Action, id: &str, time: Timestamp) {
    let ours = || Some(vec![objects::owner::controller_reference("apps/v1", "DaemonSet", "d", "d-uid")]);
    let owners = |claim: daemonset::Change| match claim {
        daemonset::Change::Adopt => ours(),
        daemonset::Change::Release => None,
    };
    let pods = world.pods.iter_mut();
    match action {
        Action::ConfirmAlive => {}
        Action::ClaimPod { name, claim, .. } => pods
            .filter(|pod| {
                pod.metadata.name.as_ref() == Some(name) && pod.metadata.namespace.as_deref() == Some("ns")
            })
            .for_each(|pod| pod.metadata.owner_references = owners(*claim)),
        Action::RelabelPod { uid, hash, .. } => {
            pods.filter(|pod| pod.metadata.uid.as_ref() == Some(uid)).for_each(|pod| {
                let labels = pod.metadata.labels.get_or_insert_default();
                labels.insert("controller-revision-hash".to_string(), hash.clone());
            });
        }
        Action::DeletePod { uid, .. } => world.pods.retain(|pod| pod.metadata.uid.as_ref() != Some(uid)),
        Action::CreatePod { node, pod } => {
            let mut pod: Pod = typed(pod.clone());
            pod.metadata.name = Some(format!("d-{id}"));
            pod.metadata.uid = Some(format!("d-{id}-uid"));
            pod.metadata.creation_timestamp = Some(Time(time));
            pod.spec.get_or_insert_default().node_name = Some(node.clone());
            world.pods.push(pod);
        }
        Action::RaiseCollisionCount { to } => {
            world.daemon_set.status.get_or_insert_default().collision_count = Some(*to);
        }
        Action::WriteStatus(status) => world.daemon_set.status = Some((**status).clone()),
        revision => act_on_revisions(world, revision, ours()),
    }
}

fn act_on_revisions(
    world: &mut World,
    action: &Action,
    ours: Option<Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference>>,
) {
    match action {
        Action::ClaimRevision { name, claim: daemonset::Change::Adopt, .. } => {
            named_revision(world, name).metadata.owner_references = ours;
        }
        Action::ClaimRevision { name, .. } => named_revision(world, name).metadata.owner_references = None,
        Action::LabelRevision { name, hash } => {
            let labels = named_revision(world, name).metadata.labels.get_or_insert_default();
            labels.insert("controller-revision-hash".to_string(), hash.clone());
        }
        Action::NumberRevision { name, revision } => named_revision(world, name).revision = *revision,
        Action::DeleteRevision { uid, .. } => {
            world.revisions.retain(|revision| revision.metadata.uid.as_ref() != Some(uid));
        }
        Action::CreateRevision(new) => {
            let mut object = new.object.clone();
            object["metadata"]["uid"] = json!(format!("{}-uid", new.name));
            world.revisions.push(typed(object));
        }
        other => panic!("not an action on revisions: {other}"),
    }
}

fn named_revision<'a>(
    world: &'a mut World,
    name: &str,
) -> &'a mut k8s_openapi::api::apps::v1::ControllerRevision {
    let mut revisions = world.revisions.iter_mut();
    revisions.find(|revision| revision.metadata.name.as_deref() == Some(name)).expect("a known revision")
}

/// Time passes: ending pods end, pods of dead nodes are collected, all others become ready.
fn heal(world: &mut World, time: Timestamp) {
    let nodes: BTreeSet<String> = world.nodes.iter().filter_map(|node| node.metadata.name.clone()).collect();
    world.pods.retain(|pod| {
        !pod::is_terminating(pod) && pod::node_name(pod).is_none_or(|node| nodes.contains(node))
    });
    for pod in world.pods.iter_mut().filter(|pod| !pod::is_terminal(pod)) {
        let pinned = pod.spec.as_ref().and_then(|spec| objects::node_affinity::target_node(spec).ok());
        let node = pinned.filter(|node| nodes.contains(*node)).map(str::to_string);
        pod.spec.get_or_insert_default().node_name = node;
        let since = time - SignedDuration::from_mins(20);
        pod.status = typed(json!({
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}],
        }));
    }
}

trait Facts {
    fn max_unavailable(&self, wanted: usize) -> usize;
    fn min_ready(&self) -> i32;
    fn updates_on_delete(&self) -> bool;
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
}

fn any_case() -> impl Strategy<Value = Case> {
    let daemon_set = (any_strategy(), prop::sample::select(&[0, 30][..]), any::<bool>());
    let history = prop_oneof![
        Just(None),
        prop::collection::vec(any_revision(), 0..4).prop_map(distinct).prop_map(Some)
    ];
    let lists = (prop::collection::vec(any_node(), 0..5), prop::collection::vec(any_pod(), 0..9), history);
    let writes = (prop::option::of(any_backoff()), any_unseen());
    (daemon_set, lists, writes).prop_map(|((strategy, min_ready, selects), (nodes, pods, revisions), (backoff, unseen))| {
        let selector = if selects { json!({"disk": "ssd"}) } else { Value::Null };
        let spec = json!({
            "updateStrategy": strategy, "minReadySeconds": min_ready, "template": {"spec": {"nodeSelector": selector}},
        });
        Case {
            daemon_set: json!({"spec": spec}),
            nodes: nodes_once(nodes),
            pods: named(pods),
            revisions,
            backoff: backoff.into_iter().collect(),
            unseen,
            show: Vec::new(),
        }
    })
}

/// One pod of ours on every node, old or new, and nothing else: only the rollout has something to do.
fn calm_case() -> impl Strategy<Value = Case> {
    let pod =
        (prop::sample::select(&["cur", "old"][..]), any::<bool>(), prop::bool::weighted(0.1), 0..60_i64);
    let budget =
        prop::sample::select(vec![json!(0), json!(1), json!(2), json!(4), json!("30%"), json!("100%")]);
    (prop::collection::vec(pod, 1..12), budget).prop_map(|(pods, max)| {
        let node = |index: usize| format!("n{index:02}");
        let pods = pods.into_iter().enumerate().map(|(index, (hash, ready, ending, ready_for))| PodCase {
            node: Some(node(index)),
            hash: Some(hash.to_string()),
            ready,
            ending,
            ready_for,
            ..PodCase::default()
        });
        let pods = named(pods.collect());
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": max}});
        Case {
            daemon_set: json!({"spec": {"updateStrategy": strategy, "minReadySeconds": 30}}),
            nodes: (0..pods.len()).map(|index| json!(node(index))).collect(),
            pods,
            ..Case::default()
        }
    })
}

fn any_strategy() -> impl Strategy<Value = Value> {
    let unavailable = prop::sample::select(vec![json!(0), json!(1), json!(2), json!("30%"), json!("100%")]);
    let surge = prop::sample::select(vec![json!(1), json!(3), json!("50%")]);
    prop_oneof![
        1 => Just(json!({"type": "OnDelete"})),
        4 => unavailable.prop_map(|max| json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": max}})),
        4 => surge.prop_map(|max| {
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": max}})
        }),
    ]
}

fn any_node() -> impl Strategy<Value = Value> {
    let taints =
        prop::sample::select(vec![json!([]), json!([]), json!(["k:NoSchedule"]), json!(["k:NoExecute"])]);
    let disks = prop::sample::select(&["ssd", "ssd", "hdd"][..]);
    (0..NODES.len(), taints, disks).prop_map(
        |(node, taints, disk)| json!({"name": NODES[node], "labels": {"disk": disk}, "taints": taints}),
    )
}

fn any_pod() -> impl Strategy<Value = PodCase> {
    let node = prop::sample::select(&["n1", "n2", "n3", "n4", "gone"][..]);
    let hash = prop::sample::select(vec![Some("cur"), Some("cur"), Some("old"), Some("old"), None]);
    let generation = prop::sample::select(vec![None, Some("1"), Some("7")]);
    let owner = prop::sample::select(vec![Owner::Ours, Owner::Ours, Owner::Ours, Owner::None, Owner::Other]);
    let phase =
        prop::sample::select(&["Running", "Running", "Running", "Pending", "Failed", "Succeeded"][..]);
    let times = (0..100_i64, prop::sample::select(&[10_i64, 300, 900, 7200][..]));
    let flags = (any::<bool>(), prop::bool::weighted(0.15), any::<bool>(), prop::bool::weighted(0.1));
    (node, hash, generation, owner, phase, times, flags).prop_map(
        |(node, hash, generation, owner, phase, (ready_for, age), (ready, ending, bound, lost))| PodCase {
            node: bound.then(|| node.to_string()),
            pinned: Some(node.to_string()),
            hash: hash.map(str::to_string),
            generation: generation.map(str::to_string),
            owner,
            phase: phase.to_string(),
            ready: ready && phase == "Running",
            ready_for,
            ending,
            age,
            labels: [("app".to_string(), if lost { "x" } else { "d" }.to_string())].into(),
            ..PodCase::default()
        },
    )
}

fn any_revision() -> impl Strategy<Value = RevisionCase> {
    let template = prop::sample::select(vec![
        Value::Null,
        json!({"spec": {"hostPID": true}}),
        json!({"spec": {"nodeName": ""}}),
    ]);
    let owner = prop::sample::select(vec![Owner::Ours, Owner::Ours, Owner::None]);
    let hash = prop::sample::select(vec![Some("cur"), Some("old"), Some("third"), None]);
    (template, owner, hash, 1..5_i64).prop_map(|(template, owner, hash, number)| RevisionCase {
        template,
        owner,
        hash: hash.map(str::to_string),
        number,
        ..RevisionCase::default()
    })
}

fn any_backoff() -> impl Strategy<Value = BackoffCase> {
    (0..NODES.len(), 1..900_i64, 0..900_i64).prop_map(|(node, delay, ago)| BackoffCase {
        node: NODES[node].to_string(),
        delay,
        ago,
        generation: 1,
    })
}

fn any_unseen() -> impl Strategy<Value = UnseenCase> {
    let creates = prop::collection::btree_map(
        "[p-r][0-9]-uid",
        prop::sample::select(NODES).prop_map(str::to_string),
        0..3,
    );
    let deletes = prop::collection::vec("p[0-8]-uid", 0..3);
    (creates, deletes, prop::sample::select(&[0, 100, 400][..]))
        .prop_map(|(creates, deletes, ago)| UnseenCase { creates, deletes, ago })
}

/// Names are unique in a cluster.
fn nodes_once(nodes: Vec<Value>) -> Vec<Value> {
    let mut names = BTreeSet::new();
    nodes.into_iter().filter(|node| names.insert(node["name"].to_string())).collect()
}

fn named(mut pods: Vec<PodCase>) -> Vec<PodCase> {
    pods.iter_mut().enumerate().for_each(|(index, pod)| pod.name = format!("p{index}"));
    pods
}

fn distinct(revisions: Vec<RevisionCase>) -> Vec<RevisionCase> {
    let mut hashes = BTreeSet::new();
    revisions.into_iter().filter(|revision| hashes.insert(revision.hash.clone())).collect()
}
