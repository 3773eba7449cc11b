//! The loops of a control plane: caches → snapshot → plan → act.
//!
//! Each loop watches, takes a snapshot, plans with a function of values, and acts through the Kubernetes API; nothing
//! else is known of the server, so that all of this runs against any cluster. Modules stand in reading order.
//!
//! 1. A watch error, a refused write or a bad object never ends a loop; a panic ends the process, with the loop's name.
//! 2. One watch per kind serves all loops ([`caches`]). Trimmed objects are never written back.
//! 3. A loop gets a key and never the change ([`reconcile`]).
//!
//! Kubernetes: `cmd/kube-controller-manager/app` (one process, many loops), and kube-scheduler.

pub mod act;
mod bootstrap_tokens;
pub mod caches;
pub mod calls;
pub mod certificates;
mod daemonsets;
mod disruption;
mod endpoints;
pub mod events;
pub mod expectations;
mod garbage;
pub mod leader;
pub mod limits;
pub mod metrics;
mod namespaces;
mod node_lifecycle;
mod pod_gc;
mod quotas;
pub mod reconcile;
mod scheduling;
mod served;
mod service_accounts;
pub mod token_secrets;
pub mod traces;

pub use certificates::Signer;

use caches::{Caches, Watched};
use events::Recorder;
use jiff::Timestamp;
use kube::Client;
use kube::core::Status;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// What the loops call themselves before the slash of their user agent; servers record it as the manager of what they write.
pub const MANAGER: &str = "everynode-controllers";

/// One of the loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loop {
    /// A pod of every DaemonSet on every node that wants one.
    DaemonSets,
    /// A node for every pod.
    Scheduling,
    /// Which nodes are alive, and what follows for their pods.
    NodeLifecycle,
    /// Objects whose owners are gone go too.
    Garbage,
    /// A namespace that ends is emptied.
    Namespaces,
    /// Every namespace has its default account and the CA.
    ServiceAccounts,
    /// Pods whose node is gone go too.
    PodGc,
    /// Nodes get their certificates.
    Certificates,
    /// How many pods of each budget may be away.
    Disruption,
    /// How much of each quota is used.
    Quotas,
    /// Secrets that hold tokens are filled. Runs only where tokens can be made ([`Config::mint`]).
    TokenSecrets,
    /// Who stands behind each service.
    Endpoints,
    /// What stands behind a service by its owner's hand, in the new form too.
    EndpointMirroring,
    /// Bootstrap tokens that are over go. Runs only where nodes can join with one ([`Config::signer`]).
    BootstrapTokens,
}

impl Loop {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::DaemonSets,
        Self::Scheduling,
        Self::NodeLifecycle,
        Self::Garbage,
        Self::Namespaces,
        Self::ServiceAccounts,
        Self::PodGc,
        Self::Certificates,
        Self::Disruption,
        Self::Quotas,
        Self::TokenSecrets,
        Self::Endpoints,
        Self::EndpointMirroring,
        Self::BootstrapTokens,
    ];

    /// The loop's name in logs and flags.
    pub fn name(self) -> &'static str {
        match self {
            Self::DaemonSets => "daemonsets",
            Self::Scheduling => "scheduling",
            Self::NodeLifecycle => "node_lifecycle",
            Self::Garbage => "garbage",
            Self::Namespaces => "namespaces",
            Self::ServiceAccounts => "service_accounts",
            Self::PodGc => "pod_gc",
            Self::Certificates => "certificates",
            Self::Disruption => "disruption",
            Self::Quotas => "quotas",
            Self::TokenSecrets => "token_secrets",
            Self::Endpoints => "endpoints",
            Self::EndpointMirroring => "endpoint_mirroring",
            Self::BootstrapTokens => "bootstrap_tokens",
        }
    }

    fn reads(self) -> &'static [Watched] {
        match self {
            Self::DaemonSets => daemonsets::READS,
            Self::Scheduling => scheduling::READS,
            Self::NodeLifecycle => node_lifecycle::READS,
            Self::Garbage => garbage::READS,
            Self::Namespaces => namespaces::READS,
            Self::ServiceAccounts => service_accounts::READS,
            Self::PodGc => pod_gc::READS,
            Self::Certificates => certificates::READS,
            Self::Disruption => disruption::READS,
            Self::Quotas => quotas::READS,
            Self::TokenSecrets => token_secrets::READS,
            Self::Endpoints => endpoints::READS,
            Self::EndpointMirroring => endpoints::MIRROR_READS,
            Self::BootstrapTokens => bootstrap_tokens::READS,
        }
    }
}

/// A set of loops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loops(BTreeSet<Loop>);

impl Loops {
    /// Every loop.
    pub fn all() -> Self {
        Self::of(Loop::ALL)
    }

    /// These loops.
    pub fn of(loops: impl IntoIterator<Item = Loop>) -> Self {
        Self(loops.into_iter().collect())
    }

    /// Whether it is among them.
    pub fn contains(&self, which: Loop) -> bool {
        self.0.contains(&which)
    }
}

/// A part of a cluster: what is to be taken over, and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only these namespaces; none: all. Nodes are the whole cluster's in any case.
    pub namespaces: BTreeSet<String>,
    /// Only DaemonSets with such labels, in the API's own words.
    pub labels: Option<String>,
}

/// What the loops need to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long a node may be silent before it counts as unreachable (NP-2). Kubernetes: `--node-monitor-grace-period`.
    pub node_grace: Duration,
    /// The same for a node that has never reported. Kubernetes: `--node-startup-grace-period`.
    pub node_startup_grace: Duration,
    /// How often nodes are looked at. Kubernetes: `--node-monitor-period`.
    pub node_period: Duration,
    /// How long a pod stays bound to a node that is gone (NP-12). Kubernetes: `quarantineTime`.
    pub pod_quarantine: Duration,
    /// The cluster's CA for `kube-root-ca.crt`; without it the ConfigMaps are left alone.
    pub ca_pem: Option<String>,
    /// Signs certificates; without it the loop `certificates` only approves, and `bootstrap_tokens` does not run.
    pub signer: Option<Signer>,
    /// Makes tokens for Secrets; without it the loop `token_secrets` does not run.
    pub mint: Option<token_secrets::Mint>,
    /// In a cluster where another controller may have had the DaemonSets: the name under which the server knows our writes
    /// (`metadata.managedFields`). With it a DaemonSet of that other one is taken over only if that does nothing which it
    /// was not about to do, or someone agrees (TK-5, [`daemonset::takeover`]).
    pub manager: Option<&'static str>,
    /// Which part of the cluster the loops see; the rest is left as it is.
    pub scope: Scope,
    /// With it nothing is done, and every DaemonSet's plan is told to this one, line by line.
    pub rehearse: Option<fn(&str)>,
    /// DaemonSets at a time.
    pub workers: usize,
    /// Where everything is counted.
    pub metrics: metrics::Metrics,
    /// Where it is said which limit binds.
    pub limits: limits::Limits,
    /// Where it is told how a change went from the event to the writes.
    pub traces: traces::Traces,
    /// With it the loops start only as the holder of this lease, and losing it ends them.
    pub election: Option<leader::Election>,
    /// What time it is, for people and for other processes; a simulation gives its own. What is measured between two
    /// moments of this process runs on tokio's clock.
    pub now: fn() -> Timestamp,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_grace: Duration::from_secs(40),
            node_startup_grace: Duration::from_secs(60),
            node_period: Duration::from_secs(5),
            pod_quarantine: Duration::from_secs(40),
            ca_pem: None,
            signer: None,
            mint: None,
            manager: None,
            scope: Scope::default(),
            rehearse: None,
            workers: daemonsets::WORKERS,
            metrics: Default::default(),
            limits: Default::default(),
            traces: Default::default(),
            election: None,
            now: Timestamp::now,
        }
    }
}

/// Why the loops have ended without being told to.
#[derive(Debug, thiserror::Error)]
pub enum LoopError {
    /// One has ended by itself, which none may.
    #[error("{name} has ended: {reason}")]
    Ended {
        /// `loop daemonsets`, `watch Pods`.
        name: String,
        /// What is known of it.
        reason: String,
    },
    /// Another process holds the lease now.
    #[error("no longer the leader")]
    Leader(#[from] leader::Lost),
}

/// What all loops share.
pub(crate) struct Shared {
    pub(crate) client: Client,
    /// The same for watches.
    pub(crate) unhurried: Client,
    pub(crate) caches: Caches,
    pub(crate) recorder: Recorder,
    pub(crate) config: Config,
}

impl Shared {
    /// What time it is.
    fn now(&self) -> Timestamp {
        (self.config.now)()
    }

    /// Waits for the first lists of these kinds.
    async fn synced(&self, reads: &[Watched]) {
        self.caches.synced(&reads.iter().copied().collect()).await;
    }
}

/// Runs these loops until `shutdown`; Ok then. The first part that ends by itself ends all, with its name.
pub async fn run(
    client: Client,
    which: Loops,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> Result<(), LoopError> {
    let (mut tasks, election) = (Tasks::default(), config.election.clone());
    let outcome = tokio::select! {
        biased;
        () = shutdown => Ok(()),
        error = drive(&mut tasks, client.clone(), which, config) => Err(error),
    };
    // Nothing is left running behind the caller's back, and the lease is free only when nobody acts on it any more.
    tasks.running.shutdown().await;
    if let Some(election) = election {
        leader::release(&client, &election).await;
    }
    outcome
}

async fn drive(tasks: &mut Tasks, client: Client, which: Loops, config: Config) -> LoopError {
    let (recorder, occurrences) = Recorder::new();
    tasks.spawn("events".to_string(), events::write(client.clone(), occurrences, config.now));
    let unhurried = caches::unhurried(&client);
    let shared = Arc::new(Shared { client, unhurried, caches: Caches::default(), recorder, config });
    let metrics = shared.config.metrics.clone();
    let Some(election) = shared.config.election.clone() else {
        start(tasks, &shared, &which);
        return tasks.first_end().await;
    };
    metrics.enter(metrics::Phase::StandingBy);
    let name = election.name.clone();
    metrics.set(&metrics::table::LEADS, &[&name], 0.0);
    let hold = leader::acquire(&shared.client, election, shared.config.now).await;
    metrics.set(&metrics::table::LEADS, &[&name], 1.0);
    start(tasks, &shared, &which);
    tokio::select! {
        biased;
        lost = hold.keep(&shared.client) => lost.into(),
        error = tasks.first_end() => error,
    }
}

fn start(tasks: &mut Tasks, shared: &Arc<Shared>, which: &Loops) {
    let runs = |which: &&Loop| match which {
        Loop::TokenSecrets => shared.config.mint.is_some(),
        Loop::BootstrapTokens => shared.config.signer.is_some(),
        _ => true,
    };
    shared.config.metrics.enter(metrics::Phase::Reading);
    let kinds: BTreeSet<Watched> =
        which.0.iter().filter(runs).flat_map(|which| which.reads()).copied().collect();
    for which in which.0.iter().filter(runs) {
        let shared = shared.clone();
        let name = format!("loop {}", which.name());
        match which {
            Loop::DaemonSets => tasks.spawn(name, daemonsets::run(shared)),
            Loop::Scheduling => tasks.spawn(name, scheduling::run(shared)),
            Loop::NodeLifecycle => tasks.spawn(name, node_lifecycle::run(shared)),
            Loop::Garbage => tasks.spawn(name, garbage::run(shared)),
            Loop::Namespaces => tasks.spawn(name, namespaces::run(shared)),
            Loop::ServiceAccounts => tasks.spawn(name, service_accounts::run(shared)),
            Loop::PodGc => tasks.spawn(name, pod_gc::run(shared)),
            Loop::Certificates => tasks.spawn(name, certificates::run(shared)),
            Loop::Disruption => tasks.spawn(name, disruption::run(shared)),
            Loop::Quotas => tasks.spawn(name, quotas::run(shared)),
            Loop::TokenSecrets => tasks.spawn(name, token_secrets::run(shared)),
            Loop::Endpoints => tasks.spawn(name, endpoints::run(shared)),
            Loop::EndpointMirroring => tasks.spawn(name, endpoints::run_mirror(shared)),
            Loop::BootstrapTokens => tasks.spawn(name, bootstrap_tokens::run(shared)),
        }
    }
    for (kind, feed) in shared.caches.feeds(&shared.unhurried, &kinds, &shared.config.scope) {
        tasks.spawn(format!("watch {kind:?}"), feed);
    }
}

/// Named tasks; dropping them ends them.
#[derive(Default)]
struct Tasks {
    running: JoinSet<Infallible>,
    names: BTreeMap<String, String>,
}

impl Tasks {
    fn spawn(&mut self, name: String, task: impl Future<Output = Infallible> + Send + 'static) {
        let handle = self.running.spawn(task);
        self.names.insert(handle.id().to_string(), name);
    }

    async fn first_end(&mut self) -> LoopError {
        match self.running.join_next().await {
            Some(Ok(never)) => match never {},
            Some(Err(error)) => {
                let name = self.names.get(&error.id().to_string()).cloned().unwrap_or_default();
                LoopError::Ended { name, reason: error.to_string() }
            }
            None => LoopError::Ended {
                name: "everything".to_string(),
                reason: "nothing was to be run".to_string(),
            },
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The outcome of a call whose failure with such a status is as good as success; `None` then.
pub(crate) fn tolerate<T>(
    outcome: kube::Result<T>,
    is_fine: impl Fn(&Status) -> bool,
) -> Result<Option<T>, kube::Error> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status)) if is_fine(&status) => Ok(None),
        Err(error) => Err(error),
    }
}
