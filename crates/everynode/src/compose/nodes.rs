//! Puts a node together: identity, runtime, agent; or many simulated ones in one process.

use crate::config::{self, Runtime};
use agent::join::{Identity, JoinError, join};
use agent::runtime::cri::{ConnectError, Cri};
use agent::runtime::simulated::{Simulated, Stages};
use agent::servers::Servers;
use agent::{ApiAddress, LogServer, Shutdown};
use anyhow::{Context as _, Result};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A server that is not there yet is asked again after this.
const RETRY: Duration = Duration::from_secs(1);
/// Pods of a lone simulated node.
const SIMULATED_PODS: Ipv4Addr = Ipv4Addr::new(10, 201, 0, 0);

/// One node of this machine. Joins first, if it has no identity yet.
pub async fn agent(config: config::Agent, shutdown: Shutdown) -> Result<()> {
    let dir = config.data_dir.join("pki");
    let servers = Servers::new(&config.servers)?;
    let api_server = api_address(&servers.current())?;
    let address = match config.address {
        Some(address) => address,
        None => own_address(&api_server)?,
    };
    let Some(identity) = shutdown.run_until_cancelled(identity(&config, &servers, &dir)).await.transpose()?
    else {
        return Ok(());
    };
    let Some(tls) = shutdown.run_until_cancelled(serving(&identity, address)).await else { return Ok(()) };
    let runtime: Arc<dyn agent::runtime::Runtime> = match config.runtime {
        Runtime::Cri => {
            match shutdown.run_until_cancelled(runtime(&config.runtime_socket)).await.transpose()? {
                Some(cri) => Arc::new(cri),
                None => return Ok(()),
            }
        }
        Runtime::Simulated => Arc::new(Simulated::new(Stages::REAL, SIMULATED_PODS)),
    };
    let mut settings = agent::Config::new(identity.client()?, runtime, &config.node_name, address);
    settings.api_server = Some(api_server);
    settings.labels = config.labels;
    settings.taints = config.taints;
    settings.data_dir = config.data_dir;
    settings.log_dir = config.log_dir;
    settings.manifests = config.manifests;
    settings.cgroup_parent = config.cgroup_parent;
    settings.max_pods = config.max_pods;
    settings.lease = config.lease;
    settings.cluster_dns = config.cluster_dns;
    let listen = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), config.log_port);
    settings.log_server = Some(LogServer { listen, tls });
    let renewal = identity.keep_fresh(shutdown.clone());
    let others = identity.follow_servers(shutdown.clone());
    let (ran, (), ()) = tokio::join!(agent::run(settings, shutdown.clone()), renewal, others);
    Ok(ran?)
}

/// Many simulated nodes, as the administrator.
pub async fn fleet(config: config::Fleet, shutdown: Shutdown) -> Result<()> {
    let client = super::client(&config.kubeconfig).await?;
    let mut settings = agent::fleet::Config::new(client, config.nodes);
    settings.first = config.first;
    settings.lease = config.lease;
    Ok(agent::fleet::run(settings, shutdown).await?)
}

/// Waits for a server that cannot be reached; a server that says no is final.
async fn identity(config: &config::Agent, servers: &Arc<Servers>, dir: &Path) -> Result<Identity> {
    let mut said = false;
    loop {
        let token = match Identity::load(servers, &config.node_name, dir) {
            Ok(identity) => return Ok(identity),
            Err(why @ JoinError::OtherNode { .. }) => return Err(why.into()),
            Err(_) => config.token.as_deref().with_context(|| no_token(dir))?,
        };
        match join(servers, token, &config.node_name, dir).await {
            Err(why) if why.is_passing() => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!("{why}; trying again");
                }
                tokio::time::sleep(RETRY).await;
            }
            joined => return joined.with_context(|| format!("cannot join {}", servers.urls().join(", "))),
        }
    }
}

fn no_token(dir: &Path) -> String {
    format!(
        "this node has no identity in {} and no --token: `everynode token` on the server's machine makes one",
        dir.display()
    )
}

/// The certificate for the log server; waits for a server that does not sign yet.
async fn serving(identity: &Identity, address: IpAddr) -> Arc<rustls::ServerConfig> {
    loop {
        match identity.serving_tls(&[address]).await {
            Ok(tls) => return tls,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "no serving certificate yet; trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Waits for a runtime that does not answer yet, and says once where it looks.
async fn runtime(socket: &Path) -> Result<Cri> {
    let mut said = false;
    loop {
        match Cri::connect(socket).await {
            Err(why @ ConnectError::NoAnswer { .. }) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!("{why} with --runtime-socket; trying again");
                }
                tokio::time::sleep(RETRY).await;
            }
            connected => return Ok(connected?),
        }
    }
}

/// Where the server is, for this node and for its pods.
fn api_address(server: &str) -> Result<ApiAddress> {
    let uri: http::Uri = server.parse().with_context(|| format!("{server:?} is not an https:// address"))?;
    let host = uri.host().with_context(|| format!("{server:?} names no host"))?;
    Ok(ApiAddress::new(host, uri.port_u16().unwrap_or(443)))
}

fn own_address(server: &ApiAddress) -> Result<IpAddr> {
    let host = server.host();
    let found = (host, server.port()).to_socket_addrs();
    let target = found.with_context(|| format!("{host}: cannot be found"))?.next();
    let target = target.with_context(|| format!("{host}: has no address"))?;
    config::address_towards(target).with_context(|| format!("no way to {target}; name an --address"))
}
