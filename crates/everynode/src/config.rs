//! What each component is told: plain values, made from flags and `EVERYNODE_…` variables at the edge.
//!
//! Flags are declared with their subcommands ([`crate::cli`]); what several share, and what takes more than a type to
//! check, is here.

use crate::durations;
use crate::hosts::addresses::Range;
use crate::telemetry::collector::Collector;
use controllers::calls::Pace;
use controllers::leader::Times;
use controllers::{Loop, Scope};
use k8s_openapi::api::core::v1::Taint;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

/// The data folder of root.
pub const ROOT_DATA_DIR: &str = "/var/lib/everynode";
/// Where a simulated `up` and a real one stop counting; memory would end much later.
pub const MAX_SIMULATED: u32 = 10_000;

/// In a third of this, an agent still asks for the next one and changes over to it.
const SHORTEST_CERTIFICATE: Duration = Duration::from_secs(10);

/// What runs containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Runtime {
    /// A real runtime behind its CRI socket.
    Cri,
    /// One in memory, that runs nothing.
    Simulated,
}

/// Where audit events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditLog {
    /// `<data-dir>/audit.log`.
    Default,
    /// Standard output.
    Standard,
    /// Another file.
    File(PathBuf),
    /// Nowhere.
    Off,
}

/// `everynode up`.
#[derive(Debug, Clone)]
pub struct Up {
    /// Everything that is kept.
    pub data_dir: PathBuf,
    /// How many nodes; none: as many as the last time, or three.
    pub nodes: Option<u32>,
    /// What runs containers; none: the best that is possible here.
    pub runtime: Option<Runtime>,
    /// Where the server listens.
    pub listen: SocketAddr,
    /// Addresses of the nodes; none: the first free range.
    pub bridge: Option<Range>,
    /// Registries that are spoken to without TLS, `host:port`.
    pub plain_http: Vec<String>,
    /// How long a silent node counts as ready, in seconds; none: Kubernetes' 40.
    pub node_grace: Option<u64>,
    /// The longest life of certificates that are signed for nodes; none: a year.
    pub signing: Option<Duration>,
    /// Loops that the server leaves out.
    pub without_loops: Vec<Loop>,
    /// Where the server sends traces; none: nowhere.
    pub collector: Option<Collector>,
}

impl Up {
    /// How long the Leases of its nodes are good: as Kubernetes' are, but no longer than the server waits for one.
    pub fn lease(&self) -> Duration {
        let grace = self.node_grace.map_or(agent::heartbeat::LEASE, Duration::from_secs);
        grace.min(agent::heartbeat::LEASE)
    }
}

/// `everynode server`.
#[derive(Debug, Clone)]
pub struct Server {
    /// Everything that is kept.
    pub data_dir: PathBuf,
    /// Where it listens; never empty.
    pub listen: Vec<SocketAddr>,
    /// More names and addresses for its certificate.
    pub names: BTreeSet<String>,
    /// See `names`.
    pub addresses: BTreeSet<IpAddr>,
    /// `iss` of service accounts' tokens; none: Kubernetes' usual.
    pub issuer: Option<String>,
    /// The loops that run in it.
    pub loops: BTreeSet<Loop>,
    /// How long a silent node counts as ready, in seconds; none: Kubernetes' 40.
    pub node_grace: Option<u64>,
    /// Where it records who did what.
    pub audit_log: AuditLog,
    /// Where the objects are.
    pub store: Store,
    /// The longest life of certificates that are signed for nodes.
    pub signing: Duration,
    /// What all servers of a cluster have in common; none: the folder of the server's own certificates.
    pub pki_dir: Option<PathBuf>,
    /// Where traces go; none: nowhere.
    pub collector: Option<Collector>,
}

/// Where the objects are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// In a file of the data folder.
    Embedded,
    /// In etcd, perhaps with other servers.
    Etcd(Etcd),
}

/// How etcd is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etcd {
    /// Its members.
    pub endpoints: Vec<String>,
    /// What our keys begin with.
    pub prefix: String,
    /// Who signs the members' certificates: a file.
    pub ca: Option<PathBuf>,
    /// Our certificate and key: files.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// A user, and the file with the password.
    pub login: Option<(String, PathBuf)>,
}

/// `everynode agent`.
#[derive(Debug, Clone)]
pub struct Agent {
    /// `https://host:port`, the first to be asked first; never empty.
    pub servers: Vec<String>,
    /// Only for an agent without an identity.
    pub token: Option<String>,
    /// Name of the Node object.
    pub node_name: String,
    /// Its address; none: the one from which the server is reached.
    pub address: Option<IpAddr>,
    /// Volumes and identity.
    pub data_dir: PathBuf,
    /// Container logs.
    pub log_dir: PathBuf,
    /// Manifests of static pods; none: there are none.
    pub manifests: Option<PathBuf>,
    /// Parent of pods' cgroups.
    pub cgroup_parent: String,
    /// What runs containers.
    pub runtime: Runtime,
    /// Where the runtime answers.
    pub runtime_socket: PathBuf,
    /// Where logs are served.
    pub log_port: u16,
    /// Of the new Node object.
    pub labels: BTreeMap<String, String>,
    /// Of the new Node object.
    pub taints: Vec<Taint>,
    /// `status.capacity.pods`.
    pub max_pods: u32,
    /// How long its Lease is good.
    pub lease: Duration,
    /// Name servers of pods.
    pub cluster_dns: Vec<IpAddr>,
}

/// `everynode controller`.
#[derive(Debug, Clone)]
pub struct Controller {
    /// The cluster; none: as kubectl finds it, or from inside a pod.
    pub kubeconfig: Option<PathBuf>,
    /// Write nothing, and print what would be done.
    pub dry_run: bool,
    /// What is taken over.
    pub scope: Scope,
    /// DaemonSets at a time.
    pub workers: usize,
    /// Requests a second; none: as fast as it goes.
    pub pace: Option<Pace>,
    /// Hold a lease, so that several can stand by.
    pub leading: Option<Leading>,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// Where traces go; none: nowhere.
    pub collector: Option<Collector>,
}

/// How several controllers agree on one.
#[derive(Debug, Clone)]
pub struct Leading {
    /// The lease's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How long things may take.
    pub times: Times,
}

/// `everynode internal fleet`.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// The cluster.
    pub kubeconfig: PathBuf,
    /// Number of the first node.
    pub first: u32,
    /// How many.
    pub nodes: u32,
    /// How long their Leases are good.
    pub lease: Duration,
}

/// Root's folder, or one in the home of anybody else.
pub fn default_data_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return ROOT_DATA_DIR.into();
    }
    let share = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home =
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into())).join(".local/share");
    share.unwrap_or_else(home).join("everynode")
}

/// `n4` → 4.
pub fn node_number(name: &str) -> Result<u32, String> {
    let digits = name.strip_prefix('n').filter(|digits| !digits.starts_with(['0', '+']));
    digits
        .and_then(|digits| digits.parse().ok())
        .filter(|number| (1..=MAX_SIMULATED).contains(number))
        .ok_or_else(|| format!("nodes here are called n1, n2, …, n{MAX_SIMULATED}, and not {name:?}"))
}

/// `node_lifecycle` or `node-lifecycle`.
pub fn a_loop(name: &str) -> Result<Loop, String> {
    let wanted = name.replace('-', "_");
    Loop::ALL.into_iter().find(|which| which.name() == wanted).ok_or_else(|| {
        let names: Vec<&str> = Loop::ALL.iter().map(|which| which.name()).collect();
        format!("there is no loop {name:?}; there are {}", names.join(", "))
    })
}

/// An issuer of tokens: verifiers look for its documents below this URL.
pub fn issuer(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").and_then(|rest| rest.split('/').next());
    match host.is_some_and(|host| !host.is_empty()) && !text.contains(['?', '#']) {
        true => Ok(text.into()),
        false => Err(format!("{text:?} is not https://HOST or https://HOST/PATH")),
    }
}

/// How long certificates live.
pub fn signing(text: &str) -> Result<Duration, String> {
    match durations::positive(text)? {
        short if short < SHORTEST_CERTIFICATE => Err(format!("at least {}s", SHORTEST_CERTIFICATE.as_secs())),
        life => Ok(life),
    }
}

/// A path, `-` or `off`.
pub fn audit_log(text: &str) -> Result<AuditLog, String> {
    match text {
        "" => Err("name a file, - or off".to_string()),
        "-" => Ok(AuditLog::Standard),
        "off" => Ok(AuditLog::Off),
        path => Ok(AuditLog::File(path.into())),
    }
}

/// `key=value`.
pub fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    objects::name::qualified_name(key).map_err(|why| format!("key {key:?}: {}", why.join("; ")))?;
    objects::name::label_value(value).map_err(|why| format!("value {value:?}: {}", why.join("; ")))?;
    Ok((key.into(), value.into()))
}

/// `key[=value]:Effect`, as kubectl takes it.
pub fn taint(text: &str) -> Result<Taint, String> {
    let (front, effect) =
        text.rsplit_once(':').ok_or_else(|| format!("{text:?} is not KEY[=VALUE]:EFFECT"))?;
    if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
        return Err(format!("effect {effect:?} is not NoSchedule, PreferNoSchedule or NoExecute"));
    }
    let (key, value) = label(&if front.contains('=') { front.into() } else { format!("{front}=") })?;
    let value = Some(value).filter(|value| !value.is_empty());
    Ok(Taint { key, value, effect: effect.into(), time_added: None })
}

/// `host:port` of a registry.
pub fn registry(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    match !text.is_empty() && !text.starts_with('.') && text.chars().all(plain) {
        true => Ok(text.into()),
        false => Err(format!("{text:?} is not HOST or HOST:PORT")),
    }
}

/// This machine's address on the way to `target`; nothing is sent.
pub fn address_towards(target: SocketAddr) -> std::io::Result<IpAddr> {
    let any: SocketAddr = if target.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_called_n_and_a_number() {
        assert_eq!(node_number("n4"), Ok(4));
        for wrong in ["", "n", "n0", "n04", "n+4", "4", "x4", "n10001", "n4 "] {
            assert!(node_number(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn loops_are_named_with_either_dash() {
        assert_eq!(a_loop("node-lifecycle"), Ok(Loop::NodeLifecycle));
        assert_eq!(a_loop("daemonsets"), Ok(Loop::DaemonSets));
        assert!(a_loop("x").unwrap_err().contains("daemonsets, scheduling"));
    }

    #[test]
    fn labels_and_taints_are_checked_as_kubernetes_does() {
        assert_eq!(label("disk=ssd"), Ok(("disk".into(), "ssd".into())));
        assert!(label("disk").unwrap_err().contains("KEY=VALUE"));
        assert!(label("a b=c").unwrap_err().contains("key \"a b\""));
        let taint_text = |text| taint(text).map(|t| (t.key, t.value, t.effect));
        let full = ("k".to_string(), Some("v".to_string()), "NoExecute".to_string());
        assert_eq!(taint_text("k=v:NoExecute"), Ok(full));
        assert_eq!(taint_text("k:NoSchedule"), Ok(("k".into(), None, "NoSchedule".into())));
        assert!(taint("k=v:Never").unwrap_err().contains("\"Never\""));
        assert!(taint("k").unwrap_err().contains("KEY[=VALUE]:EFFECT"));
    }

    #[test]
    fn a_registry_is_a_host_and_perhaps_a_port() {
        assert!(registry("10.88.0.1:5000").is_ok() && registry("localhost:5000").is_ok());
        for wrong in ["", "http://x", "a/b", "../x"] {
            assert!(registry(wrong).is_err(), "{wrong}");
        }
    }
}
