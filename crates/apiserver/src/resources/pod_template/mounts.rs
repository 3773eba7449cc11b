//! Does every mount of a container have its volume, at a place of its own? (AP-44.)
//!
//! Kubernetes: `core/validation.ValidateVolumeMounts`, `ValidateVolumeDevices`; the paths of `subPath` and
//! `mountPropagation` errors lack the index there, and here.

use super::volumes::{Volumes, check_no_backsteps, check_relative};
use crate::error::FieldError;
use crate::resources::fields::{flag, is_set, items, text};
use serde_json::Value;
use std::collections::BTreeSet;

const PROPAGATIONS: &[&str] = &["Bidirectional", "HostToContainer", "None"];
const RECURSIVE: &[&str] = &["Disabled", "Enabled", "IfPossible"];

/// `volumeMounts` and `volumeDevices` of one container.
pub fn validate(errors: &mut Vec<FieldError>, container: &Value, volumes: &Volumes<'_>, path: &str) {
    let list = format!("{path}.volumeMounts");
    let mut places = BTreeSet::new();
    for (index, mount) in items(container, "volumeMounts").iter().enumerate() {
        let path = format!("{list}[{index}]");
        validate_name(errors, text(mount, "name"), volumes, &path);
        let place = text(mount, "mountPath");
        if place.is_empty() {
            errors.push(FieldError::required(format!("{path}.mountPath"), ""));
        }
        if !places.insert(place) {
            errors.push(FieldError::invalid(format!("{path}.mountPath"), place, "must be unique"));
        }
        check_no_device(errors, container, mount, &path);
        validate_part(errors, mount, &list, &path);
        validate_propagation(errors, container, mount, &list);
        validate_recursive(errors, mount, &list);
    }
    validate_devices(errors, container, volumes, path);
}

fn validate_name(errors: &mut Vec<FieldError>, name: &str, volumes: &Volumes<'_>, path: &str) {
    let field = format!("{path}.name");
    if name.is_empty() {
        errors.push(FieldError::required(field.as_str(), ""));
    }
    if !volumes.contains_key(name) {
        errors.push(FieldError::not_found(field, name));
    }
}

fn check_no_device(errors: &mut Vec<FieldError>, container: &Value, mount: &Value, path: &str) {
    let devices = items(container, "volumeDevices");
    let (name, place) = (text(mount, "name"), text(mount, "mountPath"));
    if devices.iter().any(|device| text(device, "name") == name) {
        let detail = "must not already exist in volumeDevices";
        errors.push(FieldError::invalid(format!("{path}.name"), name, detail));
    }
    if devices.iter().any(|device| text(device, "devicePath") == place) {
        let detail = "must not already exist as a path in volumeDevices";
        errors.push(FieldError::invalid(format!("{path}.mountPath"), place, detail));
    }
}

fn validate_part(errors: &mut Vec<FieldError>, mount: &Value, list: &str, path: &str) {
    let (plain, expanded) = (text(mount, "subPath"), text(mount, "subPathExpr"));
    if !plain.is_empty() {
        check_relative(errors, plain, &format!("{list}.subPath"));
    }
    if !expanded.is_empty() {
        if !plain.is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(format!("{path}.subPathExpr"), expanded, detail));
        }
        check_relative(errors, expanded, &format!("{list}.subPathExpr"));
    }
}

fn validate_propagation(errors: &mut Vec<FieldError>, container: &Value, mount: &Value, list: &str) {
    let field = format!("{list}.mountPropagation");
    let Some(propagation) = mount["mountPropagation"].as_str() else { return };
    if !PROPAGATIONS.contains(&propagation) {
        errors.push(FieldError::not_supported(field.as_str(), propagation, PROPAGATIONS));
    }
    if propagation == "Bidirectional" && !flag(&container["securityContext"], "privileged") {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(field, detail));
    }
}

fn validate_recursive(errors: &mut Vec<FieldError>, mount: &Value, list: &str) {
    let field = format!("{list}.recursiveReadOnly");
    let Some(mode) = mount["recursiveReadOnly"].as_str() else { return };
    if !RECURSIVE.contains(&mode) {
        return errors.push(FieldError::not_supported(field, mode, RECURSIVE));
    }
    if mode == "Disabled" {
        return;
    }
    if !flag(mount, "readOnly") {
        errors.push(FieldError::forbidden(field.as_str(), "may only be specified when readOnly is true"));
    }
    if !matches!(text(mount, "mountPropagation"), "" | "None") {
        let detail = "may only be specified when mountPropagation is None or not specified";
        errors.push(FieldError::forbidden(field, detail));
    }
}

fn validate_devices(errors: &mut Vec<FieldError>, container: &Value, volumes: &Volumes<'_>, path: &str) {
    let list = format!("{path}.volumeDevices");
    let (mut names, mut places) = (BTreeSet::new(), BTreeSet::new());
    for (index, device) in items(container, "volumeDevices").iter().enumerate() {
        let path = format!("{list}[{index}]");
        let (name, place) = (text(device, "name"), text(device, "devicePath"));
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if !names.insert(name) {
            errors.push(FieldError::invalid(format!("{path}.name"), name, "must be unique"));
        }
        match volumes.get(name) {
            None => errors.push(FieldError::not_found(format!("{path}.name"), name)),
            Some(volume) if is_set(volume, "persistentVolumeClaim") || is_set(volume, "ephemeral") => {}
            Some(_) => {
                let detail =
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(FieldError::invalid(format!("{path}.name"), name, detail));
            }
        }
        if place.is_empty() {
            errors.push(FieldError::required(format!("{path}.devicePath"), ""));
        } else if !places.insert(place) {
            errors.push(FieldError::invalid(format!("{path}.devicePath"), place, "must be unique"));
        }
        check_no_backsteps(errors, place, &format!("{path}.devicePath"));
    }
}
