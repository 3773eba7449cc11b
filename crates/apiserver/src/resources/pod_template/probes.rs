//! Is this probe, or this lifecycle handler, something that a node can do?
//!
//! Exactly one way of asking; times are not negative; liveness and startup need one success. Kubernetes:
//! `core/validation.validateProbe`, `validateHandler`, `validateLifecycle`.

use super::ports::{check_port, check_port_number};
use crate::error::FieldError;
use crate::resources::fields::{check_not_negative, int, is_set, items, text};
use serde_json::Value;

const SCHEMES: &[&str] = &["HTTP", "HTTPS"];
const OF_PROBE: &[&str] = &["exec", "httpGet", "tcpSocket", "grpc"];
const OF_LIFECYCLE: &[&str] = &["exec", "httpGet", "tcpSocket", "sleep"];

/// Lifecycle and the three probes of a container.
pub fn validate_all(errors: &mut Vec<FieldError>, spec: &Value, container: &Value, path: &str) {
    let grace = int(spec, "terminationGracePeriodSeconds");
    for moment in ["postStart", "preStop"] {
        let handler = &container["lifecycle"][moment];
        if !handler.is_null() {
            validate_handler(errors, handler, OF_LIFECYCLE, grace, &format!("{path}.lifecycle.{moment}"));
        }
    }
    for kind in
        ["livenessProbe", "readinessProbe", "startupProbe"].into_iter().filter(|k| is_set(container, k))
    {
        validate_probe(errors, kind, &container[kind], grace, &format!("{path}.{kind}"));
    }
}

fn validate_probe(errors: &mut Vec<FieldError>, kind: &str, probe: &Value, grace: Option<i64>, path: &str) {
    validate_handler(errors, probe, OF_PROBE, grace, path);
    for field in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        check_not_negative(errors, probe, field, &format!("{path}.{field}"));
    }
    let own_grace = format!("{path}.terminationGracePeriodSeconds");
    let seconds = int(probe, "terminationGracePeriodSeconds");
    if let Some(seconds) = seconds.filter(|seconds| *seconds <= 0) {
        errors.push(FieldError::invalid(own_grace.as_str(), seconds, "must be greater than 0"));
    }
    match (kind, seconds) {
        ("readinessProbe", Some(seconds)) => {
            errors.push(FieldError::invalid(own_grace, seconds, "must not be set for readinessProbes"));
        }
        ("readinessProbe", None) => {}
        _ => {
            let successes = int(probe, "successThreshold").unwrap_or_default();
            if successes != 1 {
                errors.push(FieldError::invalid(format!("{path}.successThreshold"), successes, "must be 1"));
            }
        }
    }
}

fn validate_handler(
    errors: &mut Vec<FieldError>,
    handler: &Value,
    known: &[&str],
    grace: Option<i64>,
    path: &str,
) {
    let mut given = known.iter().filter(|way| is_set(handler, way));
    match given.next() {
        None => errors.push(FieldError::required(path, "must specify a handler type")),
        Some(way) => validate_way(errors, way, &handler[*way], grace, &format!("{path}.{way}")),
    }
    for more in given {
        errors.push(FieldError::forbidden(
            format!("{path}.{more}"),
            "may not specify more than 1 handler type",
        ));
    }
}

fn validate_way(errors: &mut Vec<FieldError>, way: &str, action: &Value, grace: Option<i64>, path: &str) {
    match way {
        "exec" if items(action, "command").is_empty() => {
            errors.push(FieldError::required(format!("{path}.command"), ""));
        }
        "httpGet" => validate_http(errors, action, path),
        "tcpSocket" => check_port(errors, &action["port"], &format!("{path}.port")),
        "grpc" => {
            check_port_number(errors, &format!("{path}.port"), int(action, "port").unwrap_or_default());
        }
        "sleep" => {
            let seconds = int(action, "seconds").unwrap_or_default();
            if let Some(grace) = grace.filter(|grace| !(0..=*grace).contains(&seconds)) {
                let detail =
                    format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                errors.push(FieldError::invalid(path, seconds, detail));
            }
        }
        _ => {}
    }
}

fn validate_http(errors: &mut Vec<FieldError>, get: &Value, path: &str) {
    const HEADER: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', \
         regex used for validation is '[-A-Za-z0-9]+')";
    if text(get, "path").is_empty() {
        errors.push(FieldError::required(format!("{path}.path"), ""));
    }
    check_port(errors, &get["port"], &format!("{path}.port"));
    if !SCHEMES.contains(&text(get, "scheme")) {
        errors.push(FieldError::not_supported(format!("{path}.scheme"), text(get, "scheme"), SCHEMES));
    }
    for header in items(get, "httpHeaders") {
        let name = text(header, "name");
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            errors.push(FieldError::invalid(format!("{path}.httpHeaders"), name, HEADER));
        }
    }
}
