//! EndpointSlices: the addresses behind a Service, in pieces. Written by the loops, users and foreign controllers.
//!
//! Generation rises with everything but metadata, and with labels (2.3.1). The address family never changes.
//! Kubernetes: `registry/discovery/endpointslice/strategy.go`, `apis/discovery/validation`.

use super::cells::{self, AGE, NAME, column};
use super::fields::{
    check_immutable, check_optional_one_of, check_subdomain, fill_absent, int, items, items_mut,
    raise_generation, text, texts,
};
use super::{Column, Kind, ORDINARY, PLAIN, Row, Rules, Traits};
use crate::error::FieldError;
use crate::resources::endpoints::check_address;
use crate::resources::labels;
use crate::resources::pod_template::ports::PROTOCOLS;
use crate::verbs::same::same;
use jiff::Timestamp;
use serde_json::Value;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The kind.
pub const KIND: Kind = Kind {
    group: "discovery.k8s.io",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    traits: Traits { has_generation: true, ..PLAIN },
    rules: super::Rulebook::Fixed(&EndpointSlices),
    ..ORDINARY
};

/// Most addresses of one endpoint.
const ADDRESSES_MAX: usize = 100;

struct EndpointSlices;

impl Rules for EndpointSlices {
    fn default(&self, object: &mut Value) {
        for port in items_mut(object, "ports") {
            fill_absent(port, "name", "");
            fill_absent(port, "protocol", "TCP");
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        let changed =
            ["addressType", "endpoints", "ports"].iter().any(|field| !same(&new[field], &old[field]))
                || labels::map(&new["metadata"], "labels") != labels::map(&old["metadata"], "labels");
        if changed {
            raise_generation(new, old);
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let family = text(object, "addressType");
        match family {
            "" => errors.push(FieldError::required("addressType", "")),
            "IPv4" | "IPv6" | "FQDN" => {}
            other => {
                errors.push(FieldError::not_supported("addressType", other, &["FQDN", "IPv4", "IPv6"]));
            }
        }
        for (index, endpoint) in items(object, "endpoints").iter().enumerate() {
            validate_endpoint(&mut errors, endpoint, family, &format!("endpoints[{index}]"));
        }
        for (index, port) in items(object, "ports").iter().enumerate() {
            let path = format!("ports[{index}].protocol");
            check_optional_one_of(&mut errors, &path, &port["protocol"], PROTOCOLS);
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(new);
        check_immutable(&mut errors, &new["addressType"], &old["addressType"], "addressType");
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            column("AddressType", "The type of address carried by this slice."),
            column("Ports", "The ports exposed by each endpoint in this slice."),
            column("Endpoints", "The unique endpoints in this slice."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        const UNSET: &str = "<unset>";
        let ports: Vec<String> = items(object, "ports").iter().map(port).collect();
        let endpoints = items(object, "endpoints").iter().flat_map(|endpoint| texts(endpoint, "addresses"));
        let endpoints: Vec<String> = endpoints.map(String::from).collect();
        cells::row(vec![
            cells::name(object),
            text(object, "addressType").into(),
            cells::some_of(&ports, UNSET).into(),
            cells::some_of(&endpoints, UNSET).into(),
            cells::age(object, now),
        ])
    }
}

fn validate_endpoint(errors: &mut Vec<FieldError>, endpoint: &Value, family: &str, path: &str) {
    let addresses = texts(endpoint, "addresses");
    if addresses.is_empty() {
        errors.push(FieldError::required(format!("{path}.addresses"), "must contain at least 1 address"));
    }
    if addresses.len() > ADDRESSES_MAX {
        errors.push(FieldError::too_many(format!("{path}.addresses"), addresses.len(), ADDRESSES_MAX));
    }
    for (index, address) in addresses.into_iter().enumerate() {
        let path = format!("{path}.addresses[{index}]");
        match family {
            "IPv4" if address.parse::<Ipv4Addr>().is_err() => {
                errors.push(FieldError::invalid(path, address, "must be an IPv4 address"));
            }
            "IPv6" if address.parse::<Ipv6Addr>().is_err() => {
                errors.push(FieldError::invalid(path, address, "must be an IPv6 address"));
            }
            "IPv4" | "IPv6" => check_address(errors, address, &path),
            _ => check_subdomain(errors, &path, address),
        }
    }
}

fn port(port: &Value) -> String {
    match (int(port, "port"), text(port, "name")) {
        (Some(number), _) => number.to_string(),
        (None, "") => "*".to_string(),
        (None, name) => name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_show_ports_and_addresses() {
        let check = |object: Value, expected: Value| {
            assert_eq!(Value::Array(EndpointSlices.row(&object, Timestamp::UNIX_EPOCH).cells), expected);
        };
        check(json!({"addressType": "IPv4"}), json!(["", "IPv4", "<unset>", "<unset>", "<unknown>"]));
        let object = json!({"addressType": "IPv4", "ports": [{"port": 80}, {"name": "x"}, {}],
            "endpoints": [{"addresses": ["10.0.0.1", "10.0.0.2"]}]});
        check(object, json!(["", "IPv4", "80,x,*", "10.0.0.1,10.0.0.2", "<unknown>"]));
    }

    #[test]
    fn the_generation_rises_with_content_and_labels_only() {
        let old = json!({"metadata": {"generation": 4}, "endpoints": []});
        let check = |mut new: Value, expected: i64| {
            new["metadata"]["generation"] = json!(4);
            EndpointSlices.prepare_update(&mut new, &old);
            assert_eq!(new["metadata"]["generation"], expected, "{new}");
        };
        check(json!({}), 4);
        check(json!({"metadata": {"annotations": {"a": "b"}}}), 4);
        check(json!({"metadata": {"labels": {"a": "b"}}}), 5);
        check(json!({"endpoints": [{"addresses": ["10.0.0.1"]}]}), 5);
    }

    #[test]
    fn addresses_are_of_the_family() {
        let errors = EndpointSlices.validate_create(
            &json!({"addressType": "IPv4", "endpoints": [{"addresses": ["fd00::1", "10.0.0.1"]}, {}]}),
        );
        let fields: Vec<&str> = errors.iter().map(|e| e.field.as_str()).collect();
        assert_eq!(fields, ["endpoints[0].addresses[0]", "endpoints[1].addresses"]);
    }
}
