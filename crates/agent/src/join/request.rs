//! One certificate from the cluster: make a key, ask, wait, take it.
//!
//! The request is a CertificateSigningRequest object; who approves and signs it is the cluster's affair. The shapes
//! are those the two kubelet signers demand (wire 7.6.1).

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::api::{Api, ObjectMeta, PostParams};
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use std::net::IpAddr;
use std::time::Duration;

/// Signing is a matter of moments where it is automatic; where a person approves, the agent is started again.
const WAIT_LIMIT: Duration = Duration::from_secs(120);
/// How often the request is looked at while it waits.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What the certificate is for.
pub(super) enum Purpose {
    /// To speak to the API server.
    Client,
    /// To serve logs at these addresses.
    Serving(Vec<IpAddr>),
}

/// A certificate and, behind it, its key.
pub(super) struct Issued {
    pub(super) pem: String,
}

/// Asks for a certificate and waits for it.
pub(super) async fn certificate(
    client: &kube::Client,
    node_name: &str,
    purpose: &Purpose,
) -> Result<Issued, RequestError> {
    let key = KeyPair::generate()?;
    let pem = params(node_name, purpose)?.serialize_request(&key)?.pem()?;
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let created = api.create(&PostParams::default(), &object(pem, purpose)).await.map_err(api_error)?;
    let name = created.metadata.name.unwrap_or_default();
    let certificate_pem = match tokio::time::timeout(WAIT_LIMIT, signed(&api, &name)).await {
        Ok(answer) => answer?,
        Err(_) => return Err(RequestError::NotSigned { name }),
    };
    Ok(Issued { pem: format!("{}\n{}", certificate_pem.trim_end(), key.serialize_pem()) })
}

fn params(node_name: &str, purpose: &Purpose) -> Result<CertificateParams, RequestError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{node_name}"));
    if let Purpose::Serving(addresses) = purpose {
        params.subject_alt_names = addresses.iter().map(|address| SanType::IpAddress(*address)).collect();
        params.subject_alt_names.push(SanType::DnsName(node_name.try_into()?));
    }
    Ok(params)
}

fn object(pem: String, purpose: &Purpose) -> CertificateSigningRequest {
    let (signer, usage, prefix) = match purpose {
        Purpose::Client => ("kubernetes.io/kube-apiserver-client-kubelet", "client auth", "node-csr-"),
        Purpose::Serving(_) => ("kubernetes.io/kubelet-serving", "server auth", "csr-"),
    };
    CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some(prefix.into()), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.into_bytes()),
            signer_name: signer.into(),
            usages: Some(vec!["digital signature".into(), usage.into()]),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    }
}

async fn signed(api: &Api<CertificateSigningRequest>, name: &str) -> Result<String, RequestError> {
    loop {
        let status = api.get(name).await.map_err(api_error)?.status.unwrap_or_default();
        let refusal = status.conditions.unwrap_or_default().into_iter();
        if let Some(no) = refusal.into_iter().find(|c| matches!(c.type_.as_str(), "Denied" | "Failed")) {
            let message = no.message.or(no.reason).unwrap_or_default();
            return Err(RequestError::Refused { name: name.into(), message });
        }
        if let Some(ByteString(pem)) = status.certificate.filter(|pem| !pem.0.is_empty()) {
            return String::from_utf8(pem).map_err(|_| RequestError::NotText { name: name.into() });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn api_error(source: kube::Error) -> RequestError {
    match source {
        kube::Error::Api(status) if status.code == 401 => RequestError::BadToken,
        other => RequestError::Api(Box::new(other)),
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// 401.
    #[error("the server does not know the token: ask for a new one with `everynode token`")]
    BadToken,
    /// The server refused or could not be reached.
    #[error("certificate request not accepted")]
    Api(#[source] Box<kube::Error>),
    /// Nobody approved and signed it.
    #[error("certificate request {name} was not signed in time: is the certificates loop running?")]
    NotSigned {
        /// Name of the CertificateSigningRequest.
        name: String,
    },
    /// It was denied, or signing failed.
    #[error("certificate request {name} was refused: {message}")]
    Refused {
        /// Name of the CertificateSigningRequest.
        name: String,
        /// The approver's words.
        message: String,
    },
    /// The certificate is not PEM.
    #[error("certificate request {name} was answered with something that is no text")]
    NotText {
        /// Name of the CertificateSigningRequest.
        name: String,
    },
    /// The request could not be made.
    #[error("certificate request cannot be written")]
    Write(#[from] rcgen::Error),
}
