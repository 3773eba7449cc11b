//! Three nodes with real containers; left out where there is no root or no containerd.

use crate::clock::{shown, timed};
use crate::{Row, processes};
use anyhow::Result;
use e2e::Cluster;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);
/// After the nodes are Ready, before memory is read.
const REST: Duration = Duration::from_secs(10);
const HELLO: &str = include_str!("../../../../../examples/hello.yaml");

/// The start of a cluster, the memory of an agent, and the way from `apply` to three Ready pods.
pub fn measure(kubectl: &Path) -> Result<Vec<Row>> {
    if !possible() {
        return Ok(vec![Row::new("three nodes with containerd", "left out: no root or no containerd", "-")]);
    }
    let mut cluster = Cluster::start(&["--runtime", "cri", "--nodes", "3"])?;
    let client = cluster.kubectl(kubectl);
    cluster.wait_for_nodes(&client, &["n1", "n2", "n3"]);
    std::thread::sleep(REST);
    let agent = processes::memory(processes::descendant(cluster.pid(), &["agent"])?)?;
    let hello = timed(
        "hello is Ready on three nodes",
        LIMIT,
        || _ = client.ok_with(&["apply", "-f", "-"], HELLO),
        || client.value(&["get", "ds", "hello"], "{.status.numberReady}").is_ok_and(|ready| ready == "3"),
    )?;
    let busy = processes::memory(processes::descendant(cluster.pid(), &["agent"])?)?;
    cluster.stop()?;
    Ok(vec![
        Row::new("resident memory of one idle agent (without containerd)", agent, "-").aim("15 MB"),
        Row::new("the same agent with one pod", busy, "-"),
        Row::new(
            "`kubectl apply -f examples/hello.yaml` until 3 containers on 3 containerds are Ready",
            shown(hello),
            "-",
        ),
    ])
}

fn possible() -> bool {
    let root =
        std::fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t0\t"));
    root && ["/usr/bin", "/usr/local/bin", "/usr/sbin"]
        .iter()
        .any(|dir| Path::new(dir).join("containerd").exists())
}
