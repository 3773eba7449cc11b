//! RFC 7386: null deletes, objects merge, everything else replaces.

use serde_json::{Map, Value};

/// Merges `patch` into `target`. Nulls never reach the result, at any depth of an object.
pub(super) fn apply(target: Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut map = match target {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    for (key, change) in changes {
        if change.is_null() {
            map.remove(key);
            continue;
        }
        let before = map.remove(key).unwrap_or(Value::Null);
        map.insert(key.clone(), apply(before, change));
    }
    map.into()
}
