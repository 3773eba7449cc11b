//! Starts everything an agent does, and joins it.

use crate::act::Shared;
use crate::register::{self, Machine};
use crate::sources::Sources;
use crate::{Config, Shutdown, events, heartbeat, node_watch, pods, relist, rotate, server};
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
/// Waits for the server and for the runtime where they are not there yet, and goes on where they go away. Ends with an
/// error only when it can do nothing: an address in use, a folder it may not write, a task that ended.
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
    let port =
        listener.as_ref().and_then(|listener| listener.local_addr().ok()).map(|address| address.port());
    let Some(start) = shutdown.run_until_cancelled(prepare(&config, port)).await else { return Ok(()) };
    let ended = serve(config, start, port, listener, &shutdown).await;
    shutdown.cancel();
    ended
}

/// What must be known before anything is run.
struct Start {
    machine: Machine,
    runtime_name: String,
    node: Node,
}

async fn prepare(config: &Config, port: Option<u16>) -> Start {
    let mut told = false;
    let version = loop {
        match config.runtime.version().await {
            Ok(version) => break version,
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "waits for the container runtime");
                }
                tokio::time::sleep(RUNTIME_RETRY).await;
            }
        }
    };
    let runtime = format!("{}://{}", version.name, version.version);
    let machine = Machine::read(&config.data_dir, &runtime);
    let mut told = false;
    let node = loop {
        match register::register(config, &machine, register::status(config, &machine, port)).await {
            Ok(node) => break node,
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(error = crate::act::with_sources(&error), "waits for the API server");
                }
                tokio::time::sleep(REGISTER_RETRY).await;
            }
        }
    };
    tracing::info!(node = config.node_name, runtime, "registered");
    Start { machine, runtime_name: version.name, node }
}

async fn serve(
    config: Config,
    start: Start,
    port: Option<u16>,
    listener: Option<TcpListener>,
    shutdown: &Shutdown,
) -> Result<(), RunError> {
    let Start { machine, runtime_name, node } = start;
    let node = watch::Sender::new(Some(Arc::new(node)));
    let listing = watch::Sender::new(None);
    let listed = listing.subscribe();
    let (recorder, writer) = events::recorder(config.client.clone(), &config.node_name, config.now);
    let directory = pods::Directory::default();
    let shared = Arc::new(Shared {
        recorder: recorder.clone(),
        sources: Sources::new(config.client.clone()),
        node: node.subscribe(),
        node_memory: i64::try_from(machine.memory_kib).unwrap_or(i64::MAX).saturating_mul(1024),
        runtime_name,
        config: config.clone(),
    });
    let mut tasks = Tasks { set: JoinSet::new(), shutdown: shutdown.clone() };
    tasks.spawn("events", writer.run(shutdown.clone()));
    tasks.spawn("node watch", node_watch::run(config.client.clone(), config.node_name.clone(), node.clone()));
    tasks.spawn("lease", heartbeat::lease(config.clone(), node.subscribe()));
    tasks.spawn("node status", heartbeat::status(config.clone(), machine, port, node, recorder));
    tasks.spawn("relist", relist::run(config.runtime.clone(), listing));
    tasks.spawn("log rotation", rotate::run(config.runtime.clone()));
    if let (Some(listener), Some(server)) = (listener, &config.log_server) {
        let logs = server::Logs { directory: directory.clone(), runtime: config.runtime.clone() };
        tasks.spawn("log server", server::serve(logs, listener, server.tls.clone(), shutdown.clone()));
    }
    let ending = shutdown.clone();
    tasks.set.spawn(async move {
        pods::run(shared, directory, listed, ending).await;
        "pods"
    });
    tasks.join().await
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
