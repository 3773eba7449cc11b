//! Kubernetes' strategic merge patch: a merge patch that knows which lists are sets of named items.
//!
//! Objects merge key by key and null deletes, as in RFC 7386; a list whose field has a merge key (or is a set of
//! scalars) merges item by item; every other list is replaced. Directives (`$patch`, `$retainKeys`,
//! `$setElementOrder/…`, `$deleteFromPrimitiveList/…`) steer it and never reach the result (wire 4.4.2).
//! What the schema does not know merges like a plain merge patch and is pruned later.
//! Differs from wire 4.4.3: a new item of a merge list goes in front, as in kube-apiserver (its own documentation
//! shows it at "Update API Objects in Place Using kubectl patch"); `$setElementOrder` decides where kubectl sends it.
//! Kubernetes: `apimachinery/pkg/util/strategicpatch/patch.go`.

mod order;

use super::does_not_fit;
use crate::error::ApiError;
use crate::schema::{Base, Container, Field, Strategy, Type, schema};
use order::Places;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

/// Patches `original`, whose struct is `ty`.
pub(super) fn apply(ty: Option<&Type>, original: &Value, patch: Value) -> Result<Value, ApiError> {
    let (Value::Object(original), Value::Object(patch)) = (original, patch) else {
        return Err(does_not_fit());
    };
    merge_map(original.clone(), patch, ty).map(Value::Object)
}

type Object = Map<String, Value>;

fn merge_map(mut original: Object, mut patch: Object, ty: Option<&Type>) -> Result<Object, ApiError> {
    match patch.remove(PATCH) {
        None => {}
        Some(Value::String(directive)) => match directive.as_str() {
            "merge" => {}
            "replace" => return Ok(plain_map(patch)),
            "delete" => return Ok(Object::new()),
            other => return Err(unknown_directive(other)),
        },
        Some(other) => return Err(unknown_directive(&other.to_string())),
    }
    retain_keys(&mut original, &mut patch)?;
    let orders = take_orders(&mut patch)?;
    let before: Vec<(String, Option<Value>)> =
        orders.iter().map(|(name, _)| (name.clone(), original.get(name).cloned())).collect();
    for (name, order) in &orders {
        check_order(patch.get(name), order, field_of(ty, name))?;
    }
    for (key, change) in patch {
        merge_key(&mut original, &key, change, ty)?;
    }
    for ((name, order), (_, old)) in orders.iter().zip(&before) {
        put_in_order(&mut original, name, order, old.as_ref(), field_of(ty, name));
    }
    Ok(original)
}

/// Applies one key of the patch.
fn merge_key(original: &mut Object, key: &str, change: Value, ty: Option<&Type>) -> Result<(), ApiError> {
    if let Some(name) = key.strip_prefix(DELETE_FROM_LIST) {
        let Value::Array(gone) = change else {
            return Err(ApiError::bad_request("invalid patch format of primitive list"));
        };
        if let Some(Value::Array(items)) = original.get_mut(name) {
            let gone = Places::of(&gone, None);
            items.retain(|item| gone.find(item).is_none());
        }
        return Ok(());
    }
    if change.is_null() {
        original.remove(key);
        return Ok(());
    }
    let field = field_of(ty, key);
    let merged = match (original.remove(key), change) {
        (Some(Value::Object(old)), Value::Object(new)) => merge_object(old, new, field)?,
        (Some(Value::Array(old)), Value::Array(new)) => Some(merge_list(old, new, field)?.into()),
        (_, new) => plain(new),
    };
    if let Some(merged) = merged {
        original.insert(key.to_string(), merged);
    }
    Ok(())
}

fn merge_object(old: Object, new: Object, field: Option<&Field>) -> Result<Option<Value>, ApiError> {
    if field.is_some_and(|f| f.strategy == Strategy::Replace) {
        return Ok(plain(new.into()));
    }
    merge_map(old, new, field.and_then(struct_of)).map(|merged| Some(merged.into()))
}

fn merge_list(old: Vec<Value>, new: Vec<Value>, field: Option<&Field>) -> Result<Vec<Value>, ApiError> {
    match field.map(|f| f.strategy) {
        Some(Strategy::MergeByKey(key)) => merge_items(old, new, key, field.and_then(struct_of)),
        Some(Strategy::MergeScalars) => Ok(merge_scalars(old, new)),
        _ => Ok(new.into_iter().filter_map(plain).collect()),
    }
}

fn merge_scalars(old: Vec<Value>, new: Vec<Value>) -> Vec<Value> {
    let (mut merged, mut places) = (Vec::new(), Places::of(&[], None));
    for value in old.iter().chain(&new) {
        if places.find(value).is_none() {
            places.put(value, merged.len());
            merged.push(value.clone());
        }
    }
    order::arrange(merged, &new, &old, None)
}

fn merge_items(
    old: Vec<Value>,
    new: Vec<Value>,
    key: &str,
    ty: Option<&Type>,
) -> Result<Vec<Value>, ApiError> {
    let Directives { items, deleted, replace } = Directives::take(new, key)?;
    if replace {
        return Ok(items.into_iter().filter_map(plain).collect());
    }
    let (mut merged, deleted) = (old.clone(), Places::of(&deleted, Some(key)));
    merged.retain(|item| deleted.find(item).is_none());
    let mut places = Places::of(&merged, Some(key));
    for item in &items {
        let (Value::Object(change), true) = (item, item.get(key).is_some_and(|name| !name.is_null())) else {
            return Err(no_merge_key(item, key));
        };
        let before = places.find(item).and_then(|at| Some((at, merged.get_mut(at)?)));
        if let Some((at, Value::Object(before))) = before {
            *before = merge_map(std::mem::take(before), change.clone(), ty)?;
            // `$retainKeys` may have taken its name.
            places.forget(item);
            merged.get(at).into_iter().for_each(|now| places.put(now, at));
        } else if let Some(new) = plain(item.clone()) {
            places.put(&new, merged.len());
            merged.push(new);
        }
    }
    Ok(order::arrange(merged, &items, &old, Some(key)))
}

/// A patch list without its `$patch` elements, and what those said.
struct Directives {
    items: Vec<Value>,
    deleted: Vec<Value>,
    replace: bool,
}

impl Directives {
    fn take(list: Vec<Value>, key: &str) -> Result<Self, ApiError> {
        let mut found = Self { items: Vec::new(), deleted: Vec::new(), replace: false };
        for item in list {
            match item.get(PATCH).map(|d| d.as_str().unwrap_or_default()) {
                None => found.items.push(item),
                Some("replace") => found.replace = true,
                Some("delete") => match item.get(key) {
                    Some(_) => found.deleted.push(item),
                    None => return Err(no_merge_key(&item, key)),
                },
                Some("merge") => {
                    return Err(ApiError::bad_request("merging lists cannot yet be specified in the patch"));
                }
                Some(other) => return Err(unknown_directive(other)),
            }
        }
        Ok(found)
    }
}

/// `$retainKeys`: what it does not name goes, and the patch may not speak of anything else.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), ApiError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else {
        return Err(ApiError::bad_request("invalid patch format of retainKeys"));
    };
    let keys: BTreeSet<&str> = keys.iter().filter_map(Value::as_str).collect();
    let retained = |name: &str| keys.contains(name);
    let stray = |(key, value): (&String, &Value)| !value.is_null() && !key.starts_with('$') && !retained(key);
    if patch.iter().any(stray) {
        return Err(does_not_fit());
    }
    original.retain(|key, _| retained(key));
    Ok(())
}

/// Takes the `$setElementOrder/<field>` entries out of the patch.
fn take_orders(patch: &mut Object) -> Result<Vec<(String, Vec<Value>)>, ApiError> {
    let mut orders = Vec::new();
    let names: Vec<String> = patch.keys().filter(|k| k.starts_with(SET_ORDER)).cloned().collect();
    for key in names {
        let Some(Value::Array(order)) = patch.remove(&key) else {
            return Err(ApiError::bad_request("invalid patch format of setElementOrder list"));
        };
        orders.push((key.trim_start_matches(SET_ORDER).to_string(), order));
    }
    Ok(orders)
}

/// Items of the patch list stand in the order list, in the same order.
fn check_order(list: Option<&Value>, order: &[Value], field: Option<&Field>) -> Result<(), ApiError> {
    let (Some(Value::Array(list)), Some(key)) = (list, merge_key_of(field)) else { return Ok(()) };
    let mut rest = order.iter();
    for item in list.iter().filter(|item| item.get(PATCH).is_none()) {
        if !rest.any(|o| order::same(o, item, key)) {
            let show = |items: &[Value]| Value::from(items).to_string();
            return Err(ApiError::bad_request(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                show(list),
                show(order)
            )));
        }
    }
    Ok(())
}

fn put_in_order(
    object: &mut Object,
    name: &str,
    order: &[Value],
    old: Option<&Value>,
    field: Option<&Field>,
) {
    let (Some(Value::Array(items)), Some(key)) = (object.get_mut(name), merge_key_of(field)) else { return };
    let old = old.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    *items = order::arrange(std::mem::take(items), order, old, key);
}

/// `Some(None)`: a set of scalars; `None`: no merge list at all.
fn merge_key_of(field: Option<&Field>) -> Option<Option<&'static str>> {
    match field?.strategy {
        Strategy::MergeByKey(key) => Some(Some(key)),
        Strategy::MergeScalars => Some(None),
        Strategy::Ordinary | Strategy::Replace => None,
    }
}

/// A part of the patch that meets nothing in the object: without nulls and directives. `None`: nothing is left.
fn plain(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) => match map.get(PATCH).and_then(Value::as_str) {
            Some("delete") => None,
            _ => Some(plain_map(map).into()),
        },
        Value::Array(items) => {
            let marker = |v: &Value| v.as_object().is_some_and(|m| m.len() == 1 && m.contains_key(PATCH));
            Some(items.into_iter().filter(|v| !marker(v)).filter_map(plain).collect())
        }
        scalar => Some(scalar),
    }
}

fn plain_map(map: Object) -> Object {
    map.into_iter()
        .filter(|(key, value)| !value.is_null() && !is_directive(key))
        .filter_map(|(key, value)| plain(value).map(|value| (key, value)))
        .collect()
}

fn is_directive(key: &str) -> bool {
    key == PATCH || key == RETAIN_KEYS || key.starts_with(DELETE_FROM_LIST) || key.starts_with(SET_ORDER)
}

fn field_of<'t>(ty: Option<&'t Type>, name: &str) -> Option<&'t Field> {
    ty.and_then(|ty| ty.field(name))
}

fn struct_of(field: &Field) -> Option<&'static Type> {
    match (field.shape.container, field.shape.base) {
        (Container::One | Container::List, Base::Struct(id)) => Some(schema().get(id)),
        _ => None,
    }
}

fn unknown_directive(directive: &str) -> ApiError {
    ApiError::bad_request(format!("unknown patch type: {directive}"))
}

fn no_merge_key(item: &Value, key: &str) -> ApiError {
    ApiError::bad_request(format!("map: {item} does not contain declared merge key: {key}"))
}
