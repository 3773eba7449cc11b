//! Golden cases: each `cases/<name>.yaml` has nodes, namespaces, budgets, pods that stand there and pods that ask; `<name>.decision`
//! has the answers. Among those that ask, a pod that has a node or has ended is news, not a question. `UPDATE_CASES=1 cargo test -p scheduler --test cases` writes the answers anew: read the diff.

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use scheduler::preempt::Eviction;
use scheduler::{Cluster, Decision, Nomination, pick};
use serde::Deserialize;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(default)]
    nodes: Vec<Node>,
    #[serde(default)]
    namespaces: Vec<Namespace>,
    #[serde(default)]
    budgets: Vec<PodDisruptionBudget>,
    #[serde(default)]
    pods: Vec<Pod>,
    ask: Vec<Pod>,
}

#[test]
fn every_case_is_decided_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut cases: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    cases.sort();
    assert!(cases.len() >= 10, "the cases are missing");
    let failed: Vec<_> = cases.iter().filter(|case| !check(case)).collect();
    assert!(failed.is_empty(), "{failed:#?} are decided otherwise, see above");
}

fn check(path: &Path) -> bool {
    let case: Case = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let answer = decide(case);
    let golden = path.with_extension("decision");
    if std::env::var_os("UPDATE_CASES").is_some() {
        std::fs::write(&golden, &answer).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    if answer != expected {
        println!("{}\n--- expected\n{expected}--- decided\n{answer}", path.display());
    }
    answer == expected
}

/// Asks for one pod after the other; each that finds a node is assumed there, and evictions begin.
fn decide(case: Case) -> String {
    let mut cluster = Cluster::new();
    case.nodes.into_iter().for_each(|node| cluster.set_node(Arc::new(node)));
    case.namespaces.iter().for_each(|namespace| cluster.set_namespace(namespace));
    case.budgets.iter().for_each(|budget| cluster.set_budget(budget));
    case.pods.iter().for_each(|pod| cluster.add_pod(pod));
    let mut answer = String::new();
    for pod in &case.ask {
        let name = pod.metadata.name.as_deref().unwrap();
        if objects::pod::node_name(pod).is_some() || objects::pod::is_terminal(pod) {
            cluster.add_pod(pod);
            continue;
        }
        match pick(pod, &cluster) {
            Decision::Node(node) => {
                cluster.assume(pod, &node);
                writeln!(answer, "{name}: {node}").unwrap();
            }
            Decision::Gated => writeln!(answer, "{name}: gated").unwrap(),
            Decision::Unschedulable(why) => {
                writeln!(answer, "{name}: {}", why.message).unwrap();
                if let Nomination::Given(eviction) = why.nomination {
                    writeln!(answer, "  {}", words(&eviction)).unwrap();
                    carry_out(&mut cluster, pod, &eviction);
                }
            }
        }
    }
    answer
}

fn words(eviction: &Eviction) -> String {
    let names = |keys: Vec<&objects::key::ObjectKey>| {
        keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let victims = names(eviction.victims.iter().map(|victim| &victim.key).collect());
    let mut words = format!("evicts on {}: {victims}", eviction.node);
    if eviction.violations > 0 {
        words += &format!(" ({} against a budget)", eviction.violations);
    }
    if !eviction.displaced.is_empty() {
        words += &format!("; displaces {}", names(eviction.displaced.iter().collect()));
    }
    words
}

fn carry_out(cluster: &mut Cluster, pod: &Pod, eviction: &Eviction) {
    cluster.nominate(pod, &eviction.node);
    eviction.victims.iter().for_each(|victim| cluster.evict(&victim.key));
    eviction.displaced.iter().for_each(|key| cluster.end_nomination(key));
}
