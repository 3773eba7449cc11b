//! Which JSON value is this, and which keys stand twice?
//!
//! serde_json alone would take the last of two equal keys silently; Kubernetes reports them (wire 2.5.3). One pass
//! builds the value and notes every repeated key with its path; the last one wins.

use super::MAX_DEPTH;
use super::findings::Findings;
use super::path::Path;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::RefCell;
use std::fmt;

/// A value, and texts like `duplicate field "metadata.name"`.
#[derive(Debug, PartialEq)]
pub(crate) struct Scanned {
    pub(crate) value: Value,
    pub(crate) duplicates: Vec<String>,
}

/// Reads one JSON document.
pub(super) fn scan(bytes: &[u8]) -> Result<Scanned, String> {
    let duplicates = RefCell::new(Findings::default());
    let mut from = serde_json::Deserializer::from_slice(bytes);
    let value = Tree::new(&duplicates)
        .deserialize(&mut from)
        .and_then(|value| from.end().map(|()| value))
        .map_err(go_text)?;
    Ok(Scanned { value, duplicates: duplicates.into_inner().texts() })
}

/// How deep a value nests; a scalar has depth 0.
pub(crate) fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn go_text(error: serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_string();
    }
    error.to_string()
}

/// Builds a value and watches for repeated keys. Works on every self-describing deserializer.
pub(super) struct Tree<'a> {
    duplicates: &'a RefCell<Findings>,
    path: &'a Path<'a>,
    depth: usize,
}

impl<'a> Tree<'a> {
    /// For a whole document; notes go into `duplicates`.
    pub(super) fn new(duplicates: &'a RefCell<Findings>) -> Self {
        Self { duplicates, path: &Path::Root, depth: 0 }
    }

    fn check_depth<E: Error>(&self) -> Result<(), E> {
        if self.depth >= MAX_DEPTH { Err(E::custom("exceeded max depth")) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.check_depth()?;
        let mut items = Vec::new();
        loop {
            let path = Path::Index(self.path, items.len());
            let seed = Tree { duplicates: self.duplicates, path: &path, depth: self.depth + 1 };
            match seq.next_element_seed(seed)? {
                Some(item) => items.push(item),
                None => break,
            }
        }
        items.shrink_to_fit();
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.check_depth()?;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let path = Path::Key(self.path, &key);
            if map.contains_key(&key) {
                self.duplicates.borrow_mut().add(|| format!("duplicate field \"{path}\""));
            }
            let seed = Tree { duplicates: self.duplicates, path: &path, depth: self.depth + 1 };
            let value = access.next_value_seed(seed)?;
            map.insert(key, value);
        }
        Ok(map.into())
    }
}
