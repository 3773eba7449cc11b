//! Whose bearer token is this: a service account's, a joining node's, or nobody's (wire 7.1.2)?
//!
//! The form of a token says who is asked, so that a token is never shown to two. Join tokens and whatever else the
//! configuration knows are for this server itself.

use crate::Inner;
use crate::authn::{User, known};
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
    match (server.config.token_user)(token) {
        Some(user) if !audiences.is_empty() => Ok(Known { user: known(user), audiences }),
        Some(User { .. }) | None => Err(Refusal::Unknown.into()),
    }
}
