//! A thousand simulated nodes: real objects, real watches, real loops; only the containers are not there.

use crate::clock::{shown, timed};
use crate::{Row, processes};
use anyhow::Result;
use e2e::{Cluster, Kubectl};
use std::path::Path;
use std::time::Duration;

const NODES: &str = "1000";
const COUNT: u64 = 1000;
/// Kilobytes of a server that has nothing to hold, by the row of its own.
const EMPTY: u64 = 25 << 10;
const LIMIT: Duration = Duration::from_secs(180);
/// After the nodes are Ready, before anything is measured.
const REST: Duration = Duration::from_secs(10);
const HELLO: &str = include_str!("../../../../../examples/hello.yaml");
const READY_NODES: &str = r#"{.items[*].status.conditions[?(@.type=="Ready")].status}"#;
const STATUS: &str = "{.metadata.generation} {.status.observedGeneration} {.status.updatedNumberScheduled} \
                      {.status.numberReady} {.status.desiredNumberScheduled}";

/// Every node at once: there, updated, gone.
pub fn measure(kubectl: &Path) -> Result<Vec<Row>> {
    let mut cluster = Cluster::start(&["--runtime", "simulated", "--nodes", NODES])?;
    let client = cluster.kubectl(kubectl);
    let join = timed("1,000 nodes are Ready", LIMIT, || (), || ready_nodes(&client) == NODES)?;
    std::thread::sleep(REST);
    let (server, fleet) = (
        processes::descendant(cluster.pid(), &["server"])?,
        processes::descendant(cluster.pid(), &["internal", "fleet"])?,
    );
    let (rest, idle) = (processes::memory(server)?, processes::resident(server)?);
    let apply = apply(&client)?;
    let with_pods = processes::resident(server)?;
    let [update, delete] = rollout(&client)?;
    let rows = vec![
        Row::new("1,000 simulated nodes: from `everynode up` until all nodes are Ready", shown(join), "-"),
        Row::new("1,000 nodes: `apply` until all pods are Ready", shown(apply), "5.0 s"),
        Row::new(
            "1,000 nodes: new image, maxUnavailable 100%, until all pods are new and Ready",
            shown(update),
            "7.1 s",
        ),
        Row::new("1,000 nodes: `delete` until all pods are gone", shown(delete), "4.2 s"),
        Row::new("resident memory of the server with 1,000 idle nodes", rest, "-"),
        Row::new(
            "memory of the server for a node: its share of those idle nodes, less an idle server's 25 MB",
            each(idle.saturating_sub(EMPTY)),
            "-",
        ),
        Row::new(
            "memory of the server for a pod: its share of what `apply` has added, its events included",
            each(with_pods.saturating_sub(idle)),
            "-",
        ),
        Row::new("resident memory of the server after all this", processes::memory(server)?, "-"),
        Row::new(
            "resident memory of the process of 1,000 nodes after all this",
            processes::memory(fleet)?,
            "-",
        ),
    ];
    cluster.stop()?;
    Ok(rows)
}

/// What each has of so many kilobytes.
fn each(kilobytes: u64) -> String {
    format!("{:.1} kB", kilobytes as f64 / COUNT as f64)
}

fn apply(client: &Kubectl) -> Result<Duration> {
    let manifest = HELLO.replace("maxUnavailable: 1\n", "maxUnavailable: 100%\n");
    timed(
        "all pods are Ready",
        LIMIT,
        || _ = client.ok_with(&["apply", "-f", "-"], &manifest),
        || status(client) == "1 1 1000 1000 1000",
    )
}

fn rollout(client: &Kubectl) -> Result<[Duration; 2]> {
    let update = timed(
        "all pods are new and Ready",
        LIMIT,
        || _ = client.ok(&["set", "image", "ds/hello", "hello=everynode.dev/hello:2"]),
        || status(client) == "2 2 1000 1000 1000",
    )?;
    let delete = timed(
        "all pods are gone",
        LIMIT,
        || _ = client.ok(&["delete", "ds", "hello", "--wait=false"]),
        || one_pod(client).is_some_and(|pods| pods.is_empty()),
    )?;
    Ok([update, delete])
}

fn ready_nodes(client: &Kubectl) -> String {
    let conditions = client.value(&["get", "nodes"], READY_NODES).unwrap_or_default();
    conditions.split_whitespace().filter(|ready| *ready == "True").count().to_string()
}

fn status(client: &Kubectl) -> String {
    client.value(&["get", "ds", "hello"], STATUS).unwrap_or_default()
}

/// A list of at most one pod, so that the look itself costs nothing.
fn one_pod(client: &Kubectl) -> Option<Vec<serde_json::Value>> {
    let answer = client.run(&["get", "--raw", "/api/v1/namespaces/default/pods?limit=1"]);
    let list: serde_json::Value = serde_json::from_str(&answer.stdout).ok()?;
    list["items"].as_array().cloned()
}
