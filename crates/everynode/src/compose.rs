//! Puts components together: the only file, with those below it, that knows every one of them.
//!
//! Each function runs one process's components until `end` is ready or one of them fails; nothing is left running.

mod backing;
mod controller;
mod copying;
mod health;
mod key_ring;
mod nodes;
#[cfg(test)]
mod renewal;
pub mod sealing;
mod trust;

pub use backing::rotate;
pub use controller::controller;
pub use copying::backup;
pub use nodes::{agent, fleet};

use crate::config;
use crate::pki::Authority;
use crate::telemetry::traces;
use anyhow::{Context as _, Result, bail};
use apiserver::{ApiServer, User};
use backing::Backing;
use controllers::metrics::Metrics;
use controllers::token_secrets::Mint;
use controllers::traces::Traces;
use controllers::{Loop, LoopError, Loops, Signer, leader};
use http::HeaderValue;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use trust::Trust;

/// Whom the loops are to the server.
const LOOPS_USER: &str = "system:everynode:controllers";
/// Where and under which name a controller beside a foreign control plane holds its lease.
pub const LEASE: (&str, &str) = ("kube-system", "everynode-daemonsets");
/// The lease of all loops, where several servers share a store: one of them runs the loops. Kubernetes has one for
/// kube-controller-manager and one for kube-scheduler.
const LOOPS_LEASE: (&str, &str) = ("kube-system", "everynode-controllers");
/// How long a server that ends waits for its loops to end and give the lease back.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);

/// The control plane: store, API server and loops. `ready` is called once, with the address for clients.
pub async fn server(
    config: config::Server,
    ready: impl FnOnce(SocketAddr),
    end: impl Future<Output = ()>,
) -> Result<()> {
    let (tracer, sending) = traces::open(config.collector.clone(), "everynode-server", &Metrics::default())?;
    traces::beside(sending, traced(config, tracer, ready, end)).await
}

async fn traced(
    config: config::Server,
    tracer: apiserver::Tracer,
    ready: impl FnOnce(SocketAddr),
    end: impl Future<Output = ()>,
) -> Result<()> {
    let data_dir = crate::folder::open(&config.data_dir)?;
    let listeners = listen(&config.listen).await?;
    let (client_side, inner_side) = addresses(&listeners)?;
    // An authority that cannot be used is refused before the store is touched, and a store before anything is made.
    Authority::find(config.pki_dir.as_deref().unwrap_or(&data_dir.join("pki")))?;
    let opened = backing::open(&config.store, &data_dir).await?;
    let trust = Trust::open(&data_dir, client_side, &config)?;
    let store = opened.of(trust.authority(), trust.common()).await?;
    let audit = crate::audit_log::open(&config.audit_log, &data_dir)?;
    let server_config =
        apiserver::Config { audit, tracer: tracer.clone(), ..trust.server_config(inner_side)? };
    let server = ApiServer::open(store.store(), server_config).await?;
    let mut settings = trust.loops_config(&config, Traces::to(tracer))?;
    settings.election = store.is_shared().then(|| election(LOOPS_LEASE));
    let client = loops_client(&server)?;
    ready(client_side);
    let (closing, leaving) = (CancellationToken::new(), CancellationToken::new());
    let loops = run_loops(client, config.loops, settings, leaving.clone());
    tokio::pin!(loops);
    let mut loops_ended = false;
    let copies = async {
        match &store {
            Backing::Embedded(sealed) => copying::serve(&data_dir, sealed.below.clone()).await,
            Backing::Etcd(..) => std::future::pending().await,
        }
    };
    let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let others = async {
        match store.is_shared() {
            true => server.among_others(&host).await,
            false => std::future::pending().await,
        }
    };
    let mut serving = tokio::task::JoinSet::new();
    for listener in listeners {
        let closing = closing.clone().cancelled_owned();
        serving.spawn(apiserver::serve(server.clone(), listener, trust.tls(), closing));
    }
    let ended = tokio::select! {
        () = end => Ok(()),
        Some(served) = serving.join_next() => Err(match served {
            Ok(Ok(())) => anyhow::anyhow!("a socket was closed"),
            Ok(Err(error)) => error.into(),
            Err(error) => error.into(),
        }),
        result = &mut loops => {
            loops_ended = true;
            result.and_then(|()| bail!("the loops have ended"))
        }
        () = trust.renew() => Ok(()),
        () = store.follow() => Ok(()),
        () = copies => Ok(()),
        () = others => Ok(()),
        why = store.stopped() => Err(anyhow::anyhow!("the store cannot go on: {why}")),
    };
    leaving.cancel();
    if store.is_shared() {
        server.take_leave().await;
    }
    if !loops_ended && tokio::time::timeout(RELEASE_LIMIT, loops).await.is_err() {
        tracing::warn!("the loops did not end in time");
    }
    closing.cancel();
    while serving.join_next().await.is_some() {}
    ended
}

/// This process as a candidate for a lease.
fn election((namespace, name): (&str, &str)) -> leader::Election {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let identity = format!("{host}_{}", std::process::id());
    leader::Election::new(namespace, name, identity)
}

/// A client from a kubeconfig file.
pub async fn client(path: &Path) -> Result<kube::Client> {
    let named = || format!("{}: cannot be used as a kubeconfig", path.display());
    as_controllers(kubeconfig(path).await?).with_context(named)
}

/// The cluster that a kubeconfig file names, and who we are there.
async fn kubeconfig(path: &Path) -> Result<kube::Config> {
    let named = || format!("{}: cannot be used as a kubeconfig", path.display());
    let file = kube::config::Kubeconfig::read_from(path).with_context(named)?;
    kube::Config::from_custom_kubeconfig(file, &Default::default()).await.with_context(named)
}

/// What the loops call themselves; up to its slash, it owns the fields that they write.
fn user_agent() -> Result<HeaderValue> {
    Ok(format!("{}/{}", controllers::MANAGER, env!("CARGO_PKG_VERSION")).parse()?)
}

fn as_controllers(mut config: kube::Config) -> Result<kube::Client> {
    config.headers.push((http::header::USER_AGENT, user_agent()?));
    Ok(kube::Client::try_from(config)?)
}

/// The loops' client of the server in this process.
fn loops_client(server: &ApiServer) -> Result<kube::Client> {
    let name = user_agent()?;
    let named = move |mut request: http::Request<_>| {
        request.headers_mut().insert(http::header::USER_AGENT, name.clone());
        request
    };
    let service = tower::ServiceExt::map_request(server.as_user(loops_user()), named);
    Ok(kube::Client::new(service, "default"))
}

/// Runs the loops until they are to leave. Whoever loses the lease goes on serving, and stands by for it again.
async fn run_loops(
    client: kube::Client,
    loops: std::collections::BTreeSet<Loop>,
    config: controllers::Config,
    leaving: CancellationToken,
) -> Result<()> {
    if loops.is_empty() {
        leaving.cancelled().await;
        return Ok(());
    }
    loop {
        let leaving = leaving.clone().cancelled_owned();
        match controllers::run(client.clone(), Loops::of(loops.clone()), config.clone(), leaving).await {
            Err(LoopError::Leader(lost)) => tracing::warn!(%lost, "the loops stand by"),
            ended => return Ok(ended?),
        }
    }
}

async fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address}; end what uses it, or choose another address with --listen")
        })?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Where clients on this machine reach us, and where pods and nodes do: the first and the last listener.
fn addresses(listeners: &[TcpListener]) -> Result<(SocketAddr, SocketAddr)> {
    let (Some(first), Some(last)) = (listeners.first(), listeners.last()) else {
        bail!("no address to listen on")
    };
    Ok((trust::reached(first.local_addr()?), trust::reached(last.local_addr()?)))
}

fn loops_user() -> User {
    User::authenticated(LOOPS_USER, [trust::MASTERS.to_string()])
}

impl Trust {
    /// Makes the tokens of Secrets.
    fn mint(&self) -> Mint {
        let issuer = self.issuer().clone();
        Mint::new(move |wanted| {
            issuer.secret_token(wanted.namespace, wanted.account, wanted.uid, wanted.secret)
        })
    }

    /// What the loops are told.
    fn loops_config(&self, config: &config::Server, traces: Traces) -> Result<controllers::Config> {
        let authority = self.authority();
        let signer = Signer::from_pem(authority.certificate_pem(), authority.key_pem())?;
        let mut settings = controllers::Config {
            ca_pem: Some(authority.certificate_pem().to_string()),
            mint: Some(self.mint()),
            signer: Some(signer.lasting(config.signing)),
            traces,
            ..Default::default()
        };
        if let Some(seconds) = config.node_grace {
            settings.node_grace = Duration::from_secs(seconds);
        }
        Ok(settings)
    }
}
