//! Which address does a service get? The first free one of the service range (wire 2.10.6).
//!
//! The `kubernetes` service has the first address of all. The caller holds the lock over choosing and storing.
//! Differs: nothing forwards these addresses yet; they exist so that clients see what they expect.

use crate::Inner;
use crate::error::{ApiError, FieldError};
use crate::resources::find;
use crate::verbs::metadata::text;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// 10.96.0.0/16, the range that kubeadm takes.
const RANGE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 0);
/// Addresses in the range; the first and the last are not given out.
const SIZE: u32 = 1 << 16;

/// The address of the `kubernetes` service.
pub const KUBERNETES: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// Gives a new service its address, or refuses one that is taken.
pub fn assign(server: &Inner, service: &mut Value) -> Result<(), ApiError> {
    let spec = &service["spec"];
    let given = spec["clusterIP"].as_str().unwrap_or_default().to_string();
    if spec["type"] == "ExternalName" || given == "None" {
        if given == "None" {
            service["spec"]["clusterIPs"] = json!(["None"]);
        }
        return Ok(());
    }
    let services = find("", "v1", "services").map(|kind| server.cached(kind)).unwrap_or_default();
    let taken: BTreeSet<&str> = services.iter().filter_map(|s| s["spec"]["clusterIP"].as_str()).collect();
    let address = choose(&given, &taken).map_err(|why| {
        let error = FieldError::invalid("spec.clusterIPs", json!([given]), why);
        ApiError::invalid("", "Service", text(service, "name"), &[error])
    })?;
    service["spec"]["clusterIP"] = address.as_str().into();
    service["spec"]["clusterIPs"] = json!([address]);
    Ok(())
}

fn choose(given: &str, taken: &BTreeSet<&str>) -> Result<String, String> {
    if !given.is_empty() {
        given.parse::<Ipv4Addr>().map_err(|_| "must be a valid IPv4 address".to_string())?;
        return match taken.contains(given) {
            true => Err("failed to allocate IP ".to_string() + given + ": provided IP is already allocated"),
            false => Ok(given.to_string()),
        };
    }
    let all = (2..SIZE - 1).map(|offset| Ipv4Addr::from(u32::from(RANGE) + offset).to_string());
    all.into_iter().find(|a| !taken.contains(a.as_str())).ok_or_else(|| "range is full".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_free_address_is_given_and_a_taken_one_refused() {
        let taken = BTreeSet::from(["10.96.0.2", "10.96.0.4"]);
        assert_eq!(choose("", &taken), Ok("10.96.0.3".to_string()));
        assert_eq!(choose("10.96.0.9", &taken), Ok("10.96.0.9".to_string()));
        assert!(choose("10.96.0.4", &taken).unwrap_err().ends_with("already allocated"));
        assert!(choose("x", &taken).is_err());
    }
}
