//! Where etcd is, whom to believe and who we are; refused at the door when it is not safe.

use std::net::IpAddr;
use std::sync::Arc;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// The prefix below which a store's keys stand unless another is given.
pub const PREFIX: &str = "/everynode";

/// How an etcd cluster is reached.
#[derive(Clone)]
pub struct Options {
    /// `https://host:port` of each member that may be asked; plain `http` only on this machine.
    pub endpoints: Vec<String>,
    /// What all our keys begin with; two clusters on one etcd have two.
    pub prefix: String,
    /// For `https`.
    pub tls: Option<Tls>,
    /// A user of etcd, where certificates do not say who we are.
    pub login: Option<Login>,
}

/// Certificates, PEM.
#[derive(Clone)]
pub struct Tls {
    /// Who signs the members' certificates.
    pub ca_pem: String,
    /// Our certificate and its key.
    pub identity: Option<(String, String)>,
}

/// A name and a password.
#[derive(Clone)]
pub struct Login {
    /// The name.
    pub user: String,
    /// Never printed.
    pub password: String,
}

/// Why there is no store in etcd.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No address at all.
    #[error("no etcd endpoint is named: give https://HOST:PORT, several with commas")]
    NoEndpoint,
    /// Not an address.
    #[error("{url:?} is not the address of an etcd member, such as https://10.0.0.1:2379")]
    Url {
        /// What was given.
        url: String,
    },
    /// Everybody on the way could read and change everything.
    #[error("{url}: without TLS only an etcd on this machine is spoken to (127.0.0.1, ::1): use https")]
    PlainHttp {
        /// The member.
        url: String,
    },
    /// `https` without anybody to believe.
    #[error("{url}: name the CA that signs etcd's certificates")]
    NoAuthority {
        /// The member.
        url: String,
    },
    /// The certificates cannot be used.
    #[error("the certificates for etcd cannot be used")]
    Tls(#[from] tonic::transport::Error),
    /// No member answered.
    #[error("etcd cannot be used: {0}")]
    NoAnswer(crate::Error),
    /// Something else stands there.
    #[error("the etcd keys below {prefix:?} are not a store of everynode: choose another prefix")]
    Foreign {
        /// The prefix.
        prefix: String,
    },
    /// Written by a version with another layout.
    #[error(
        "the etcd keys below {prefix:?} are written in {found:?}, this version reads {known:?}: start the version \
         that wrote them, or choose another prefix"
    )]
    Format {
        /// The prefix.
        prefix: String,
        /// What stands there.
        found: String,
        /// What we know.
        known: &'static str,
    },
}

impl Options {
    /// Refuses what can be seen to be wrong without asking anybody.
    pub(super) fn check(&self) -> Result<(), OpenError> {
        if self.endpoints.is_empty() {
            return Err(OpenError::NoEndpoint);
        }
        self.endpoints.iter().try_for_each(|url| self.check_url(url))
    }

    fn check_url(&self, url: &str) -> Result<(), OpenError> {
        let named = || OpenError::Url { url: url.into() };
        let uri: http::Uri = url.parse().map_err(|_| named())?;
        let host = uri.host().ok_or_else(named)?;
        match uri.scheme_str() {
            _ if uri.path().len() > 1 || uri.query().is_some() => Err(named()),
            Some("https") if self.tls.is_none() => Err(OpenError::NoAuthority { url: url.into() }),
            Some("https") => Ok(()),
            Some("http") if is_loopback(host) => Ok(()),
            Some("http") => Err(OpenError::PlainHttp { url: url.into() }),
            _ => Err(named()),
        }
    }

    pub(super) fn tls_config(&self) -> Option<ClientTlsConfig> {
        let tls = self.tls.as_ref()?;
        let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.ca_pem));
        Some(match &tls.identity {
            Some((certificate, key)) => config.identity(Identity::from_pem(certificate, key)),
            None => config,
        })
    }

    /// The members, for messages.
    pub(super) fn place(&self) -> Arc<str> {
        self.endpoints.join(",").into()
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let user = self.login.as_ref().map(|login| &login.user);
        f.debug_struct("Options")
            .field("endpoints", &self.endpoints)
            .field("prefix", &self.prefix)
            .field("user", &user)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str, tls: bool) -> Option<String> {
        let tls = tls.then(|| Tls { ca_pem: String::new(), identity: None });
        let options = Options { endpoints: vec![url.into()], prefix: PREFIX.into(), tls, login: None };
        options.check().err().map(|error| error.to_string())
    }

    #[test]
    fn only_what_is_encrypted_or_stays_on_the_machine_is_spoken_to() {
        for url in ["http://127.0.0.1:2379", "http://[::1]:2379", "http://localhost:2379"] {
            assert_eq!(refusal(url, false), None, "{url}");
        }
        assert_eq!(refusal("https://etcd.example.org:2379", true), None);
        let check = |url: &str, expected: &str| {
            let text = refusal(url, false).unwrap_or_default();
            assert!(text.contains(expected) && text.contains(url), "{text}");
        };
        check("http://10.0.0.1:2379", "use https");
        check("http://127.0.0.1.example.org:2379", "use https");
        check("https://10.0.0.1:2379", "name the CA");
        check("10.0.0.1:2379", "is not the address");
        check("ftp://10.0.0.1", "is not the address");
        check("http://127.0.0.1:2379/path", "is not the address");
    }
}
