//! What can happen: steps at random.

use crate::support::{Case, PodCase, RevisionCase};
use proptest::prelude::*;
use serde_json::{Value, json};

/// One thing that happens. Numbers choose among what is there.
#[derive(Debug, Clone)]
pub enum Step {
    /// A node comes, or is another one from now on.
    Node {
        name: usize,
        taint: Option<&'static str>,
        disk: &'static str,
        silent: bool,
    },
    NodeGoes(usize),
    /// A pod's status and place.
    Pod {
        which: usize,
        change: PodChange,
    },
    /// A pod that nobody has asked for.
    Stranger {
        node: usize,
        hash: Option<&'static str>,
        owner: &'static str,
        bound: bool,
    },
    /// The last plan is carried out: this many actions succeed and the rest fail.
    Act(usize),
    /// The cache shows so many of our writes.
    Show(usize),
    /// The same, and the news is late: the writes count as unseen for some time yet.
    ShowFirst(usize),
    /// The watch tells of everything that it has shown.
    Tell,
    Time(i64),
    Template(u8),
    Strategy(Value),
    Paused(Option<&'static str>),
    /// Nothing: the same again.
    Nothing,
}

#[derive(Debug, Clone, Copy)]
pub enum PodChange {
    Ready(bool),
    Phase(&'static str),
    Bound,
    Ends,
    Gone,
    LosesHash,
    LosesLabels,
}

pub fn any_start() -> impl Strategy<Value = Case> {
    let strategy = any_strategy();
    let sizes =
        (0..5_usize, prop::collection::vec((0..5_usize, prop::sample::select(vec!["cur", "old"])), 0..5));
    // Of the controller before us (TK-5).
    let status = json!({"currentNumberScheduled": 4, "updatedNumberScheduled": 4, "observedGeneration": 1});
    let status = prop::sample::select(vec![Value::Null, status]);
    let daemon_set = (strategy, prop::sample::select(vec![0, 30]), status);
    (daemon_set, sizes).prop_map(|((strategy, min_ready, status), (nodes, pods))| {
        Case {
            daemon_set: json!({"status": status, "spec": {"updateStrategy": strategy, "minReadySeconds": min_ready,
            "revisionHistoryLimit": 1, "template": {"spec": {"nodeSelector": {"disk": "ssd"}}}}}),
            nodes: (0..nodes).map(|n| json!({"name": format!("n{n}"), "labels": {"disk": "ssd"}})).collect(),
            pods: pods
                .into_iter()
                .enumerate()
                .map(|(index, (node, hash))| PodCase {
                    name: format!("p{index}"),
                    node: Some(format!("n{node}")),
                    hash: Some(hash.to_string()),
                    ..PodCase::default()
                })
                .collect(),
            revisions: Some(vec![
                RevisionCase {
                    hash: Some("old".to_string()),
                    template: json!({"spec": {"hostPID": true}}),
                    ..RevisionCase::default()
                },
                RevisionCase { number: 2, ..RevisionCase::default() },
            ]),
            ..Case::default()
        }
    })
}

pub fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(any_step(), 1..40)
}

fn any_step() -> impl Strategy<Value = Step> {
    let taints = vec![None, None, Some("k:NoSchedule"), Some("k:NoExecute")];
    let node = (
        0..6_usize,
        prop::sample::select(taints),
        prop::sample::select(vec!["ssd", "ssd", "hdd"]),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(name, taint, disk, silent)| Step::Node { name, taint, disk, silent });
    let changes = vec![
        PodChange::Ready(true),
        PodChange::Ready(true),
        PodChange::Ready(false),
        PodChange::Phase("Failed"),
        PodChange::Phase("Succeeded"),
        PodChange::Phase("Pending"),
        PodChange::Bound,
        PodChange::Bound,
        PodChange::Ends,
        PodChange::Gone,
        PodChange::LosesHash,
        PodChange::LosesLabels,
    ];
    let pod =
        (0..40_usize, prop::sample::select(changes)).prop_map(|(which, change)| Step::Pod { which, change });
    let hashes = prop::sample::select(vec![Some("cur"), Some("old"), None]);
    let owners = prop::sample::select(vec!["ours", "ours", "none", "other"]);
    let stranger = (0..7_usize, hashes, owners, any::<bool>())
        .prop_map(|(node, hash, owner, bound)| Step::Stranger { node, hash, owner, bound });
    let times = prop::sample::select(vec![0_i64, 1, 4, 29, 31, 200, 601, 1300, -20]);
    prop_oneof![
        4 => node,
        2 => (0..6_usize).prop_map(Step::NodeGoes),
        10 => pod,
        2 => stranger,
        8 => (0..8_usize).prop_map(Step::Act),
        8 => (0..6_usize).prop_map(Step::Show),
        2 => (1..4_usize).prop_map(Step::ShowFirst),
        2 => Just(Step::Tell),
        4 => times.prop_map(Step::Time),
        1 => (0..3_u8).prop_map(Step::Template),
        1 => any_strategy().prop_map(Step::Strategy),
        1 => prop::sample::select(vec![None, Some("true"), Some("maybe")]).prop_map(Step::Paused),
        1 => Just(Step::Nothing),
    ]
}

fn any_strategy() -> impl Strategy<Value = Value> {
    let rolling = |unavailable: Value, surge: Value| json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}});
    prop::sample::select(vec![
        json!({"type": "OnDelete", "rollingUpdate": null}),
        rolling(json!(1), json!(0)),
        rolling(json!("50%"), json!(0)),
        rolling(json!(0), json!(1)),
        rolling(json!(0), json!("60%")),
        rolling(json!("bad"), json!(0)),
    ])
}
