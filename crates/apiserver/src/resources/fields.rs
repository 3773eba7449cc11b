//! What stands at a field of an object? Reading and filling JSON as Go's typed structs do.
//!
//! Absent, null and (for values that are not pointers in Go) the zero value are the same thing: "not set". No function
//! here panics, whatever the shape; a field of another shape reads as not set, because the schema has been checked
//! before rules run. Kubernetes: the generated conversion and `omitempty`.

use crate::error::FieldError;
use objects::name;
use serde_json::{Map, Value, json};

/// A text field; anything else reads as empty.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

/// A whole number.
pub fn int(object: &Value, field: &str) -> Option<i64> {
    object[field].as_i64()
}

/// A flag; absent reads as false.
pub fn flag(object: &Value, field: &str) -> bool {
    object[field].as_bool().unwrap_or_default()
}

/// The items of a list; absent reads as empty.
pub fn items<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object[field].as_array().map_or(&[], Vec::as_slice)
}

/// The texts of a list.
pub fn texts<'a>(object: &'a Value, field: &str) -> Vec<&'a str> {
    items(object, field).iter().map(|item| item.as_str().unwrap_or_default()).collect()
}

/// The entries of a map, sorted by key; absent reads as empty.
pub fn entries<'a>(object: &'a Value, field: &str) -> Vec<(&'a str, &'a Value)> {
    let mut found: Vec<_> =
        object[field].as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value)).collect();
    found.sort_by_key(|(key, _)| *key);
    found
}

/// Whether the field is there at all.
pub fn is_set(object: &Value, field: &str) -> bool {
    !object[field].is_null()
}

/// The items of a list, to be changed.
pub fn items_mut<'a>(object: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

/// A struct within, if it is there.
pub fn inner<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Value> {
    object.get_mut(field).filter(|value| value.is_object())
}

/// A struct within, made when it is absent. `None` when something else stands there.
pub fn inner_or_new<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Value> {
    let value = object.as_object_mut()?.entry(field).or_insert(Value::Null);
    if value.is_null() {
        *value = json!({});
    }
    value.is_object().then_some(value)
}

/// Sets a pointer-like field that is absent: zero values count as set.
pub fn fill_absent(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(fields) = object.as_object_mut()
        && fields.get(field).is_none_or(Value::is_null)
    {
        fields.insert(field.to_string(), value.into());
    }
}

/// Sets a plain field that is absent, empty or zero.
pub fn fill_zero(object: &mut Value, field: &str, value: impl Into<Value>) {
    let zero = match &object[field] {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        _ => false,
    };
    if let (true, Some(fields)) = (zero, object.as_object_mut()) {
        fields.insert(field.to_string(), value.into());
    }
}

/// Makes a field of `new` what it is in `old`, absent included.
pub fn keep(new: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        // Mostly it is, and to compare costs less than to copy.
        before if before == new.get(field) => {}
        Some(value) => set(new, field, value.clone()),
        None => remove(new, field),
    }
}

/// Sets a field of an object.
pub fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(field.to_string(), value.into());
    }
}

/// Takes a field away.
pub fn remove(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(field);
    }
}

/// `metadata.annotations`, to be changed; made when absent.
pub fn annotations(object: &mut Value) -> Option<&mut Map<String, Value>> {
    inner_or_new(inner_or_new(object, "metadata")?, "annotations")?.as_object_mut()
}

/// Old generation and one (2.3.1).
pub fn raise_generation(new: &mut Value, old: &Value) {
    let generation = int(&old["metadata"], "generation").unwrap_or_default().saturating_add(1);
    if let Some(metadata) = new.get_mut("metadata") {
        set(metadata, "generation", generation);
    }
}

/// Reports every text of a name rule at a field.
pub fn check(errors: &mut Vec<FieldError>, field: &str, value: &str, outcome: Result<(), Vec<String>>) {
    for text in outcome.err().unwrap_or_default() {
        errors.push(FieldError::invalid(field, value, text));
    }
}

/// The field must be a DNS-1123 label.
pub fn check_label_name(errors: &mut Vec<FieldError>, field: &str, value: &str) {
    check(errors, field, value, name::dns1123_label(value));
}

/// The field must be a DNS-1123 subdomain.
pub fn check_subdomain(errors: &mut Vec<FieldError>, field: &str, value: &str) {
    check(errors, field, value, name::dns1123_subdomain(value));
}

/// The number must not be below zero; absent is fine.
pub fn check_not_negative(errors: &mut Vec<FieldError>, object: &Value, field: &str, path: &str) {
    if let Some(value) = int(object, field).filter(|value| *value < 0) {
        errors.push(FieldError::invalid(path, value, "must be greater than or equal to 0"));
    }
}

/// The text must be there and be one of a list.
pub fn check_one_of(errors: &mut Vec<FieldError>, path: &str, value: &Value, supported: &[&str]) {
    match value.as_str().unwrap_or_default() {
        "" => errors.push(FieldError::required(path, "")),
        text if supported.contains(&text) => {}
        text => errors.push(FieldError::not_supported(path, text, supported)),
    }
}

/// As [`check_one_of`], but the field may be absent.
pub fn check_optional_one_of(errors: &mut Vec<FieldError>, path: &str, value: &Value, supported: &[&str]) {
    if let Some(text) = value.as_str()
        && !supported.contains(&text)
    {
        errors.push(FieldError::not_supported(path, text, supported));
    }
}

/// The field may not change; absent equals absent.
pub fn check_immutable(errors: &mut Vec<FieldError>, new: &Value, old: &Value, path: &str) {
    if !crate::verbs::same::same(new, old) {
        errors.push(FieldError::invalid(path, new.clone(), "field is immutable"));
    }
}
