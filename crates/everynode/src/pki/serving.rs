//! TLS as the server speaks it: its own certificate, which may be replaced while it runs, and client certificates.
//!
//! A client certificate is asked for and not required (wire 0.6); one of a foreign authority ends the handshake.
//! Connections take a renewed certificate at their next handshake.

use super::{Authority, Issued, PkiError};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::{Arc, PoisonError, RwLock};

/// One of the server's certificates as it is now.
#[derive(Debug)]
pub struct Current(RwLock<Arc<CertifiedKey>>);

impl Current {
    /// Begins with this one.
    pub fn new(issued: &Issued) -> Result<Arc<Self>, PkiError> {
        Ok(Arc::new(Self(RwLock::new(certified(issued)?))))
    }

    /// From the next handshake on this one is shown.
    pub fn replace(&self, issued: &Issued) -> Result<(), PkiError> {
        let new = certified(issued)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl ResolvesClientCert for Current {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// TLS for the API server.
pub fn server(authority: &Authority, current: Arc<Current>) -> Result<Arc<ServerConfig>, PkiError> {
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(authority)?), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(current);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// TLS with which the server speaks to node agents. No session is resumed: the agent shows its certificate each time, and one
/// that has ended is refused.
pub fn agent_client(authority: &Authority, current: Arc<Current>) -> Result<Arc<ClientConfig>, PkiError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(authority)?)
        .with_client_cert_resolver(current);
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn roots(authority: &Authority) -> Result<RootCertStore, PkiError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone())?;
    Ok(roots)
}

fn certified(issued: &Issued) -> Result<Arc<CertifiedKey>, PkiError> {
    let (chain, key) = parse(issued)?;
    Ok(Arc::new(CertifiedKey::from_der(chain, key, &provider())?))
}

fn parse(issued: &Issued) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), PkiError> {
    let broken = |error: rustls_pki_types::pem::Error| rustls::Error::General(error.to_string());
    let chain = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).map_err(broken)?;
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).map_err(broken)?;
    Ok((vec![chain], key))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}
