//! Are these amounts of resources right? Names that exist, numbers that parse, requests below limits (AP-44).
//!
//! cpu and memory may be promised twice, everything else is counted in whole pieces whose request is its limit.
//! Kubernetes: `core/validation.validateResourceRequirements`, `apis/core/helper`.
//! Differs: a text that is no quantity is reported here with its field, and not as a broken request body.

use crate::error::FieldError;
use crate::resources::fields::{entries, items, text};
use objects::name;
use objects::quantity::Amount;
use serde_json::Value;

const FORMAT: &str = "quantities must match the regular expression \
     '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
/// What a container may ask for without a domain in front.
const OF_CONTAINER: &[&str] = &["cpu", "memory", "ephemeral-storage"];
/// Further names that Kubernetes knows, for quotas.
const OF_QUOTA: &[&str] = &[
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];

/// A quantity as text or number.
pub fn parse(value: &Value) -> Option<Amount> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// `resources` of a container.
pub fn validate_requirements(errors: &mut Vec<FieldError>, resources: &Value, path: &str) {
    for (name, value) in entries(resources, "limits") {
        validate_entry(errors, name, value, &format!("{path}.limits[{name}]"));
    }
    for (name, value) in entries(resources, "requests") {
        validate_entry(errors, name, value, &format!("{path}.requests[{name}]"));
        check_below_limit(errors, resources, name, value, path);
    }
    let names: Vec<&str> =
        ["limits", "requests"].iter().flat_map(|map| entries(resources, map)).map(|(name, _)| name).collect();
    let computes = names.iter().any(|name| matches!(*name, "cpu" | "memory"));
    if !computes && names.iter().any(|name| is_huge_page(name)) {
        errors.push(FieldError::forbidden(path, "HugePages require cpu or memory"));
    }
}

fn validate_entry(errors: &mut Vec<FieldError>, name: &str, value: &Value, path: &str) {
    check_name(errors, name, path);
    let Some(amount) = check_amount(errors, name, value, path) else { return };
    if let Some(size) = name.strip_prefix("hugepages-") {
        let divides =
            size.parse::<Amount>().is_ok_and(|size| size.value() > 0 && amount.value() % size.value() == 0);
        if !divides {
            let detail = format!("{amount} is not positive integer multiple of {name}");
            errors.push(FieldError::invalid(path, amount.to_string(), detail));
        }
    }
}

/// The name of something that a container can use up.
pub fn check_name(errors: &mut Vec<FieldError>, name: &str, path: &str) {
    if let Err(texts) = name::qualified_name(name) {
        errors.extend(texts.into_iter().map(|text| FieldError::invalid(path, name, text)));
    } else if !name.contains('/') && !is_known(name) {
        let detail = "must be a standard resource type or fully qualified";
        errors.push(FieldError::invalid(path, name, detail));
    }
    if !name.contains('/') {
        if !OF_CONTAINER.contains(&name) && !is_huge_page(name) {
            errors.push(FieldError::invalid(path, name, "must be a standard resource for containers"));
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.push(FieldError::invalid(path, name, "doesn't follow extended resource name standard"));
    }
}

/// The amount, if it is one; reports why not.
fn check_amount(errors: &mut Vec<FieldError>, name: &str, value: &Value, path: &str) -> Option<Amount> {
    let Some(amount) = parse(value) else {
        errors.push(FieldError::invalid(path, value.clone(), FORMAT));
        return None;
    };
    if amount.is_negative() {
        errors.push(FieldError::invalid(path, amount.to_string(), "must be greater than or equal to 0"));
    }
    if is_counted(name) && amount.milli() % 1000 != 0 {
        errors.push(FieldError::invalid(path, amount.to_string(), "must be an integer"));
    }
    Some(amount)
}

fn check_below_limit(errors: &mut Vec<FieldError>, resources: &Value, name: &str, value: &Value, path: &str) {
    let shared = may_overcommit(name);
    let field = format!("{path}.requests");
    match (parse(value), parse(&resources["limits"][name])) {
        (Some(amount), Some(limit)) if amount != limit && !shared => {
            let detail = format!("must be equal to {name} limit of {limit}");
            errors.push(FieldError::invalid(field, amount.to_string(), detail));
        }
        (Some(amount), Some(limit)) if amount > limit => {
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            errors.push(FieldError::invalid(field, amount.to_string(), detail));
        }
        (Some(_), None) if !shared && resources["limits"].get(name).is_none() => {
            let detail = "Limit must be set for non overcommitable resources";
            errors.push(FieldError::required(format!("{path}.limits"), detail));
        }
        _ => {}
    }
}

/// What changing a container's resources in place does to it.
pub fn validate_resize(errors: &mut Vec<FieldError>, spec: &Value, container: &Value, path: &str) {
    const POLICIES: &[&str] = &["NotRequired", "RestartContainer"];
    let path = format!("{path}.resizePolicy");
    let rules = items(container, "resizePolicy");
    for (index, rule) in rules.iter().enumerate() {
        let (resource, policy) = (text(rule, "resourceName"), text(rule, "restartPolicy"));
        if rules.iter().take(index).any(|earlier| text(earlier, "resourceName") == resource) {
            errors.push(FieldError::duplicate(format!("{path}[{index}]"), resource));
        }
        crate::resources::fields::check_one_of(errors, &path, &rule["resourceName"], &["cpu", "memory"]);
        crate::resources::fields::check_one_of(errors, &path, &rule["restartPolicy"], POLICIES);
        if text(spec, "restartPolicy") == "Never" && policy != "NotRequired" {
            let detail = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(path.as_str(), policy, detail));
        }
    }
}

/// What a pod costs beyond its containers. Kubernetes reports it as if it were limits.
pub fn validate_overhead(errors: &mut Vec<FieldError>, object: &Value, map: &str, path: &str) {
    for (name, value) in entries(object, map) {
        validate_entry(errors, name, value, &format!("{path}.limits[{name}]"));
    }
}

/// A map of amounts whose names are free: a node's capacity.
pub fn validate_map(errors: &mut Vec<FieldError>, object: &Value, map: &str, path: &str) {
    for (name, value) in entries(object, map) {
        if let Err(texts) = name::qualified_name(name) {
            errors.extend(
                texts.into_iter().map(|text| FieldError::invalid(format!("{path}[{name}]"), name, text)),
            );
        }
        check_amount(errors, name, value, &format!("{path}[{name}]"));
    }
}

fn is_known(name: &str) -> bool {
    OF_CONTAINER.contains(&name) || OF_QUOTA.contains(&name) || is_huge_page(name)
}

/// Whether more may be promised of it than there is.
pub fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && name::qualified_name(&format!("requests.{name}")).is_ok()
}

/// Counted in pieces.
fn is_counted(name: &str) -> bool {
    const PIECES: &[&str] = &[
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    ];
    PIECES.contains(&name) || is_extended(name)
}
