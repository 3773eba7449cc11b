//! `everynode server`: the API server on the embedded store, with all control loops in the same process.
//!
//! Everything lies in the data folder: `server/store.db`, `pki/`, `kubeconfig`; all of it for its owner only. Loops and
//! simulated nodes use the API server as a tower service, with no socket between, and would run against any other.

use crate::pki::tokens::Tokens;
use crate::pki::{self, Authority, Leaf, Usage, kubeconfig, serving};
use agent::Shutdown;
use anyhow::{Context as _, Result, bail};
use apiserver::{ApiServer, Config, TokenUser, User};
use clap::Args;
use controllers::Loops;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// The first address of the service range is the `kubernetes` service; wire 7.8.1.
const SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1));

/// How often the server's certificate is looked at; it is renewed a fifth of its life before its end.
const RENEWAL: Duration = Duration::from_secs(12 * 3600);

/// Most simulated nodes: their addresses come from one /16.
const SIMULATED: i64 = 10_000;

/// The group that may do everything.
const MASTERS: &str = "system:masters";

/// Flags of `everynode server`.
#[derive(Debug, Args)]
pub struct Flags {
    /// Where everything is kept.
    #[arg(long, env = "EVERYNODE_DATA_DIR", default_value = "/var/lib/everynode")]
    data_dir: PathBuf,
    /// Address and port to listen on.
    #[arg(long, env = "EVERYNODE_LISTEN", default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
    /// Play this many nodes in this process, without containers.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=SIMULATED))]
    simulated_nodes: u32,
}

/// Serves until SIGINT or SIGTERM, or until the store or the server fails.
pub async fn run(flags: Flags) -> Result<()> {
    let Flags { data_dir, listen, simulated_nodes } = flags;
    let folder = data_dir.join("server");
    pki::private_dir(&data_dir)?;
    pki::private_dir(&folder)?;
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("{listen}: cannot listen here; stop what does, or choose another --listen")
    })?;
    let address = listener.local_addr()?;
    let store = Arc::new(store::sqlite::SqliteStore::open(&folder.join("store.db"))?);
    let (config, tls, renewal) = trust(&data_dir, address)?;
    let loops = loops(&renewal.authority)?;
    let server = ApiServer::open(store.clone(), config).await?;
    let client = in_process(&server);
    let stop = Shutdown::new();
    let _stopped = stop.clone().drop_guard();
    eprintln!("everynode server is ready on https://{address}");
    eprintln!("  kubectl --kubeconfig {} get namespaces", data_dir.join("kubeconfig").display());
    tokio::select! {
        served = apiserver::serve(server, listener, tls, asked_to_end()?) => Ok(served?),
        () = renewal.run() => Ok(()),
        ended = controllers::run(client.clone(), Loops::all(), loops, std::future::pending()) => Ok(ended?),
        ended = nodes(client, simulated_nodes, stop) => Ok(ended?),
        why = store.stopped() => bail!("the store cannot go on: {why}"),
    }
}

/// The loops' own way in.
fn in_process(server: &ApiServer) -> kube::Client {
    let user = User::authenticated("system:everynode:controllers", [MASTERS.to_string()]);
    kube::Client::new(server.as_user(user), "default")
}

fn loops(authority: &Authority) -> Result<controllers::Config> {
    let ca_pem = authority.certificate_pem().to_string();
    let signer = controllers::Signer::from_pem(&ca_pem, authority.key_pem())?;
    Ok(controllers::Config { ca_pem: Some(ca_pem), signer: Some(signer), ..controllers::Config::default() })
}

/// Plays nodes as long as the server lives.
async fn nodes(client: kube::Client, count: u32, stop: Shutdown) -> Result<()> {
    if count == 0 {
        return std::future::pending().await;
    }
    Ok(agent::fleet::run(agent::fleet::Config::new(client, count), stop).await?)
}

/// Who may come in and how we show who we are; writes the administrator's kubeconfig.
fn trust(data_dir: &Path, address: SocketAddr) -> Result<(Config, Arc<rustls::ServerConfig>, Renewal)> {
    let (now, dir) = (Timestamp::now(), data_dir.join("pki"));
    let authority = Authority::open(&dir, now)?;
    let leaf = server_leaf(address);
    let shown = serving::Current::new(&authority.current(&dir, "server", &leaf, now)?)?;
    let tls = serving::server(&authority, shown.clone())?;
    let admin = authority.current(&dir, "admin", &client_leaf("everynode-admin", Some(MASTERS)), now)?;
    let text =
        kubeconfig::text(&format!("https://{}", reached(address)), authority.certificate_pem(), &admin);
    pki::write_private(&data_dir.join("kubeconfig"), &text)?;
    // No group: what agents trust is the name, and a member of system:nodes may not read logs.
    let to_agents = authority.current(&dir, "agent-client", &client_leaf("everynode-server", None), now)?;
    tracing::info!(sha256 = authority.fingerprint(), "the certificate authority of this cluster");
    let config = Config {
        advertise: address,
        token_user: joining(Tokens::new(&dir)),
        agent_tls: Some(serving::agent_client(&authority, &to_agents)?),
        ca_pem: authority.certificate_pem().to_string(),
    };
    Ok((config, tls, Renewal { authority, dir, leaf, shown }))
}

/// Keeps the server's certificate fresh while it runs.
struct Renewal {
    authority: Authority,
    dir: PathBuf,
    leaf: Leaf,
    shown: Arc<serving::Current>,
}

impl Renewal {
    /// Never ends; a failure is tried again at the next look, long before the certificate is over.
    async fn run(self) {
        loop {
            tokio::time::sleep(RENEWAL).await;
            let current = self.authority.current(&self.dir, "server", &self.leaf, Timestamp::now());
            if let Err(error) = current.and_then(|issued| self.shown.replace(&issued)) {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "the server's certificate cannot be renewed");
            }
        }
    }
}

fn server_leaf(address: SocketAddr) -> Leaf {
    let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    let usage = Usage::Server {
        names: names.map(String::from).into(),
        addresses: BTreeSet::from([address.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST), SERVICE]),
    };
    Leaf { common_name: "everynode-server".into(), organization: None, usage }
}

fn client_leaf(name: &str, group: Option<&str>) -> Leaf {
    Leaf { common_name: name.into(), organization: group.map(String::from), usage: Usage::Client }
}

/// Where a client on this machine finds a server that listens on `address`.
fn reached(address: SocketAddr) -> SocketAddr {
    match address.ip().is_unspecified() {
        true => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        false => address,
    }
}

/// Whoever shows a join token may ask for a node's certificate, and nothing else (wire 7.1.4).
fn joining(tokens: Tokens) -> TokenUser {
    Arc::new(move |bearer| match tokens.check(bearer, Timestamp::now()) {
        Ok(id) => {
            let groups = ["system:bootstrappers".to_string()];
            id.map(|id| User::authenticated(format!("system:bootstrap:{id}"), groups))
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "join tokens cannot be read");
            None
        }
    })
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
