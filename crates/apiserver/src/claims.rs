//! What only one object may have: a cluster address, a port of every node.
//!
//! 1. Each such thing has a key in the store, written before its object and removed after it, so that two servers on one store
//!    never give it twice. What an object had before there were claims is free of them, and the cache knows it.
//! 2. A claim without an object, which a crash leaves behind, is taken over after [`ORPHAN_AGE`].
//!
//! Kubernetes: `registry/core/service/ipallocator`, where a claim is an IPAddress object and a loop repairs them.

use crate::Inner;
use crate::error::ApiError;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::{Entry, Revision};

/// A claim that is older and has no object never gets one: no request takes so long. Kubernetes: `ipaddresses` repair.
const ORPHAN_AGE: SignedDuration = SignedDuration::from_secs(60);

/// A claim as it was seen in the store.
#[derive(Debug, PartialEq)]
pub struct Claim {
    key: String,
    revision: Revision,
}

/// Claims what lies at this key; none: somebody else has it. `is_free` asks the cache, after it has become consistent.
pub async fn claim(
    server: &Inner,
    key: String,
    is_free: impl Fn() -> bool,
) -> Result<Option<Claim>, ApiError> {
    let value = json!({"at": server.now().to_string()}).to_string();
    match server.store.create(&key, value.clone().into()).await {
        Ok(revision) => return Ok(Some(Claim { key, revision })),
        Err(store::Error::Exists { .. }) => {}
        Err(error) => return Err(server.store_error(error)),
    }
    let found = server.store.get(&key).await.map_err(|error| server.store_error(error))?;
    let Some(entry) = found.filter(|entry| is_old(entry, server.now())) else { return Ok(None) };
    // Its object may have come since the cache was asked.
    server.consistent().await?;
    if !is_free() {
        return Ok(None);
    }
    match server.store.update(&key, value.into(), entry.revision).await {
        Ok(revision) => Ok(Some(Claim { key, revision })),
        Err(store::Error::Conflict { .. } | store::Error::Missing { .. }) => Ok(None),
        Err(error) => Err(server.store_error(error)),
    }
}

/// The claims at these keys, to be released when their object has ended.
pub async fn held(server: &Inner, keys: Vec<String>) -> Vec<Claim> {
    let mut held = Vec::new();
    for key in keys {
        if let Ok(Some(entry)) = server.store.get(&key).await {
            held.push(Claim { key, revision: entry.revision });
        }
    }
    held
}

/// Gives back. What goes wrong here is cured by rule 2.
pub async fn release(server: &Inner, claims: Vec<Claim>) {
    for Claim { key, revision } in claims {
        if let Err(error) = server.store.delete(&key, revision).await {
            tracing::debug!(%key, error = &error as &dyn std::error::Error, "a claim is not given back");
        }
    }
}

/// A claim that cannot be read is nobody's.
fn is_old(entry: &Entry, now: Timestamp) -> bool {
    let said: Value = serde_json::from_slice(&entry.value).unwrap_or_default();
    let at = said["at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    at.is_none_or(|at| now.duration_since(at) > ORPHAN_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_old_after_a_minute() {
        let check = |value: &'static str, expected: bool| {
            let entry = Entry { key: "k".into(), value: value.into(), revision: 1, created: 1 };
            assert_eq!(is_old(&entry, "2026-01-01T00:01:01Z".parse().unwrap()), expected, "{value}");
        };
        check(r#"{"at": "2026-01-01T00:00:00Z"}"#, true);
        check(r#"{"at": "2026-01-01T00:00:02Z"}"#, false);
        check("broken", true);
    }
}
