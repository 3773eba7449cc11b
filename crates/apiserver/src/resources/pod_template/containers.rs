//! Is this list of containers right? Names, images and policies of regular, init and ephemeral containers (AP-40).
//!
//! Names are unique over all three lists. Init containers without `restartPolicy: Always` may have neither probes nor
//! lifecycle; ephemeral ones only what debugging needs. Kubernetes: `core/validation.validateContainers` and siblings.

use super::ports::check_unique_host_ports;
use super::volumes::Volumes;
use super::{Place, Subject, amounts, env, mounts, ports, probes, security};
use crate::error::FieldError;
use crate::resources::fields::{check_label_name, check_one_of, flag, is_set, items, text};
use serde_json::Value;
use std::collections::BTreeSet;

const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: &[&str] = &["File", "FallbackToLogsOnError"];
const PROBES: &[&str] = &["livenessProbe", "readinessProbe", "startupProbe"];
/// What an ephemeral container may not have.
const NOT_EPHEMERAL: &[&str] = &[
    "ports",
    "resources",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "restartPolicy",
    "resizePolicy",
];

/// Every broken rule of the three lists.
pub fn validate(errors: &mut Vec<FieldError>, subject: Subject<'_>, volumes: &Volumes<'_>) {
    validate_regular(errors, subject, volumes);
    validate_init(errors, subject, volumes);
    validate_ephemeral(errors, subject, volumes);
}

fn validate_regular(errors: &mut Vec<FieldError>, subject: Subject<'_>, volumes: &Volumes<'_>) {
    let list = format!("{}.containers", subject.path);
    let containers = items(subject.spec, "containers");
    if containers.is_empty() {
        return errors.push(FieldError::required(list, ""));
    }
    let mut names = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        let path = format!("{list}[{index}]");
        validate_any(errors, subject, container, volumes, &path);
        check_name_is_new(errors, &mut names, text(container, "name"), &path);
        check_pod_image(errors, subject, container, &path);
        probes::validate_all(errors, subject.spec, container, &path);
        if is_set(container, "restartPolicy") {
            let detail = "may not be set for non-init containers";
            errors.push(FieldError::forbidden(format!("{path}.restartPolicy"), detail));
        }
    }
    check_unique_host_ports(errors, containers, &list);
}

fn validate_init(errors: &mut Vec<FieldError>, subject: Subject<'_>, volumes: &Volumes<'_>) {
    let list = format!("{}.initContainers", subject.path);
    let mut names = names_of(subject.spec, "containers");
    for (index, container) in items(subject.spec, "initContainers").iter().enumerate() {
        let path = format!("{list}[{index}]");
        validate_any(errors, subject, container, volumes, &path);
        check_pod_image(errors, subject, container, &path);
        let restart = text(container, "restartPolicy");
        if is_set(container, "restartPolicy") && restart != "Always" {
            errors.push(FieldError::not_supported(format!("{path}.restartPolicy"), restart, &["Always"]));
        }
        let name = text(container, "name");
        if !name.is_empty() {
            check_name_is_new(errors, &mut names, name, &path);
        }
        // They run one by one: ports are compared within each alone.
        check_unique_host_ports(errors, std::slice::from_ref(container), &list);
        match restart {
            "Always" => probes::validate_all(errors, subject.spec, container, &path),
            _ => forbid_probes(errors, container, &path),
        }
    }
}

fn forbid_probes(errors: &mut Vec<FieldError>, container: &Value, path: &str) {
    for field in std::iter::once(&"lifecycle").chain(PROBES).filter(|field| is_set(container, field)) {
        let detail = "may not be set for init containers without restartPolicy=Always";
        errors.push(FieldError::forbidden(format!("{path}.{field}"), detail));
    }
}

fn validate_ephemeral(errors: &mut Vec<FieldError>, subject: Subject<'_>, volumes: &Volumes<'_>) {
    const NO: &str = "cannot be set for an Ephemeral Container";
    let mut others = names_of(subject.spec, "containers");
    others.extend(names_of(subject.spec, "initContainers"));
    let mut names = others.clone();
    for (index, container) in items(subject.spec, "ephemeralContainers").iter().enumerate() {
        let path = format!("{}.ephemeralContainers[{index}]", subject.path);
        validate_any(errors, subject, container, volumes, &path);
        check_image_is_trimmed(errors, container, &path);
        check_name_is_new(errors, &mut names, text(container, "name"), &path);
        let target = text(container, "targetContainerName");
        if !target.is_empty() && !others.contains(target) {
            errors.push(FieldError::not_found(format!("{path}.targetContainerName"), target));
        }
        for field in NOT_EPHEMERAL.iter().filter(|field| is_filled(container, field)) {
            errors.push(FieldError::forbidden(format!("{path}.{field}"), NO));
        }
        for (mount, volume) in items(container, "volumeMounts").iter().enumerate() {
            for field in
                ["subPath", "subPathExpr"].into_iter().filter(|field| !text(volume, field).is_empty())
            {
                errors.push(FieldError::forbidden(format!("{path}.volumeMounts[{mount}].{field}"), NO));
            }
        }
    }
}

/// Set to something: `resources: {}` is what defaulting leaves.
fn is_filled(container: &Value, field: &str) -> bool {
    match &container[field] {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}

/// What holds for containers of every list.
fn validate_any(
    errors: &mut Vec<FieldError>,
    subject: Subject<'_>,
    container: &Value,
    volumes: &Volumes<'_>,
    path: &str,
) {
    match text(container, "name") {
        "" => errors.push(FieldError::required(format!("{path}.name"), "")),
        name => check_label_name(errors, &format!("{path}.name"), name),
    }
    if text(container, "image").is_empty() {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    }
    let policy = &container["terminationMessagePolicy"];
    check_one_of(errors, &format!("{path}.terminationMessagePolicy"), policy, MESSAGE_POLICIES);
    ports::validate(errors, container, path);
    env::validate(errors, container, path);
    mounts::validate(errors, container, volumes, path);
    check_one_of(errors, &format!("{path}.imagePullPolicy"), &container["imagePullPolicy"], PULL_POLICIES);
    amounts::validate_requirements(errors, &container["resources"], &format!("{path}.resources"));
    amounts::validate_resize(errors, subject.spec, container, path);
    let host_users = subject.spec["hostUsers"].is_null() || flag(subject.spec, "hostUsers");
    security::validate_container(errors, &container["securityContext"], host_users, path);
}

/// Templates may have a placeholder of blanks for an image.
fn check_pod_image(errors: &mut Vec<FieldError>, subject: Subject<'_>, container: &Value, path: &str) {
    if subject.place == Place::Pod {
        check_image_is_trimmed(errors, container, path);
    }
}

fn check_image_is_trimmed(errors: &mut Vec<FieldError>, container: &Value, path: &str) {
    let image = text(container, "image");
    if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(format!("{path}.image"), image, detail));
    }
}

fn check_name_is_new<'a>(
    errors: &mut Vec<FieldError>,
    names: &mut BTreeSet<&'a str>,
    name: &'a str,
    path: &str,
) {
    if !names.insert(name) {
        errors.push(FieldError::duplicate(format!("{path}.name"), name));
    }
}

fn names_of<'a>(spec: &'a Value, list: &str) -> BTreeSet<&'a str> {
    items(spec, list).iter().map(|container| text(container, "name")).collect()
}
