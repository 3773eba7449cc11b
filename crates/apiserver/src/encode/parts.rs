//! Reading a part of a stored object: what is not asked for is skipped as text, and no memory is taken for it.
//!
//! Who prints a row or reads the facts of an object needs a fraction of it. Skipping costs a tenth of decoding
//! (docs/performance.md).

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// What of a value is read. Of a list it is said of every item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// All of it.
    All,
    /// None of it: it is as if it were not there.
    Nothing,
    /// These fields, and no others.
    Only(&'static [(&'static str, Parts)]),
    /// All fields, but of these only what is said here.
    AllBut(&'static [(&'static str, Parts)]),
}

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
    let value = reader.deserialize_map(Reading(parts))?;
    reader.end()?;
    Ok(value)
}

/// Reads one value.
struct Reading<'p>(&'p Parts);

impl<'p> Reading<'p> {
    /// What is read of a field; the name is given back where it is not one of ours.
    fn named(&self) -> (&'static [(&'static str, Parts)], &'p Parts) {
        match self.0 {
            Parts::Only(named) => (named, &Parts::Nothing),
            Parts::AllBut(named) => (named, &Parts::All),
            Parts::All | Parts::Nothing => (&[], self.0),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        match self.0 {
            Parts::All => Value::deserialize(reader),
            Parts::Nothing => IgnoredAny::deserialize(reader).map(|_| Value::Null),
            Parts::Only(_) | Parts::AllBut(_) => reader.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let (named, others) = self.named();
        let mut read = Map::new();
        while let Some(field) = fields.next_key_seed(Naming { named, others })? {
            match field {
                Field::Read(name, parts) => {
                    read.insert(name, fields.next_value_seed(Reading(parts))?);
                }
                Field::Skipped => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Value::Object(read))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut read = Vec::new();
        while let Some(item) = items.next_element_seed(Reading(self.0))? {
            read.push(item);
        }
        Ok(Value::Array(read))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// A field, by its name.
enum Field<'p> {
    Read(String, &'p Parts),
    Skipped,
}

/// Reads a name, and takes memory for it only if the field is read.
struct Naming<'p> {
    named: &'p [(&'static str, Parts)],
    others: &'p Parts,
}

impl<'de, 'p> DeserializeSeed<'de> for Naming<'p> {
    type Value = Field<'p>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Field<'p>, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'p> Visitor<'_> for Naming<'p> {
    type Value = Field<'p>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Field<'p>, E> {
        let parts =
            self.named.iter().find(|(known, _)| *known == name).map_or(self.others, |(_, parts)| parts);
        Ok(match parts {
            Parts::Nothing => Field::Skipped,
            parts => Field::Read(name.to_string(), parts),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Parts::{All, Nothing, Only};
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_asked_for_is_as_if_it_were_not_there() {
        let object = json!({"kind": "Pod", "metadata": {"name": "x", "managedFields": [{"manager": "m"}]},
            "spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b", "ports": [1.5, -2, true, null]}]}});
        let check = |parts: Parts, expected: Value| {
            assert_eq!(read(object.to_string().as_bytes(), &parts).unwrap(), expected, "{parts:?}");
        };
        check(All, object.clone());
        let mut plain = object.clone();
        plain["metadata"].as_object_mut().unwrap().remove("managedFields");
        check(PLAIN, plain);
        const NAMES: Parts = Only(&[("spec", Only(&[("containers", Only(&[("name", All)]))]))]);
        check(NAMES, json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}));
        check(
            Only(&[("spec", Only(&[("containers", Only(&[]))]))]),
            json!({"spec": {"containers": [{}, {}]}}),
        );
        const PORTS: Parts = Only(&[("spec", Only(&[("containers", Only(&[("ports", Only(&[]))]))]))]);
        check(PORTS, json!({"spec": {"containers": [{}, {"ports": [1.5, -2, true, null]}]}}));
        check(Only(&[("spec", Nothing)]), json!({}));
    }

    #[test]
    fn only_whole_objects_are_read() {
        for damaged in ["[]", "{}x", "{\"a\":", "1", ""] {
            assert!(read(damaged.as_bytes(), &PLAIN).is_err(), "{damaged}");
        }
    }
}
