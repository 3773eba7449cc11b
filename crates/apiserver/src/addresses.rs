//! Which address does a service get? The first free one of the service range (wire 2.10.6).
//!
//! Free is what no service has and nobody has claimed ([`crate::claims`]). The `kubernetes` service has the first address of
//! all, which nobody else is given, and needs no claim.
//!
//! Kubernetes: `registry/core/service/storage/alloc.go`, `ipallocator`. Differs: nothing forwards these addresses yet; they
//! exist so that clients see what they expect. An address out of the range is refused with the range in the message, as up
//! to 1.32 (and in dry runs of 1.33): there are no ServiceCIDR objects that would tell it.

use crate::Inner;
use crate::claims::{self, Claim};
use crate::error::{ApiError, FieldError};
use crate::node_ports;
use crate::resources::services::addresses::{default, needs_address, validate};
use crate::resources::{Kind, services};
use crate::verbs::metadata::text;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::Range;

/// 10.96.0.0/16, the range that kubeadm takes.
const RANGE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 0);
/// How many bits of it all addresses share.
const PREFIX: u32 = 16;
/// What of the range may be had: neither its first nor its last address.
const USABLE: Range<u32> = 1..(1 << (32 - PREFIX)) - 1;
/// Where claims lie, one key per address.
const CLAIMS: &str = "/everynode/service-addresses/";
/// The address of the `kubernetes` service.
pub const KUBERNETES: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// Gives a service its address, or refuses one that is taken. `old` is the service before, null if it is new: one that has an
/// address keeps it. What was claimed is to be released if the service is not stored.
pub async fn assign(
    server: &Inner,
    service: &mut Value,
    old: &Value,
    dry_run: bool,
) -> Result<Option<Claim>, ApiError> {
    let spec = &service["spec"];
    let given = spec["clusterIP"].as_str().unwrap_or_default().to_string();
    let has_one = old.is_object() && needs_address(&old["spec"]);
    if has_one || !needs_address(spec) || given == "None" {
        return Ok(None);
    }
    let errors = validate(spec);
    if !errors.is_empty() {
        return Err(ApiError::invalid("", "Service", text(service, "name"), &errors));
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
        default(&mut service["spec"]);
        return Ok(claim);
    }
}

/// The claims that a change of an object takes from it, to be released when it is stored: its address and ports of nodes.
/// `new` is null for its end.
pub async fn lost(server: &Inner, kind: &Kind, old: &Value, new: &Value) -> Vec<Claim> {
    if !is_service(kind) {
        return Vec::new();
    }
    let address = |service: &Value| service["spec"]["clusterIP"].as_str().map(String::from);
    let (was, is) = (address(old), address(new));
    let gone = was.filter(|was| is.as_ref() != Some(was)).map(|was| key(&was));
    claims::held(server, gone.into_iter().chain(node_ports::lost(old, new)).collect()).await
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
        let why = match given.parse::<Ipv4Addr>() {
            Ok(address) if !USABLE.contains(&u32::from(address).wrapping_sub(u32::from(RANGE))) => format!(
                "the provided IP ({given}) is not in the valid range. The range of valid IPs is {RANGE}/{PREFIX}"
            ),
            Ok(_) if !taken.contains(given) => return Ok(given.to_string()),
            Ok(_) => "provided IP is already allocated".to_string(),
            Err(_) => "must be a valid IPv4 address".to_string(),
        };
        return Err(format!("failed to allocate IP {given}: {why}"));
    }
    let all = USABLE.map(|offset| Ipv4Addr::from(u32::from(RANGE) + offset));
    let mut free = all.filter(|address| *address != KUBERNETES).map(|address| address.to_string());
    free.find(|address| !taken.contains(address)).ok_or_else(|| "range is full".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_free_address_of_the_range_is_given_and_others_refused() {
        let taken = BTreeSet::from(["10.96.0.2", "10.96.0.4"].map(String::from));
        let check = |given: &str, expected: Result<&str, &str>| {
            let expected =
                expected.map(String::from).map_err(|why| format!("failed to allocate IP {given}: {why}"));
            assert_eq!(choose(given, &taken), expected);
        };
        check("", Ok("10.96.0.3"));
        check("10.96.0.9", Ok("10.96.0.9"));
        check("10.96.255.254", Ok("10.96.255.254"));
        check("10.96.0.4", Err("provided IP is already allocated"));
        check("x", Err("must be a valid IPv4 address"));
        for outside in ["10.96.0.0", "10.96.255.255", "10.95.255.255", "10.97.0.0", "0.0.0.0", "192.168.1.1"]
        {
            let range = "The range of valid IPs is 10.96.0.0/16";
            check(outside, Err(&format!("the provided IP ({outside}) is not in the valid range. {range}")));
        }
    }
}
