//! Where may a container's environment come from? Literals, fields of the pod, ConfigMaps and Secrets (AP-44).
//!
//! Kubernetes: `core/validation.ValidateEnv`, `ValidateEnvFrom`, `apis/core/pods.ConvertDownwardAPIFieldLabel`.

use crate::error::FieldError;
use crate::resources::fields::{check, check_subdomain, is_set, items, text};
use crate::resources::labels::check_key;
use objects::name;
use serde_json::Value;

/// Fields of a pod that a variable may read, sorted.
const VARIABLE_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Further fields that have a label in Kubernetes, though no variable may read them.
const OTHER_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase"];
/// Amounts that a variable may read, sorted.
const AMOUNTS: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const SOURCES: &[&str] = &["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef"];

/// `env` and `envFrom` of one container.
pub fn validate(errors: &mut Vec<FieldError>, container: &Value, path: &str) {
    for (index, variable) in items(container, "env").iter().enumerate() {
        let path = format!("{path}.env[{index}]");
        match text(variable, "name") {
            "" => errors.push(FieldError::required(format!("{path}.name"), "")),
            name => check(errors, &format!("{path}.name"), name, name::env_var_name(name)),
        }
        if is_set(variable, "valueFrom") {
            validate_source(errors, variable, &format!("{path}.valueFrom"));
        }
    }
    let path = format!("{path}.envFrom");
    for (index, source) in items(container, "envFrom").iter().enumerate() {
        validate_all_of(errors, source, &path, index);
    }
}

fn validate_source(errors: &mut Vec<FieldError>, variable: &Value, path: &str) {
    let source = &variable["valueFrom"];
    let given = SOURCES.iter().filter(|kind| is_set(source, kind)).count();
    for kind in SOURCES.iter().filter(|kind| is_set(source, kind)) {
        let path = format!("{path}.{kind}");
        match *kind {
            "fieldRef" => check_field(errors, &source["fieldRef"], VARIABLE_FIELDS, &path),
            "resourceFieldRef" => check_amount(errors, &source["resourceFieldRef"], Container::Own, &path),
            kind => validate_key(errors, &source[kind], &path),
        }
    }
    let problem = match given {
        0 => "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        _ if !text(variable, "value").is_empty() => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.push(FieldError::invalid(path, "", problem));
}

fn validate_key(errors: &mut Vec<FieldError>, reference: &Value, path: &str) {
    check_subdomain(errors, &format!("{path}.name"), text(reference, "name"));
    match text(reference, "key") {
        "" => errors.push(FieldError::required(format!("{path}.key"), "")),
        key => check(errors, &format!("{path}.key"), key, name::config_map_key(key)),
    }
}

fn validate_all_of(errors: &mut Vec<FieldError>, source: &Value, list: &str, index: usize) {
    let path = format!("{list}[{index}]");
    let prefix = text(source, "prefix");
    if !prefix.is_empty() {
        check(errors, &format!("{path}.prefix"), prefix, name::env_var_name(prefix));
    }
    let given: Vec<&str> =
        ["configMapRef", "secretRef"].into_iter().filter(|kind| is_set(source, kind)).collect();
    for kind in &given {
        match text(&source[kind], "name") {
            "" => errors.push(FieldError::required(format!("{path}.{kind}.name"), "")),
            name => check_subdomain(errors, &format!("{path}.{kind}.name"), name.trim_end_matches('-')),
        }
    }
    // Kubernetes names the list here, not the item.
    match given.len() {
        0 => errors.push(FieldError::invalid(list, "", "must specify one of: `configMapRef` or `secretRef`")),
        1 => {}
        _ => {
            errors.push(FieldError::invalid(list, "", "may not have more than one field specified at a time"))
        }
    }
}

/// A field of the pod, out of those that may be read here.
pub fn check_field(errors: &mut Vec<FieldError>, reference: &Value, allowed: &[&str], path: &str) {
    for field in ["apiVersion", "fieldPath"] {
        if text(reference, field).is_empty() {
            return errors.push(FieldError::required(format!("{path}.{field}"), ""));
        }
    }
    let (version, given) = (text(reference, "apiVersion"), text(reference, "fieldPath"));
    let unknown = |why: String| {
        FieldError::invalid(format!("{path}.fieldPath"), given, format!("error converting fieldPath: {why}"))
    };
    if version != "v1" {
        return errors.push(unknown(format!("unsupported pod version: {version}")));
    }
    match given.strip_suffix("']").and_then(|field| field.split_once("['")) {
        Some(("metadata.annotations", key)) => check_key(errors, path, &key.to_ascii_lowercase()),
        Some(("metadata.labels", key)) => check_key(errors, path, key),
        Some(_) => errors.push(unknown(format!("field label does not support subscript: {given}"))),
        None => {
            let field = if given == "spec.host" { "spec.nodeName" } else { given };
            if !VARIABLE_FIELDS.contains(&field) && !OTHER_FIELDS.contains(&field) {
                errors.push(unknown(format!("field label not supported: {given}")));
            } else if !allowed.contains(&field) {
                errors.push(FieldError::not_supported(format!("{path}.fieldPath"), field, allowed));
            }
        }
    }
}

/// Whose amounts are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// The container that has the variable.
    Own,
    /// A container that must be named.
    Named,
}

/// An amount of a container.
pub fn check_amount(errors: &mut Vec<FieldError>, reference: &Value, whose: Container, path: &str) {
    let resource = text(reference, "resource");
    if whose == Container::Named && text(reference, "containerName").is_empty() {
        errors.push(FieldError::required(format!("{path}.containerName"), ""));
    } else if resource.is_empty() {
        errors.push(FieldError::required(format!("{path}.resource"), ""));
    } else if !AMOUNTS.contains(&resource) && !is_huge_page(resource) {
        errors.push(FieldError::not_supported(format!("{path}.resource"), resource, AMOUNTS));
    }
    check_divisor(errors, resource, &reference["divisor"], path);
}

fn is_huge_page(resource: &str) -> bool {
    resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-")
}

fn check_divisor(errors: &mut Vec<FieldError>, resource: &str, divisor: &Value, path: &str) {
    const SIZES: &[&str] =
        &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let Some(amount) = super::amounts::parse(divisor).filter(|amount| !amount.is_zero()) else { return };
    let text = amount.to_string();
    let (allowed, what): (&[&str], &str) = match resource.split_once('.').map_or("", |(_, name)| name) {
        "cpu" => (&["1m", "1"], "cpu"),
        "memory" => (SIZES, "memory"),
        "ephemeral-storage" => (SIZES, "local ephemeral storage"),
        name if name.starts_with("hugepages-") => (SIZES, "hugepages"),
        _ => return,
    };
    if !allowed.contains(&text.as_str()) {
        let values = if what == "cpu" { "1m and 1".to_string() } else { allowed.join(", ") };
        let detail = format!("only divisor's values {values} are supported with the {what} resource");
        errors.push(FieldError::invalid(format!("{path}.divisor"), resource, detail));
    }
}

/// Names of variables that stand more than once, with the index of the later one.
pub fn repeated(container: &Value) -> Vec<(usize, &str)> {
    let variables = items(container, "env");
    let earlier = |index: usize, name: &str| variables.iter().take(index).any(|v| text(v, "name") == name);
    let named = variables.iter().enumerate().map(|(index, variable)| (index, text(variable, "name")));
    named.filter(|(index, name)| earlier(*index, name)).collect()
}
