//! Whose token is this, and does everything that it names still exist (wire 7.4.4)?
//!
//! Read from the store with every request: a token ends in the moment in which its pod or its account does, give or take
//! [`LEEWAY`]. Kubernetes: `pkg/serviceaccount/claims.go` `Validate`.

use super::claims::{Bound, Claims, LEEWAY, Named, Refusal};
use super::{Issuer, groups, legacy, signed, user_name};
use crate::Inner;
use crate::authn::User;
use crate::error::ApiError;
use crate::resources::{Kind, nodes, pods, secrets, serviceaccounts};
use crate::verbs::metadata::text;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::BTreeMap;

/// Prefix of what a token adds to its user.
const EXTRA: &str = "authentication.kubernetes.io";

/// Who shows a token, and for which of the asked audiences it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// The service account, as a user.
    pub user: User,
    /// What token and question have in common.
    pub audiences: Vec<String>,
}

/// Why there is no user.
#[derive(Debug, thiserror::Error)]
pub enum NoUser {
    /// The token is not believed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nobody knows: the store cannot be read.
    #[error("the token cannot be checked: {0}")]
    Failed(ApiError),
}

/// The user of a token for one of these audiences.
///
/// # Errors
/// See [`NoUser`].
pub async fn user(
    server: &Inner,
    issuer: &Issuer,
    token: &str,
    audiences: &[String],
) -> Result<Known, NoUser> {
    let claims = signed::open(&issuer.keys, token).ok_or(Refusal::Unknown)?;
    if let Some(legacy) = legacy::Claims::read(&claims) {
        return legacy::user(server, issuer, &legacy, token, audiences).await;
    }
    let claims = Claims::read(issuer, claims)?;
    let now = server.now();
    let audiences = claims.answer(audiences, now)?;
    exist(server, &claims.kubernetes, now).await?;
    Ok(Known { user: described(&claims), audiences })
}

/// Whether the account and what else the token is bound to are there.
async fn exist(server: &Inner, bound: &Bound, now: Timestamp) -> Result<(), NoUser> {
    let namespace = bound.namespace.as_str();
    account(server, namespace, &bound.serviceaccount, now).await?;
    let mut wanted: Vec<(&Kind, &str, &Option<Named>, [&'static str; 2])> = vec![
        (&secrets::KIND, namespace, &bound.secret, ["secret", "service account secret ref claim"]),
        (&pods::KIND, namespace, &bound.pod, ["pod", "service account pod ref claim"]),
    ];
    // Beside a pod the node only says where that was.
    if bound.pod.is_none() {
        wanted.push((&nodes::KIND, "", &bound.node, ["node", "service account node ref claim"]));
    }
    for (of, namespace, named, [kind, claim]) in wanted {
        let Some(Named { name, uid }) = named else { continue };
        let found = read(server, of, namespace, name).await?.ok_or(Refusal::Invalidated)?;
        if has_ended(&found, now) {
            return Err(Refusal::Invalidated.into());
        }
        let is = text(&found, "uid");
        if is != uid {
            let (is, claimed) = (is.to_string(), uid.clone());
            return Err(Refusal::OtherUid { kind, claim, is, claimed }.into());
        }
    }
    Ok(())
}

/// The account of a token, if it is still the same.
pub(super) async fn account(
    server: &Inner,
    namespace: &str,
    account: &Named,
    now: Timestamp,
) -> Result<Value, NoUser> {
    let Named { name, uid } = account;
    let found = read(server, &serviceaccounts::KIND, namespace, name).await?;
    let found = found.ok_or_else(|| Refusal::NoAccount { name: name.clone() })?;
    if has_ended(&found, now) {
        let (namespace, name) = (namespace.to_string(), name.clone());
        return Err(Refusal::AccountDeleted { namespace, name }.into());
    }
    let is = text(&found, "uid");
    if is != uid {
        let (is, claimed) = (is.to_string(), uid.clone());
        return Err(Refusal::OtherUid { kind: "service account", claim: "claim", is, claimed }.into());
    }
    Ok(found)
}

/// The object, or none.
pub(super) async fn read(
    server: &Inner,
    kind: &Kind,
    namespace: &str,
    name: &str,
) -> Result<Option<Value>, NoUser> {
    let found = server.read(kind, namespace, name).await.map_err(NoUser::Failed)?;
    Ok(found.map(|(object, _)| object))
}

/// Whether an object's end lies further back than clocks may differ. A pod's end is that of its grace period.
pub(super) fn has_ended(object: &Value, now: Timestamp) -> bool {
    let end = text(object, "deletionTimestamp").parse::<Timestamp>().ok();
    end.is_some_and(|end| now.duration_since(end) > SignedDuration::from_secs(LEEWAY))
}

/// The user that the claims describe.
fn described(claims: &Claims) -> User {
    let Bound { namespace, node, pod, serviceaccount, .. } = &claims.kubernetes;
    let mut extra = BTreeMap::new();
    let mut say = |key: &str, value: &str| {
        if !value.is_empty() {
            extra.insert(format!("{EXTRA}/{key}"), vec![value.to_string()]);
        }
    };
    if !claims.jti.is_empty() {
        say("credential-id", &format!("JTI={}", claims.jti));
    }
    for (named, name, uid) in [(pod, "pod-name", "pod-uid"), (node, "node-name", "node-uid")] {
        if let Some(named) = named {
            say(name, &named.name);
            say(uid, &named.uid);
        }
    }
    let name = user_name(namespace, &serviceaccount.name);
    User { uid: serviceaccount.uid.clone(), extra, ..User::authenticated(name, groups(namespace)) }
}
