//! Tokens in Secrets of type `kubernetes.io/service-account-token`: they do not expire, and live as long as their Secret.
//!
//! A loop asks for one and writes it into the Secret. It is believed while the Secret holds this very token, and the
//! account is the one it was made for. Differs: when a token was used last is not written into its Secret.
//! Kubernetes: `pkg/serviceaccount/legacy.go`.

use super::check::{self, Known, NoUser};
use super::claims::{Named, Refusal};
use super::{Issuer, groups, signed, user_name};
use crate::Inner;
use crate::authn::User;
use crate::resources::secrets;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The issuer of these tokens, whatever the cluster's is.
const ISSUER: &str = "kubernetes/serviceaccount";

/// What stands in such a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    iss: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    uid: String,
    sub: String,
}

impl Claims {
    /// Claims of this kind, of our own making.
    pub fn read(claims: &Value) -> Option<Self> {
        let read: Self = Self::deserialize(claims).ok()?;
        let own = read.iss == ISSUER && read.sub == user_name(&read.namespace, &read.account);
        own.then_some(read)
    }
}

impl Issuer {
    /// The token for a Secret of this account; none if the system gives no chance for it.
    pub fn secret_token(&self, namespace: &str, account: &str, uid: &str, secret: &str) -> Option<String> {
        let claims = Claims {
            iss: ISSUER.to_string(),
            namespace: namespace.to_string(),
            secret: secret.to_string(),
            account: account.to_string(),
            uid: uid.to_string(),
            sub: user_name(namespace, account),
        };
        signed::sign(&self.keys, &serde_json::to_value(claims).ok()?)
    }
}

/// The user of such a token, if it is for one of these audiences: it is for the API server and nobody else.
pub(super) async fn user(
    server: &Inner,
    issuer: &Issuer,
    claims: &Claims,
    token: &str,
    audiences: &[String],
) -> Result<Known, NoUser> {
    let ours = &issuer.audiences;
    let common: Vec<String> = audiences.iter().filter(|word| ours.contains(word)).cloned().collect();
    if common.is_empty() {
        return Err(Refusal::Audience { has: ours.clone(), wanted: audiences.to_vec() }.into());
    }
    let Claims { namespace, account, uid, secret, .. } = claims;
    let found = check::read(server, &secrets::KIND, namespace, secret).await?.ok_or(Refusal::Invalidated)?;
    if check::has_ended(&found, server.now()) {
        return Err(Refusal::Invalidated.into());
    }
    let held = STANDARD.decode(found["data"]["token"].as_str().unwrap_or_default()).unwrap_or_default();
    if held != token.as_bytes() {
        return Err(Refusal::Replaced.into());
    }
    let named = Named { name: account.clone(), uid: uid.clone() };
    check::account(server, namespace, &named, server.now()).await?;
    let user = User::authenticated(user_name(namespace, account), groups(namespace));
    Ok(Known { user: User { uid: uid.clone(), ..user }, audiences: common })
}
