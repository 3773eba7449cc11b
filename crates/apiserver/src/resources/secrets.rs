//! Secrets: data of a declared type, written as base64, or as plain text through `stringData`.
//!
//! `stringData` is write-only: it is merged into `data` and never stored. The type cannot change, and some types
//! demand keys. Contents never stand in an error. Kubernetes: `core/validation.ValidateSecret`,
//! `apis/core/v1/conversion.go`.

use super::cells::{self, AGE, NAME, column};
use super::configmaps::{DATA_MAX, check_frozen, check_key, decoded_size};
use super::fields::{check_immutable, entries, fill_zero, inner_or_new, remove, text};
use super::{Column, Kind, ORDINARY, Row, Rules};
use crate::encode::parts::{self, Parts};
use crate::error::FieldError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

/// The kind.
pub const KIND: Kind = Kind {
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    rules: super::Rulebook::Fixed(&Secrets),
    ..ORDINARY
};

struct Secrets;

impl Rules for Secrets {
    fn default(&self, object: &mut Value) {
        merge_string_data(object);
        fill_zero(object, "type", "Opaque");
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut size = 0;
        for (key, value) in entries(object, "data") {
            check_key(&mut errors, "data", key);
            size += decoded_size(value);
        }
        if size > DATA_MAX {
            errors.push(FieldError::too_long("data", DATA_MAX));
        }
        validate_type(&mut errors, object);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        check_immutable(&mut errors, &new["type"], &old["type"], "type");
        errors.extend(check_frozen(new, old, &["data"]));
        errors.extend(self.validate_create(new));
        errors
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["type"]
    }

    fn field(&self, object: &Value, _path: &str) -> String {
        text(object, "type").to_string()
    }

    fn indexed(&self) -> &'static Parts {
        &Parts::Only(&[("metadata", parts::KEPT), ("type", Parts::All)])
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            column("Type", "Used to facilitate programmatic handling of secret data."),
            column("Data", "Number of keys in data."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        let keys = cells::size(object, "data").into();
        cells::row(vec![cells::name(object), text(object, "type").into(), keys, cells::age(object, now)])
    }
}

fn merge_string_data(object: &mut Value) {
    let plain = object["stringData"].as_object().cloned().unwrap_or_default();
    if !plain.is_empty()
        && let Some(data) = inner_or_new(object, "data")
    {
        for (key, value) in plain {
            data[key] = STANDARD.encode(value.as_str().unwrap_or_default()).into();
        }
    }
    remove(object, "stringData");
}

fn validate_type(errors: &mut Vec<FieldError>, object: &Value) {
    let missing = |key: &str| object["data"].get(key).is_none();
    let require = |errors: &mut Vec<FieldError>, key: &str| {
        errors.push(FieldError::required(format!("data[{key}]"), ""));
    };
    match text(object, "type") {
        "kubernetes.io/service-account-token" => {
            const ACCOUNT: &str = "kubernetes.io/service-account.name";
            if text(&object["metadata"]["annotations"], ACCOUNT).is_empty() {
                errors.push(FieldError::required(format!("metadata.annotations[{ACCOUNT}]"), ""));
            }
        }
        "kubernetes.io/dockercfg" => validate_json(errors, object, ".dockercfg"),
        "kubernetes.io/dockerconfigjson" => validate_json(errors, object, ".dockerconfigjson"),
        "kubernetes.io/basic-auth" if missing("username") && missing("password") => {
            require(errors, "username");
            require(errors, "password");
        }
        "kubernetes.io/ssh-auth" if text(&object["data"], "ssh-privatekey").is_empty() => {
            require(errors, "ssh-privatekey");
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"].into_iter().filter(|key| missing(key)) {
                require(errors, key);
            }
        }
        _ => {}
    }
}

fn validate_json(errors: &mut Vec<FieldError>, object: &Value, key: &str) {
    let path = format!("data[{key}]");
    let Some(content) = object["data"].get(key) else {
        return errors.push(FieldError::required(path, ""));
    };
    let bytes = STANDARD.decode(content.as_str().unwrap_or_default()).unwrap_or_default();
    if let Err(error) = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes) {
        errors.push(FieldError::invalid(path, "<secret contents redacted>", reason(&error)));
    }
}

/// Where JSON breaks, without its text: the text is the secret.
fn reason(error: &serde_json::Error) -> String {
    format!("not a JSON object (line {}, column {})", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn plain_text_becomes_data_and_is_never_stored() {
        let mut object = json!({"data": {"a": "MQ==", "b": "Mg=="}, "stringData": {"b": "x"}});
        Secrets.default(&mut object);
        assert_eq!(object, json!({"type": "Opaque", "data": {"a": "MQ==", "b": "eA=="}}));
    }

    #[test]
    fn types_demand_their_keys() {
        let check = |object: Value, expected: &[&str]| {
            let errors = Secrets.validate_create(&object);
            let fields: Vec<&str> = errors.iter().map(|e| e.field.as_str()).collect();
            assert_eq!(fields, expected, "{object}");
        };
        check(json!({"type": "Opaque"}), &[]);
        check(json!({"type": "my.org/own"}), &[]);
        check(json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}), &["data[tls.key]"]);
        check(json!({"type": "kubernetes.io/basic-auth"}), &["data[username]", "data[password]"]);
        check(json!({"type": "kubernetes.io/basic-auth", "data": {"password": ""}}), &[]);
        check(
            json!({"type": "kubernetes.io/ssh-auth", "data": {"ssh-privatekey": ""}}),
            &["data[ssh-privatekey]"],
        );
        check(json!({"type": "kubernetes.io/dockerconfigjson"}), &["data[.dockerconfigjson]"]);
        check(json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="}}), &[]);
        check(
            json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "MQ=="}}),
            &["data[.dockerconfigjson]"],
        );
        check(
            json!({"type": "kubernetes.io/service-account-token"}),
            &["metadata.annotations[kubernetes.io/service-account.name]"],
        );
    }

    #[test]
    fn the_type_never_changes() {
        let old = json!({"type": "Opaque"});
        let errors = Secrets.validate_update(&json!({"type": "other"}), &old);
        assert_eq!(errors, [FieldError::invalid("type", "other", "field is immutable")]);
    }
}
