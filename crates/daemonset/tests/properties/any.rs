//! Clusters at random: any at all, and calm ones in which only a rollout has something to do.

use crate::support::{BackoffCase, Case, Owner, PodCase, RevisionCase, UnseenCase};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const NODES: &[&str] = &["n1", "n2", "n3", "n4", "n5"];

pub fn any_case() -> impl Strategy<Value = Case> {
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
pub fn calm_case() -> impl Strategy<Value = Case> {
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
    let ready = prop::sample::select(&["True", "True", "True", "Unknown"][..]);
    (0..NODES.len(), taints, disks, ready).prop_map(|(node, taints, disk, ready)| {
        json!({"name": NODES[node], "labels": {"disk": disk}, "taints": taints, "ready": ready})
    })
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
        .prop_map(|(creates, deletes, ago)| UnseenCase { creates, deletes, ago, refused: None })
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
