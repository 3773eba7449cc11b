//! `everynode agent`: makes this machine a node. The nodes of `everynode up` run this very command.

use crate::config::Runtime;
use crate::{compose, config};
use anyhow::{Context as _, Result, ensure};
use clap::Args;
use k8s_openapi::api::core::v1::Taint;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The longest Lease, in seconds: a node that has been silent for an hour is not alive.
const MAX_LEASE: u64 = 3600;

/// Flags of `everynode agent`.
#[derive(Args)]
pub struct Flags {
    /// The API server: https://HOST:PORT. Several, with commas or given several times: the next is asked when one fails. A
    /// node that has joined remembers them, and learns the others from the cluster.
    #[arg(long = "server", env = "EVERYNODE_SERVER", value_name = "URL", value_delimiter = ',')]
    servers: Vec<String>,
    /// A join token, from `everynode token`; needed once. Better given as a variable, which other users cannot see.
    #[arg(long, env = "EVERYNODE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Name of the node [default: this machine's name].
    #[arg(long, env = "EVERYNODE_NODE_NAME")]
    node_name: Option<String>,
    /// Address of the node [default: the one this machine reaches the server from].
    #[arg(long, env = "EVERYNODE_ADDRESS")]
    address: Option<IpAddr>,
    /// Volumes of pods, and in `pki` the node's identity.
    #[arg(long, env = "EVERYNODE_AGENT_DIR", default_value = "/var/lib/kubelet")]
    data_dir: PathBuf,
    /// Logs of containers.
    #[arg(long, default_value = "/var/log")]
    log_dir: PathBuf,
    /// Folder of static pods' manifests, one pod a file; they run without any server. Empty: no static pods.
    #[arg(long, env = "EVERYNODE_POD_MANIFEST_PATH", default_value = "/etc/kubernetes/manifests")]
    pod_manifest_path: OsString,
    /// Parent of the cgroups of all pods.
    #[arg(long, default_value = "/kubepods")]
    cgroup_parent: String,
    /// What runs containers.
    #[arg(long, env = "EVERYNODE_RUNTIME", default_value = "cri")]
    runtime: Runtime,
    /// Where the runtime answers.
    #[arg(long, default_value = "/run/containerd/containerd.sock")]
    runtime_socket: PathBuf,
    /// Port on which logs are served to the API server; 0 takes a free one.
    #[arg(long, default_value_t = 10250)]
    log_port: u16,
    /// KEY=VALUE, a label of the new node; may be given several times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = config::label)]
    labels: Vec<(String, String)>,
    /// KEY[=VALUE]:EFFECT, a taint of the new node; may be given several times.
    #[arg(long = "taint", value_name = "KEY[=VALUE]:EFFECT", value_parser = config::taint)]
    taints: Vec<Taint>,
    /// Most pods on this node.
    #[arg(long, default_value_t = 110, value_parser = clap::value_parser!(u32).range(1..))]
    max_pods: u32,
    /// How long the node's Lease is good; it is renewed four times as often. No longer than the server's --node-grace.
    #[arg(long, env = "EVERYNODE_NODE_LEASE_DURATION", value_name = "SECONDS", default_value_t = agent::heartbeat::LEASE.as_secs(), value_parser = clap::value_parser!(u64).range(1..=MAX_LEASE))]
    node_lease_duration: u64,
    /// A name server for pods; may be given several times [default: the machine's].
    #[arg(long = "cluster-dns", value_name = "ADDRESS")]
    cluster_dns: Vec<IpAddr>,
}

impl Flags {
    fn config(self) -> Result<config::Agent> {
        let host = || rustix::system::uname().nodename().to_string_lossy().to_lowercase();
        let node_name = self.node_name.unwrap_or_else(host);
        objects::name::dns1123_subdomain(&node_name)
            .map_err(|why| anyhow::anyhow!("{}", why.join("; ")))
            .with_context(|| {
                format!("{node_name:?} cannot be the name of a node; choose one with --node-name")
            })?;
        let mut servers = self.servers;
        if servers.is_empty() {
            servers = agent::join::remembered(&self.data_dir.join("pki"));
        }
        ensure!(!servers.is_empty(), "this node has not joined before: name a server with --server");
        Ok(config::Agent {
            servers,
            token: self.token.filter(|token| !token.is_empty()),
            node_name,
            address: self.address,
            data_dir: self.data_dir,
            log_dir: self.log_dir,
            manifests: Some(self.pod_manifest_path).filter(|path| !path.is_empty()).map(PathBuf::from),
            cgroup_parent: self.cgroup_parent,
            runtime: self.runtime,
            runtime_socket: self.runtime_socket,
            log_port: self.log_port,
            labels: self.labels.into_iter().collect(),
            taints: self.taints,
            max_pods: self.max_pods,
            lease: Duration::from_secs(self.node_lease_duration),
            cluster_dns: self.cluster_dns,
        })
    }
}

/// Is a node until SIGINT or SIGTERM; containers go on running after it.
pub async fn run(flags: Flags) -> Result<()> {
    let config = flags.config()?;
    let (asked, shutdown) = (super::asked_to_end()?, agent::Shutdown::new());
    super::until(asked, shutdown.clone(), compose::agent(config, shutdown)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<config::Agent, String> {
        let flags: Flags = crate::cli::parse(line)?;
        flags.config().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn flags_become_a_configuration() {
        let config = parse(
            "--server https://10.88.0.1:6443 --node-name n1 --label disk=ssd --label a/b=c --taint k=v:NoSchedule",
        )
        .unwrap();
        assert_eq!((config.node_name.as_str(), config.max_pods, config.log_port), ("n1", 110, 10250));
        assert_eq!(config.labels.len(), 2);
        assert_eq!(config.taints[0].effect, "NoSchedule");
        assert_eq!(config.token, None);
        assert_eq!(config.manifests, Some("/etc/kubernetes/manifests".into()));
        let config = parse("--server https://x:1 --node-name n1 --pod-manifest-path=").unwrap();
        assert_eq!(config.manifests, None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let server = "--server https://x:1";
        let check = |line: &str, expected: &str| {
            let error = parse(&format!("{server} {line}")).err().unwrap_or_default();
            assert!(error.contains(expected), "{error}");
        };
        check("--label disk", "--label");
        check("--taint x", "--taint");
        check("--node-name N_1", "\"N_1\" cannot be the name of a node");
        check("--max-pods 0", "--max-pods");
        check("--node-lease-duration 0", "--node-lease-duration");
        check("--runtime docker", "--runtime");
        assert!(parse("--data-dir /nonexistent").unwrap_err().contains("--server"));
    }

    #[test]
    fn servers_are_named_with_commas_or_several_flags_or_remembered() {
        let two = ["https://a:1", "https://b:2"];
        assert_eq!(parse("--server https://a:1,https://b:2").unwrap().servers, two);
        assert_eq!(parse("--server https://a:1 --server https://b:2").unwrap().servers, two);
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("pki")).unwrap();
        std::fs::write(dir.path().join("pki/servers"), "https://a:1\nhttps://b:2\n").unwrap();
        assert_eq!(parse(&format!("--data-dir {}", dir.path().display())).unwrap().servers, two);
    }
}
