//! Volumes made of facts about the pod, and volumes projected from several sources.
//!
//! Two sources may not write the same file. Kubernetes: `core/validation.validateProjectionSources`,
//! `validateDownwardAPIVolumeFile`; paths without an index are so there too.

use super::env::{Container, check_amount, check_field};
use super::volumes::{check_mode, check_own_path, validate_item};
use crate::error::FieldError;
use crate::resources::fields::{int, is_set, items, text};
use serde_json::Value;
use std::collections::BTreeSet;

/// Fields of a pod that a file may hold, sorted as Kubernetes does.
const FILE_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// The shortest and the longest life of a projected token, in seconds.
const SHORTEST_TOKEN: i64 = 600;
const LONGEST_TOKEN: i64 = 1 << 32;

/// A `downwardAPI` volume.
pub fn validate_facts(errors: &mut Vec<FieldError>, source: &Value, path: &str) {
    check_mode(errors, source, "defaultMode", path);
    for file in items(source, "items") {
        validate_fact(errors, file, path);
    }
}

fn validate_fact(errors: &mut Vec<FieldError>, file: &Value, path: &str) {
    let place = text(file, "path");
    if place.is_empty() {
        errors.push(FieldError::required(format!("{path}.path"), ""));
    }
    check_own_path(errors, place, &format!("{path}.path"));
    match (is_set(file, "fieldRef"), is_set(file, "resourceFieldRef")) {
        (true, both) => {
            check_field(errors, &file["fieldRef"], FILE_FIELDS, &format!("{path}.fieldRef"));
            if both {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(FieldError::invalid(path, "resource", detail));
            }
        }
        (false, true) => {
            let path = format!("{path}.resourceFieldRef");
            check_amount(errors, &file["resourceFieldRef"], Container::Named, &path);
        }
        (false, false) => {
            errors.push(FieldError::required(path, "one of fieldRef and resourceFieldRef is required"));
        }
    }
    check_mode(errors, file, "mode", path);
}

/// A `projected` volume.
pub fn validate(errors: &mut Vec<FieldError>, source: &Value, path: &str) {
    check_mode(errors, source, "defaultMode", path);
    let mut files = BTreeSet::new();
    for (index, part) in items(source, "sources").iter().enumerate() {
        let part_path = format!("{path}.sources[{index}]");
        let kinds = ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle"];
        let given: Vec<&str> = kinds.into_iter().filter(|kind| is_set(part, kind)).collect();
        for kind in &given {
            let below = Part { source: &part[kind], path: &format!("{part_path}.{kind}"), volume: path };
            validate_part(errors, &mut files, kind, below);
        }
        if given.len() > 1 {
            let detail = "may not specify more than 1 volume type per source";
            errors.push(FieldError::forbidden(part_path, detail));
        }
    }
}

struct Part<'a, 'p> {
    source: &'a Value,
    path: &'p str,
    volume: &'p str,
}

fn validate_part<'a>(
    errors: &mut Vec<FieldError>,
    files: &mut BTreeSet<&'a str>,
    kind: &str,
    part: Part<'a, '_>,
) {
    let Part { source, path, volume } = part;
    match kind {
        "secret" | "configMap" => {
            if text(source, "name").is_empty() {
                errors.push(FieldError::required(format!("{path}.name"), ""));
            }
            for (index, item) in items(source, "items").iter().enumerate() {
                validate_item(errors, item, &format!("{path}.items[{index}]"));
                check_file_is_new(errors, files, text(item, "path"), text(source, "name"), volume);
            }
        }
        "downwardAPI" => {
            for file in items(source, "items") {
                validate_fact(errors, file, path);
                check_file_is_new(errors, files, text(file, "path"), text(file, "path"), volume);
            }
        }
        "serviceAccountToken" => validate_token(errors, source, path, volume),
        _ => {
            let place = text(source, "path");
            if place.is_empty() {
                errors.push(FieldError::required(format!("{path}.path"), ""));
            }
            check_own_path(errors, place, &format!("{path}.path"));
            check_file_is_new(errors, files, place, place, volume);
        }
    }
}

fn check_file_is_new<'a>(
    errors: &mut Vec<FieldError>,
    files: &mut BTreeSet<&'a str>,
    file: &'a str,
    shown: &str,
    volume: &str,
) {
    if !file.is_empty() && !files.insert(file) {
        errors.push(FieldError::invalid(volume, shown, "conflicting duplicate paths"));
    }
}

fn validate_token(errors: &mut Vec<FieldError>, token: &Value, path: &str, volume: &str) {
    let seconds = int(token, "expirationSeconds").unwrap_or_default();
    let problem = match seconds {
        seconds if seconds < SHORTEST_TOKEN => Some("may not specify a duration less than 10 minutes"),
        seconds if seconds > LONGEST_TOKEN => Some("may not specify a duration larger than 2^32 seconds"),
        _ => None,
    };
    if let Some(detail) = problem {
        errors.push(FieldError::invalid(format!("{path}.expirationSeconds"), seconds, detail));
    }
    match text(token, "path") {
        "" => errors.push(FieldError::required(format!("{volume}.path"), "")),
        place => check_own_path(errors, place, &format!("{volume}.path")),
    }
}
