//! Who is who in this cluster: its own certificate authority, and the certificates that the server needs.
//!
//! 1. Everything lies in `<data-dir>/pki`, a folder for its owner only; private keys are files of mode 0600.
//! 2. The authority is made once. It is never replaced: every joined node trusts it.
//! 3. A certificate is made anew when it is missing, has used four fifths of its life, or says something else than what
//!    is asked for now (another address); otherwise the one on disk is used.
//! 4. Of join tokens that it makes itself the server keeps only hashes ([`tokens`]).
//! 5. Tokens of service accounts are signed with a key of their own ([`account_keys`]).
//!
//! Kubernetes: kubeadm, app/phases/certs.

pub mod account_keys;
pub mod encryption;
pub mod kubeconfig;
pub mod serving;
pub mod tokens;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Kubeadm's: ten years. Replacing it means joining every node again.
const AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// Kubeadm's: one year. Renewed by itself, see [`RENEWED_AFTER`].
const LEAF_LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);
/// Part of its life after which a certificate is made anew, in percent.
const RENEWED_AFTER: i64 = 80;
/// Clocks of clients may be behind by this much.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_hours(24);

/// What machines know an authority by: SHA-256 of its first certificate.
pub fn fingerprint(pem: &[u8]) -> Option<String> {
    let certificate = CertificateDer::pem_slice_iter(pem).next()?.ok()?;
    Some(hex(&Sha256::digest(&certificate)))
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error("{path}: cannot be used{}", cure(source).map(|cure| format!(", {cure}")).unwrap_or_default(),
        path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Half of the authority is there: making a new one would shut out every node.
    #[error("{missing} is missing while {found} is there; restore it, or remove the data folder to begin anew",
        missing = missing.display(), found = found.display())]
    HalfAnAuthority {
        /// The file that is there.
        found: PathBuf,
        /// The file that is not.
        missing: PathBuf,
    },
    /// A file holds something else.
    #[error("{path}: is not what it should be: {reason}", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate cannot be made.
    #[error("a certificate cannot be made")]
    Make(#[from] rcgen::Error),
    /// A TLS configuration cannot be made.
    #[error("TLS cannot be configured")]
    Tls(#[from] rustls::Error),
}

/// The cluster's certificate authority.
pub struct Authority {
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Usage {
    /// Its owner asks.
    Client,
    /// Its owner answers at these names and addresses.
    Server {
        /// DNS names.
        names: BTreeSet<String>,
        /// Addresses.
        addresses: BTreeSet<IpAddr>,
    },
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// `CN`: the user.
    pub common_name: String,
    /// `O`: the user's group. One: rcgen keeps no second.
    pub organization: Option<String>,
    /// What it is for.
    pub usage: Usage,
}

/// A certificate with its private key, both PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate_pem: String,
    /// PKCS #8.
    pub key_pem: String,
}

impl Authority {
    /// Reads the authority from `dir`, or makes it there.
    pub fn open(dir: &Path, now: Timestamp) -> Result<Self, PkiError> {
        private_dir(dir)?;
        match Self::find(dir)? {
            Some(found) => Ok(found),
            None => Self::make(&dir.join("ca.crt"), &dir.join("ca.key"), now),
        }
    }

    /// The authority that is there, if any; writes nothing.
    pub fn find(dir: &Path) -> Result<Option<Self>, PkiError> {
        let (certificate, key) = (dir.join("ca.crt"), dir.join("ca.key"));
        match (certificate.exists(), key.exists()) {
            (true, true) => Self::read(&certificate, &key).map(Some),
            (false, false) => Ok(None),
            (true, false) => Err(PkiError::HalfAnAuthority { found: certificate, missing: key }),
            (false, true) => Err(PkiError::HalfAnAuthority { found: key, missing: certificate }),
        }
    }

    fn read(certificate: &Path, key: &Path) -> Result<Self, PkiError> {
        let certificate_pem = read(certificate)?;
        let key_pem = read(key)?;
        let unreadable =
            |path: &Path, reason: String| PkiError::Unreadable { path: path.to_path_buf(), reason };
        let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|error| unreadable(certificate, error.to_string()))?;
        let pair = KeyPair::from_pem(&key_pem).map_err(|error| unreadable(key, error.to_string()))?;
        let issuer = Issuer::from_ca_cert_der(&der, pair)
            .map_err(|error| unreadable(certificate, error.to_string()))?;
        Ok(Self { certificate_pem, certificate: der, key_pem, issuer })
    }

    fn make(certificate: &Path, key: &Path, now: Timestamp) -> Result<Self, PkiError> {
        let pair = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "everynode");
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        valid(&mut params, now, AUTHORITY_LIFE);
        let made = params.self_signed(&pair)?;
        // The key first: without it the certificate is worth nothing.
        write_private(key, &pair.serialize_pem())?;
        write_private(certificate, &made.pem())?;
        Self::read(certificate, key)
    }

    /// Its certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its private key, PEM: for the loop that signs the requests of nodes.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Its certificate, DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// SHA-256 of its certificate (DER), in hex: the first part of a join token.
    pub fn fingerprint(&self) -> String {
        hex(&Sha256::digest(&self.certificate))
    }

    /// The certificate `<dir>/<name>.crt` with its key: the one on disk if it fits and is fresh, else a new one.
    pub fn current(&self, dir: &Path, name: &str, leaf: &Leaf, now: Timestamp) -> Result<Issued, PkiError> {
        let (certificate, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        if let (Ok(certificate_pem), Ok(key_pem)) = (read(&certificate), read(&key))
            && self.fits(&certificate_pem, &key_pem, leaf, now)
        {
            return Ok(Issued { certificate_pem, key_pem });
        }
        let issued = self.issue(leaf, now)?;
        write_private(&key, &issued.key_pem)?;
        write_private(&certificate, &issued.certificate_pem)?;
        Ok(issued)
    }

    /// Makes and signs a certificate.
    pub fn issue(&self, leaf: &Leaf, now: Timestamp) -> Result<Issued, PkiError> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, leaf.common_name.as_str());
        if let Some(organization) = &leaf.organization {
            params.distinguished_name.push(DnType::OrganizationName, organization.as_str());
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, now, LEAF_LIFE);
        match &leaf.usage {
            Usage::Client => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Server { names, addresses } => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                for name in names {
                    params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
                }
                params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
            }
        }
        let pair = KeyPair::generate()?;
        let made = params.signed_by(&pair, &self.issuer)?;
        Ok(Issued { certificate_pem: made.pem(), key_pem: pair.serialize_pem() })
    }

    /// Whether a certificate is ours, fresh, belongs to the key and says what `leaf` says.
    pub fn fits(&self, certificate_pem: &str, key_pem: &str, leaf: &Leaf, now: Timestamp) -> bool {
        let Ok(der) = CertificateDer::from_pem_slice(certificate_pem.as_bytes()) else { return false };
        let Ok((_, parsed)) = X509Certificate::from_der(&der) else { return false };
        let Ok((_, authority)) = X509Certificate::from_der(&self.certificate) else { return false };
        let Ok(pair) = KeyPair::from_pem(key_pem) else { return false };
        issuer_key(&parsed).is_some_and(|id| Some(id) == own_key(&authority))
            && parsed.public_key().subject_public_key.data.as_ref() == pair.public_key_raw()
            && is_fresh(&parsed, now)
            && said(&parsed).as_ref() == Some(leaf)
    }
}

/// Which key signed it, by its identifier. No proof, and none is needed: the file is our own.
fn issuer_key(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
        _ => None,
    })
}

fn own_key(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}

fn is_fresh(certificate: &X509Certificate<'_>, now: Timestamp) -> bool {
    let validity = certificate.validity();
    let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let renewed_at = from + (to - from) * RENEWED_AFTER / 100;
    (from..renewed_at).contains(&now.as_second())
}

/// What a certificate says, in our words.
fn said(certificate: &X509Certificate<'_>) -> Option<Leaf> {
    let subject = certificate.subject();
    let common_name = subject.iter_common_name().next()?.as_str().ok()?.to_string();
    let organization = subject.iter_organization().next().and_then(|o| o.as_str().ok()).map(str::to_string);
    let usage = match certificate.extended_key_usage().ok()?? {
        usage if usage.value.server_auth => {
            let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
            for name in &certificate.subject_alternative_name().ok()??.value.general_names {
                match name {
                    GeneralName::DNSName(name) => _ = names.insert(name.to_string()),
                    GeneralName::IPAddress(bytes) => _ = addresses.insert(address(bytes)?),
                    _ => return None,
                }
            }
            Usage::Server { names, addresses }
        }
        _ => Usage::Client,
    };
    Some(Leaf { common_name, organization, usage })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

/// Whole days: rcgen has no finer way to say a time without its time crate.
fn valid(params: &mut CertificateParams, now: Timestamp, life: SignedDuration) {
    let day = |at: Timestamp| {
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        let (month, day) = (u8::try_from(date.month()).unwrap_or(1), u8::try_from(date.day()).unwrap_or(1));
        rcgen::date_time_ymd(i32::from(date.year()), month, day)
    };
    params.not_before = day(now - CLOCK_SKEW);
    params.not_after = day(now + life);
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Makes a folder that only its owner may enter; parents as the system makes them.
pub fn private_dir(dir: &Path) -> Result<(), PkiError> {
    let fail = |source| PkiError::File { path: dir.to_path_buf(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail)
}

/// Writes a file for its owner only, whole or not at all. One that says so already is left alone, so that a server with
/// a full disk can start again.
pub fn write_private(path: &Path, text: &str) -> Result<(), PkiError> {
    if is_private_with(path, text) {
        return Ok(());
    }
    let mut draft = path.as_os_str().to_os_string();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    // A draft that a crash left behind may have other rights.
    let _ = std::fs::remove_file(&draft);
    let written = write_draft(&draft, text).and_then(|()| std::fs::rename(&draft, path));
    written.map_err(|source| {
        let _ = std::fs::remove_file(&draft);
        PkiError::File { path: path.to_path_buf(), source }
    })
}

fn is_private_with(path: &Path, text: &str) -> bool {
    let is_private = std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o777 == 0o600);
    is_private && std::fs::read_to_string(path).is_ok_and(|found| found == text)
}

fn write_draft(draft: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// What somebody can do about a file that cannot be used, where something is known to help.
pub fn cure(source: &std::io::Error) -> Option<&'static str> {
    match source.kind() {
        ErrorKind::PermissionDenied => Some("start as its owner"),
        ErrorKind::ReadOnlyFilesystem => Some("make its file system writable"),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some("free some space and start again"),
        _ => None,
    }
}

fn read(path: &Path) -> Result<String, PkiError> {
    std::fs::read_to_string(path).map_err(|source| PkiError::File { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests;
