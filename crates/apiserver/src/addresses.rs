//! Which address does a service get? The first free one of the service range (wire 2.10.6).
//!
//! 1. Free is what no service has, and what nobody has claimed: a key in the store per address, written before the service
//!    and removed after it, so that two servers on one store never give the same.
//! 2. A claim without a service, which a crash leaves behind, is taken over after [`ORPHAN_AGE`].
//! 3. The `kubernetes` service has the first address of all, which nobody else is given, and needs no claim.
//!
//! Differs: nothing forwards these addresses yet; they exist so that clients see what they expect.
//! Kubernetes: `registry/core/service/ipallocator`, where a claim is an IPAddress object and a loop repairs them.

use crate::Inner;
use crate::error::{ApiError, FieldError};
use crate::resources::{Kind, find, services};
use crate::verbs::metadata::text;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use store::{Entry, Revision};

/// 10.96.0.0/16, the range that kubeadm takes.
const RANGE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 0);
/// Addresses in the range; the first and the last are not given out.
const SIZE: u32 = 1 << 16;
/// Where claims lie, one key per address.
const CLAIMS: &str = "/everynode/service-addresses/";
/// A claim that is older and has no service never gets one: no request takes so long. Kubernetes: `ipaddresses` repair.
const ORPHAN_AGE: SignedDuration = SignedDuration::from_secs(60);

/// The address of the `kubernetes` service.
pub const KUBERNETES: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// A claim as it was seen in the store.
#[derive(Debug, PartialEq)]
pub struct Claim {
    key: String,
    revision: Revision,
}

/// Gives a new service its address, or refuses one that is taken. What was claimed for it is to be released if the service
/// is not stored.
pub async fn assign(server: &Inner, service: &mut Value, dry_run: bool) -> Result<Option<Claim>, ApiError> {
    let spec = &service["spec"];
    let given = spec["clusterIP"].as_str().unwrap_or_default().to_string();
    if spec["type"] == "ExternalName" || given == "None" {
        if given == "None" {
            service["spec"]["clusterIPs"] = json!(["None"]);
        }
        return Ok(None);
    }
    server.consistent().await?;
    let mut taken = taken(server);
    loop {
        let address = choose(&given, &taken).map_err(|why| {
            let error = FieldError::invalid("spec.clusterIPs", json!([given]), why);
            ApiError::invalid("", "Service", text(service, "name"), &[error])
        })?;
        let claim = match dry_run || address == KUBERNETES.to_string() {
            true => None,
            false => match claim(server, &address).await? {
                Some(claim) => Some(claim),
                None => {
                    taken.insert(address);
                    continue;
                }
            },
        };
        service["spec"]["clusterIP"] = address.as_str().into();
        service["spec"]["clusterIPs"] = json!([address]);
        return Ok(claim);
    }
}

/// The claim of a service that is about to end, to be released when it has ended.
pub async fn held(server: &Inner, kind: &Kind, object: &Value) -> Option<Claim> {
    let address = object["spec"]["clusterIP"].as_str().filter(|_| is_service(kind))?;
    let entry = server.store.get(&key(address)).await.ok().flatten()?;
    Some(Claim { key: key(address), revision: entry.revision })
}

/// Gives an address back. What goes wrong here is cured by rule 2.
pub async fn release(server: &Inner, claim: Option<Claim>) {
    let Some(Claim { key, revision }) = claim else { return };
    if let Err(error) = server.store.delete(&key, revision).await {
        tracing::debug!(%key, error = &error as &dyn std::error::Error, "the address is not given back");
    }
}

/// Whether a kind's objects have such addresses.
pub fn is_service(kind: &Kind) -> bool {
    (kind.group, kind.plural) == (services::KIND.group, services::KIND.plural)
}

fn taken(server: &Inner) -> BTreeSet<String> {
    let services = find("", "v1", "services").map(|kind| server.cached(kind)).unwrap_or_default();
    services.iter().filter_map(|service| service["spec"]["clusterIP"].as_str().map(String::from)).collect()
}

/// None: somebody else has it.
async fn claim(server: &Inner, address: &str) -> Result<Option<Claim>, ApiError> {
    let key = key(address);
    let value = json!({"at": server.now().to_string()}).to_string();
    match server.store.create(&key, value.clone().into()).await {
        Ok(revision) => return Ok(Some(Claim { key, revision })),
        Err(store::Error::Exists { .. }) => {}
        Err(error) => return Err(server.store_error(error)),
    }
    let found = server.store.get(&key).await.map_err(|error| server.store_error(error))?;
    let Some(entry) = found.filter(|entry| is_old(entry, server.now())) else { return Ok(None) };
    // Its service may have come since the cache was asked.
    server.consistent().await?;
    if taken(server).contains(address) {
        return Ok(None);
    }
    match server.store.update(&key, value.into(), entry.revision).await {
        Ok(revision) => Ok(Some(Claim { key, revision })),
        Err(store::Error::Conflict { .. } | store::Error::Missing { .. }) => Ok(None),
        Err(error) => Err(server.store_error(error)),
    }
}

fn key(address: &str) -> String {
    format!("{CLAIMS}{address}")
}

/// A claim that cannot be read is nobody's.
fn is_old(entry: &Entry, now: Timestamp) -> bool {
    let said: Value = serde_json::from_slice(&entry.value).unwrap_or_default();
    let at = said["at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    at.is_none_or(|at| now.duration_since(at) > ORPHAN_AGE)
}

fn choose(given: &str, taken: &BTreeSet<String>) -> Result<String, String> {
    if !given.is_empty() {
        given.parse::<Ipv4Addr>().map_err(|_| "must be a valid IPv4 address".to_string())?;
        return match taken.contains(given) {
            true => Err("failed to allocate IP ".to_string() + given + ": provided IP is already allocated"),
            false => Ok(given.to_string()),
        };
    }
    let all = (2..SIZE - 1).map(|offset| Ipv4Addr::from(u32::from(RANGE) + offset).to_string());
    all.into_iter().find(|a| !taken.contains(a)).ok_or_else(|| "range is full".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_free_address_is_given_and_a_taken_one_refused() {
        let taken = BTreeSet::from(["10.96.0.2", "10.96.0.4"].map(String::from));
        assert_eq!(choose("", &taken), Ok("10.96.0.3".to_string()));
        assert_eq!(choose("10.96.0.9", &taken), Ok("10.96.0.9".to_string()));
        assert!(choose("10.96.0.4", &taken).unwrap_err().ends_with("already allocated"));
        assert!(choose("x", &taken).is_err());
    }

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
