//! From an approved request to a certificate.
//!
//! Subject, names and key are the request's; usages are those of its spec; it is no CA whatever the request says. Valid
//! from five minutes ago (clocks differ) for the time that was asked for, at most what the signer was told, and never
//! longer than the authority itself.
//! Kubernetes: `certificates/authority/policies.go` (`PermissiveSigningPolicy`). Differs: what lives for minutes is valid from
//! a tenth of its life ago, or whoever renews at a part of it would renew at once.

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequestSpec;
use rcgen::{
    CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The longest life of a certificate unless the signer is told another. Kubernetes: `--cluster-signing-duration`.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// How far back it is valid already. Kubernetes: the signer's `backdate`.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// The smallest part of a life that lies before it.
const BACKDATE_PART: u32 = 10;

/// The cluster's certificate authority. Its key appears in no log.
#[derive(Clone)]
pub struct Signer {
    issuer: Arc<Issuer<'static, KeyPair>>,
    longest: Duration,
    end: SystemTime,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

/// Why nothing can be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The authority's key cannot be read.
    #[error("the certificate authority's key cannot be read")]
    Key(#[source] rcgen::Error),
    /// The authority's certificate cannot be read.
    #[error("the certificate authority's certificate cannot be read")]
    Certificate(#[source] rcgen::Error),
    /// When the authority ends cannot be read.
    #[error("the end of the certificate authority's certificate cannot be read")]
    End,
    /// The request cannot be read, or its signature is wrong.
    #[error("the request cannot be read: {0}")]
    Request(rcgen::Error),
    /// Signing itself failed.
    #[error("signing failed: {0}")]
    Sign(rcgen::Error),
    /// The request is no text.
    #[error("the request is not PEM")]
    NotText,
}

impl Signer {
    /// From certificate and key as PEM.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, SignerError> {
        let key = KeyPair::from_pem(key).map_err(SignerError::Key)?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key).map_err(SignerError::Certificate)?;
        let end = end(certificate).ok_or(SignerError::End)?;
        Ok(Self { issuer: Arc::new(issuer), longest: LONGEST, end })
    }

    /// The same, whose certificates live no longer than this.
    #[must_use]
    pub fn lasting(self, longest: Duration) -> Self {
        Self { longest, ..self }
    }

    /// Signs a request whose form has been checked; the certificate as PEM.
    pub(super) fn sign(
        &self,
        spec: &CertificateSigningRequestSpec,
        now: Timestamp,
    ) -> Result<String, SignerError> {
        let text = std::str::from_utf8(&spec.request.0).map_err(|_| SignerError::NotText)?;
        let mut request = CertificateSigningRequestParams::from_pem(text).map_err(SignerError::Request)?;
        let params = &mut request.params;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        (params.key_usages, params.extended_key_usages) = usages(spec);
        let asked =
            spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
        let now = SystemTime::from(now);
        let life = asked.unwrap_or(self.longest).min(self.longest);
        params.not_before = (now - BACKDATE.min(life / BACKDATE_PART)).into();
        params.not_after = (now + life).min(self.end).into();
        let certificate = request.signed_by(&self.issuer).map_err(SignerError::Sign)?;
        Ok(certificate.pem())
    }
}

/// When a certificate ends.
fn end(pem: &str) -> Option<SystemTime> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    let seconds = block.parse_x509().ok()?.validity().not_after.timestamp();
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?))
}

fn usages(spec: &CertificateSigningRequestSpec) -> (Vec<KeyUsagePurpose>, Vec<ExtendedKeyUsagePurpose>) {
    let (mut plain, mut extended) = (Vec::new(), Vec::new());
    for usage in spec.usages.iter().flatten() {
        match usage.as_str() {
            "digital signature" => plain.push(KeyUsagePurpose::DigitalSignature),
            "key encipherment" => plain.push(KeyUsagePurpose::KeyEncipherment),
            "client auth" => extended.push(ExtendedKeyUsagePurpose::ClientAuth),
            "server auth" => extended.push(ExtendedKeyUsagePurpose::ServerAuth),
            // The form allows no other.
            _ => {}
        }
    }
    (plain, extended)
}

#[cfg(test)]
mod tests {
    use super::super::judge::Asked;
    use super::*;
    use k8s_openapi::ByteString;
    use rcgen::{BasicConstraints, CertificateParams, DnType, SanType};
    use x509_parser::prelude::{FromDer, X509Certificate};

    fn authority() -> Signer {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "everynode-ca");
        let certificate = params.self_signed(&key).unwrap();
        Signer::from_pem(&certificate.pem(), &key.serialize_pem()).unwrap()
    }

    fn request(change: impl Fn(&mut CertificateParams)) -> CertificateSigningRequestSpec {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(DnType::CommonName, "system:node:n1");
        change(&mut params);
        let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
        CertificateSigningRequestSpec {
            request: ByteString(pem.into_bytes()),
            usages: Some(vec!["digital signature".into(), "client auth".into()]),
            expiration_seconds: Some(3600),
            ..CertificateSigningRequestSpec::default()
        }
    }

    #[test]
    fn a_certificate_is_what_was_asked_for_and_no_authority() {
        let spec = request(|params| {
            params.is_ca = IsCa::NoCa;
            params.subject_alt_names =
                vec![SanType::IpAddress([10, 0, 0, 1].into()), SanType::DnsName("n1".try_into().unwrap())];
        });
        let asked = Asked::read(&spec.request.0).unwrap();
        assert_eq!(
            (asked.common_name.as_str(), &asked.organizations[..]),
            ("system:node:n1", &["system:nodes".to_string()][..])
        );
        assert_eq!((asked.addresses.len(), asked.dns_names.len(), asked.other_names), (1, 1, 0));

        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let pem = authority().sign(&spec, now).unwrap();
        let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        let (_, certificate) = X509Certificate::from_der(&block.contents).unwrap();
        assert_eq!(certificate.subject().to_string(), "O=system:nodes, CN=system:node:n1");
        assert_eq!(certificate.issuer().to_string(), "CN=everynode-ca");
        assert!(!certificate.is_ca());
        let validity = certificate.validity();
        let bounds = (validity.not_before.timestamp(), validity.not_after.timestamp());
        assert_eq!(bounds, (now.as_second() - 300, now.as_second() + 3600));
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth);
    }

    #[test]
    fn no_certificate_outlives_what_the_signer_was_told_or_the_authority() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let check = |longest: u64, asked: Option<i32>, expected: (i64, i64)| {
            let spec = CertificateSigningRequestSpec { expiration_seconds: asked, ..request(|_| {}) };
            let pem = authority().lasting(Duration::from_secs(longest)).sign(&spec, now).unwrap();
            let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
            let validity = block.parse_x509().unwrap().validity().clone();
            let bounds = (validity.not_before.timestamp(), validity.not_after.timestamp());
            assert_eq!(bounds, (now.as_second() - expected.0, now.as_second() + expected.1));
        };
        check(24 * 3600, Some(3600), (300, 3600));
        check(3600, Some(24 * 3600), (300, 3600));
        check(1800, None, (180, 1800));
        check(30, Some(600), (3, 30));
        // The test's authority ends with the year 4095.
        let long = 10_000 * 365 * 24 * 3600;
        let end: Timestamp = "4096-01-01T00:00:00Z".parse().unwrap();
        check(long, None, (300, end.as_second() - now.as_second()));
    }

    #[test]
    fn what_cannot_be_read_is_not_signed() {
        let mut spec = request(|_| {});
        spec.request = ByteString(
            b"-----BEGIN CERTIFICATE REQUEST-----\nMII=\n-----END CERTIFICATE REQUEST-----\n".to_vec(),
        );
        assert!(matches!(authority().sign(&spec, Timestamp::now()), Err(SignerError::Request(_))));
        assert!(Asked::read(&spec.request.0).is_err() && Asked::read(b"nonsense").is_err());
        assert!(matches!(Signer::from_pem("", ""), Err(SignerError::Key(_))));
    }
}
