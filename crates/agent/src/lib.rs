//! The life of a pod on this node.
//!
//! One agent stands for one node: it registers the [`Node`](k8s_openapi::api::core::v1::Node) object, keeps its
//! lease, watches the pods bound to it and gives each a worker (observe → plan → act). What runs is the truth: an
//! agent that returns finds its containers in the runtime by their labels and restarts none of them.
//!
//! 1. It speaks only the Kubernetes API (through the [`kube::Client`] it is given) and CRI.
//! 2. A dead server stops no container: workers go on with the last pods they know.
//! 3. Every task is joined: the first to end ends [`run`] with its name.
//!
//! Kubernetes: pkg/kubelet/kubelet.go.

pub mod admit;
mod api_address;
pub mod connection;
pub mod env;
pub mod events;
pub mod evict;
pub mod fleet;
pub mod heartbeat;
pub mod join;
pub mod logs;
pub mod plan;
pub mod probe;
pub mod register;
pub mod restart;
pub mod runtime;
pub mod server;
pub mod servers;
pub mod static_pods;
pub mod status;
pub mod volumes;

mod act;
mod cgroup;
mod container;
mod credentials;
mod debugging;
mod hosts;
mod image_name;
mod images;
mod life;
mod node_watch;
mod pods;
mod probing;
mod relist;
mod resources;
mod rotate;
mod runtime_class;
mod sandbox;
mod sources;
mod usage;
mod worker;

pub use api_address::ApiAddress;
pub use life::{RunError, run};

use k8s_openapi::api::core::v1::Taint;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Stops an agent or a fleet: cancelled once, by the caller.
pub type Shutdown = tokio_util::sync::CancellationToken;

/// Everything an agent needs to know. [`Config::new`] fills in what a plain node wants.
#[derive(Clone)]
pub struct Config {
    /// The API server, with this node's identity.
    pub client: kube::Client,
    /// Where pods on this node reach the API server; none: they are not told.
    pub api_server: Option<ApiAddress>,
    /// What runs the containers, for example [`runtime::cri::Cri`].
    pub runtime: Arc<dyn runtime::Runtime>,
    /// `metadata.name` of the Node object.
    pub node_name: String,
    /// The node's own address: `InternalIP`, and `status.hostIP` of its pods.
    pub address: IpAddr,
    /// Labels beyond the well-known ones. Labels that users put on the Node object later are kept. A server with
    /// NodeRestriction refuses some from a node's own identity, for example `node-role.kubernetes.io/control-plane`:
    /// these are left out with a warning, and an administrator must set them.
    pub labels: BTreeMap<String, String>,
    /// Taints a new Node object is created with. An existing object keeps its own.
    pub taints: Vec<Taint>,
    /// Volumes, hosts files and termination messages: `<data_dir>/pods/<uid>`. Must be reachable by the runtime
    /// under the same path.
    pub data_dir: PathBuf,
    /// Container logs: `<log_dir>/pods/<namespace>_<name>_<uid>/<container>/<n>.log`, and symbolic links in
    /// `<log_dir>/containers`. `/var/log` on a real machine.
    pub log_dir: PathBuf,
    /// Parent of every pod's cgroup, for example `/kubepods`. Must differ between agents of one machine.
    pub cgroup_parent: String,
    /// Manifests of static pods; none: there are no static pods. See [`static_pods`].
    pub manifests: Option<PathBuf>,
    /// `status.capacity.pods`.
    pub max_pods: u32,
    /// How long the node's Lease is good, in whole seconds; it is renewed four times as often. A server that takes a node
    /// for dead sooner than that takes it for dead while it lives.
    pub lease: Duration,
    /// Where logs are served to the API server; without it `kubectl logs` cannot reach this node.
    pub log_server: Option<LogServer>,
    /// Name servers for pods with `dnsPolicy: ClusterFirst`; empty: they get the node's own.
    pub cluster_dns: Vec<IpAddr>,
    /// For the search list of those pods, for example `cluster.local`.
    pub cluster_domain: String,
    /// What time it is in leases, conditions and events; [`jiff::Timestamp::now`], but for a simulation.
    pub now: fn() -> jiff::Timestamp,
    /// What the machine is short of; [`heartbeat::Pressure::read`], but for a test.
    pub pressure: fn(&std::path::Path) -> heartbeat::Pressure,
}

/// The HTTPS server for logs; see [`server`].
#[derive(Clone)]
pub struct LogServer {
    /// Where it listens; its port goes into `status.daemonEndpoints.kubeletEndpoint`. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Serving certificate, and the demand for a client certificate of the cluster's CA:
    /// [`join::Identity::serving_tls`].
    pub tls: Arc<rustls::ServerConfig>,
}

impl Config {
    /// A node with defaults: `/var/lib/everynode/agent`, `/var/log`, `/kubepods`, 110 pods, no static pods, no log
    /// server.
    pub fn new(
        client: kube::Client,
        runtime: Arc<dyn runtime::Runtime>,
        node_name: impl Into<String>,
        address: IpAddr,
    ) -> Self {
        Self {
            client,
            api_server: None,
            runtime,
            node_name: node_name.into(),
            address,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            data_dir: PathBuf::from("/var/lib/everynode/agent"),
            log_dir: PathBuf::from("/var/log"),
            cgroup_parent: "/kubepods".into(),
            manifests: None,
            max_pods: 110,
            lease: heartbeat::LEASE,
            log_server: None,
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".into(),
            now: jiff::Timestamp::now,
            pressure: heartbeat::Pressure::read,
        }
    }
}
