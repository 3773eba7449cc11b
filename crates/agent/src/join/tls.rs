//! The node's certificates as rustls wants them, replaceable while connections are open.

use super::renewal;
use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not PEM, or not what it should be.
    #[error("a certificate or key cannot be read: {0}")]
    Pem(String),
    /// rustls does not take it.
    #[error("a certificate cannot be used")]
    Rustls(#[from] rustls::Error),
    /// The CA cannot be used to verify.
    #[error("the CA cannot be used")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The certificate to use at the next handshake.
#[derive(Debug)]
pub(super) struct Current {
    parsed: RwLock<Parsed>,
    renewed: watch::Sender<()>,
}

#[derive(Clone, Debug)]
struct Parsed {
    key: Arc<CertifiedKey>,
    common_name: String,
    addresses: Vec<IpAddr>,
    until: Timestamp,
    due: Timestamp,
}

impl Current {
    /// Reads a certificate and its key; refuses those that do not fit.
    pub(super) fn parse(pem: &str) -> Result<Self, TlsError> {
        let parsed = RwLock::new(Parsed::parse(pem)?);
        Ok(Self { parsed, renewed: watch::Sender::new(()) })
    }

    pub(super) fn replace(&self, pem: &str) -> Result<(), TlsError> {
        let parsed = Parsed::parse(pem)?;
        *self.parsed.write().unwrap_or_else(PoisonError::into_inner) = parsed;
        self.renewed.send_replace(());
        Ok(())
    }

    /// Changes with every renewal.
    pub(super) fn renewals(&self) -> watch::Receiver<()> {
        self.renewed.subscribe()
    }

    pub(super) fn common_name(&self) -> String {
        self.now().common_name
    }

    pub(super) fn expires(&self) -> Timestamp {
        self.now().until
    }

    pub(super) fn is_for(&self, address: IpAddr) -> bool {
        self.now().addresses.contains(&address)
    }

    /// When it is to be renewed.
    pub(super) fn due(&self) -> Timestamp {
        self.now().due
    }

    /// Whether that time has come.
    pub(super) fn is_old(&self, now: Timestamp) -> bool {
        now >= self.due()
    }

    fn now(&self) -> Parsed {
        self.parsed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Parsed {
    fn parse(pem: &str) -> Result<Self, TlsError> {
        let chain = certificates(pem)?;
        let unreadable = |error: &dyn std::fmt::Display| TlsError::Pem(error.to_string());
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| unreadable(&error))?;
        let first = chain.first().ok_or_else(|| unreadable(&"no certificate"))?.clone();
        let (_, certificate) = X509Certificate::from_der(&first).map_err(|error| unreadable(&error))?;
        let common_name = certificate.subject().iter_common_name().next();
        let common_name = common_name.and_then(|name| name.as_str().ok()).unwrap_or_default().to_string();
        let validity = certificate.validity();
        let time = |seconds: i64| Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        let (from, until) = (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()));
        let [draw, ..]: [u8; 32] = Sha256::digest(&first).into();
        Ok(Self {
            common_name,
            addresses: addresses(&certificate),
            until,
            due: renewal::due(from, until, draw),
            key: Arc::new(CertifiedKey::from_der(chain, key, &ring::default_provider())?),
        })
    }
}

fn addresses(certificate: &X509Certificate<'_>) -> Vec<IpAddr> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let address = |name: &GeneralName<'_>| match name {
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from),
        },
        _ => None,
    };
    names.value.general_names.iter().filter_map(address).collect()
}

impl ResolvesClientCert for Current {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.now().key)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now().key)
    }
}

/// Every certificate of a PEM text.
pub(super) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Pem(error.to_string()))
}

/// For requests: believes servers of this CA, and shows `identity` if there is one. Then no session is resumed: the server
/// would take the certificate of the first handshake for ours, also when it has ended.
pub(super) fn client(
    ca_pem: &str,
    identity: Option<Arc<Current>>,
) -> Result<Arc<rustls::ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots(ca_pem)?), provider.clone()).build()?;
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_webpki_verifier(verifier);
    Ok(Arc::new(match identity {
        Some(identity) => {
            let mut config = builder.with_client_cert_resolver(identity);
            config.resumption = Resumption::disabled();
            config
        }
        None => builder.with_no_client_auth(),
    }))
}

/// For the log server: only clients of this CA.
pub(super) fn server(ca_pem: &str, serving: Arc<Current>) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca_pem)?), provider.clone()).build()?;
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(serving);
    Ok(Arc::new(config))
}

fn roots(ca_pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_pem)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// For the CA, whose hash is compared afterwards, and for probes of pods. Nothing secret may be sent over it.
pub(crate) fn believing_anyone() -> Result<Arc<rustls::ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
