//! Any JSON as a schema, any JSON as an object: answers, and never a panic.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};
use structural::column::JsonPath;
use structural::{MAX_FINDINGS, Path, Scope, check, fill, prune, read};

/// Words that mean something in a schema, and some that mean nothing.
const WORDS: &[&str] = &[
    "type",
    "properties",
    "items",
    "additionalProperties",
    "default",
    "enum",
    "required",
    "nullable",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "multipleOf",
    "maxLength",
    "minItems",
    "maxProperties",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "metadata",
    "spec",
    "a",
    "b",
];
const TEXTS: &[&str] = &[
    "object", "array", "string", "integer", "number", "boolean", "map", "set", "atomic", "a", "date", "(",
    "^a*$", "",
];

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        proptest::sample::select(TEXTS).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 80, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(proptest::sample::select(WORDS), inner, 0..6)
                .prop_map(|map| map.into_iter().map(|(k, v)| (k.to_string(), v)).collect::<Value>()),
        ]
    })
}

proptest! {
    #[test]
    fn any_schema_and_any_object_are_answered(parts in anything(), object in anything(), old in anything()) {
        let schemas = [
            parts.clone(),
            json!({"type": "object", "properties": {"spec": parts.clone()}}),
            json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": parts}}}}),
        ];
        for schema in schemas {
            match read(&schema, &Path::Root) {
                Err(found) => prop_assert!(!found.is_empty() && found.len() <= MAX_FINDINGS),
                Ok(schema) => {
                    let mut pruned = json!({"spec": object.clone()});
                    prune(&mut pruned, &schema);
                    prop_assert!(prune(&mut pruned.clone(), &schema).is_empty());
                    if fill(&mut pruned, &schema).is_ok() {
                        prop_assert_eq!(fill(&mut pruned, &schema), Ok(false));
                    }
                    check(&pruned, Some(&json!({"spec": old.clone()})), &schema, Scope::Object);
                    prop_assert!(check(&pruned, Some(&pruned), &schema, Scope::Object).is_empty());
                }
            }
        }
    }

    #[test]
    fn any_text_is_a_path_or_none(text in ".{0,40}", object in anything()) {
        if let Some(path) = JsonPath::parse(&text) {
            path.first(&object);
        }
    }
}
