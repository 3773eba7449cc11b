//! Which address does a service get? The first free one of the service range (wire 2.10.6).
//!
//! Free is what no service has and nobody has claimed ([`crate::claims`]). The `kubernetes` service has the first address of
//! all, which nobody else is given, and needs no claim.
//! Differs: nothing forwards these addresses yet; they exist so that clients see what they expect.

use crate::Inner;
use crate::claims::{self, Claim};
use crate::error::{ApiError, FieldError};
use crate::node_ports;
use crate::resources::{Kind, services};
use crate::verbs::metadata::text;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// 10.96.0.0/16, the range that kubeadm takes.
const RANGE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 0);
/// Addresses in the range; the first and the last are not given out.
const SIZE: u32 = 1 << 16;
/// Where claims lie, one key per address.
const CLAIMS: &str = "/everynode/service-addresses/";
/// The address of the `kubernetes` service.
pub const KUBERNETES: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

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
            false => match claims::claim(server, key(&address), || !self::taken(server).contains(&address))
                .await?
            {
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

/// The claims of a service that is about to end, to be released when it has ended: its address and its ports of nodes.
pub async fn held(server: &Inner, kind: &Kind, object: &Value) -> Vec<Claim> {
    if !is_service(kind) {
        return Vec::new();
    }
    let address = object["spec"]["clusterIP"].as_str().map(key);
    claims::held(server, address.into_iter().chain(node_ports::lost(object, &Value::Null)).collect()).await
}

/// Whether a kind's objects have such addresses.
pub fn is_service(kind: &Kind) -> bool {
    (kind.group, kind.plural) == (services::KIND.group, services::KIND.plural)
}

fn taken(server: &Inner) -> BTreeSet<String> {
    let services = server.cached(&services::KIND);
    services.iter().filter_map(|service| service["spec"]["clusterIP"].as_str().map(String::from)).collect()
}

fn key(address: &str) -> String {
    format!("{CLAIMS}{address}")
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
}
