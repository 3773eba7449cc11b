//! A set of fields of one object, as `fieldsV1` writes it.
//!
//! The tree is the JSON: a step is the very key that stands there (`f:spec`, `k:{"name":"c"}`, `v:"a"`), so that
//! nothing is translated on the way. A node that is `owned` is a member of the set itself; with fields below it, that
//! reads as `.`. Invariants: a node without fields below it is owned; JSON inside a step has sorted keys and no blanks.
//! Kubernetes: `structured-merge-diff/fieldpath`.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{SerializeMap as _, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// Deepest nesting that is read. Objects of the API end long before.
const DEPTH_MAX: usize = 64;

/// Bytes of paths after which no more are made: one long key may be in those of a hundred thousand fields.
const PATHS_BYTES: usize = 256 * 1024;

/// One step of a path. That of a struct's field stands in the schema and is borrowed from there.
pub type Step = Cow<'static, str>;

/// One field, and the set below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// The field itself is a member.
    pub owned: bool,
    /// What is below it.
    pub below: BTreeMap<Step, Fields>,
}

/// The step to a key of a map.
pub fn field(name: &str) -> Step {
    format!("f:{name}").into()
}

/// The name in a step that [`field`] has made.
pub fn field_name(step: &str) -> Option<&str> {
    step.strip_prefix("f:")
}

impl Fields {
    /// A member with nothing below it.
    pub fn leaf() -> Self {
        Self { owned: true, below: BTreeMap::new() }
    }

    /// Whether nothing is a member.
    pub fn is_empty(&self) -> bool {
        !self.owned && self.below.is_empty()
    }

    /// Puts the field under a step, unless it is empty.
    pub fn put(&mut self, step: impl FnOnce() -> Step, fields: Fields) {
        if !fields.is_empty() {
            self.below.insert(step(), fields);
        }
    }

    /// Members of either.
    pub fn union(&mut self, other: &Fields) {
        self.owned |= other.owned;
        for (step, theirs) in &other.below {
            match self.below.get_mut(step) {
                Some(ours) => ours.union(theirs),
                None => drop(self.below.insert(step.clone(), theirs.clone())),
            }
        }
    }

    /// Takes the members of the other away. A step whose set runs empty goes with it.
    pub fn subtract(&mut self, other: &Fields) {
        self.owned &= !other.owned;
        for (step, theirs) in &other.below {
            if let Some(ours) = self.below.get_mut(step) {
                ours.subtract(theirs);
                if ours.is_empty() {
                    self.below.remove(step);
                }
            }
        }
    }

    /// Takes a field away with everything below it.
    pub fn cut(&mut self, path: &[&str]) {
        match path {
            [] => *self = Self::default(),
            [last] => drop(self.below.remove(*last)),
            [first, rest @ ..] => {
                if let Some(fields) = self.below.get_mut(*first) {
                    fields.cut(rest);
                    if fields.is_empty() {
                        self.below.remove(*first);
                    }
                }
            }
        }
    }

    /// Members of both.
    pub fn common(&self, other: &Fields) -> Fields {
        let mut common = Fields { owned: self.owned && other.owned, below: BTreeMap::new() };
        for (step, ours) in &self.below {
            if let Some(theirs) = other.below.get(step) {
                common.put(|| step.clone(), ours.common(theirs));
            }
        }
        common
    }

    /// Members, as Kubernetes writes paths: `.spec.containers[name="c"].image`. All of them, unless they are very long.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths, &mut { PATHS_BYTES });
        paths
    }

    fn collect(&self, here: &str, paths: &mut Vec<String>, left: &mut usize) {
        if self.owned {
            paths.push(here.to_string());
        }
        for (step, fields) in &self.below {
            if *left == 0 {
                return;
            }
            let below = format!("{here}{}", shown(step));
            *left = left.saturating_sub(below.len());
            fields.collect(&below, paths, left);
        }
    }

    /// Reads `fieldsV1`; none for what is no field set. An empty one at the top has no members.
    pub fn from_json(value: &Value) -> Option<Self> {
        let mut fields = read(value, DEPTH_MAX)?;
        if fields.below.is_empty() {
            fields.owned = false;
        }
        Some(fields)
    }
}

fn read(value: &Value, depth: usize) -> Option<Fields> {
    let map = value.as_object().filter(|_| depth > 0)?;
    let mut fields = Fields { owned: map.is_empty() || map.contains_key("."), below: BTreeMap::new() };
    for (step, value) in map.iter().filter(|(step, _)| *step != ".") {
        let step = canonical(step)?;
        fields.put(|| step, read(value, depth - 1)?);
    }
    Some(fields)
}

/// As `fieldsV1` has it.
impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let dot = self.owned && !self.below.is_empty();
        let mut map = to.serialize_map(Some(self.below.len() + usize::from(dot)))?;
        if dot {
            map.serialize_entry(".", &Fields::leaf())?;
        }
        self.below.iter().try_for_each(|(step, fields)| map.serialize_entry(step, fields))?;
        map.end()
    }
}

/// Reads what [`Serialize`] has written: its steps are canonical.
impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Written { depth: DEPTH_MAX }.deserialize(from)
    }
}

/// A written field at this many levels above the deepest.
struct Written {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Written {
    type Value = Fields;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Fields, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Written {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a set of fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| A::Error::custom("nested too deeply"))?;
        let mut fields = Fields::default();
        while let Some(step) = map.next_key::<String>()? {
            let below = map.next_value_seed(Written { depth })?;
            match step.as_str() {
                "." => fields.owned = true,
                _ => drop(fields.below.insert(step.into(), below)),
            }
        }
        fields.owned |= fields.below.is_empty();
        Ok(fields)
    }
}

/// The step as we write it.
fn canonical(step: &str) -> Option<Step> {
    match step.split_at_checked(2)? {
        ("f:", _) | ("i:", _) => Some(step.to_string().into()),
        (kind @ ("k:" | "v:"), json) => {
            let value: Value = serde_json::from_str(json).ok()?;
            Some(format!("{kind}{value}").into())
        }
        _ => None,
    }
}

/// A step in a path for people.
pub fn shown(step: &str) -> String {
    match step.split_at_checked(2) {
        Some(("f:", name)) => format!(".{name}"),
        Some(("v:", json)) => format!("[={json}]"),
        Some(("i:", index)) => format!("[{index}]"),
        Some(("k:", json)) => {
            let keys: Map<String, Value> = serde_json::from_str(json).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        _ => step.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Fields {
        let read = Fields::from_json(&value).unwrap();
        let written: Fields = serde_json::from_str(&json!(read).to_string()).unwrap();
        assert_eq!(written, if read.is_empty() { Fields::leaf() } else { read.clone() });
        read
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for value in [
            json!({"f:spec": {"f:a": {}, "f:list": {".": {}, "k:{\"name\":\"c\"}": {".": {}, "f:image": {}}}}}),
            json!({"f:metadata": {"f:finalizers": {"v:\"a/b\"": {}}}}),
            json!({}),
        ] {
            assert_eq!(json!(fields(value.clone())), value);
        }
    }

    #[test]
    fn keys_are_brought_into_order_and_rubbish_is_refused() {
        let read = fields(json!({"k:{\"protocol\": \"TCP\", \"containerPort\": 80}": {}}));
        assert_eq!(json!(read), json!({"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {}}));
        for value in [json!([]), json!({"x": {}}), json!({"k:{": {}}), json!({"f:a": 1})] {
            assert_eq!(Fields::from_json(&value), None, "{value}");
        }
    }

    #[test]
    fn sets_are_sets() {
        let (a, b) =
            (json!({"f:a": {}, "f:b": {".": {}, "f:c": {}}}), json!({"f:b": {"f:c": {}, "f:d": {}}}));
        let (a, b) = (fields(a), fields(b));
        assert_eq!(json!(a.common(&b)), json!({"f:b": {"f:c": {}}}));
        let mut union = a.clone();
        union.union(&b);
        assert_eq!(json!(union), json!({"f:a": {}, "f:b": {".": {}, "f:c": {}, "f:d": {}}}));
        let mut rest = a.clone();
        rest.subtract(&b);
        assert_eq!(json!(rest), json!({"f:a": {}, "f:b": {}}));
        rest.cut(&["f:b"]);
        assert_eq!(json!(rest), json!({"f:a": {}}));
    }

    #[test]
    fn paths_read_as_kubernetes_writes_them() {
        let set = fields(json!({"f:spec": {
            "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}}},
            "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {}}, "f:set": {"v:\"x\"": {}}}}));
        let expected = [
            r#".spec.containers[name="c"]"#,
            r#".spec.containers[name="c"].image"#,
            r#".spec.ports[containerPort=80,protocol="TCP"]"#,
            r#".spec.set[="x"]"#,
        ];
        assert_eq!(set.paths(), expected);
    }

    #[test]
    fn a_long_key_is_not_told_for_each_of_very_many_fields() {
        let long = format!("f:{}", "k".repeat(100_000));
        let below: Map<String, Value> = (0..10_000).map(|n| (format!("f:{n}"), json!({}))).collect();
        let paths = fields(json!({ long: below })).paths();
        assert!(paths.iter().map(String::len).sum::<usize>() < 2 * PATHS_BYTES);
        assert!(!paths.is_empty());
    }
}
