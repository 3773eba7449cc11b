//! Which fields has a writer touched?
//!
//! [`difference`] compares two objects field by field; [`whole`] names every field of one, as an applier owns what it
//! applies. Pure. A list whose items cannot be told apart (a stored object may hold such) counts as one field.
//! Kubernetes: `structured-merge-diff/typed` (compare, tofieldset).

use super::fields::{Fields, Step};
use super::shape::{Form, Member, Members, Nameless, parts};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What differs between two objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Fields that are new, or have another value.
    pub set: Fields,
    /// Fields that are gone.
    pub removed: Fields,
}

impl Difference {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.removed.is_empty()
    }
}

/// What of `new` differs from `old`.
pub fn difference(form: Form, old: Option<&Value>, new: Option<&Value>) -> Difference {
    let mut found = Difference::default();
    compare(form, present(old), present(new), &mut found);
    found
}

/// Null is what Go writes for "not there".
fn present(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null())
}

fn compare(form: Form, old: Option<&Value>, new: Option<&Value>, found: &mut Difference) {
    match form.members() {
        Some(members) => compare_members(members, old, new, found),
        None => compare_items(form, old, new, found),
    }
}

/// Fields of structs, and keys of maps: a step is made only for what differs.
fn compare_members(members: Members, old: Option<&Value>, new: Option<&Value>, found: &mut Difference) {
    let (before, after) = (filled(old), filled(new));
    if before.is_none() && after.is_none() {
        return compare_whole(old, new, found);
    }
    for (name, value) in after.into_iter().flatten() {
        let earlier = before.and_then(|before| before.get(name));
        descend(members.named(name), || members.step(name), earlier, Some(value), found);
    }
    let is_gone = |name: &String| after.is_none_or(|after| !after.contains_key(name));
    for (name, value) in before.into_iter().flatten().filter(|(name, _)| is_gone(name)) {
        descend(members.named(name), || members.step(name), Some(value), None, found);
    }
    note_whole(old, new, found);
}

fn filled(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object).filter(|map| !map.is_empty())
}

/// Items of lists, by what names them.
fn compare_items(form: Form, old: Option<&Value>, new: Option<&Value>, found: &mut Difference) {
    let (Ok(before), Ok(after)) = (parts_of(form, old), parts_of(form, new)) else {
        return compare_whole(old, new, found);
    };
    if before.is_none() && after.is_none() {
        return compare_whole(old, new, found);
    }
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    let member = |step: &Step| Member { form: form.part(step), always_there: false };
    for (step, value) in &after {
        let earlier = before.get(step).copied();
        descend(member(step), || step.clone(), earlier, Some(value), found);
    }
    for (step, value) in before.iter().filter(|(step, _)| !after.contains_key(*step)) {
        descend(member(step), || step.clone(), Some(value), None, found);
    }
    note_whole(old, new, found);
}

/// A value that comes or goes is a field itself, beside what it holds.
fn note_whole(old: Option<&Value>, new: Option<&Value>, found: &mut Difference) {
    found.set.owned |= old.is_none() && new.is_some();
    found.removed.owned |= new.is_none() && old.is_some();
}

fn descend(
    member: Member,
    step: impl Fn() -> Step,
    old: Option<&Value>,
    new: Option<&Value>,
    found: &mut Difference,
) {
    let (old, new) = (present(old), present(new));
    // Most of an object is as it was before the write; nothing of that needs a name.
    if old == new {
        return;
    }
    let mut inner = Difference::default();
    compare(member.form, old, new, &mut inner);
    // What Go always writes is no news by itself, only what it holds.
    for fields in [&mut inner.set, &mut inner.removed] {
        fields.owned &= !member.always_there || fields.below.is_empty();
    }
    found.set.put(&step, inner.set);
    found.removed.put(step, inner.removed);
}

fn compare_whole(old: Option<&Value>, new: Option<&Value>, found: &mut Difference) {
    match (old, new) {
        (Some(_), None) => found.removed.owned = true,
        (old, new) if old != new => found.set.owned = true,
        _ => {}
    }
}

fn parts_of<'v>(
    form: Form<'_>,
    value: Option<&'v Value>,
) -> Result<Option<BTreeMap<Step, &'v Value>>, Nameless> {
    let Some(value) = value else { return Ok(None) };
    Ok(parts(form, value)?.map(|parts| parts.into_iter().collect()))
}

/// Where an applied object cannot be told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ambiguous {
    /// Path of the list.
    pub path: String,
    /// What is wrong with it.
    pub why: Nameless,
}

/// Every field of a value, as its applier owns it.
pub fn whole(form: Form, value: &Value) -> Result<Fields, Ambiguous> {
    let named = parts(form, value).map_err(|why| Ambiguous { path: String::new(), why })?;
    let Some(named) = named else { return Ok(Fields::leaf()) };
    let mut fields = Fields::default();
    for (step, value) in named {
        // The path is made on the way out: one long key may have a hundred thousand fields below it.
        let mut part = whole(form.part(&step), value).map_err(|inner| Ambiguous {
            path: format!("{}{}", super::fields::shown(&step), inner.path),
            ..inner
        })?;
        // An item, and a key of a map, is somebody's by itself; a field of a struct only by what it holds.
        part.owned |= !matches!(form, Form::Struct(_) | Form::Object(_));
        fields.put(|| step, part);
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Gvk, schema};
    use serde_json::json;

    fn daemon_set() -> Form<'static> {
        Form::of_type(schema().kind(Gvk::new("apps/v1", "DaemonSet")).unwrap())
    }

    #[test]
    fn a_new_object_is_owned_as_kubernetes_writes_it() {
        let object = json!({"metadata": {"labels": {"a": "b"}}, "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
                "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "resources": {}}],
                "securityContext": {}, "restartPolicy": "Always"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0}}}});
        let set = difference(daemon_set(), Some(&json!({})), Some(&object)).set;
        let expected = json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:spec": {
            "f:selector": {},
            "f:template": {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:spec": {
                "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:image": {},
                    "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}":
                        {".": {}, "f:containerPort": {}, "f:protocol": {}}},
                    "f:resources": {}}},
                "f:securityContext": {}, "f:restartPolicy": {}}},
            "f:updateStrategy": {"f:type": {}, "f:rollingUpdate": {".": {}, "f:maxSurge": {}}}}});
        assert_eq!(json!(set), expected);
    }

    #[test]
    fn only_what_changed_is_touched() {
        let check = |old: Value, new: Value, set: Value, removed: Value| {
            let found = difference(daemon_set(), Some(&old), Some(&new));
            assert_eq!((json!(found.set), json!(found.removed)), (set, removed), "{old} {new}");
        };
        let labels = |labels: Value| json!({"metadata": {"labels": labels}});
        let owned = |labels: Value| json!({"f:metadata": {"f:labels": labels}});
        let nothing = || json!({});
        check(labels(json!({"a": "1"})), labels(json!({"a": "1"})), nothing(), nothing());
        check(labels(json!({"a": "1"})), labels(json!({"a": "2"})), owned(json!({"f:a": {}})), nothing());
        check(
            labels(json!({"a": "1", "b": "1"})),
            labels(json!({"b": "1"})),
            nothing(),
            owned(json!({"f:a": {}})),
        );
        check(nothing(), labels(json!({"a": "1"})), owned(json!({".": {}, "f:a": {}})), nothing());
        let finalizers = |list: Value| json!({"metadata": {"finalizers": list}});
        check(
            finalizers(json!(["x/a", "x/b"])),
            finalizers(json!(["x/b", "x/c"])),
            json!({"f:metadata": {"f:finalizers": {"v:\"x/c\"": {}}}}),
            json!({"f:metadata": {"f:finalizers": {"v:\"x/a\"": {}}}}),
        );
        let spec = |tolerations: Value| json!({"spec": {"template": {"spec": {"tolerations": tolerations}}}});
        let owned = json!({"f:spec": {"f:template": {"f:spec": {"f:tolerations": {}}}}});
        check(spec(json!([])), spec(json!([{"operator": "Exists"}])), owned, nothing());
    }

    #[test]
    fn an_applier_owns_items_and_leaves() {
        let object = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"template": {"spec": {
            "containers": [{"name": "c", "image": "i"}], "hostNetwork": true, "securityContext": {}}}}});
        let expected = json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:template": {"f:spec": {
            "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:image": {}}},
            "f:hostNetwork": {}, "f:securityContext": {}}}}});
        assert_eq!(json!(whole(daemon_set(), &object).unwrap()), expected);
    }

    #[test]
    fn an_applied_list_with_a_name_twice_is_refused_by_its_path() {
        let object = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "c", "env": [{"name": "a"}, {"name": "a"}]}]}}}});
        let refused = whole(daemon_set(), &object).unwrap_err();
        assert_eq!(refused.path, r#".spec.template.spec.containers[name="c"].env"#);
    }
}
