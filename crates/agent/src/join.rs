//! How a machine becomes a node: from a token to a certificate of its own.
//!
//! 1. The server is believed only when the CA it shows has the hash that stands in the token (SHA-256 of the CA
//!    certificate's DER). Nothing secret is sent before that.
//! 2. The private keys never leave this machine: the server signs certificate requests, `CN=system:node:<name>`,
//!    `O=system:nodes`.
//! 3. Everything lies in one folder, files readable by their owner only. A second [`join`] with a valid identity
//!    there needs no token and asks nobody. A key and its certificate are one file, so that no moment leaves a node with
//!    halves that do not fit.
//! 4. Certificates are renewed when most of their life is over ([`renewal`], [`Identity::keep_fresh`]), and then requests
//!    take new connections, which show the new one: servers stop believing a connection when its certificate ends.
//!
//! Kubernetes: kubelet TLS bootstrap, pkg/kubelet/certificate.

mod others;
mod renewal;
mod request;
mod tls;

pub(crate) use tls::believing_anyone;

use crate::servers::Servers;
use crate::{Shutdown, connection};
use jiff::Timestamp;
pub use others::remembered;
use request::{Purpose, RequestError};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;
use tls::Current;

/// Joins the cluster of these servers with `token` (`<ca sha256>:<id>.<secret>`) as the node `node_name`, and keeps
/// keys, certificates and a kubeconfig in `dir`.
pub async fn join(
    servers: &Arc<Servers>,
    token: &str,
    node_name: &str,
    dir: &Path,
) -> Result<Identity, JoinError> {
    if let Ok(identity) = Identity::load(servers, node_name, dir) {
        return Ok(identity);
    }
    let token = Token::parse(token)?;
    let ca_pem = pinned_ca(servers, &token).await?;
    write_private(dir, "ca.crt", &ca_pem)?;
    let anonymous = tls::client(&ca_pem, None)?;
    let client = connection::client(servers, anonymous, Some(&token.bearer), connection::never())?;
    let issued = request::certificate(&client, node_name, &Purpose::Client).await?;
    write_private(dir, CLIENT, &issued.pem)?;
    let identity = Identity::load(servers, node_name, dir)?;
    write_private(dir, "kubeconfig", &identity.kubeconfig_text())?;
    identity.remember_servers()?;
    Ok(identity)
}

/// Certificate and key with which a node speaks to servers.
const CLIENT: &str = "client.pem";
/// Certificate and key with which it serves logs and streams.
const SERVING: &str = "serving.pem";

/// A node's identity on disk: `ca.crt`, `client.pem`, `kubeconfig`, and after [`Identity::serving_tls`] also
/// `serving.pem`.
#[derive(Clone)]
pub struct Identity {
    dir: PathBuf,
    servers: Arc<Servers>,
    node_name: String,
    ca_pem: String,
    client: Arc<Current>,
    serving: Arc<std::sync::Mutex<Option<Serving>>>,
}

#[derive(Clone)]
struct Serving {
    current: Arc<Current>,
    addresses: Vec<IpAddr>,
}

impl Identity {
    /// Reads an identity; refuses one of another node, an expired one and one that is not complete.
    pub fn load(servers: &Arc<Servers>, node_name: &str, dir: &Path) -> Result<Self, JoinError> {
        let ca_pem = read(dir, "ca.crt")?;
        let current = Current::parse(&read(dir, CLIENT)?)?;
        let expected = format!("system:node:{node_name}");
        if current.common_name() != expected {
            let found = current.common_name();
            return Err(JoinError::OtherNode { path: dir.join(CLIENT), found, expected });
        }
        if current.expires() <= Timestamp::now() {
            return Err(JoinError::Expired { path: dir.join(CLIENT) });
        }
        servers.learn(remembered(dir));
        Ok(Self {
            dir: dir.to_path_buf(),
            servers: servers.clone(),
            node_name: node_name.into(),
            ca_pem,
            client: Arc::new(current),
            serving: Arc::default(),
        })
    }

    /// A client with this identity; it takes renewed certificates by itself.
    pub fn client(&self) -> Result<kube::Client, JoinError> {
        let tls = tls::client(&self.ca_pem, Some(self.client.clone()))?;
        Ok(connection::client(&self.servers, tls, None, self.client.renewals())?)
    }

    /// Path of the kubeconfig of this node.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// The cluster's CA certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// TLS for [`crate::LogServer`]: a serving certificate for `addresses` (asked for unless a valid one lies in the
    /// folder), and only clients with a certificate of the cluster's CA.
    pub async fn serving_tls(&self, addresses: &[IpAddr]) -> Result<Arc<rustls::ServerConfig>, JoinError> {
        let current = match self.stored_serving(addresses) {
            Ok(current) => current,
            Err(_) => {
                let issued = self.request(&Purpose::Serving(addresses.to_vec()), SERVING).await?;
                Current::parse(&issued.pem)?
            }
        };
        let serving = Serving { current: Arc::new(current), addresses: addresses.to_vec() };
        let config = tls::server(&self.ca_pem, serving.current.clone())?;
        *self.serving() = Some(serving);
        Ok(config)
    }

    /// Renews both certificates before they expire, until `shutdown`.
    pub async fn keep_fresh(&self, shutdown: Shutdown) {
        // At once: an agent that was away may come back near the end of its certificate.
        let mut wait = Duration::ZERO;
        while shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
            wait = match self.renew().await {
                Ok(()) => renewal::look_after(Timestamp::now(), self.all().iter().map(|one| one.due())),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "certificate not renewed");
                    renewal::retry_after(Timestamp::now(), self.all().iter().map(|one| one.expires()))
                }
            };
        }
    }

    /// The certificates that there are.
    fn all(&self) -> Vec<Arc<Current>> {
        let serving = self.serving().as_ref().map(|serving| serving.current.clone());
        [self.client.clone()].into_iter().chain(serving).collect()
    }

    fn serving(&self) -> MutexGuard<'_, Option<Serving>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn renew(&self) -> Result<(), JoinError> {
        let now = Timestamp::now();
        if self.client.is_old(now) {
            let issued = self.request(&Purpose::Client, CLIENT).await?;
            self.client.replace(&issued.pem)?;
            write_private(&self.dir, "kubeconfig", &self.kubeconfig_text())?;
            tracing::info!(until = %self.client.expires(), "the client certificate is renewed");
        }
        let serving = self.serving().clone();
        if let Some(serving) = serving.filter(|serving| serving.current.is_old(now)) {
            let issued = self.request(&Purpose::Serving(serving.addresses), SERVING).await?;
            serving.current.replace(&issued.pem)?;
            tracing::info!(until = %serving.current.expires(), "the serving certificate is renewed");
        }
        Ok(())
    }

    async fn request(&self, purpose: &Purpose, file: &str) -> Result<request::Issued, JoinError> {
        let issued = request::certificate(&self.client()?, &self.node_name, purpose).await?;
        write_private(&self.dir, file, &issued.pem)?;
        Ok(issued)
    }

    fn stored_serving(&self, addresses: &[IpAddr]) -> Result<Current, JoinError> {
        let current = Current::parse(&read(&self.dir, SERVING)?)?;
        let fits = addresses.iter().all(|address| current.is_for(*address));
        if !fits || current.is_old(Timestamp::now()) {
            return Err(JoinError::Expired { path: self.dir.join(SERVING) });
        }
        Ok(current)
    }

    fn kubeconfig_text(&self) -> String {
        let Self { dir, servers, node_name, .. } = self;
        let file = |name: &str| serde_json::json!(dir.join(name)).to_string();
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: everynode\n  cluster:\n    server: {server}\n    \
             certificate-authority: {ca}\nusers:\n- name: {user}\n  user:\n    client-certificate: {pem}\n    \
             client-key: {pem}\ncontexts:\n- name: everynode\n  context:\n    cluster: everynode\n    user: \
             {user}\ncurrent-context: everynode\n",
            server = serde_json::json!(servers.current()),
            ca = file("ca.crt"),
            user = serde_json::json!(format!("system:node:{node_name}")),
            pem = file(CLIENT),
        )
    }
}

/// Why a machine did not become a node.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The token does not look like one.
    #[error("the join token must look like <64 hex digits>:<6 characters>.<16 characters>")]
    Token,
    /// The server's CA is not the one the token was made for.
    #[error(
        "{server} shows a CA with the hash {found}, but the token was made for {expected}: wrong server, or a token \
         of another cluster"
    )]
    OtherCluster {
        /// The server's address.
        server: String,
        /// Hash of its CA.
        found: String,
        /// Hash in the token.
        expected: String,
    },
    /// The server gave no CA.
    #[error("{server} does not tell its CA: {reason}")]
    NoCa {
        /// The server's address.
        server: String,
        /// What happened.
        reason: String,
    },
    /// The token cannot be used.
    #[error(transparent)]
    Connection(#[from] connection::ConnectionError),
    /// The server did not sign.
    #[error("no certificate for this node")]
    Request(#[from] RequestError),
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// A file cannot be read or written.
    #[error("{path}: cannot be read or written")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The folder holds another node's identity.
    #[error("{path} belongs to {found}, not to {expected}: use another folder, or remove this one")]
    OtherNode {
        /// The certificate.
        path: PathBuf,
        /// Its name.
        found: String,
        /// The name this node has.
        expected: String,
    },
    /// The certificate is too old.
    #[error("{path} has expired: join again with a token")]
    Expired {
        /// The certificate.
        path: PathBuf,
    },
}

impl JoinError {
    /// Whether nobody has said no: the server was not reached, or an answer was lost on the way.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::NoCa { .. } => true,
            Self::Request(RequestError::Api(source)) => !matches!(**source, kube::Error::Api(_)),
            _ => false,
        }
    }
}

/// A join token, taken apart.
struct Token {
    ca_hash: String,
    bearer: String,
}

impl Token {
    fn parse(text: &str) -> Result<Self, JoinError> {
        let (ca_hash, bearer) = text.trim().split_once(':').ok_or(JoinError::Token)?;
        let (id, secret) = bearer.split_once('.').ok_or(JoinError::Token)?;
        let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric());
        let hex = ca_hash.len() == 64 && ca_hash.chars().all(|c| c.is_ascii_hexdigit());
        if !hex || id.len() != 6 || secret.len() != 16 || !plain(id) || !plain(secret) {
            return Err(JoinError::Token);
        }
        Ok(Self { ca_hash: ca_hash.to_ascii_lowercase(), bearer: bearer.to_string() })
    }
}

/// The CA the server shows at `/everynode/ca`, if its hash is the token's.
async fn pinned_ca(servers: &Arc<Servers>, token: &Token) -> Result<String, JoinError> {
    let no_ca = |reason: String| JoinError::NoCa { server: servers.urls().join(", "), reason };
    let client = connection::client(servers, tls::believing_anyone()?, None, connection::never())?;
    let request = http::Request::get("/everynode/ca").body(Vec::new()).map_err(|e| no_ca(e.to_string()))?;
    let ca_pem = client.request_text(request).await.map_err(|error| no_ca(error.to_string()))?;
    let der = tls::certificates(&ca_pem)?;
    let first = der.first().ok_or_else(|| no_ca("its answer has no certificate".into()))?;
    let found = hex(&Sha256::digest(first));
    if found != token.ca_hash {
        let expected = token.ca_hash.clone();
        return Err(JoinError::OtherCluster { server: servers.current(), found, expected });
    }
    Ok(ca_pem)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn read(dir: &Path, name: &str) -> Result<String, JoinError> {
    let path = dir.join(name);
    std::fs::read_to_string(&path).map_err(|source| JoinError::File { path, source })
}

/// Writes a file for its owner only, whole or not at all.
fn write_private(dir: &Path, name: &str, text: &str) -> Result<(), JoinError> {
    let path = dir.join(name);
    let fail = |source| JoinError::File { path: path.clone(), source };
    std::fs::create_dir_all(dir).map_err(fail)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(fail)?;
    let draft = dir.join(format!(".{name}.new"));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft).map_err(fail)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(fail)?;
    file.sync_all().map_err(fail)?;
    std::fs::rename(&draft, &path).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_hash_id_and_secret() {
        let hash = "ab".repeat(32);
        let check = |text: &str| Token::parse(text).map(|t| (t.ca_hash, t.bearer)).ok();
        let good = (hash.clone(), "abcdef.0123456789abcdef".to_string());
        assert_eq!(check(&format!("{hash}:abcdef.0123456789abcdef\n")), Some(good));
        assert_eq!(check("abcdef.0123456789abcdef"), None);
        assert_eq!(check(&format!("{hash}:abcdef.short")), None);
        assert_eq!(check(&format!("{}:abcdef.0123456789abcdef", "zz".repeat(32))), None);
    }

    #[test]
    fn files_are_readable_by_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("pki");
        write_private(&dir, CLIENT, "x").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join(CLIENT))), (0o700, 0o600));
    }
}
