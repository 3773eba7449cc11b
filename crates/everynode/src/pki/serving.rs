//! The TLS of the server: our certificate, HTTP/2 and 1.1, client certificates asked for and not required.

use super::{Authority, Issued, PkiError};
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;

/// TLS 1.2 and 1.3; a client certificate counts only if `authority` has signed it.
pub fn serving(authority: &Authority, issued: &Issued) -> Result<Arc<rustls::ServerConfig>, PkiError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.certificate().clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate(issued)?], key(issued)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificate(issued: &Issued) -> Result<CertificateDer<'static>, PkiError> {
    let parsed = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes());
    parsed.map_err(|error| rustls::Error::General(error.to_string()).into())
}

fn key(issued: &Issued) -> Result<PrivateKeyDer<'static>, PkiError> {
    let parsed = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes());
    parsed.map_err(|error| rustls::Error::General(error.to_string()).into())
}
