//! `everynode server`: the API server on the embedded store.
//!
//! Everything lies in the data folder: `server/store.db`, `pki/`, `kubeconfig`; all of it for its owner only. The loops
//! and the nodes come with `everynode up`; until then objects stay as they are written.

use crate::pki::{self, Authority, Leaf, Usage};
use anyhow::{Context as _, Result, bail};
use apiserver::{ApiServer, Config};
use clap::Args;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// The first address of the service range is the `kubernetes` service; wire 7.8.1.
const SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1));

/// Flags of `everynode server`.
#[derive(Debug, Args)]
pub struct Flags {
    /// Where everything is kept.
    #[arg(long, env = "EVERYNODE_DATA_DIR", default_value = "/var/lib/everynode")]
    data_dir: PathBuf,
    /// Address and port to listen on.
    #[arg(long, env = "EVERYNODE_LISTEN", default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
}

/// Serves until SIGINT or SIGTERM, or until the store or the server fails.
pub async fn run(flags: Flags) -> Result<()> {
    let Flags { data_dir, listen } = flags;
    let folder = data_dir.join("server");
    pki::private_dir(&data_dir)?;
    pki::private_dir(&folder)?;
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("{listen}: cannot listen here; stop what does, or choose another --listen")
    })?;
    let address = listener.local_addr()?;
    let store = Arc::new(store::sqlite::SqliteStore::open(&folder.join("store.db"))?);
    let (authority, tls) = certificates(&data_dir, address)?;
    tracing::info!(sha256 = authority.fingerprint(), "the certificate authority of this cluster");
    let config = Config {
        advertise: address,
        token_user: Arc::new(|_| None),
        agent_tls: None,
        ca_pem: authority.certificate_pem().to_string(),
    };
    let server = ApiServer::open(store.clone(), config).await?;
    eprintln!("everynode server is ready on https://{address}");
    eprintln!("  kubectl --kubeconfig {} get namespaces", data_dir.join("kubeconfig").display());
    tokio::select! {
        served = apiserver::serve(server, listener, tls, asked_to_end()?) => Ok(served?),
        why = store.stopped() => bail!("the store cannot go on: {why}"),
    }
}

/// The authority, the server's TLS, and the administrator's kubeconfig on disk.
fn certificates(data_dir: &Path, address: SocketAddr) -> Result<(Authority, Arc<rustls::ServerConfig>)> {
    let (now, dir) = (Timestamp::now(), data_dir.join("pki"));
    let authority = Authority::open(&dir, now)?;
    let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    let usage = Usage::Server {
        names: names.map(String::from).into(),
        addresses: BTreeSet::from([address.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST), SERVICE]),
    };
    let leaf = Leaf { common_name: "everynode-server".into(), organization: None, usage };
    let tls = pki::serving::serving(&authority, &authority.current(&dir, "server", &leaf, now)?)?;
    let admin = Leaf {
        common_name: "everynode-admin".into(),
        organization: Some("system:masters".into()),
        usage: Usage::Client,
    };
    let admin = authority.current(&dir, "admin", &admin, now)?;
    let reached = if address.ip().is_unspecified() {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port())
    } else {
        address
    };
    let text =
        pki::kubeconfig::kubeconfig(&format!("https://{reached}"), authority.certificate_pem(), &admin);
    pki::write_private(&data_dir.join("kubeconfig"), &text)?;
    Ok((authority, tls))
}

/// Ready at the first SIGINT or SIGTERM.
fn asked_to_end() -> Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
