//! Does a write change anything? Semantic equality, so that a write of the same thing is not stored (2.2.7, 2.2.8).
//!
//! Pure. Absent, null, and an empty list or map are the same; quantities compare by value. An empty *struct* is not the
//! same as an absent one (`labelSelector: {}` selects everything), so only the fields known to be maps are treated so.
//! Kubernetes: `apimachinery/pkg/api/equality`, and `omitempty` of the Go types.

use crate::resources::Verbatim;
use objects::quantity::Amount;
use serde_json::{Map, Value};

/// Fields whose `{}` is an empty map and not an empty struct.
const MAPS: &[&str] = &[
    "labels",
    "annotations",
    "matchLabels",
    "nodeSelector",
    "data",
    "binaryData",
    "stringData",
    "limits",
    "requests",
    "capacity",
    "allocatable",
    "overhead",
    "podFixed",
    "hard",
    "used",
    "selector",
];
/// Maps whose values are quantities.
const QUANTITIES: &[&str] =
    &["limits", "requests", "capacity", "allocatable", "overhead", "podFixed", "hard", "used"];

/// Takes away what Kubernetes does not write: nulls and empty lists, at any depth. What is somebody else's JSON stays as
/// it is (2.10.8).
pub fn tidied(verbatim: Verbatim, object: &mut Value) {
    if let Value::Object(fields) = object {
        let ours = |name: &str| !is_verbatim(verbatim, name);
        fields.iter_mut().filter(|(name, _)| ours(name)).for_each(|(_, value)| tidy(value));
        fields.retain(|name, value| !ours(name) || !is_nothing(value));
    }
}

fn is_verbatim(verbatim: Verbatim, field: &str) -> bool {
    match verbatim {
        Verbatim::Nothing => false,
        Verbatim::Field(name) => field == name,
        Verbatim::AllButMetadata => field != "metadata",
    }
}

fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(tidy);
            fields.retain(|_, value| !is_nothing(value));
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// Whether two values mean the same, apart from `resourceVersion`.
pub fn same(a: &Value, b: &Value) -> bool {
    same_values(a, b, "", "")
}

/// Whether a write changes nothing: as [`same`], but somebody else's JSON is compared to the letter.
pub fn unchanged(verbatim: Verbatim, a: &Value, b: &Value) -> bool {
    let (Value::Object(left), Value::Object(right)) = (a, b) else { return a == b };
    let (exact, other): (Vec<&String>, Vec<&String>) =
        left.keys().chain(right.keys()).partition(|name| is_verbatim(verbatim, name));
    exact.into_iter().all(|name| left.get(name) == right.get(name))
        && other.into_iter().all(|name| same_values(&a[name], &b[name], name, ""))
}

fn same_fields(a: &Map<String, Value>, b: &Map<String, Value>, parent: &str) -> bool {
    let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
    let ignored = |name: &str| parent == "metadata" && name == "resourceVersion";
    names.filter(|name| !ignored(name)).all(|name| {
        let (left, right) = (a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null));
        same_values(left, right, name, parent)
    })
}

fn same_values(a: &Value, b: &Value, name: &str, parent: &str) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => same_fields(a, b, name),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_values(a, b, "", name))
        }
        (Value::Null, value) | (value, Value::Null) => is_empty(value, name),
        (a, b) if QUANTITIES.contains(&parent) => a == b || same_amounts(a, b),
        (a, b) => a == b,
    }
}

fn is_empty(value: &Value, name: &str) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty() && MAPS.contains(&name),
        _ => false,
    }
}

fn same_amounts(a: &Value, b: &Value) -> bool {
    let amount = |value: &Value| match value {
        Value::String(text) => text.parse::<Amount>().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    };
    matches!((amount(a), amount(b)), (Some(a), Some(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equality_is_about_meaning() {
        let check = |a: Value, b: Value, expected: bool| {
            assert_eq!(same(&a, &b), expected, "{a} {b}");
            assert_eq!(same(&b, &a), expected, "{b} {a}");
        };
        check(json!({"a": []}), json!({}), true);
        check(json!({"a": null}), json!({}), true);
        check(json!({"metadata": {"labels": {}}}), json!({"metadata": {}}), true);
        check(json!({"labelSelector": {}}), json!({}), false);
        check(json!({"emptyDir": {}}), json!({}), false);
        check(json!({"limits": {"cpu": "1000m"}}), json!({"limits": {"cpu": "1"}}), true);
        check(json!({"limits": {"cpu": "1"}}), json!({"limits": {"cpu": 1}}), true);
        check(json!({"limits": {"cpu": "1"}}), json!({"limits": {"cpu": "2"}}), false);
        check(
            json!({"metadata": {"resourceVersion": "1"}}),
            json!({"metadata": {"resourceVersion": "2"}}),
            true,
        );
        check(json!({"args": ["a", "b"]}), json!({"args": ["b", "a"]}), false);
        check(json!({"spec": {"a": 1}}), json!({"spec": {"a": "1"}}), false);
    }

    #[test]
    fn what_kubernetes_does_not_write_is_taken_away_but_not_out_of_revisions() {
        let mut object = json!({"spec": {"a": null, "b": [], "c": {}, "d": [{"e": null}]}});
        tidied(Verbatim::Nothing, &mut object);
        assert_eq!(object, json!({"spec": {"c": {}, "d": [{}]}}));
        let revision =
            json!({"kind": "ControllerRevision", "data": {"metadata": {"creationTimestamp": null}, "x": []}});
        let mut kept = revision.clone();
        tidied(Verbatim::Field("data"), &mut kept);
        assert_eq!(kept, revision);
    }
}
