//! LimitRanges: defaults and bounds of a namespace's pods and containers. [`crate::admission`] applies them.
//!
//! What a limit leaves out follows from what it says: the largest is the default limit, that the default request, and
//! else the smallest. Kubernetes: `registry/core/limitrange` (it has no printer, 5.0.7), `core/v1/defaults.go`
//! (`SetDefaults_LimitRangeItem`), `core/validation.ValidateLimitRange`.

use super::cells::Unprinted;
use super::fields::{entries, inner, inner_or_new, is_set, items, items_mut, text};
use super::pod_template::amounts;
use super::{Column, Kind, ORDINARY, PLAIN, Row, Rules, Traits};
use crate::error::FieldError;
use jiff::Timestamp;
use objects::name;
use objects::quantity::Amount;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The kind.
pub const KIND: Kind = Kind {
    kind: "LimitRange",
    plural: "limitranges",
    singular: "limitrange",
    short_names: &["limits"],
    traits: Traits { create_on_update: true, ..PLAIN },
    rules: super::Rulebook::Fixed(&LimitRanges),
    ..ORDINARY
};

/// The maps of one limit, by what they bound.
const MAPS: &[&str] = &["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

struct LimitRanges;

impl Rules for LimitRanges {
    fn default(&self, object: &mut Value) {
        let Some(spec) = inner(object, "spec") else { return };
        items_mut(spec, "limits").filter(|limit| text(limit, "type") == "Container").for_each(fill_limit);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut seen = BTreeSet::new();
        for (at, limit) in items(&object["spec"], "limits").iter().enumerate() {
            let path = format!("spec.limits[{at}]");
            let kind = text(limit, "type");
            check_type(&mut errors, kind, &format!("{path}.type"));
            if !seen.insert(kind) {
                errors.push(FieldError::duplicate(format!("{path}.type"), kind));
            }
            check_limit(&mut errors, limit, &path);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        Unprinted.columns()
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        Unprinted.row(object, now)
    }
}

fn fill_limit(limit: &mut Value) {
    for (into, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
        let known: Vec<(String, Value)> = entries(limit, from)
            .into_iter()
            .map(|(name, amount)| (name.to_string(), amount.clone()))
            .collect();
        if known.is_empty() {
            continue;
        }
        let Some(filled) = inner_or_new(limit, into).and_then(Value::as_object_mut) else { return };
        for (name, amount) in known {
            filled.entry(name).or_insert(amount);
        }
    }
}

fn check_type(errors: &mut Vec<FieldError>, kind: &str, path: &str) {
    const STANDARD: &[&str] = &["Pod", "Container", "PersistentVolumeClaim"];
    if let Err(texts) = name::qualified_name(kind) {
        errors.extend(texts.into_iter().map(|why| FieldError::invalid(path, kind, why)));
    } else if !kind.contains('/') && !STANDARD.contains(&kind) {
        let why = "must be a standard limit type or fully qualified";
        errors.push(FieldError::invalid(path, kind, why));
    }
}

fn check_limit(errors: &mut Vec<FieldError>, limit: &Value, path: &str) {
    let kind = text(limit, "type");
    for map in MAPS {
        for (name, _) in entries(limit, map) {
            if matches!(kind, "Pod" | "Container") {
                amounts::check_name(errors, name, &format!("{path}.{map}[{name}]"));
            }
        }
    }
    for map in ["default", "defaultRequest"] {
        if kind == "Pod" && is_set(limit, map) {
            let why = "may not be specified when `type` is 'Pod'";
            errors.push(FieldError::forbidden(format!("{path}.{map}"), why));
        }
    }
    let unbounded = ["min", "max"].iter().all(|map| limit[*map]["storage"].is_null());
    if kind == "PersistentVolumeClaim" && unbounded {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(format!("{path}.limits"), why));
    }
    let names: BTreeSet<&str> =
        MAPS.iter().flat_map(|map| entries(limit, map)).map(|(name, _)| name).collect();
    names.into_iter().for_each(|name| check_order(errors, limit, name, path));
}

/// Smallest, default request, default limit and largest stand in this order.
fn check_order(errors: &mut Vec<FieldError>, limit: &Value, name: &str, path: &str) {
    const ORDER: &[(&str, &str, &str, &str, &str)] = &[
        ("min", "max", "min", "min value", "max value"),
        ("min", "defaultRequest", "defaultRequest", "min value", "default request value"),
        ("defaultRequest", "max", "defaultRequest", "default request value", "max value"),
        ("defaultRequest", "default", "defaultRequest", "default request value", "default limit value"),
        ("min", "default", "default", "min value", "default value"),
        ("default", "max", "default", "default value", "max value"),
    ];
    let amounts: BTreeMap<&str, Amount> =
        MAPS.iter().filter_map(|map| Some((*map, amounts::parse(&limit[*map][name])?))).collect();
    let amount = |map: &str| amounts.get(map).copied();
    for (smaller, larger, shown, smaller_text, larger_text) in ORDER {
        let (Some(small), Some(large), Some(value)) = (amount(smaller), amount(larger), amount(shown)) else {
            continue;
        };
        if small > large {
            let why = format!("{smaller_text} {small} is greater than {larger_text} {large}");
            errors.push(FieldError::invalid(format!("{path}.{shown}[{name}]"), value.to_string(), why));
        }
    }
    check_ratio(errors, amount("maxLimitRequestRatio"), amount("min"), amount("max"), name, path);
    if let (false, Some(limit), Some(request)) =
        (amounts::may_overcommit(name), amount("default"), amount("defaultRequest"))
        && limit != request
    {
        let why = format!("default value {limit} must equal to defaultRequest value {request} in {name}");
        errors.push(FieldError::invalid(format!("{path}.defaultRequest[{name}]"), request.to_string(), why));
    }
}

fn check_ratio(
    errors: &mut Vec<FieldError>,
    ratio: Option<Amount>,
    min: Option<Amount>,
    max: Option<Amount>,
    name: &str,
    path: &str,
) {
    let Some(ratio) = ratio else { return };
    let mut refuse = |why: String| {
        let field = format!("{path}.maxLimitRequestRatio[{name}]");
        errors.push(FieldError::invalid(field, ratio.to_string(), why));
    };
    if ratio.milli() < 1000 {
        refuse(format!("ratio {ratio} is less than 1"));
    }
    if let (Some(min), Some(max)) = (min, max)
        && !min.is_zero()
        && ratio.milli() * min.milli() > max.milli() * 1000
    {
        refuse(format!("ratio {ratio} is greater than max/min = {:.6}", quotient(max, min)));
    }
}

/// For a text only: how many times one amount is the other.
pub fn quotient(of: Amount, by: Amount) -> f64 {
    of.milli() as f64 / by.milli() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn range(limit: Value) -> Value {
        json!({"metadata": {"name": "lr"}, "spec": {"limits": [limit]}})
    }

    #[test]
    fn what_a_limit_leaves_out_follows_from_what_it_says() {
        let check = |limit: Value, default: Value, request: Value| {
            let mut object = range(limit);
            LimitRanges.default(&mut object);
            let filled = &object["spec"]["limits"][0];
            assert_eq!((&filled["default"], &filled["defaultRequest"]), (&default, &request));
        };
        check(json!({"type": "Container", "max": {"cpu": "2"}}), json!({"cpu": "2"}), json!({"cpu": "2"}));
        check(json!({"type": "Container", "min": {"cpu": "1"}}), Value::Null, json!({"cpu": "1"}));
        check(
            json!({"type": "Container", "max": {"cpu": "2"}, "default": {"cpu": "1"}, "min": {"cpu": "100m"}}),
            json!({"cpu": "1"}),
            json!({"cpu": "1"}),
        );
        check(json!({"type": "Pod", "max": {"cpu": "2"}}), Value::Null, Value::Null);
    }

    #[test]
    fn bounds_stand_in_order() {
        let check = |limit: Value, expected: &[&str]| {
            let found: Vec<String> = LimitRanges
                .validate_create(&range(limit.clone()))
                .iter()
                .map(|e| format!("{}: {}", e.field, e.text()))
                .collect();
            assert_eq!(found, expected, "{limit}");
        };
        check(json!({"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "2"}}), &[]);
        check(
            json!({"type": "Container", "min": {"cpu": "3"}, "max": {"cpu": "2"}}),
            &["spec.limits[0].min[cpu]: Invalid value: \"3\": min value 3 is greater than max value 2"],
        );
        check(
            json!({"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}}),
            &[
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"2\": default request value 2 is greater than \
               default limit value 1",
            ],
        );
        check(
            json!({"type": "Pod", "default": {"cpu": "1"}}),
            &["spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"],
        );
        check(
            json!({"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "4"}}),
            &[
                "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"4\": ratio 4 is greater than max/min = \
               2.000000",
            ],
        );
        check(
            json!({"type": "Box"}),
            &[
                "spec.limits[0].type: Invalid value: \"Box\": must be a standard limit type or fully qualified",
            ],
        );
    }
}
