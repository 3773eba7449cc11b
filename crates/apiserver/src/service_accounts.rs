//! Tokens of service accounts: who issues them, what they say, and when one is believed (wire 7.4).
//!
//! [`keys`] sign and check, [`claims`] are what a token says, [`check`] looks whether all that it names still exists,
//! [`request`] answers `serviceaccounts/NAME/token`, [`discovery`] tells the world which keys are ours. A server without
//! an [`Issuer`] has no such subresource, believes no such token, and gives pods none.
//!
//! Kubernetes: `pkg/serviceaccount`, `registry/core/serviceaccount/storage/token.go`.

pub(crate) mod check;
pub(crate) mod claims;
pub(crate) mod discovery;
pub mod keys;
mod legacy;
pub(crate) mod request;
pub(crate) mod signed;

pub use keys::{KeyError, Keys};

/// The issuer that kubeadm gives a cluster; what a pod's token says unless an operator chose another.
pub const DEFAULT_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Start of a service account's user name.
const USER: &str = "system:serviceaccount:";

/// Who issues tokens here, and for whom.
#[derive(Debug)]
pub struct Issuer {
    /// `iss` of new tokens; a token of another issuer is not believed.
    pub url: String,
    /// Whom a token is for that does not say it; a token for none of these opens nothing here.
    pub audiences: Vec<String>,
    /// What signs, and what is believed.
    pub keys: Keys,
}

impl Issuer {
    /// An issuer whose tokens are for this server.
    pub fn new(url: impl Into<String>, keys: Keys) -> Self {
        let url = url.into();
        Self { audiences: vec![url.clone()], url, keys }
    }
}

/// The user of a service account.
pub fn user_name(namespace: &str, name: &str) -> String {
    format!("{USER}{namespace}:{name}")
}

/// The groups of a service account.
pub fn groups(namespace: &str) -> [String; 2] {
    ["system:serviceaccounts".to_string(), format!("system:serviceaccounts:{namespace}")]
}

/// Namespace and name of a service account's user.
pub fn of_user(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix(USER)?.split_once(':')
}

#[cfg(test)]
mod tests;
