//! PURE. May this certificate be approved without a person, and does it have the form that its signer demands?
//!
//! 1. A node's certificate names exactly one organization, `system:nodes`, and one common name, `system:node:<name>`.
//! 2. A client certificate names no other identity. A serving certificate names at least one, and only addresses and
//!    DNS names: those of its Node, or, while it has none yet, its name and addresses that no other Node has.
//! 3. Usages are those of the signer, no more (wire 7.6.1).
//!
//! Kubernetes: `apis/certificates/helpers.go`, `certificates/approver/sarapprove.go`.

use k8s_openapi::api::certificates::v1::CertificateSigningRequestSpec;
use k8s_openapi::api::core::v1::{Node, NodeAddress};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

/// Client certificates of nodes.
pub(super) const NODE_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Serving certificates of nodes.
pub(super) const NODE_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Client certificates of anybody else; approved by people.
pub(super) const CLIENT: &str = "kubernetes.io/kube-apiserver-client";

const NODES_GROUP: &str = "system:nodes";
const NODE_USER_PREFIX: &str = "system:node:";
/// Members may do everything; no certificate is made for them here.
const MASTERS_GROUP: &str = "system:masters";

/// What the request's text asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
    pub(super) dns_names: BTreeSet<String>,
    pub(super) addresses: BTreeSet<IpAddr>,
    /// Mail addresses, URIs and whatever else a certificate can name.
    pub(super) other_names: usize,
}

/// Why a request has not the form that its signer demands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadForm {
    #[error("the request cannot be read: {0}")]
    Unreadable(String),
    #[error("subject organization is not system:nodes")]
    Organization,
    #[error("subject common name does not begin with system:node:")]
    CommonName,
    #[error("subject has several organizations, which cannot be signed here")]
    SeveralOrganizations,
    #[error("no certificate is made for group system:masters")]
    Masters,
    #[error("a client certificate may not name addresses or other identities")]
    NamesInClient,
    #[error("a serving certificate must name a DNS name or an address")]
    NoNames,
    #[error("a serving certificate may name DNS names and addresses only")]
    OtherNames,
    #[error("usages did not match: {found}")]
    Usages {
        /// What was asked for.
        found: String,
    },
}

/// What to do about a request that nobody has decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Not for us: a person may decide.
    Leave,
    /// What it names is not known yet; look again.
    Wait,
    /// Approve it, with this message.
    Approve(&'static str),
    /// Approve it with the message of the first of these that the requester may do.
    Review(&'static [Review]),
}

/// A question to the authorizer, and what to say after a yes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Review {
    pub(super) subresource: &'static str,
    pub(super) message: &'static str,
}

static FIRST: [Review; 1] = [Review {
    subresource: "nodeclient",
    message: "Auto approving kubelet client certificate after SubjectAccessReview.",
}];

static RENEWAL: [Review; 2] = [
    Review {
        subresource: "selfnodeclient",
        message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
    },
    Review {
        subresource: "nodeclient",
        message: "Auto approving kubelet client certificate after SubjectAccessReview.",
    },
];

impl Asked {
    /// Reads the PEM text of a request.
    pub(super) fn read(pem: &[u8]) -> Result<Self, BadForm> {
        let unreadable = |error: &dyn std::fmt::Display| BadForm::Unreadable(error.to_string());
        let (_, block) = x509_parser::pem::parse_x509_pem(pem).map_err(|e| unreadable(&e))?;
        let (_, request) = X509CertificationRequest::from_der(&block.contents).map_err(|e| unreadable(&e))?;
        let subject = &request.certification_request_info.subject;
        let text =
            |name: &x509_parser::x509::AttributeTypeAndValue<'_>| name.as_str().map(str::to_string).ok();
        let mut asked = Self {
            common_name: subject.iter_common_name().filter_map(text).last().unwrap_or_default(),
            organizations: subject.iter_organization().filter_map(text).collect(),
            ..Self::default()
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(names) = extension {
                names.general_names.iter().for_each(|name| asked.add(name));
            }
        }
        Ok(asked)
    }

    fn add(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(name) => {
                self.dns_names.insert((*name).to_string());
            }
            GeneralName::IPAddress(bytes) => match address(bytes) {
                Some(address) => {
                    self.addresses.insert(address);
                }
                None => self.other_names += 1,
            },
            _ => self.other_names += 1,
        }
    }

    /// The name of the node that it is for, if it is for one.
    fn node_name(&self) -> Option<&str> {
        self.common_name.strip_prefix(NODE_USER_PREFIX).filter(|name| !name.is_empty())
    }

    fn has_names(&self) -> bool {
        !self.dns_names.is_empty() || !self.addresses.is_empty()
    }
}

/// Judges a request that nobody has decided on.
pub(super) fn judge(spec: &CertificateSigningRequestSpec, asked: &Asked, nodes: &[Arc<Node>]) -> Answer {
    if check_form(spec, asked).is_err() {
        return Answer::Leave;
    }
    let is_own = spec.username.as_deref() == Some(asked.common_name.as_str());
    match spec.signer_name.as_str() {
        NODE_CLIENT if is_own => Answer::Review(&RENEWAL),
        NODE_CLIENT => Answer::Review(&FIRST),
        NODE_SERVING if is_own && is_in(spec, NODES_GROUP) => serving(asked, nodes),
        _ => Answer::Leave,
    }
}

fn is_in(spec: &CertificateSigningRequestSpec, group: &str) -> bool {
    spec.groups.iter().flatten().any(|is| is == group)
}

/// A node may serve under its own name and addresses.
fn serving(asked: &Asked, nodes: &[Arc<Node>]) -> Answer {
    const MESSAGE: &str = "Auto approving kubelet serving certificate for the node's own addresses.";
    let Some(name) = asked.node_name() else { return Answer::Leave };
    let is_it = |node: &Node| node.metadata.name.as_deref() == Some(name);
    let own = nodes.iter().find(|node| is_it(node));
    let of_others = nodes.iter().filter(|node| !is_it(node)).flat_map(|node| addresses(node));
    if of_others.into_iter().any(|taken| names(asked, &taken.address)) {
        return Answer::Leave;
    }
    let allowed: BTreeSet<&str> = match own {
        // Before it registers a node has no addresses that could be compared; its name is what its client certificate says.
        None => asked.dns_names.iter().map(String::as_str).filter(|asked| *asked == name).collect(),
        Some(node) => addresses(node).map(|address| address.address.as_str()).chain([name]).collect(),
    };
    let dns_fit = asked.dns_names.iter().all(|dns| allowed.contains(dns.as_str()));
    let addresses_fit =
        own.is_none() || asked.addresses.iter().all(|ip| allowed.contains(ip.to_string().as_str()));
    let has_addresses = own.is_none_or(|node| addresses(node).next().is_some());
    match (dns_fit && addresses_fit, has_addresses) {
        (true, _) => Answer::Approve(MESSAGE),
        (false, false) => Answer::Wait,
        (false, true) => Answer::Leave,
    }
}

fn names(asked: &Asked, address: &str) -> bool {
    asked.dns_names.contains(address) || address.parse().is_ok_and(|ip: IpAddr| asked.addresses.contains(&ip))
}

fn addresses(node: &Node) -> impl Iterator<Item = &NodeAddress> {
    node.status.iter().flat_map(|status| status.addresses.iter().flatten())
}

/// Whether we sign for this signer.
pub(super) fn is_signed_here(signer: &str) -> bool {
    matches!(signer, NODE_CLIENT | NODE_SERVING | CLIENT)
}

/// Whether the request has the form that its signer demands. A signer that we do not know demands nothing here.
pub(super) fn check_form(spec: &CertificateSigningRequestSpec, asked: &Asked) -> Result<(), BadForm> {
    let signer = spec.signer_name.as_str();
    if matches!(signer, NODE_CLIENT | NODE_SERVING) {
        check_node_subject(asked)?;
    }
    match signer {
        NODE_CLIENT => {
            no_names(asked)?;
            usages(spec, "client auth", &["digital signature", "key encipherment"])
        }
        CLIENT => {
            no_names(asked)?;
            general_subject(asked)?;
            usages(spec, "client auth", &["digital signature", "key encipherment"])
        }
        NODE_SERVING => {
            serving_names(asked)?;
            usages(spec, "server auth", &["digital signature", "key encipherment"])
        }
        _ => Ok(()),
    }
}

fn check_node_subject(asked: &Asked) -> Result<(), BadForm> {
    if asked.organizations != [NODES_GROUP] {
        return Err(BadForm::Organization);
    }
    asked.node_name().map(|_| ()).ok_or(BadForm::CommonName)
}

fn general_subject(asked: &Asked) -> Result<(), BadForm> {
    if asked.organizations.iter().any(|group| group == MASTERS_GROUP) {
        return Err(BadForm::Masters);
    }
    // The certificate library keeps only the last organization; better none than a wrong one.
    if asked.organizations.len() > 1 { Err(BadForm::SeveralOrganizations) } else { Ok(()) }
}

fn no_names(asked: &Asked) -> Result<(), BadForm> {
    if asked.has_names() || asked.other_names > 0 { Err(BadForm::NamesInClient) } else { Ok(()) }
}

fn serving_names(asked: &Asked) -> Result<(), BadForm> {
    match (asked.other_names, asked.has_names()) {
        (0, true) => Ok(()),
        (0, false) => Err(BadForm::NoNames),
        _ => Err(BadForm::OtherNames),
    }
}

fn usages(spec: &CertificateSigningRequestSpec, needed: &str, allowed: &[&str]) -> Result<(), BadForm> {
    let asked: Vec<&str> = spec.usages.iter().flatten().map(String::as_str).collect();
    let fits =
        asked.contains(&needed) && asked.iter().all(|usage| *usage == needed || allowed.contains(usage));
    if fits { Ok(()) } else { Err(BadForm::Usages { found: asked.join(", ") }) }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(signer: &str, user: &str, group: &str, usage: &str) -> CertificateSigningRequestSpec {
        serde_json::from_value(
            json!({"request": "", "signerName": signer, "username": user, "groups": [group],
            "usages": ["digital signature", usage]}),
        )
        .unwrap()
    }

    fn asked(names: &[&str]) -> Asked {
        let mut asked = Asked {
            common_name: "system:node:n1".into(),
            organizations: vec!["system:nodes".into()],
            ..Asked::default()
        };
        for name in names {
            match name.parse() {
                Ok(ip) => asked.addresses.insert(ip),
                Err(_) => asked.dns_names.insert(name.to_string()),
            };
        }
        asked
    }

    fn node(name: &str, addresses: &[&str]) -> Arc<Node> {
        let addresses: Vec<_> =
            addresses.iter().map(|a| json!({"type": "InternalIP", "address": a})).collect();
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name}, "status": {"addresses": addresses}}))
                .unwrap(),
        )
    }

    #[test]
    fn client_certificates_are_left_to_the_authorizer() {
        let first = spec(NODE_CLIENT, "system:bootstrap:abc", "system:bootstrappers", "client auth");
        assert_eq!(judge(&first, &asked(&[]), &[]), Answer::Review(&FIRST));
        let renewal = spec(NODE_CLIENT, "system:node:n1", "system:nodes", "client auth");
        assert_eq!(judge(&renewal, &asked(&[]), &[]), Answer::Review(&RENEWAL));
        assert_eq!(judge(&first, &asked(&["10.0.0.1"]), &[]), Answer::Leave);
        let person = spec(CLIENT, "alice", "dev", "client auth");
        assert_eq!(judge(&person, &asked(&[]), &[]), Answer::Leave);
    }

    #[test]
    fn a_node_serves_under_its_own_names_only() {
        let own = spec(NODE_SERVING, "system:node:n1", "system:nodes", "server auth");
        let approved = |names: &[&str], nodes: &[Arc<Node>]| match judge(&own, &asked(names), nodes) {
            Answer::Approve(_) => "approve",
            Answer::Wait => "wait",
            Answer::Leave => "leave",
            Answer::Review(_) => "review",
        };
        let nodes = [node("n1", &["10.0.0.1"]), node("n2", &["10.0.0.2"])];
        type Case<'a> = (&'a [&'a str], &'a [Arc<Node>], &'a str);
        let cases: [Case<'_>; 9] = [
            (&["n1", "10.0.0.1"], &nodes, "approve"),
            (&["10.0.0.1"], &nodes, "approve"),
            (&["n1", "10.0.0.2"], &nodes, "leave"),
            (&["n1", "10.0.0.9"], &nodes, "leave"),
            (&["kubernetes"], &nodes, "leave"),
            (&[], &nodes, "leave"),
            // Not registered yet.
            (&["n1", "10.0.0.1"], &nodes[1..], "approve"),
            (&["n1", "10.0.0.2"], &nodes[1..], "leave"),
            // Registered, but without addresses yet.
            (&["n1", "10.0.0.1"], &[node("n1", &[])], "wait"),
        ];
        for (names, nodes, expected) in cases {
            assert_eq!(approved(names, nodes), expected, "{names:?}");
        }
        let other = spec(NODE_SERVING, "system:node:n2", "system:nodes", "server auth");
        assert_eq!(judge(&other, &asked(&["n1"]), &nodes), Answer::Leave);
        let outsider = spec(NODE_SERVING, "system:node:n1", "dev", "server auth");
        assert_eq!(judge(&outsider, &asked(&["n1"]), &nodes), Answer::Leave);
    }

    #[test]
    fn the_form_is_the_signers() {
        let node_client = |usage| spec(NODE_CLIENT, "u", "g", usage);
        let with = |change: fn(&mut Asked)| {
            let mut asked = asked(&[]);
            change(&mut asked);
            asked
        };
        let usages = || BadForm::Usages { found: "digital signature, server auth".into() };
        let cases = [
            (node_client("client auth"), asked(&[]), Ok(())),
            (node_client("server auth"), asked(&[]), Err(usages())),
            (node_client("client auth"), with(|a| a.organizations.clear()), Err(BadForm::Organization)),
            (
                node_client("client auth"),
                with(|a| a.organizations.push("x".into())),
                Err(BadForm::Organization),
            ),
            (node_client("client auth"), with(|a| a.common_name = "n1".into()), Err(BadForm::CommonName)),
            (node_client("client auth"), with(|a| a.other_names = 1), Err(BadForm::NamesInClient)),
            (spec(NODE_SERVING, "u", "g", "server auth"), asked(&[]), Err(BadForm::NoNames)),
            (
                spec(CLIENT, "u", "g", "client auth"),
                with(|a| a.organizations = vec!["system:masters".into()]),
                Err(BadForm::Masters),
            ),
            (spec("example.com/own", "u", "g", "any"), asked(&["x"]), Ok(())),
        ];
        for (spec, asked, expected) in cases {
            assert_eq!(check_form(&spec, &asked), expected, "{asked:?}");
        }
    }
}
