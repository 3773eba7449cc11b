//! Are these volumes of a pod right? Unique names, exactly one source each, and the sources that nodes here know.
//!
//! A volume with an error does not exist for the mounts, as in Kubernetes. Sources of foreign drivers are counted, not
//! looked into. Kubernetes: `core/validation.ValidateVolumes`, `validateVolumeSource`.

use super::{amounts, projected};
use crate::error::FieldError;
use crate::resources::fields::{check_label_name, check_optional_one_of, int, is_set, items, text};
use serde_json::Value;
use std::collections::BTreeMap;

/// The volumes that mounts may refer to, by name.
pub type Volumes<'a> = BTreeMap<&'a str, &'a Value>;

/// Every kind of source, in the order that Kubernetes looks for them.
const SOURCES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];
/// What may stand at a path of the node.
const HOST_PATHS: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// Every broken rule of `volumes`, and the volumes without one.
pub fn validate<'a>(errors: &mut Vec<FieldError>, spec: &'a Value, path: &str) -> Volumes<'a> {
    let mut volumes = Volumes::new();
    for (index, volume) in items(spec, "volumes").iter().enumerate() {
        let path = format!("{path}.volumes[{index}]");
        let name = text(volume, "name");
        let mut found = Vec::new();
        validate_sources(&mut found, volume, &path);
        match name {
            "" => found.push(FieldError::required(format!("{path}.name"), "")),
            name => check_label_name(&mut found, &format!("{path}.name"), name),
        }
        if volumes.contains_key(name) {
            found.push(FieldError::duplicate(format!("{path}.name"), name));
        }
        if found.is_empty() {
            volumes.insert(name, volume);
        }
        errors.extend(found);
    }
    volumes
}

fn validate_sources(errors: &mut Vec<FieldError>, volume: &Value, path: &str) {
    let mut given = SOURCES.iter().filter(|source| is_set(volume, source));
    match given.next() {
        None => errors.push(FieldError::required(path, "must specify a volume type")),
        Some(source) => validate_source(errors, source, &volume[*source], &format!("{path}.{source}")),
    }
    for more in given {
        errors
            .push(FieldError::forbidden(format!("{path}.{more}"), "may not specify more than 1 volume type"));
    }
}

fn validate_source(errors: &mut Vec<FieldError>, kind: &str, source: &Value, path: &str) {
    match kind {
        "emptyDir" => validate_empty_dir(errors, source, path),
        "hostPath" => validate_host_path(errors, source, path),
        "secret" => {
            require(errors, source, "secretName", path);
            validate_files(errors, source, path);
        }
        "configMap" => {
            require(errors, source, "name", path);
            validate_files(errors, source, path);
        }
        "downwardAPI" => projected::validate_facts(errors, source, path),
        "projected" => projected::validate(errors, source, path),
        "persistentVolumeClaim" => require(errors, source, "claimName", path),
        "nfs" => validate_nfs(errors, source, path),
        "csi" => require(errors, source, "driver", path),
        "gitRepo" => require(errors, source, "repository", path),
        "ephemeral" if !is_set(source, "volumeClaimTemplate") => {
            errors.push(FieldError::required(format!("{path}.volumeClaimTemplate"), ""));
        }
        "image" => require(errors, source, "reference", path),
        _ => {}
    }
}

fn require(errors: &mut Vec<FieldError>, source: &Value, field: &str, path: &str) {
    if text(source, field).is_empty() {
        errors.push(FieldError::required(format!("{path}.{field}"), ""));
    }
}

fn validate_empty_dir(errors: &mut Vec<FieldError>, source: &Value, path: &str) {
    let limit = &source["sizeLimit"];
    if !limit.is_null() && amounts::parse(limit).is_none_or(|limit| limit.is_negative()) {
        let detail = "SizeLimit field must be a valid resource quantity";
        errors.push(FieldError::forbidden(format!("{path}.sizeLimit"), detail));
    }
}

fn validate_host_path(errors: &mut Vec<FieldError>, source: &Value, path: &str) {
    let place = text(source, "path");
    if place.is_empty() {
        return errors.push(FieldError::required(format!("{path}.path"), ""));
    }
    check_no_backsteps(errors, place, &format!("{path}.path"));
    check_optional_one_of(errors, &format!("{path}.type"), &source["type"], HOST_PATHS);
}

fn validate_nfs(errors: &mut Vec<FieldError>, source: &Value, path: &str) {
    require(errors, source, "server", path);
    require(errors, source, "path", path);
    let place = text(source, "path");
    if !place.starts_with('/') {
        errors.push(FieldError::invalid(format!("{path}.path"), place, "must be an absolute path"));
    }
}

/// `defaultMode` and `items` of a source that becomes files.
fn validate_files(errors: &mut Vec<FieldError>, source: &Value, path: &str) {
    check_mode(errors, source, "defaultMode", path);
    for (index, item) in items(source, "items").iter().enumerate() {
        validate_item(errors, item, &format!("{path}.items[{index}]"));
    }
}

/// One key and the file that it becomes.
pub fn validate_item(errors: &mut Vec<FieldError>, item: &Value, path: &str) {
    require(errors, item, "key", path);
    require(errors, item, "path", path);
    check_own_path(errors, text(item, "path"), &format!("{path}.path"));
    check_mode(errors, item, "mode", path);
}

/// File permissions.
pub fn check_mode(errors: &mut Vec<FieldError>, object: &Value, field: &str, path: &str) {
    const PERMISSIONS: std::ops::RangeInclusive<i64> = 0..=0o777;
    if let Some(mode) = int(object, field).filter(|mode| !PERMISSIONS.contains(mode)) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(format!("{path}.{field}"), mode, detail));
    }
}

/// A path below the volume that does not look like one of the volume's own.
pub fn check_own_path(errors: &mut Vec<FieldError>, place: &str, path: &str) {
    check_relative(errors, place, path);
    if place.starts_with("..") && !place.starts_with("../") && place != ".." {
        errors.push(FieldError::invalid(path, place, "must not start with '..'"));
    }
}

/// A path that leads down and nowhere else.
pub fn check_relative(errors: &mut Vec<FieldError>, place: &str, path: &str) {
    if place.starts_with('/') {
        errors.push(FieldError::invalid(path, place, "must be a relative path"));
    }
    check_no_backsteps(errors, place, path);
}

/// A path without `..`.
pub fn check_no_backsteps(errors: &mut Vec<FieldError>, place: &str, path: &str) {
    if place.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path, place, "must not contain '..'"));
    }
}
