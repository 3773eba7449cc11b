//! Which rules does a definition break?
//!
//! Everything but the schemas themselves, with the paths and texts of Kubernetes. Limits that Kubernetes does not have are
//! named constants. Kubernetes: `apis/apiextensions/validation/validation.go`.

use crate::custom::objects::found;
use crate::error::FieldError;
use crate::resources::KINDS;
use crate::resources::fields::{flag, is_set, items, text, texts};
use crate::verbs::metadata;
use objects::name;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use structural::Path;

/// Most versions of one definition: each is a kind of its own, and costs a schema.
const MAX_VERSIONS: usize = 50;
/// Most printer columns of one version.
const MAX_COLUMNS: usize = 100;
/// Kubernetes: `MaxSelectableFields`.
const MAX_SELECTABLE: usize = 8;
const APPROVED: &str = "api-approved.kubernetes.io";
const COLUMN_TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: &[&str] =
    &["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

/// Every broken rule of a definition, or of its change.
pub(super) fn check(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &object["spec"];
    let (plural, group) = (text(&spec["names"], "plural"), text(spec, "group"));
    let full = metadata::text(object, "name");
    if full != format!("{plural}.{group}") {
        let detail = r#"must be spec.names.plural+"."+spec.group"#;
        errors.push(FieldError::invalid("metadata.name", full, detail));
    }
    check_group(object, old.is_none(), &mut errors);
    match text(spec, "scope") {
        "" => errors.push(FieldError::required("spec.scope", "")),
        "Cluster" | "Namespaced" => {}
        other => {
            errors.push(FieldError::not_supported("spec.scope", other, &["Cluster", "Namespaced"]));
        }
    }
    check_versions(spec, &mut errors);
    check_names(&spec["names"], &mut errors);
    check_conversion(&spec["conversion"], &mut errors);
    if flag(spec, "preserveUnknownFields") {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid("spec.preserveUnknownFields", true, detail));
    }
    if let Some(old) = old {
        check_change(object, old, &mut errors);
    }
    errors
}

fn check_group(object: &Value, is_new: bool, errors: &mut Vec<FieldError>) {
    let group = text(&object["spec"], "group");
    if group.is_empty() {
        return errors.push(FieldError::required("spec.group", ""));
    }
    if let Err(texts) = name::dns1123_subdomain(group) {
        errors.push(FieldError::invalid("spec.group", group, texts.join(",")));
    } else if !group.contains('.') {
        errors.push(FieldError::invalid("spec.group", group, "should be a domain with at least one dot"));
    }
    if KINDS.iter().any(|kind| kind.group == group) {
        errors.push(FieldError::forbidden("spec.group", "Everynode itself serves this group"));
    }
    let protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group == *domain || group.ends_with(&format!(".{domain}")));
    if protected && is_new {
        let path = format!("metadata.annotations[{APPROVED}]");
        let detail = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see \
                      https://github.com/kubernetes/enhancements/pull/1111";
        match text(&object["metadata"]["annotations"], APPROVED) {
            "" => errors.push(FieldError::required(path, detail)),
            said if said.starts_with("unapproved") || said.contains("://") => {}
            said => {
                let detail = format!(
                    "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
                );
                errors.push(FieldError::invalid(path, said, detail));
            }
        }
    }
}

fn check_versions(spec: &Value, errors: &mut Vec<FieldError>) {
    let versions = items(spec, "versions");
    if versions.len() > MAX_VERSIONS {
        return errors.push(FieldError::too_many("spec.versions", versions.len(), MAX_VERSIONS));
    }
    for (index, version) in versions.iter().enumerate() {
        check_version(version, &format!("spec.versions[{index}]"), errors);
    }
    let names: BTreeSet<&str> = versions.iter().map(|version| text(version, "name")).collect();
    let shown = || -> Value { versions.iter().map(|version| json!({"name": version["name"]})).collect() };
    if names.len() != versions.len() {
        errors.push(FieldError::invalid("spec.versions", shown(), "must contain unique version names"));
    }
    if versions.iter().filter(|version| flag(version, "storage")).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", shown(), detail));
    }
}

fn check_version(version: &Value, at: &str, errors: &mut Vec<FieldError>) {
    label(version, "name", &format!("{at}.name"), errors);
    let warning = version["deprecationWarning"].as_str();
    if let Some(warning) = warning {
        let mut wrong = |detail: &str| {
            errors.push(FieldError::invalid(format!("{at}.deprecationWarning"), warning, detail));
        };
        if !flag(version, "deprecated") {
            wrong("can only be set for deprecated versions");
        } else if warning.is_empty() {
            wrong("must not be an empty string");
        } else if warning.len() > 256 {
            wrong("must be <= 256 characters long");
        } else if warning.chars().any(char::is_control) {
            wrong("must only contain printable UTF-8 characters");
        }
    }
    let schema_path = format!("{at}.schema.openAPIV3Schema");
    let schema = &version["schema"]["openAPIV3Schema"];
    let schema = match schema {
        Value::Null => {
            errors.push(FieldError::required(schema_path, ""));
            None
        }
        schema => structural::read(schema, &Path::At(&schema_path)).map_err(|f| errors.extend(found(f))).ok(),
    };
    check_subresources(&version["subresources"], &format!("{at}.subresources"), errors);
    let columns = items(version, "additionalPrinterColumns");
    let list = format!("{at}.additionalPrinterColumns");
    if columns.len() > MAX_COLUMNS {
        errors.push(FieldError::too_many(&list, columns.len(), MAX_COLUMNS));
    }
    for (index, column) in columns.iter().enumerate().take(MAX_COLUMNS) {
        check_column(column, &format!("{list}[{index}]"), errors);
    }
    check_selectable(version, schema.as_ref(), &format!("{at}.selectableFields"), errors);
}

fn check_column(column: &Value, at: &str, errors: &mut Vec<FieldError>) {
    if text(column, "name").is_empty() {
        errors.push(FieldError::required(format!("{at}.name"), ""));
    }
    let known = format!("must be one of {}", COLUMN_TYPES.join(","));
    match text(column, "type") {
        "" => errors.push(FieldError::required(format!("{at}.type"), known)),
        kind if COLUMN_TYPES.contains(&kind) => {}
        kind => errors.push(FieldError::invalid(format!("{at}.type"), kind, known)),
    }
    let format = text(column, "format");
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        let known = format!("must be one of {}", COLUMN_FORMATS.join(","));
        errors.push(FieldError::invalid(format!("{at}.format"), format, known));
    }
    simple_path(column, "jsonPath", &format!("{at}.JSONPath"), errors);
}

/// A path that begins with a dot. False when it does not, or there is none.
fn simple_path(object: &Value, field: &str, at: &str, errors: &mut Vec<FieldError>) -> bool {
    match text(object, field) {
        "" => errors.push(FieldError::required(at, "")),
        path if !path.starts_with('.') => {
            errors.push(FieldError::invalid(at, path, "must be a simple json path starting with ."));
        }
        _ => return true,
    }
    false
}

fn check_subresources(subresources: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let scale = &subresources["scale"];
    if !scale.is_object() {
        return;
    }
    for (field, roots, where_) in [
        ("specReplicasPath", &[".spec."][..], ".spec"),
        ("statusReplicasPath", &[".status."], ".status"),
        ("labelSelectorPath", &[".spec.", ".status."], "either .spec or .status"),
    ] {
        let path = format!("{at}.scale.{field}");
        let optional = field == "labelSelectorPath" && text(scale, field).is_empty();
        if optional || !simple_path(scale, field, &path, errors) {
            continue;
        }
        let said = text(scale, field);
        if !roots.iter().any(|root| said.starts_with(root)) {
            errors.push(FieldError::invalid(path, said, format!("should be a json path under {where_}")));
        }
    }
}

fn check_selectable(
    version: &Value,
    schema: Option<&structural::Schema>,
    at: &str,
    errors: &mut Vec<FieldError>,
) {
    let fields = items(version, "selectableFields");
    let mut seen = BTreeSet::new();
    for (index, field) in fields.iter().enumerate() {
        let (at, path) = (format!("{at}[{index}].jsonPath"), text(field, "jsonPath"));
        if path.is_empty() {
            errors.push(FieldError::required(at, ""));
            continue;
        }
        let names: Vec<&str> = path.trim_start_matches('.').split('.').collect();
        if names.first() == Some(&"metadata") {
            errors.push(FieldError::invalid(&at, path, "must not point to fields in metadata"));
            continue;
        }
        use structural::Type::{Boolean, Integer, String};
        match schema.and_then(|schema| schema.at(path)) {
            None if schema.is_none() => {}
            None => {
                let last = names.last().copied().unwrap_or_default();
                let detail = format!("is an invalid path: does not refer to a valid field: {last}");
                errors.push(FieldError::invalid(&at, path, detail));
            }
            Some(found) if matches!(found.ty, Some(Boolean | Integer | String)) => {}
            Some(_) => {
                let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
                errors.push(FieldError::invalid(&at, path, detail));
            }
        }
        if !seen.insert(path) {
            errors.push(FieldError::duplicate(at, path));
        }
    }
    if seen.len() > MAX_SELECTABLE {
        errors.push(FieldError::too_many(at, seen.len(), MAX_SELECTABLE));
    }
}

fn check_names(names: &Value, errors: &mut Vec<FieldError>) {
    for field in ["plural", "singular", "kind", "listKind"] {
        let path = format!("spec.names.{field}");
        let said = text(names, field);
        if said.is_empty() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        let mixed = matches!(field, "kind" | "listKind");
        let probe = if mixed { said.to_lowercase() } else { said.to_string() };
        if let Err(texts) = name::dns1035_label(&probe) {
            let lead = if mixed { "may have mixed case, but should otherwise match: " } else { "" };
            errors.push(FieldError::invalid(path, said, format!("{lead}{}", texts.join(","))));
        }
    }
    for field in ["shortNames", "categories"] {
        for (index, said) in texts(names, field).into_iter().enumerate() {
            if let Err(texts) = name::dns1035_label(said) {
                let path = format!("spec.names.{field}[{index}]");
                errors.push(FieldError::invalid(path, said, texts.join(",")));
            }
        }
    }
    let kind = text(names, "kind");
    if !kind.is_empty() && kind == text(names, "listKind") {
        let detail = "kind and listKind may not be the same";
        errors.push(FieldError::invalid("spec.names.listKind", kind, detail));
    }
}

fn label(object: &Value, field: &str, at: &str, errors: &mut Vec<FieldError>) {
    let said = text(object, field);
    if let Err(texts) = name::dns1035_label(said) {
        errors.push(FieldError::invalid(at, said, texts.join(",")));
    }
}

/// Differs: a conversion webhook would have to be called for every object that is read; we have no such client, and
/// say so instead of answering with objects that nobody has converted.
fn check_conversion(conversion: &Value, errors: &mut Vec<FieldError>) {
    match text(conversion, "strategy") {
        "None" => {
            if is_set(conversion, "webhook") {
                let detail = "should not be set when strategy is not set to Webhook";
                errors.push(FieldError::forbidden("spec.conversion.webhook", detail));
            }
        }
        "" => errors.push(FieldError::required("spec.conversion.strategy", "")),
        "Webhook" => {
            let detail = "conversion webhooks are not called by this version of Everynode: with the strategy None, only \
                          the apiVersion of an object changes";
            errors.push(FieldError::invalid("spec.conversion.strategy", "Webhook", detail));
        }
        other => {
            let known = &["None", "Webhook"];
            errors.push(FieldError::not_supported("spec.conversion.strategy", other, known));
        }
    }
}

fn check_change(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (new, before) = (&object["spec"], &old["spec"]);
    let mut fixed = vec![
        ("spec.group", &new["group"], &before["group"]),
        ("spec.names.plural", &new["names"]["plural"], &before["names"]["plural"]),
    ];
    if crate::custom::naming::is_true(&old["status"], "Established") {
        fixed.push(("spec.scope", &new["scope"], &before["scope"]));
        fixed.push(("spec.names.kind", &new["names"]["kind"], &before["names"]["kind"]));
    }
    for (path, new, before) in fixed {
        if new != before {
            errors.push(FieldError::invalid(path, new.clone(), "field is immutable"));
        }
    }
    errors.extend(check_stored_versions(object));
}

/// Whoever was once a storage version is still a version.
pub(super) fn check_stored_versions(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let versions: BTreeSet<&str> =
        items(&object["spec"], "versions").iter().map(|v| text(v, "name")).collect();
    for (index, stored) in texts(&object["status"], "storedVersions").into_iter().enumerate() {
        if !versions.contains(stored) {
            let detail = format!(
                "missing from spec.versions; {stored} was previously a storage version, and must remain in spec.versions \
                 until a storage migration ensures no data remains persisted in {stored} and removes {stored} from status.storedVersions"
            );
            errors.push(FieldError::invalid(format!("status.storedVersions[{index}]"), stored, detail));
        }
    }
    errors
}

#[cfg(test)]
mod tests;
