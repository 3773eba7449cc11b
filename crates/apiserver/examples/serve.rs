//! An API server on a memory store, for trying a real kubectl: `cargo run -p apiserver --example serve -- DIRECTORY`.
//!
//! Writes `kubeconfig` into the directory (certificate of a `system:masters` user) and serves until Ctrl-C. Nothing is kept.
//! There are no loops and no agents: objects stay as they are written.

use apiserver::{ApiServer, Config, User, serve};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::path::PathBuf;
use std::sync::Arc;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let directory = PathBuf::from(std::env::args().nth(1).ok_or("usage: serve DIRECTORY")?);
    std::fs::create_dir_all(&directory)?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let authority = Authority::new()?;
    let config = Config {
        advertise: address,
        token_user: Arc::new(|token| (token == "alice-token").then(|| User::authenticated("alice", []))),
        agent_tls: None,
        ca_pem: authority.pem.clone(),
        issuer: None,
        audit: None,
        tracer: None,
        sources: Default::default(),
    };
    let server = ApiServer::open(Arc::new(store::memory::MemoryStore::new()), config).await?;
    let file = directory.join("kubeconfig");
    std::fs::write(&file, authority.kubeconfig(&address.to_string())?)?;
    println!("KUBECONFIG={}", file.display());
    let end = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            eprintln!("no Ctrl-C: {error}");
        }
    };
    Ok(serve(server, listener, authority.server()?, end).await?)
}

/// A certificate authority for this run.
struct Authority {
    pem: String,
    der: rustls_pki_types::CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Result<Self, Failure> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key)?;
        Ok(Self { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) })
    }

    fn server(&self) -> Result<Arc<rustls::ServerConfig>, Failure> {
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_string()])?.signed_by(&key, &self.issuer)?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.der.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .allow_unauthenticated()
                .build()?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![leaf.der().clone()],
                rustls_pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn kubeconfig(&self, address: &str) -> Result<String, Failure> {
        use base64::Engine as _;
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, "everynode-admin");
        params.distinguished_name.push(DnType::OrganizationName, "system:masters");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = params.signed_by(&key, &self.issuer)?;
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "everynode",
            "clusters": [{"name": "everynode", "cluster": {"server": format!("https://{address}"),
                "certificate-authority-data": encode(&self.pem)}}],
            "users": [
                {"name": "admin", "user": {"client-certificate-data": encode(&leaf.pem()),
                    "client-key-data": encode(&key.serialize_pem())}},
                {"name": "alice", "user": {"token": "alice-token"}}],
            "contexts": [
                {"name": "everynode", "context": {"cluster": "everynode", "user": "admin"}},
                {"name": "alice", "context": {"cluster": "everynode", "user": "alice"}}],
        });
        Ok(config.to_string())
    }
}
