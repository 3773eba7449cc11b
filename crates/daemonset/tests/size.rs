//! A plan for ten thousand nodes: the burst holds, and it takes no time to speak of.

mod support;

use daemonset::plan::Action;
use daemonset::{BURST, Plan};
use std::time::{Duration, Instant};
use support::{Case, PodCase, RevisionCase, World};

const NODES: usize = 10_000;
/// For a build without optimisation on a busy machine; with it a plan takes about a hundredth of this.
const LIMIT: Duration = Duration::from_secs(3);

fn plan(pods: Vec<PodCase>) -> Plan {
    let old = RevisionCase {
        hash: Some("old".into()),
        template: serde_json::json!({"spec": {"hostPID": true}}),
        ..RevisionCase::default()
    };
    let case = Case {
        nodes: (0..NODES).map(|index| format!("n{index:05}").into()).collect(),
        pods,
        revisions: Some(vec![old, RevisionCase { number: 2, ..RevisionCase::default() }]),
        daemon_set: serde_json::json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "100%"}}}}),
        ..Case::default()
    };
    let world = World::of(&case);
    let start = Instant::now();
    let plan = world.plan();
    let took = start.elapsed();
    println!("{NODES} nodes, {} pods: {took:?}", world.pods.len());
    assert!(took < LIMIT, "{took:?}");
    assert_eq!(plan, world.plan_reversed());
    plan
}

fn pods(hash: &str) -> Vec<PodCase> {
    let pod = |index| PodCase {
        name: format!("p{index:05}"),
        node: Some(format!("n{index:05}")),
        hash: Some(hash.into()),
        ..PodCase::default()
    };
    (0..NODES).map(pod).collect()
}

fn count(plan: &Plan, what: fn(&Action) -> bool) -> usize {
    plan.actions.iter().filter(|action| what(action)).count()
}

#[test]
fn ten_thousand_nodes_are_planned_in_bursts() {
    let empty = plan(Vec::new());
    assert_eq!(count(&empty, |action| matches!(action, Action::CreatePod { .. })), BURST, "MG-17");
    let outdated = plan(pods("old"));
    assert_eq!(count(&outdated, |action| matches!(action, Action::DeletePod { .. })), BURST, "MG-17");
    let current = plan(pods("cur"));
    assert_eq!(current.actions.len(), 1, "only the status is written");
    assert_eq!(current.nodes.len(), NODES);
}
