//! Endpoints: the addresses behind a Service, in the old form. Written by the loop `endpoints`, users and leaders.
//!
//! Kubernetes: `core/validation.ValidateEndpoints`, `apis/core/v1/defaults.go`.

use super::cells::{self, AGE, NAME, column};
use super::fields::{check_one_of, fill_zero, int, is_set, items, items_mut, text};
use super::{Column, Kind, ORDINARY, PLAIN, Row, Rules, Traits};
use crate::error::FieldError;
use crate::resources::pod_template::ports::{PROTOCOLS, check_port_number};
use jiff::Timestamp;
use serde_json::Value;
use std::net::IpAddr;

/// The kind.
pub const KIND: Kind = Kind {
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    traits: Traits { create_on_update: true, ..PLAIN },
    rules: super::Rulebook::Fixed(&Endpoints),
    ..ORDINARY
};

struct Endpoints;

impl Rules for Endpoints {
    fn default(&self, object: &mut Value) {
        for subset in items_mut(object, "subsets") {
            for port in items_mut(subset, "ports") {
                fill_zero(port, "protocol", "TCP");
            }
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (index, subset) in items(object, "subsets").iter().enumerate() {
            validate_subset(&mut errors, subset, &format!("subsets[{index}]"));
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[NAME, column("Endpoints", "Ready addresses and their ports."), AGE];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        let endpoints = cells::some_of(&addresses(object), cells::NONE).into();
        cells::row(vec![cells::name(object), endpoints, cells::age(object, now)])
    }
}

fn validate_subset(errors: &mut Vec<FieldError>, subset: &Value, path: &str) {
    let ready = items(subset, "addresses");
    let not_ready = items(subset, "notReadyAddresses");
    if ready.is_empty() && not_ready.is_empty() {
        errors.push(FieldError::required(path, "must specify `addresses` or `notReadyAddresses`"));
    }
    for (list, addresses) in [("addresses", ready), ("notReadyAddresses", not_ready)] {
        for (index, address) in addresses.iter().enumerate() {
            check_address(errors, text(address, "ip"), &format!("{path}.{list}[{index}].ip"));
        }
    }
    let ports = items(subset, "ports");
    for (index, port) in ports.iter().enumerate() {
        let path = format!("{path}.ports[{index}]");
        if ports.len() > 1 && text(port, "name").is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        }
        check_port_number(errors, &format!("{path}.port"), int(port, "port").unwrap_or_default());
        check_one_of(errors, &format!("{path}.protocol"), &port["protocol"], PROTOCOLS);
    }
}

/// An address that other machines can reach. EndpointSlices obey the same rule.
pub fn check_address(errors: &mut Vec<FieldError>, address: &str, path: &str) {
    let Ok(parsed) = address.parse::<IpAddr>() else {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        return errors.push(FieldError::invalid(path, address, detail));
    };
    let link_local = match parsed {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let problem = match () {
        () if parsed.is_unspecified() => format!("may not be unspecified ({address})"),
        () if parsed.is_loopback() => "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_string(),
        () if link_local => "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_string(),
        () => return,
    };
    errors.push(FieldError::invalid(path, address, problem));
}

/// Ready addresses: ports outside, addresses inside (5.6).
fn addresses(object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for subset in items(object, "subsets") {
        let addresses = items(subset, "addresses").iter().map(|address| text(address, "ip"));
        if !is_set(subset, "ports") || items(subset, "ports").is_empty() {
            found.extend(addresses.clone().map(String::from));
        }
        for port in items(subset, "ports") {
            let port = int(port, "port").unwrap_or_default();
            found.extend(addresses.clone().map(|ip| join(ip, port)));
        }
    }
    found
}

fn join(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_cell_shows_three_ready_addresses() {
        let check = |subsets: Value, expected: &str| {
            let row =
                Endpoints.row(&json!({"metadata": {"name": "e"}, "subsets": subsets}), Timestamp::UNIX_EPOCH);
            assert_eq!(Value::Array(row.cells), json!(["e", expected, "<unknown>"]));
        };
        check(json!([]), "<none>");
        check(json!([{"addresses": [{"ip": "10.0.0.1"}]}]), "10.0.0.1");
        check(json!([{"notReadyAddresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]), "<none>");
        check(
            json!([{"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80}, {"port": 81}]}]),
            "10.0.0.1:80,[fd00::1]:80,10.0.0.1:81 + 1 more...",
        );
    }

    #[test]
    fn addresses_are_reachable_ones() {
        let check = |address: &str, expected: &[&str]| {
            let subset = json!({"addresses": [{"ip": address}], "ports": [{"port": 80, "protocol": "TCP"}]});
            let errors = Endpoints.validate_create(&json!({"subsets": [subset]}));
            let details: Vec<&str> = errors.iter().map(|e| e.detail.as_str()).collect();
            assert_eq!(details, expected, "{address}");
        };
        check("10.0.0.1", &[]);
        check("fd00::1", &[]);
        check("127.0.0.1", &["may not be in the loopback range (127.0.0.0/8, ::1/128)"]);
        check("169.254.1.1", &["may not be in the link-local range (169.254.0.0/16, fe80::/10)"]);
        check("0.0.0.0", &["may not be unspecified (0.0.0.0)"]);
        check("x", &["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]);
    }
}
