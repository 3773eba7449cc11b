//! `everynode up`: one server and its nodes on this machine, until Ctrl-C.

use crate::config::{self, Runtime};
use crate::hosts::addresses::Range;
use crate::supervise;
use crate::telemetry::collector;
use anyhow::Result;
use clap::Args;
use controllers::Loop;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Flags of `everynode up`.
#[derive(Debug, Args)]
pub struct Flags {
    /// How many nodes [default: as many as the last time, at first 3].
    #[arg(long, env = "EVERYNODE_NODES", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(0..=i64::from(config::MAX_SIMULATED)))]
    nodes: Option<u32>,
    /// What runs containers [default: cri, or simulated where that is not possible].
    #[arg(long, env = "EVERYNODE_RUNTIME")]
    runtime: Option<Runtime>,
    /// Where everything is kept [default: /var/lib/everynode for root, else ~/.local/share/everynode].
    #[arg(long, env = "EVERYNODE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Address and port of the server. Other machines reach it only where this says so; the nodes reach it over their
    /// bridge in any case.
    #[arg(long, env = "EVERYNODE_LISTEN", default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
    /// Addresses of the nodes, a /24 [default: the first free one from 10.88.0.0/24 on].
    #[arg(long, env = "EVERYNODE_BRIDGE_NETWORK", value_name = "RANGE")]
    bridge_network: Option<Range>,
    /// HOST:PORT of a registry without TLS; may be given several times. More in <data-dir>/registries, which is
    /// containerd's certs.d.
    #[arg(long, value_name = "HOST:PORT", value_parser = config::registry)]
    plain_http_registry: Vec<String>,
    /// Seconds after which a silent node is no longer Ready [default: 40].
    #[arg(long, env = "EVERYNODE_NODE_GRACE", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    node_grace: Option<u64>,
    /// For how long the certificates of nodes are good; they renew them in time by themselves [default: 8760h].
    #[arg(long, env = "EVERYNODE_CLUSTER_SIGNING_DURATION", value_name = "DURATION", value_parser = config::signing)]
    cluster_signing_duration: Option<Duration>,
    /// Leave out a loop of the server, for example `daemonsets` where `everynode controller` runs it; may be given several
    /// times.
    #[arg(long, value_name = "LOOP", value_parser = config::a_loop)]
    without_loop: Vec<Loop>,
    #[command(flatten)]
    traces: collector::Flag,
}

impl Flags {
    fn config(self) -> Result<config::Up> {
        Ok(config::Up {
            data_dir: self.data_dir.unwrap_or_else(config::default_data_dir),
            nodes: self.nodes,
            runtime: self.runtime,
            listen: self.listen,
            bridge: self.bridge_network,
            plain_http: self.plain_http_registry,
            node_grace: self.node_grace,
            signing: self.cluster_signing_duration,
            without_loops: self.without_loop,
            collector: self.traces.config()?,
        })
    }
}

/// Runs until SIGINT or SIGTERM; leaves nothing behind but the data folder.
pub async fn run(flags: Flags) -> Result<()> {
    supervise::run(flags.config()?, super::asked_to_end()?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<config::Up, String> {
        crate::cli::parse::<Flags>(line)?.config().map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_reachable_from_outside_unless_asked_for() {
        let config = parse("").unwrap();
        assert_eq!(config.listen, "127.0.0.1:6443".parse().unwrap());
        assert_eq!((config.nodes, config.runtime, config.bridge), (None, None, None));
    }

    #[test]
    fn flags_become_a_configuration() {
        let config =
            parse("--nodes 5 --runtime simulated --data-dir /d --listen 0.0.0.0:7000 --bridge-network 172.20.0.0/24")
                .unwrap();
        assert_eq!((config.nodes, config.runtime), (Some(5), Some(Runtime::Simulated)));
        assert_eq!(config.data_dir, PathBuf::from("/d"));
        assert_eq!(config.bridge, Some("172.20.0.0/24".parse().unwrap()));
    }

    #[test]
    fn leases_are_as_short_as_the_server_waits_for_one_but_never_longer_than_kubernetes() {
        for (line, seconds) in [("", 40), ("--node-grace 8", 8), ("--node-grace 300", 40)] {
            assert_eq!(parse(line).unwrap().lease().as_secs(), seconds, "{line}");
        }
    }

    #[test]
    fn a_bad_flag_is_named() {
        let bad = [
            ("--nodes -1", "--nodes"),
            ("--nodes 10001", "--nodes"),
            ("--runtime docker", "--runtime"),
            ("--listen here", "--listen"),
            ("--bridge-network 10.88", "--bridge-network"),
            ("--plain-http-registry http://x", "--plain-http-registry"),
        ];
        for (line, expected) in bad {
            let error = parse(line).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
