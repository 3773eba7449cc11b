//! What holds for every patch: generated objects and patches, with and without directives.

use super::*;
use proptest::prelude::*;

fn any_json() -> impl Strategy<Value = Value> {
    json_with(vec![
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$deleteFromPrimitiveList/finalizers",
        "$setElementOrder/finalizers",
    ])
}

fn json_with(directives: Vec<&'static str>) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..5i64).prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from),
        Just(json!("delete")),
        Just(json!("replace")),
    ];
    let names = ["a", "b", "name", "metadata", "spec", "containers", "volumes", "finalizers", "env"];
    let keys: Vec<&str> = names.into_iter().chain(directives).collect();
    let key = proptest::sample::select(keys).prop_map(str::to_string);
    leaf.prop_recursive(5, 60, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key.clone(), inner, 0..5)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// The merge patch from one object to another.
fn difference(from: &Value, to: &Value) -> Value {
    let (Value::Object(from), Value::Object(to)) = (from, to) else { return to.clone() };
    let mut patch = serde_json::Map::new();
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in to {
        match from.get(key) {
            Some(before) if before == value => {}
            Some(before) if before.is_object() => drop(patch.insert(key.clone(), difference(before, value))),
            _ => drop(patch.insert(key.clone(), value.clone())),
        }
    }
    patch.into()
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect()
        }
        Value::Null => json!([null]),
        other => other,
    }
}

proptest! {
    #[test]
    fn no_patch_makes_it_panic(original in any_json(), patch in any_json()) {
        for content_type in [STRATEGIC_PATCH, MERGE_PATCH, JSON_PATCH] {
            for name in ["Pod", "DaemonSet"] {
                let _ = patched(content_type, name, &original, &patch);
            }
        }
    }

    #[test]
    fn a_difference_leads_to_the_other_object(from in any_json(), to in any_json()) {
        let (from, to) = (json!({"x": without_nulls(from)}), json!({"x": without_nulls(to)}));
        prop_assert_eq!(patched(MERGE_PATCH, "Pod", &from, &difference(&from, &to)).unwrap(), to);
    }

    #[test]
    fn a_strategic_patch_without_directives_twice_is_the_patch_once(original in json_with(vec![]), patch in json_with(vec![])) {
        if let Ok(once) = patched(STRATEGIC_PATCH, "Pod", &json!({"spec": original}), &json!({"spec": patch.clone()}))
            && let Ok(twice) = patched(STRATEGIC_PATCH, "Pod", &once, &json!({"spec": patch}))
        {
            prop_assert_eq!(twice, once);
        }
    }

    #[test]
    fn no_directive_reaches_the_result(original in json_with(vec![]), patch in any_json()) {
        if let Ok(result) = patched(STRATEGIC_PATCH, "Pod", &json!({"spec": original}), &json!({"spec": patch})) {
            prop_assert!(!result.to_string().contains("\"$"), "{}", result);
        }
    }
}
