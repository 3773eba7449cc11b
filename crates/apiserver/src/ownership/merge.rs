//! What does an object become when somebody applies a part of it?
//!
//! [`merge`] lays the applied fields over the live ones; [`prune`] takes away what its applier owned before, does not
//! apply any more, and nobody else owns. Pure. Kubernetes: `structured-merge-diff/{typed,merge}`.

use super::fields::{self, Fields, Step};
use super::shape::{Form, parts};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The live value with the applied one over it. Lists by name keep what only the live one has; items of both stand in
/// the order of the applied one.
pub fn merge(form: Form, live: &Value, applied: &Value) -> Value {
    match (form, live, applied) {
        (
            Form::Struct(_) | Form::Map(_) | Form::Object(_) | Form::Defined(_) | Form::Untold,
            Value::Object(live),
            Value::Object(applied),
        ) => Value::Object(merge_maps(form, live, applied)),
        (Form::Keyed(..) | Form::DefinedKeys(..) | Form::Set, Value::Array(_), Value::Array(_)) => {
            match (parts(form, live), parts(form, applied)) {
                (Ok(Some(live)), Ok(Some(applied))) => Value::Array(merge_lists(form, &live, &applied)),
                _ => applied.clone(),
            }
        }
        _ => applied.clone(),
    }
}

fn merge_maps(form: Form, live: &Map<String, Value>, applied: &Map<String, Value>) -> Map<String, Value> {
    let mut merged = live.clone();
    for (name, value) in applied {
        let part = form.part(&fields::field(name));
        let value = match live.get(name) {
            Some(live) => merge(part, live, value),
            None => value.clone(),
        };
        merged.insert(name.clone(), value);
    }
    merged
}

fn merge_lists(form: Form, live: &[(Step, &Value)], applied: &[(Step, &Value)]) -> Vec<Value> {
    let before: BTreeMap<&str, &Value> = live.iter().map(|(step, value)| (step.as_ref(), *value)).collect();
    let wanted: BTreeMap<&str, ()> = applied.iter().map(|(step, _)| (step.as_ref(), ())).collect();
    let mut merged = Vec::with_capacity(live.len() + applied.len());
    let mut rest = live.iter().peekable();
    let both = |step: &str, value: &Value| match before.get(step) {
        Some(live) => merge(form.part(step), live, value),
        None => value.clone(),
    };
    for (step, value) in applied {
        // What only the live list has keeps its place before the next item of both.
        while let Some((_, only)) = rest.next_if(|(step, _)| !wanted.contains_key(step.as_ref())) {
            merged.push((*only).clone());
        }
        if before.contains_key(step.as_ref()) {
            rest.next();
        }
        merged.push(both(step, value));
    }
    merged.extend(
        rest.filter(|(step, _)| !wanted.contains_key(step.as_ref())).map(|(_, only)| (*only).clone()),
    );
    merged
}

/// Takes away every field of `last` that is not in `kept`. A field of a struct or map counts as a member when
/// anything below it does.
pub fn prune(form: Form, value: &mut Value, last: &Fields, kept: &Fields) {
    // Read once for all items: a list may have tens of thousands.
    let mut steps = if value.is_array() { steps(form, value).into_iter() } else { Vec::new().into_iter() };
    match value {
        Value::Object(map) => prune_map(form, map, last, kept),
        Value::Array(items) => {
            items.retain_mut(|item| steps.next().is_none_or(|step| stays(form, &step, item, last, kept)));
        }
        _ => {}
    }
}

fn prune_map(form: Form, map: &mut Map<String, Value>, last: &Fields, kept: &Fields) {
    for step in last.below.keys() {
        let Some(name) = fields::field_name(step) else { continue };
        if map.get_mut(name).is_some_and(|part| !stays(form, step, part, last, kept)) {
            map.remove(name);
        }
    }
}

/// Whether a part stays; if so, it is pruned itself.
fn stays(form: Form, step: &str, part: &mut Value, last: &Fields, kept: &Fields) -> bool {
    let Some(dropped) = last.below.get(step) else { return true };
    let named = fields::field_name(step).is_some();
    let keeps = kept.below.get(step);
    let is_kept = keeps.is_some_and(|keeps| named || keeps.owned);
    if (dropped.owned || named) && !is_kept {
        return false;
    }
    prune(form.part(step), part, dropped, keeps.unwrap_or(&Fields::default()));
    true
}

/// What the items of a list are called, in their order; none when they cannot be told apart.
fn steps(form: Form, list: &Value) -> Vec<Step> {
    let named = parts(form, list).ok().flatten().unwrap_or_default();
    named.into_iter().map(|(step, _)| step).collect()
}

#[cfg(test)]
mod tests {
    use super::super::difference::whole;
    use super::*;
    use crate::schema::{Gvk, schema};
    use serde_json::json;

    fn pod() -> Form<'static> {
        Form::of_type(schema().kind(Gvk::new("v1", "Pod")).unwrap())
    }

    fn containers(names: &[&str]) -> Value {
        let containers: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        json!({"spec": {"containers": containers}})
    }

    #[test]
    fn applied_items_come_in_their_order_and_others_keep_their_place() {
        let check = |live: &[&str], applied: &[&str], expected: &[&str]| {
            let merged = merge(pod(), &containers(live), &containers(applied));
            assert_eq!(merged, containers(expected), "{live:?} {applied:?}");
        };
        check(&["a", "b"], &["b", "a"], &["b", "a"]);
        check(&["a", "b"], &["c"], &["a", "b", "c"]);
        check(&["x", "a"], &["a", "b"], &["x", "a", "b"]);
        check(&["a", "x", "b"], &["a", "b"], &["a", "x", "b"]);
        check(&[], &["a"], &["a"]);
    }

    #[test]
    fn maps_merge_and_leaves_are_replaced() {
        let live = json!({"metadata": {"labels": {"a": "1", "b": "1"}}, "spec": {"nodeSelector": {"x": "y"},
            "containers": [{"name": "c", "image": "old", "args": ["a"], "tty": true}]}});
        let applied = json!({"metadata": {"labels": {"b": "2"}}, "spec": {"nodeSelector": {"z": "y"},
            "containers": [{"name": "c", "image": "new", "args": ["b", "c"]}]}});
        let expected = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"nodeSelector": {"z": "y"},
            "containers": [{"name": "c", "image": "new", "args": ["b", "c"], "tty": true}]}});
        assert_eq!(merge(pod(), &live, &applied), expected);
    }

    #[test]
    fn what_nobody_wants_any_more_goes() {
        let fields = |value: Value| whole(pod(), &value).unwrap();
        let check = |live: Value, last: Value, kept: Value, expected: Value| {
            let mut pruned = live.clone();
            prune(pod(), &mut pruned, &fields(last), &fields(kept));
            assert_eq!(pruned, expected, "{live}");
        };
        let labels = |labels: Value| json!({"metadata": {"labels": labels}});
        check(
            labels(json!({"a": "1", "b": "1", "c": "1"})),
            labels(json!({"a": "1", "b": "1"})),
            labels(json!({"b": "1"})),
            labels(json!({"b": "1", "c": "1"})),
        );
        check(
            json!({"spec": {"containers": [{"name": "a", "tty": true}, {"name": "b"}]}}),
            containers(&["a", "b"]),
            containers(&["b"]),
            containers(&["b"]),
        );
        // A struct that its applier leaves out goes with what others have put there unowned.
        check(
            json!({"spec": {"securityContext": {"runAsUser": 1, "fsGroup": 2}, "hostNetwork": true}}),
            json!({"spec": {"securityContext": {"runAsUser": 1}, "hostNetwork": true}}),
            json!({"spec": {"hostNetwork": true}}),
            json!({"spec": {"hostNetwork": true}}),
        );
    }
}
