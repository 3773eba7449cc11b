//! What may a service say about its own address, and what becomes of it when the service changes (wire 2.10.6)?
//!
//! 1. `clusterIP` and `clusterIPs` say the same; families follow from the address. There is one family, IPv4.
//! 2. A writer that leaves the address out means the one that is there, as long as the type needs one.
//! 3. A type that needs no address loses what was given for the old one, but not what the writer changes in the same breath:
//!    that is refused.
//!
//! Which address is free is not known here: [`crate::addresses`]. Kubernetes: `registry/core/service/storage/storage.go`
//! (`normalizeClusterIPs`, `patchAllocatedValues`), `strategy.go` (`dropTypeDependentFields`),
//! `core/validation.ValidateServiceClusterIPsRelatedFields`.

use crate::error::FieldError;
use crate::resources::fields::{fill_absent, fill_zero, is_set, items, remove, set, text, texts};
use crate::resources::pod_template::dns::check_ip;
use serde_json::{Value, json};
use std::net::Ipv6Addr;

/// How many addresses a service may name, one of each family.
const MOST: usize = 2;
const NOT_HERE: &str = "may not be set for ExternalName services";

/// Whether a service of this type has an address in the cluster; `None` counts as one.
pub fn needs_address(spec: &Value) -> bool {
    text(spec, "type") != "ExternalName"
}

/// Rule 1, once an address is known.
pub fn default(spec: &mut Value) {
    let address = text(spec, "clusterIP").to_string();
    if address.is_empty() || !needs_address(spec) {
        return;
    }
    fill_absent(spec, "clusterIPs", json!([address]));
    fill_zero(spec, "ipFamilyPolicy", "SingleStack");
    let family = if address.contains(':') { "IPv6" } else { "IPv4" };
    fill_absent(spec, "ipFamilies", json!([family]));
}

/// Rules 2 and 3 for a service that is changed.
pub fn prepare_update(spec: &mut Value, old: &Value) {
    if needs_address(spec) && needs_address(old) {
        for field in ["clusterIP", "clusterIPs"] {
            if let Some(value) = old.get(field) {
                fill_zero(spec, field, value.clone());
            }
        }
    }
    if spec["clusterIP"] != old["clusterIP"] && spec["clusterIPs"] == old["clusterIPs"] {
        match text(spec, "clusterIP").to_string() {
            address if address.is_empty() => remove(spec, "clusterIPs"),
            address => set(spec, "clusterIPs", json!([address])),
        }
    }
    if !needs_address(spec) && needs_address(old) {
        if spec["clusterIPs"] == old["clusterIPs"] {
            remove(spec, "clusterIP");
        }
        for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if spec[field] == old[field] {
                remove(spec, field);
            }
        }
    }
}

/// What is wrong with the addresses that a service names.
pub fn validate(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !needs_address(spec) {
        for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            // Who names the address alone means the list.
            if is_set(spec, field) || field == "clusterIPs" && !text(spec, "clusterIP").is_empty() {
                errors.push(FieldError::forbidden(format!("spec.{field}"), NOT_HERE));
            }
        }
        return errors;
    }
    let (first, all) = (text(spec, "clusterIP"), texts(spec, "clusterIPs"));
    let invalid = |field: &str, why: &str| FieldError::invalid(field, json!(all), why);
    match all.first() {
        Some(_) if first.is_empty() => {
            errors.push(invalid("spec.clusterIPs", "must be empty when `clusterIP` is not specified"));
        }
        Some(other) if *other != first => {
            errors.push(invalid("spec.clusterIPs", "first value must match `clusterIP`"));
        }
        _ => {}
    }
    if all.first() == Some(&"None") {
        if all.len() > 1 {
            errors.push(invalid("spec.clusterIPs", "'None' must be the first and only value"));
        }
        if let kind @ ("NodePort" | "LoadBalancer") = text(spec, "type") {
            let why = format!("may not be set to 'None' for {kind} services");
            errors.push(FieldError::invalid("spec.clusterIPs[0]", "None", why));
        }
        return errors;
    }
    for (index, address) in all.iter().enumerate() {
        check_ip(&mut errors, address, &format!("spec.clusterIPs[{index}]"));
    }
    if errors.is_empty() {
        validate_families(&mut errors, &all, items(spec, "clusterIPs"));
    }
    errors
}

/// One address of a family that is served.
fn validate_families(errors: &mut Vec<FieldError>, all: &[&str], given: &[Value]) {
    let is_second_family = |address: &str| address.parse::<Ipv6Addr>().is_ok();
    if all.len() > MOST {
        errors.push(FieldError::invalid("spec.clusterIPs", json!(given), "may only hold up to 2 values"));
    }
    if all.iter().filter(|address| !is_second_family(address)).count() > 1 {
        let why = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid("spec.clusterIPs", json!(given), why));
    }
    for (index, _) in all.iter().enumerate().filter(|(_, address)| is_second_family(address)) {
        let why = "IPv6 is not configured on this cluster";
        errors.push(FieldError::invalid(format!("spec.clusterIPs[{index}]"), json!(given), why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_says_about_its_address_fits_together() {
        let check = |mut spec: Value, expected: &[&str]| {
            default(&mut spec);
            let said: Vec<String> =
                validate(&spec).iter().map(|error| format!("{}: {}", error.field, error.text())).collect();
            assert_eq!(said, expected, "{spec}");
        };
        check(json!({}), &[]);
        check(json!({"clusterIP": "None"}), &[]);
        check(json!({"clusterIP": "192.0.2.1"}), &[]);
        check(
            json!({"clusterIP": "x"}),
            &["spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or \
               2001:db8::ffff)"],
        );
        check(
            json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.8"]}),
            &["spec.clusterIPs: Invalid value: []string{\"10.96.0.8\"}: first value must match `clusterIP`"],
        );
        check(
            json!({"clusterIPs": ["10.96.0.8"]}),
            &[
                "spec.clusterIPs: Invalid value: []string{\"10.96.0.8\"}: must be empty when `clusterIP` is not \
               specified",
            ],
        );
        check(
            json!({"clusterIP": "fd00::1"}),
            &[
                "spec.clusterIPs[0]: Invalid value: []string{\"fd00::1\"}: IPv6 is not configured on this cluster",
            ],
        );
        check(
            json!({"clusterIP": "10.96.0.8", "clusterIPs": ["10.96.0.8", "10.96.0.9"]}),
            &[
                "spec.clusterIPs: Invalid value: []string{\"10.96.0.8\", \"10.96.0.9\"}: may specify no more than \
               one IP for each IP family",
            ],
        );
        check(
            json!({"clusterIP": "None", "type": "NodePort"}),
            &["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
        );
        check(
            json!({"clusterIP": "None", "type": "ExternalName", "ipFamilyPolicy": "SingleStack"}),
            &[
                "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
                "spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services",
            ],
        );
    }

    #[test]
    fn the_address_stays_as_long_as_the_type_needs_one() {
        let with = json!({"type": "ClusterIP", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"});
        let without = json!({"type": "ExternalName", "externalName": "example.com"});
        let check = |old: &Value, mut new: Value, expected: Value| {
            prepare_update(&mut new, old);
            assert_eq!(new, expected);
        };
        check(
            &with,
            json!({"type": "NodePort"}),
            json!({"type": "NodePort", "clusterIP": "10.96.0.9",
            "clusterIPs": ["10.96.0.9"]}),
        );
        // A writer that changes one of the two means both.
        check(
            &with,
            json!({"type": "ClusterIP", "clusterIP": "10.96.0.8", "clusterIPs": ["10.96.0.9"]}),
            json!({"type": "ClusterIP", "clusterIP": "10.96.0.8", "clusterIPs": ["10.96.0.8"]}),
        );
        let mut merged = with.clone();
        merged["type"] = json!("ExternalName");
        check(&with, merged.clone(), json!({"type": "ExternalName"}));
        // What the writer adds stays, and is refused.
        merged["clusterIP"] = json!("10.96.0.8");
        merged["clusterIPs"] = json!(["10.96.0.8"]);
        let kept = json!({"type": "ExternalName", "clusterIP": "10.96.0.8", "clusterIPs": ["10.96.0.8"]});
        check(&with, merged, kept);
        check(&without, json!({"type": "ClusterIP"}), json!({"type": "ClusterIP"}));
    }
}
