//! Which ports may a container have, and may they meet? (AP-41.)
//!
//! The same host port, protocol and address twice in a pod is an error here; between pods it is the scheduler's
//! question. Kubernetes: `core/validation.validateContainerPorts`, `AccumulateUniqueHostPorts`.

use super::{Place, Subject, uses_host_network};
use crate::error::FieldError;
use crate::resources::fields::{check, check_one_of, int, items, text};
use objects::name;
use serde_json::Value;
use std::collections::BTreeSet;

/// Transports, in the order that Kubernetes lists them.
pub const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// The ports of one container.
pub fn validate(errors: &mut Vec<FieldError>, container: &Value, path: &str) {
    let mut names = BTreeSet::new();
    for (index, port) in items(container, "ports").iter().enumerate() {
        let path = format!("{path}.ports[{index}]");
        validate_name(errors, &mut names, text(port, "name"), &path);
        match int(port, "containerPort").unwrap_or_default() {
            0 => errors.push(FieldError::required(format!("{path}.containerPort"), "")),
            number => check_port_number(errors, &format!("{path}.containerPort"), number),
        }
        if let Some(number) = int(port, "hostPort").filter(|number| *number != 0) {
            check_port_number(errors, &format!("{path}.hostPort"), number);
        }
        check_one_of(errors, &format!("{path}.protocol"), &port["protocol"], PROTOCOLS);
    }
}

fn validate_name<'a>(errors: &mut Vec<FieldError>, names: &mut BTreeSet<&'a str>, name: &'a str, path: &str) {
    let field = format!("{path}.name");
    match name::port_name(name) {
        _ if name.is_empty() => {}
        Err(texts) => check(errors, &field, name, Err(texts)),
        Ok(()) if !names.insert(name) => errors.push(FieldError::duplicate(field, name)),
        Ok(()) => {}
    }
}

/// A port number.
pub fn check_port_number(errors: &mut Vec<FieldError>, path: &str, number: i64) {
    if !(1..=65535).contains(&number) {
        errors.push(FieldError::invalid(path, number, "must be between 1 and 65535, inclusive"));
    }
}

/// A port by number or by name.
pub fn check_port(errors: &mut Vec<FieldError>, port: &Value, path: &str) {
    match port {
        Value::String(name) => check(errors, path, name, name::port_name(name)),
        port => check_port_number(errors, path, port.as_i64().unwrap_or_default()),
    }
}

/// No host port stands twice in these containers.
pub fn check_unique_host_ports(errors: &mut Vec<FieldError>, containers: &[Value], path: &str) {
    let mut seen = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        for (number, port) in items(container, "ports").iter().enumerate() {
            let host = int(port, "hostPort").unwrap_or_default();
            if host == 0 {
                continue;
            }
            let key = format!("{}/{}/{host}", text(port, "protocol"), text(port, "hostIP"));
            if !seen.insert(key.clone()) {
                errors.push(FieldError::duplicate(format!("{path}[{index}].ports[{number}].hostPort"), key));
            }
        }
    }
}

/// On the node's own network a port is what it is: a host port that differs is a mistake.
pub fn validate_host_network(errors: &mut Vec<FieldError>, subject: Subject<'_>) {
    if !uses_host_network(subject.spec) {
        return;
    }
    for (index, container) in items(subject.spec, "containers").iter().enumerate() {
        for (number, port) in items(container, "ports").iter().enumerate() {
            let host = int(port, "hostPort").unwrap_or_default();
            let matters = subject.place == Place::Pod || host != 0;
            if matters && host != int(port, "containerPort").unwrap_or_default() {
                let path = format!("{}.containers[{index}].ports[{number}].hostPort", subject.path);
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(path, host, detail));
            }
        }
    }
}
