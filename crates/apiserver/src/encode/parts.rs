//! Reading a part of a stored object: see [`objects::parts`].
//!
//! Who prints a row or reads the facts of an object needs a fraction of it; who writes one needs no owners as a value.

pub use objects::parts::Parts;

use objects::parts::Partly;
use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::fmt;

/// An object without `managedFields`, which are half of many objects.
pub const PLAIN: Parts = Parts::AllBut(&[("metadata", Parts::AllBut(&[("managedFields", Parts::Nothing)]))]);

/// Of metadata, what the cache keeps of every object.
pub const KEPT: Parts = Parts::Only(&[
    ("name", Parts::All),
    ("namespace", Parts::All),
    ("uid", Parts::All),
    ("labels", Parts::All),
    ("annotations", Parts::All),
    ("creationTimestamp", Parts::All),
    ("deletionTimestamp", Parts::All),
]);

/// Reads parts of an object.
pub fn read(stored: &[u8], parts: &Parts) -> serde_json::Result<Value> {
    let mut reader = serde_json::Deserializer::from_slice(stored);
    let object = Map::deserialize(Partly { parts, reader: &mut reader })?;
    reader.end()?;
    Ok(Value::Object(object))
}

/// An object without `managedFields`, and these as the text that stands there.
pub fn apart(stored: &[u8]) -> serde_json::Result<(Value, Option<&RawValue>)> {
    let mut owners = None;
    let mut reader = serde_json::Deserializer::from_slice(stored);
    let object = reader.deserialize_map(Apart { below: Some("metadata"), owners: &mut owners })?;
    reader.end()?;
    Ok((object, owners))
}

/// Reads an object, or the metadata of one (`below` is none), and puts the owners apart.
struct Apart<'o, 'de> {
    below: Option<&'static str>,
    owners: &'o mut Option<&'de RawValue>,
}

impl<'de> DeserializeSeed<'de> for Apart<'_, 'de> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Apart<'_, 'de> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some(field) = fields.next_key::<String>()? {
            match self.below {
                Some(below) if below == field => {
                    let metadata = Apart { below: None, owners: &mut *self.owners };
                    read.insert(field, fields.next_value_seed(metadata)?);
                }
                None if field == "managedFields" => *self.owners = Some(fields.next_value()?),
                _ => drop(read.insert(field, fields.next_value()?)),
            }
        }
        Ok(Value::Object(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn owners_are_put_apart() {
        let check = |object: Value, rest: Value, owners: Option<&str>| {
            let stored = object.to_string();
            let (read, found) = apart(stored.as_bytes()).unwrap();
            assert_eq!((read, found.map(RawValue::get)), (rest, owners), "{object}");
        };
        let plain = json!({"kind": "Pod", "metadata": {"name": "x"}, "spec": {"managedFields": [1]}});
        check(plain.clone(), plain.clone(), None);
        let mut owned = plain.clone();
        owned["metadata"]["managedFields"] = json!([{"manager": "m"}]);
        check(owned, plain, Some(r#"[{"manager":"m"}]"#));
    }

    #[test]
    fn only_whole_objects_are_read() {
        for damaged in ["[]", "{}x", "{\"a\":", "1", ""] {
            assert!(read(damaged.as_bytes(), &PLAIN).is_err(), "{damaged}");
            assert!(apart(damaged.as_bytes()).is_err(), "{damaged}");
        }
    }
}
