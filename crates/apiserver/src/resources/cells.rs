//! What does a cell of a Table say? Ages, labels, selectors, and the columns that many kinds share (wire 5.0).
//!
//! Cells are pure functions of one parsed object and the time; the Table around them is built where replies are.
//! Kubernetes: `pkg/printers/internalversion/printers.go`.

use super::fields::{entries, items, text};
use super::labels::parse_selector;
use super::{Column, Row, Rules};
use jiff::Timestamp;
use serde_json::Value;

/// What stands where a list or a name is empty.
pub const NONE: &str = "<none>";
/// What stands where nobody knows.
pub const UNKNOWN: &str = "<unknown>";

const METADATA_NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although \
some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily \
intended for creation idempotence and configuration definition. Cannot be updated. More info: \
https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";

/// The first column of nearly every kind.
pub const NAME: Column =
    Column { name: "Name", kind: "string", format: "name", priority: 0, description: METADATA_NAME };
/// The age of the object.
pub const AGE: Column = column("Age", "Time since the object was created.");

/// A text column that is always shown.
pub const fn column(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", format: "", priority: 0, description }
}

/// A text column that only `-o wide` shows.
pub const fn wide(name: &'static str, description: &'static str) -> Column {
    Column { priority: 1, ..column(name, description) }
}

/// A column of whole numbers.
pub const fn integer(name: &'static str, description: &'static str) -> Column {
    Column { kind: "integer", ..column(name, description) }
}

/// A row without conditions.
pub fn row(cells: Vec<Value>) -> Row {
    Row { cells, conditions: Vec::new() }
}

/// `metadata.name`.
pub fn name(object: &Value) -> Value {
    text(&object["metadata"], "name").into()
}

/// How long the object exists (5.0.2).
pub fn age(object: &Value, now: Timestamp) -> Value {
    since(&object["metadata"]["creationTimestamp"], now).into()
}

/// How long a moment is past; an absent one is unknown.
pub fn since(moment: &Value, now: Timestamp) -> String {
    match moment.as_str().and_then(|text| text.parse::<Timestamp>().ok()) {
        Some(moment) => objects::human::duration(seconds_between(moment, now)),
        None => UNKNOWN.to_string(),
    }
}

/// Whole seconds from one moment to another, truncated towards zero as Go does.
pub fn seconds_between(from: Timestamp, to: Timestamp) -> i64 {
    let nanos = to.as_nanosecond() - from.as_nanosecond();
    i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX)
}

/// A counter; absent reads as 0.
pub fn count(object: &Value, field: &str) -> Value {
    object[field].as_i64().unwrap_or_default().into()
}

/// A text, or `otherwise` when it is empty.
pub fn or<'a>(value: &'a str, otherwise: &'a str) -> &'a str {
    if value.is_empty() { otherwise } else { value }
}

/// A labels map as `k=v,k=v` (5.0.4).
pub fn labels(object: &Value, field: &str) -> String {
    let pairs = entries(object, field);
    let texts: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    or(&texts.join(","), NONE).to_string()
}

/// A label selector as text (5.0.4).
pub fn selector(selector: &Value) -> String {
    if selector.is_null() {
        return NONE.to_string();
    }
    match parse_selector(selector) {
        Some(selector) => or(&selector.to_string(), NONE).to_string(),
        None => "<error>".to_string(),
    }
}

/// One field of every container, joined (5.0.5).
pub fn of_containers(spec: &Value, field: &str) -> String {
    let texts: Vec<&str> = items(spec, "containers").iter().map(|container| text(container, field)).collect();
    texts.join(",")
}

/// How many entries a map has.
pub fn size(object: &Value, field: &str) -> usize {
    object[field].as_object().map_or(0, serde_json::Map::len)
}

/// At most three items, and how many more there are (5.6).
pub fn some_of(all: &[String], when_empty: &str) -> String {
    const SHOWN: usize = 3;
    match all {
        [] => when_empty.to_string(),
        all if all.len() <= SHOWN => all.join(","),
        all => {
            let shown = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(",");
            format!("{shown} + {} more...", all.len() - SHOWN)
        }
    }
}

/// A kind that has no printer: name and moment of creation (5.0.7).
pub struct Unprinted;

impl Rules for Unprinted {
    fn columns(&self) -> &'static [Column] {
        UNPRINTED
    }

    fn row(&self, object: &Value, _now: Timestamp) -> Row {
        unprinted(object)
    }
}

/// Columns of kinds without a printer.
pub const UNPRINTED: &[Column] =
    &[NAME, Column { kind: "date", ..column("Created At", "When the object was created.") }];

/// The row of a kind without a printer.
pub fn unprinted(object: &Value) -> Row {
    row(vec![name(object), text(&object["metadata"], "creationTimestamp").into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_and_selectors_read_as_kubectl_users_know_them() {
        assert_eq!(labels(&json!({"l": {"b": "2", "a": "1"}}), "l"), "a=1,b=2");
        assert_eq!(labels(&json!({}), "l"), "<none>");
        let check = |value: Value, expected: &str| assert_eq!(selector(&value), expected, "{value}");
        check(json!(null), "<none>");
        check(json!({}), "<none>");
        check(json!({"matchLabels": {"app": "x"}}), "app=x");
        check(
            json!({"matchLabels": {"app": "x"}, "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["b", "a"]}, {"key": "z", "operator": "DoesNotExist"}]}),
            "app=x,tier in (a,b),!z",
        );
        check(json!({"matchExpressions": [{"key": "a", "operator": "Nope"}]}), "<error>");
    }

    #[test]
    fn ages_are_unknown_without_a_moment() {
        let now: Timestamp = "2026-01-01T00:13:00Z".parse().unwrap();
        assert_eq!(
            age(&json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}}), now),
            json!("13m")
        );
        assert_eq!(age(&json!({}), now), json!("<unknown>"));
        assert_eq!(age(&json!({"metadata": {"creationTimestamp": "soon"}}), now), json!("<unknown>"));
    }

    #[test]
    fn long_lists_are_cut_after_three() {
        let all: Vec<String> = ["a", "b", "c", "d", "e"].map(String::from).to_vec();
        assert_eq!(some_of(&all, "-"), "a,b,c + 2 more...");
        assert_eq!(some_of(&all[..3], "-"), "a,b,c");
        assert_eq!(some_of(&[], "-"), "-");
    }
}
