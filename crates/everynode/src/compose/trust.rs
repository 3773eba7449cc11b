//! How the server shows who it is, and whom it lets in.
//!
//! Client certificates, join tokens and tokens of service accounts; nothing else. Opening writes the administrator's kubeconfig.

use crate::config;
use crate::pki::tokens::Tokens;
use crate::pki::{self, Authority, Leaf, Usage, account_keys, kubeconfig, serving};
use anyhow::Result;
use apiserver::service_accounts::{DEFAULT_ISSUER, Issuer};
use apiserver::{Config, TokenUser, User};
use jiff::Timestamp;
use objects::bootstrap_token::GROUP;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The group that may do everything.
pub const MASTERS: &str = "system:masters";

/// The first address of the service range is the `kubernetes` service; wire 7.8.1.
const SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1));
/// How often the server's certificates are looked at; they are renewed a fifth of their life before their end.
const RENEWAL: Duration = Duration::from_secs(12 * 3600);
/// Files of what the server shows to agents.
const TO_AGENTS: &str = "agent-client";
/// Names of the `kubernetes` service, and of this machine to itself.
const NAMES: [&str; 5] = [
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// The server's certificates.
pub struct Trust {
    authority: Authority,
    dir: PathBuf,
    /// Authority, service-account keys, join tokens.
    common: PathBuf,
    leaf: Leaf,
    shown: Arc<serving::Current>,
    to_agents: Arc<serving::Current>,
    tls: Arc<rustls::ServerConfig>,
    issuer: Arc<Issuer>,
}

impl Trust {
    /// Reads or makes everything below `<data-dir>/pki`, and writes `<data-dir>/kubeconfig` for `client_side`. What all
    /// servers of a cluster have in common may lie in another folder.
    pub fn open(data_dir: &Path, client_side: SocketAddr, config: &config::Server) -> Result<Self> {
        let (now, dir) = (Timestamp::now(), data_dir.join("pki"));
        pki::private_dir(&dir)?;
        let common = config.pki_dir.clone().unwrap_or_else(|| dir.clone());
        let authority = Authority::open(&common, now)?;
        let leaf = server_leaf(config);
        let shown = serving::Current::new(&authority.current(&dir, "server", &leaf, now)?)?;
        let tls = serving::server(&authority, shown.clone())?;
        let to_agents = serving::Current::new(&authority.current(&dir, TO_AGENTS, &agents_leaf(), now)?)?;
        let admin = authority.current(&dir, "admin", &client_leaf("everynode-admin", Some(MASTERS)), now)?;
        let text = kubeconfig::text(&format!("https://{client_side}"), authority.certificate_pem(), &admin);
        pki::write_private(&data_dir.join("kubeconfig"), &text)?;
        tracing::info!(sha256 = authority.fingerprint(), "the certificate authority of this cluster");
        let url = config.issuer.as_deref().unwrap_or(DEFAULT_ISSUER);
        let issuer = Arc::new(Issuer::new(url, account_keys::open(&common)?));
        Ok(Self { authority, dir, common, leaf, shown, to_agents, tls, issuer })
    }

    /// The certificate authority.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The folder with what all servers of the cluster have in common.
    pub fn common(&self) -> &Path {
        &self.common
    }

    /// Who issues tokens for service accounts.
    pub fn issuer(&self) -> &Arc<Issuer> {
        &self.issuer
    }

    /// TLS for the sockets.
    pub fn tls(&self) -> Arc<rustls::ServerConfig> {
        self.tls.clone()
    }

    /// What the API server is told.
    pub fn server_config(&self, advertise: SocketAddr) -> Result<Config> {
        Ok(Config {
            advertise,
            token_user: joining(Tokens::new(&self.common)),
            agent_tls: Some(serving::agent_client(&self.authority, self.to_agents.clone())?),
            ca_pem: self.authority.certificate_pem().to_string(),
            issuer: Some(self.issuer.clone()),
            audit: None,
            tracer: None,
            sources: Default::default(),
        })
    }

    /// Keeps the server's certificates fresh. Never ends; a failure is tried again at the next look, long before the
    /// certificate is over.
    pub async fn renew(&self) {
        loop {
            tokio::time::sleep(RENEWAL).await;
            let agents = agents_leaf();
            for (name, leaf, shown) in
                [("server", &self.leaf, &self.shown), (TO_AGENTS, &agents, &self.to_agents)]
            {
                let current = self.authority.current(&self.dir, name, leaf, Timestamp::now());
                if let Err(error) = current.and_then(|issued| shown.replace(&issued)) {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(name, error, "a certificate of the server cannot be renewed");
                }
            }
        }
    }
}

/// Where a client on this machine finds a server that listens on `address`.
pub fn reached(address: SocketAddr) -> SocketAddr {
    match address.ip().is_unspecified() {
        true => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        false => address,
    }
}

fn server_leaf(config: &config::Server) -> Leaf {
    let mut names: BTreeSet<String> = NAMES.map(String::from).into();
    let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    // A host name that no certificate may carry is left out.
    names.extend(objects::name::dns1123_subdomain(&host).is_ok().then_some(host));
    names.extend(config.names.iter().cloned());
    let mut addresses = BTreeSet::from([IpAddr::V4(Ipv4Addr::LOCALHOST), SERVICE]);
    addresses.extend(&config.addresses);
    for address in config.listen.iter().map(SocketAddr::ip) {
        match address.is_unspecified() {
            false => _ = addresses.insert(address),
            // Clients come by the machine's outer address: the one it would leave by.
            true => addresses.extend(config::address_towards(([192, 0, 2, 1], 9).into()).ok()),
        }
    }
    Leaf {
        common_name: "everynode-server".into(),
        organization: None,
        usage: Usage::Server { names, addresses },
    }
}

/// No group: what agents trust is the name, and a member of system:nodes may not read logs.
fn agents_leaf() -> Leaf {
    client_leaf(agent::server::SERVER_NAME, None)
}

fn client_leaf(name: &str, group: Option<&str>) -> Leaf {
    Leaf { common_name: name.into(), organization: group.map(String::from), usage: Usage::Client }
}

/// Whoever shows a join token may ask for a node's certificate, and nothing else (wire 7.1.4).
fn joining(tokens: Tokens) -> TokenUser {
    Arc::new(move |bearer| match tokens.check(bearer, Timestamp::now()) {
        Ok(id) => {
            let groups = [GROUP.to_string()];
            id.map(|id| User::authenticated(format!("system:bootstrap:{id}"), groups))
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "join tokens cannot be read");
            None
        }
    })
}
