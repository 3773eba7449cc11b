//! ConfigMaps: key-value data, possibly frozen by `immutable: true`.
//!
//! Keys are file names; a key stands in `data` or in `binaryData`, never in both; together they hold at most 1 MiB.
//! Kubernetes: `registry/core/configmap/strategy.go`, `core/validation.ValidateConfigMap`.

use super::cells::{self, AGE, NAME, column};
use super::fields::{check, entries, flag};
use super::{Column, Kind, ORDINARY, Row, Rules};
use crate::error::FieldError;
use jiff::Timestamp;
use objects::name;
use serde_json::Value;

/// Most bytes of the data of one ConfigMap or Secret: what etcd takes comfortably.
pub const DATA_MAX: usize = 1024 * 1024;

/// The kind.
pub const KIND: Kind = Kind {
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    rules: super::Rulebook::Fixed(&ConfigMaps),
    ..ORDINARY
};

struct ConfigMaps;

impl Rules for ConfigMaps {
    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut size = 0;
        for (key, value) in entries(object, "data") {
            check_key(&mut errors, "data", key);
            if object["binaryData"].get(key).is_some() {
                errors.push(FieldError::invalid(
                    format!("data[{key}]"),
                    key,
                    "duplicate of key present in binaryData",
                ));
            }
            size += value.as_str().map_or(0, str::len);
        }
        for (key, value) in entries(object, "binaryData") {
            check_key(&mut errors, "binaryData", key);
            size += decoded_size(value);
        }
        if size > DATA_MAX {
            errors.push(FieldError::too_long("[]", DATA_MAX));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = check_frozen(new, old, &["data", "binaryData"]);
        errors.extend(self.validate_create(new));
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[NAME, column("Data", "Number of keys in data and binaryData."), AGE];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        let keys = cells::size(object, "data") + cells::size(object, "binaryData");
        cells::row(vec![cells::name(object), keys.into(), cells::age(object, now)])
    }
}

/// Once `immutable` is true it stays, and the data with it (2.10.7). Secrets obey the same rule.
pub fn check_frozen(new: &Value, old: &Value, fields: &[&str]) -> Vec<FieldError> {
    const FROZEN: &str = "field is immutable when `immutable` is set";
    if !flag(old, "immutable") {
        return Vec::new();
    }
    let mut errors = Vec::new();
    if !flag(new, "immutable") {
        errors.push(FieldError::forbidden("immutable", FROZEN));
    }
    for field in fields {
        if entries(new, field) != entries(old, field) {
            errors.push(FieldError::forbidden(*field, FROZEN));
        }
    }
    errors
}

/// A key is a file name. Kubernetes: `validation.IsConfigMapKey`.
pub fn check_key(errors: &mut Vec<FieldError>, map: &str, key: &str) {
    check(errors, &format!("{map}[{key}]"), key, name::config_map_key(key));
}

/// Bytes that base64 text stands for.
pub fn decoded_size(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default().trim_end_matches('=');
    text.len() * 3 / 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_file_names() {
        let check = |object: Value, expected: &[&str]| {
            let errors = ConfigMaps.validate_create(&object);
            let texts: Vec<String> = errors.iter().map(|e| format!("{}: {}", e.field, e.detail)).collect();
            assert_eq!(texts, expected, "{object}");
        };
        check(json!({"data": {"a.b_c-D": "x"}, "binaryData": {"e": "AA=="}}), &[]);
        check(
            json!({"data": {"a": "x"}, "binaryData": {"a": "AA=="}}),
            &["data[a]: duplicate of key present in binaryData"],
        );
        check(json!({"data": {"..": "x"}}), &["data[..]: must not be '..'"]);
        check(json!({"data": {"..a": "x"}}), &["data[..a]: must not start with '..'"]);
        check(json!({"data": {"a": "x".repeat(DATA_MAX + 1)}}), &["[]: must have at most 1048576 bytes"]);
        assert_eq!(ConfigMaps.validate_create(&json!({"data": {"a b": "x"}})).len(), 1);
    }

    #[test]
    fn immutable_data_stays_as_it_is() {
        let check = |new: Value, old: Value, expected: &[&str]| {
            let errors = ConfigMaps.validate_update(&new, &old);
            let fields: Vec<&str> = errors.iter().map(|e| e.field.as_str()).collect();
            assert_eq!(fields, expected, "{new} {old}");
        };
        let frozen = json!({"immutable": true, "data": {"a": "1"}});
        check(json!({"data": {"a": "2"}}), json!({"data": {"a": "1"}}), &[]);
        check(frozen.clone(), json!({"data": {"a": "1"}}), &[]);
        check(json!({"immutable": true, "data": {"a": "2"}}), frozen.clone(), &["data"]);
        check(json!({"data": {"a": "1"}}), frozen.clone(), &["immutable"]);
        check(
            json!({"immutable": true, "data": {"a": "1"}, "binaryData": {"b": ""}}),
            frozen,
            &["binaryData"],
        );
    }
}
