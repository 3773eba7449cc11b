//! Starts everything an agent does, and joins it.

use crate::act::Shared;
use crate::register::{self, Machine};
use crate::runtime::Version;
use crate::runtime_class::RuntimeClasses;
use crate::sources::Sources;
use crate::{
    Config, Shutdown, events, heartbeat, node_watch, pods, relist, rotate, server, static_pods, usage,
};
use k8s_openapi::api::core::v1::Node;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A server that is not there yet is asked again after this.
const REGISTER_RETRY: Duration = Duration::from_secs(1);
/// A runtime that does not answer at the start is asked again after this.
const RUNTIME_RETRY: Duration = Duration::from_secs(1);

/// Why an agent ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The log server has no address.
    #[error("log server: {address} cannot be used")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A folder cannot be made.
    #[error("{path}: cannot be used as a data folder")]
    Folder {
        /// The folder.
        path: std::path::PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A task ended that runs as long as the agent.
    #[error("agent: the task {task:?} ended")]
    Ended {
        /// Its name.
        task: &'static str,
    },
}

/// Is a node until `shutdown`; containers go on running after it.
///
/// Waits for the runtime where it is not there yet, and goes on where it goes away. Without the server static pods run,
/// and the node is registered as soon as the server answers. Ends with an error only when it can do nothing: an address
/// in use, a folder it may not write, a task that ended.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), RunError> {
    std::fs::create_dir_all(&config.data_dir)
        .map_err(|source| RunError::Folder { path: config.data_dir.clone(), source })?;
    let listener = match &config.log_server {
        Some(server) => {
            let fail = |source| RunError::Listen { address: server.listen, source };
            Some(TcpListener::bind(server.listen).await.map_err(fail)?)
        }
        None => None,
    };
    let Some(version) = shutdown.run_until_cancelled(runtime_version(&config)).await else { return Ok(()) };
    let ended = serve(config, &version, listener, &shutdown).await;
    shutdown.cancel();
    ended
}

async fn runtime_version(config: &Config) -> Version {
    let mut told = false;
    loop {
        match config.runtime.version().await {
            Ok(version) => return version,
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "waits for the container runtime");
                }
                tokio::time::sleep(RUNTIME_RETRY).await;
            }
        }
    }
}

/// Asks until the server has taken the node.
async fn register(config: &Config, machine: &Machine, port: Option<u16>) -> Node {
    let mut told = false;
    loop {
        match register::register(config, machine, register::status(config, machine, port)).await {
            Ok(node) => {
                let runtime = &machine.info.container_runtime_version;
                tracing::info!(node = config.node_name, runtime, "registered");
                return node;
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(error = crate::act::with_sources(&error), "waits for the API server");
                }
                tokio::time::sleep(REGISTER_RETRY).await;
            }
        }
    }
}

async fn serve(
    config: Config,
    runtime: &Version,
    listener: Option<TcpListener>,
    shutdown: &Shutdown,
) -> Result<(), RunError> {
    let port = listener.as_ref().and_then(|listener| listener.local_addr().ok()).map(|at| at.port());
    let machine = Machine::read(&config.data_dir, &format!("{}://{}", runtime.name, runtime.version));
    let node = watch::Sender::new(None);
    let (recorder, writer) = events::recorder(config.client.clone(), &config.node_name, config.now);
    let directory = pods::Directory::default();
    let own_node = register::object(
        &config,
        register::labels(&config, &machine),
        register::status(&config, &machine, port),
    );
    let shared = Arc::new(Shared {
        recorder: recorder.clone(),
        sources: Sources::new(config.client.clone()),
        runtime_classes: RuntimeClasses::new(config.client.clone()),
        node: node.subscribe(),
        own_node: Arc::new(own_node),
        node_memory: i64::try_from(machine.memory_kib).unwrap_or(i64::MAX).saturating_mul(1024),
        runtime_name: runtime.name.clone(),
        config: config.clone(),
    });
    let mut tasks = Tasks { set: JoinSet::new(), shutdown: shutdown.clone() };
    tasks.spawn("events", writer.run(shutdown.clone()));
    spawn_node(&mut tasks, &config, machine, port, node, recorder);
    if let (Some(listener), Some(server)) = (listener, &config.log_server) {
        let logs = server::Logs {
            directory: directory.clone(),
            runtime: config.runtime.clone(),
            streams: server::streams::Streams::new(shutdown.clone()),
            meter: usage::Meter::new(config.clone()),
            node_name: config.node_name.clone(),
        };
        tasks.spawn("log server", server::serve(logs, listener, server.tls.clone(), shutdown.clone()));
    }
    spawn_pods(&mut tasks, shared, directory, shutdown.clone());
    tasks.join().await
}

/// What speaks for the node: nothing of it before it is registered.
fn spawn_node(
    tasks: &mut Tasks,
    config: &Config,
    machine: Machine,
    port: Option<u16>,
    node: watch::Sender<Option<Arc<Node>>>,
    recorder: events::Recorder,
) {
    let watching = node_watch::run(config.client.clone(), config.node_name.clone(), node.clone());
    tasks.spawn("node watch", once_registered(node.subscribe(), watching));
    let lease = heartbeat::lease(config.clone(), node.subscribe());
    tasks.spawn("lease", once_registered(node.subscribe(), lease));
    let config = config.clone();
    tasks.spawn("node status", async move {
        node.send_replace(Some(Arc::new(register(&config, &machine, port).await)));
        heartbeat::status(config, machine, port, node, recorder).await;
    });
}

async fn once_registered(
    mut node: watch::Receiver<Option<Arc<Node>>>,
    then: impl Future<Output = ()> + Send + 'static,
) {
    let _ = node.wait_for(Option::is_some).await;
    then.await;
}

/// What looks after pods: from the start.
fn spawn_pods(tasks: &mut Tasks, shared: Arc<Shared>, directory: pods::Directory, shutdown: Shutdown) {
    let runtime = shared.config.runtime.clone();
    let listing = watch::Sender::new(None);
    let manifests = watch::Sender::new(None);
    let inputs = pods::Inputs { listing: listing.subscribe(), manifests: manifests.subscribe() };
    tasks.spawn("relist", relist::run(runtime.clone(), listing));
    tasks.spawn("log rotation", rotate::run(runtime));
    match shared.config.manifests.clone() {
        Some(dir) => tasks.spawn("static pods", static_pods::run(shared.clone(), dir, manifests)),
        None => _ = manifests.send_replace(Some(Arc::default())),
    }
    // It joins its workers: not dropped at shutdown.
    tasks.set.spawn(async move {
        pods::run(shared, directory, inputs, shutdown).await;
        "pods"
    });
}

/// Tasks with names; the first to end ends all.
struct Tasks {
    set: JoinSet<&'static str>,
    shutdown: Shutdown,
}

impl Tasks {
    /// A task that is dropped at shutdown wherever it stands.
    fn spawn(&mut self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.set.spawn(async move {
            shutdown.run_until_cancelled(work).await;
            name
        });
    }

    async fn join(mut self) -> Result<(), RunError> {
        let first = self.set.join_next().await;
        let asked = self.shutdown.is_cancelled();
        self.shutdown.cancel();
        while self.set.join_next().await.is_some() {}
        match first {
            _ if asked => Ok(()),
            Some(Ok(task)) => Err(RunError::Ended { task }),
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            _ => Err(RunError::Ended { task: "unknown" }),
        }
    }
}
