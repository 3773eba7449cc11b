//! A lone server: how fast it starts on an empty data folder, how much it holds at rest.

use crate::clock::{median, shown, timed};
use crate::{Row, processes};
use anyhow::Result;
use e2e::{Kubectl, Server};
use std::path::Path;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);
/// Nothing happens in an empty cluster; what the start has left to do is done after this.
const REST: Duration = Duration::from_secs(10);
const STARTS: u32 = 5;

/// Start, memory, and what one look costs.
pub fn measure(kubectl: &Path) -> Result<Vec<Row>> {
    let starts = (0..STARTS).map(|_| start(kubectl).map(|(_, time)| time)).collect::<Result<_>>()?;
    let (server, _) = start(kubectl)?;
    let client = server.kubectl(kubectl);
    let looks = (0..STARTS)
        .map(|_| timed("the server is still ready", LIMIT, || (), || ready(&client)))
        .collect::<Result<_>>()?;
    std::thread::sleep(REST);
    Ok(vec![
        Row::new(
            "`everynode server`, empty folder, until `kubectl get --raw /readyz` says ok (median of 5)",
            shown(median(starts)),
            "4.3 s",
        )
        .aim("0.3 s"),
        Row::new(
            "of that, one `kubectl get --raw /readyz` of a server that is ready",
            shown(median(looks)),
            "-",
        ),
        Row::new("resident memory of the idle server", processes::memory(server.pid())?, "433 MB")
            .aim("40 MB"),
    ])
}

fn start(kubectl: &Path) -> Result<(Server, Duration)> {
    let begin = Instant::now();
    let server = Server::start()?;
    let client = server.kubectl(kubectl);
    let kubeconfig = server.data_dir().join("kubeconfig");
    timed("the server is ready", LIMIT, || (), || kubeconfig.exists() && ready(&client))?;
    Ok((server, begin.elapsed()))
}

fn ready(kubectl: &Kubectl) -> bool {
    kubectl.run(&["get", "--raw", "/readyz"]).stdout.trim() == "ok"
}
