//! Golden cases: each `cases/<name>.yaml` has nodes, pods that stand there and a pod that asks; `<name>.decision`
//! has the answer. `UPDATE_CASES=1 cargo test -p scheduler --test cases` writes the answers anew: read the diff.

use k8s_openapi::api::core::v1::{Node, Pod};
use scheduler::{Cluster, Decision, pick};
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

/// Asks for one pod after the other; each that finds a node is assumed there.
fn decide(case: Case) -> String {
    let mut cluster = Cluster::new();
    case.nodes.into_iter().for_each(|node| cluster.set_node(Arc::new(node)));
    case.pods.iter().for_each(|pod| cluster.add_pod(pod));
    let mut answer = String::new();
    for pod in &case.ask {
        let name = pod.metadata.name.as_deref().unwrap();
        match pick(pod, &cluster) {
            Decision::Node(node) => {
                cluster.assume(pod, &node);
                writeln!(answer, "{name}: {node}").unwrap();
            }
            Decision::Gated => writeln!(answer, "{name}: gated").unwrap(),
            Decision::Unschedulable(why) => {
                writeln!(answer, "{name}: {}", why.message).unwrap();
                if !why.would_preempt.is_empty() {
                    writeln!(answer, "  eviction would help on {}", why.would_preempt.join(", ")).unwrap();
                }
            }
        }
    }
    answer
}
