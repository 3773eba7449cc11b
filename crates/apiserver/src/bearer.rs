//! Whose bearer token is this: a service account's, a joining node's, or nobody's (wire 7.1.2)?
//!
//! The form of a token says who is asked. Bootstrap tokens, and whatever the configuration knows beside them, are for this
//! server itself.

use crate::Inner;
use crate::authn::{User, known};
use crate::bootstrap_tokens;
use crate::service_accounts::DEFAULT_ISSUER;
use crate::service_accounts::check::{self, Known, NoUser};
use crate::service_accounts::claims::Refusal;
use crate::service_accounts::signed;

/// Whom this server is to the tokens that it takes.
pub fn audiences(server: &Inner) -> Vec<String> {
    let own = || vec![DEFAULT_ISSUER.to_string()];
    server.config.issuer.as_ref().map_or_else(own, |issuer| issuer.audiences.clone())
}

/// The user of a token for one of these audiences.
///
/// # Errors
/// See [`NoUser`].
pub async fn user(server: &Inner, token: &str, wanted: &[String]) -> Result<Known, NoUser> {
    if let Some(issuer) = server.config.issuer.as_ref().filter(|_| signed::is_one(token)) {
        return check::user(server, issuer, token, wanted).await;
    }
    let ours = audiences(server);
    let audiences: Vec<String> = wanted.iter().filter(|word| ours.contains(word)).cloned().collect();
    let user = match bootstrap_tokens::user(server, token).await? {
        Some(user) => Some(user),
        None => (server.config.token_user)(token),
    };
    match user {
        Some(user) if !audiences.is_empty() => Ok(Known { user: known(user), audiences }),
        Some(User { .. }) | None => Err(Refusal::Unknown.into()),
    }
}
