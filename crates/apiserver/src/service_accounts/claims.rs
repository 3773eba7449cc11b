//! PURE. What a token says, and whether it says it to us and now (wire 7.4.3, 7.4.4).
//!
//! A token names its account and what it is bound to by name and uid; [`super::check`] looks whether they exist.
//! Kubernetes: `pkg/serviceaccount/claims.go`; its 1.33 form is a golden case in `tests`.

use super::{Issuer, user_name};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Clocks may differ, and a token may be on its way, by this many seconds. Kubernetes: go-jose's `DefaultLeeway`.
pub const LEEWAY: i64 = 60;
/// The life that admission asks for in every pod. Such a token lives a year, for programs that read it once, and says when
/// it should have been read again; it still ends with its pod. Kubernetes: `WarnOnlyBoundTokenExpirationPeriod`.
pub const POD_SECONDS: i64 = 3607;
/// Kubernetes: `ExpirationExtensionSeconds`.
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

/// What stands in a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// For whom.
    pub aud: Vec<String>,
    /// End of its life, seconds since 1970.
    pub exp: i64,
    /// When it was made.
    pub iat: i64,
    /// Who made it.
    pub iss: String,
    /// Its own name.
    #[serde(default)]
    pub jti: String,
    /// What it is bound to.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Bound,
    /// Start of its life.
    pub nbf: i64,
    /// Whose it is: a user name.
    pub sub: String,
}

/// The account and what else must exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Of the account, and of pod and secret.
    pub namespace: String,
    /// Where its pod was, or the node that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Named>,
    /// The pod that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Named>,
    /// The secret that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Named>,
    /// The account.
    pub serviceaccount: Named,
    /// From when on it should have been replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// An object, this one and no later one of its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Name.
    pub name: String,
    /// Uid; a node that was not found has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// Why a token is not believed: Kubernetes' words, for the log and for who reviews a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is nothing that we have signed.
    #[error("invalid bearer token")]
    Unknown,
    /// Its life is over.
    #[error("service account token has expired")]
    Expired,
    /// Its life has not begun.
    #[error("service account token is not valid yet")]
    NotYet,
    /// It comes from the future.
    #[error("service account token is issued in the future")]
    Future,
    /// It is for somebody else.
    #[error("token audiences {} is invalid for the target audiences {}", quoted(.has), quoted(.wanted))]
    Audience {
        /// Whom it is for.
        has: Vec<String>,
        /// Who we are.
        wanted: Vec<String>,
    },
    /// Something that it is bound to has gone.
    #[error("service account token has been invalidated")]
    Invalidated,
    /// The account has gone.
    #[error("serviceaccounts {name:?} not found")]
    NoAccount {
        /// Its name.
        name: String,
    },
    /// The account is ending.
    #[error("service account {namespace}/{name} has been deleted")]
    AccountDeleted {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Another object has the name now.
    #[error("{kind} UID ({is}) does not match {claim} ({claimed})")]
    OtherUid {
        /// `service account`, `pod`, `node` or `secret`.
        kind: &'static str,
        /// What the token says it in.
        claim: &'static str,
        /// Of the object.
        is: String,
        /// Of the token.
        claimed: String,
    },
    /// A secret's token is not the one that the secret holds now.
    #[error("service account token does not match the one in its secret")]
    Replaced,
}

/// As Go writes a list of texts with `%q`.
fn quoted(list: &[String]) -> String {
    let words: Vec<String> = list.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}

/// What a new token is to say.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The account and what else it is bound to.
    pub bound: Bound,
    /// For whom; never empty.
    pub audiences: Vec<String>,
    /// Its life.
    pub seconds: i64,
    /// Its own name.
    pub id: String,
}

impl Claims {
    /// The claims of a new token.
    pub fn new(issuer: &Issuer, wish: Wish, now: Timestamp) -> Self {
        let Wish { mut bound, audiences, seconds, id } = wish;
        let now = now.as_second();
        let ours = audiences.iter().all(|audience| issuer.audiences.contains(audience));
        let extended = bound.pod.is_some() && seconds == POD_SECONDS && ours;
        bound.warnafter = extended.then(|| now.saturating_add(POD_SECONDS));
        let life = if extended { EXTENDED_SECONDS } else { seconds };
        Self {
            aud: audiences,
            exp: now.saturating_add(life),
            iat: now,
            iss: issuer.url.clone(),
            jti: id,
            sub: user_name(&bound.namespace, &bound.serviceaccount.name),
            kubernetes: bound,
            nbf: now,
        }
    }

    /// Reads signed claims of this issuer.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] for any others.
    pub fn read(issuer: &Issuer, claims: Value) -> Result<Self, Refusal> {
        let claims: Self = serde_json::from_value(claims).map_err(|_| Refusal::Unknown)?;
        let account = &claims.kubernetes.serviceaccount.name;
        let own = claims.sub == user_name(&claims.kubernetes.namespace, account) && claims.iss == issuer.url;
        if own { Ok(claims) } else { Err(Refusal::Unknown) }
    }

    /// Those of `wanted` that the token is for, if it lives now.
    ///
    /// # Errors
    /// When it is for none of them, or not now.
    pub fn answer(&self, wanted: &[String], now: Timestamp) -> Result<Vec<String>, Refusal> {
        let common: Vec<String> = wanted.iter().filter(|word| self.aud.contains(word)).cloned().collect();
        if common.is_empty() {
            return Err(Refusal::Audience { has: self.aud.clone(), wanted: wanted.to_vec() });
        }
        let now = now.as_second();
        if now.saturating_sub(LEEWAY) > self.exp {
            return Err(Refusal::Expired);
        }
        let soon = now.saturating_add(LEEWAY);
        match (soon < self.nbf, soon < self.iat) {
            (true, _) => Err(Refusal::NotYet),
            (_, true) => Err(Refusal::Future),
            _ => Ok(common),
        }
    }
}
