//! Reading a part of an object: what is not asked for is skipped as text, and no memory is taken for it.
//!
//! [`Partly`] stands between a reader and any type, so that the type need not know: to it, what is skipped is as if it
//! were not there. Who prints a row, keeps a cache or reads the facts of an object needs a fraction of it, and skipping
//! costs a tenth of decoding (docs/performance.md). Kubernetes has nothing like it: its informers decode, then trim.

use serde::de::value::CowStrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, Error, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

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

impl Parts {
    /// What is read of a field.
    fn of(&self, field: &str) -> &Parts {
        let (named, others) = match self {
            Parts::Only(named) => (*named, &Parts::Nothing),
            Parts::AllBut(named) => (*named, &Parts::All),
            Parts::All | Parts::Nothing => return self,
        };
        named.iter().find(|(known, _)| *known == field).map_or(others, |(_, parts)| parts)
    }
}

/// A reader that shows only parts of what it reads.
pub struct Partly<'p, D> {
    /// Which.
    pub parts: &'p Parts,
    /// Who reads.
    pub reader: D,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Partly<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        match self.parts {
            Parts::All => self.reader.deserialize_any(visitor),
            Parts::Nothing => {
                IgnoredAny::deserialize(self.reader)?;
                visitor.visit_unit()
            }
            parts => self.reader.deserialize_any(Visiting { parts, visitor }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        match self.parts {
            Parts::Nothing => {
                IgnoredAny::deserialize(self.reader)?;
                visitor.visit_none()
            }
            parts => self.reader.deserialize_option(Visiting { parts, visitor }),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.reader.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// Which parts of a type somebody reads.
pub trait Selection {
    /// These.
    const PARTS: Parts;
}

/// An object of which only parts have been read. For clients it is what `K` is.
pub struct Shown<K, S> {
    /// The object.
    pub object: K,
    selection: PhantomData<fn() -> S>,
}

impl<'de, K: Deserialize<'de>, S: Selection> Deserialize<'de> for Shown<K, S> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let object = K::deserialize(Partly { parts: &S::PARTS, reader })?;
        Ok(Self { object, selection: PhantomData })
    }
}

impl<K: Clone, S> Clone for Shown<K, S> {
    fn clone(&self) -> Self {
        Self { object: self.object.clone(), selection: PhantomData }
    }
}

impl<K: fmt::Debug, S> fmt::Debug for Shown<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.object.fmt(f)
    }
}

impl<K: k8s_openapi::Resource, S> k8s_openapi::Resource for Shown<K, S> {
    const API_VERSION: &'static str = K::API_VERSION;
    const GROUP: &'static str = K::GROUP;
    const KIND: &'static str = K::KIND;
    const VERSION: &'static str = K::VERSION;
    const URL_PATH_SEGMENT: &'static str = K::URL_PATH_SEGMENT;
    type Scope = K::Scope;
}

impl<K: k8s_openapi::Metadata, S> k8s_openapi::Metadata for Shown<K, S> {
    type Ty = K::Ty;

    fn metadata(&self) -> &K::Ty {
        self.object.metadata()
    }

    fn metadata_mut(&mut self) -> &mut K::Ty {
        self.object.metadata_mut()
    }
}

/// A visitor who is shown parts.
struct Visiting<'p, V> {
    parts: &'p Parts,
    visitor: V,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Visiting<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Fields { parts: self.parts, fields, next: &Parts::All })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(Items { parts: self.parts, items })
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Partly { parts: self.parts, reader })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, reader: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_newtype_struct(Partly { parts: self.parts, reader })
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<V::Value, E> {
        self.visitor.visit_bool(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<V::Value, E> {
        self.visitor.visit_i64(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<V::Value, E> {
        self.visitor.visit_u64(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<V::Value, E> {
        self.visitor.visit_f64(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<V::Value, E> {
        self.visitor.visit_str(value)
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<V::Value, E> {
        self.visitor.visit_borrowed_str(value)
    }

    fn visit_string<E: Error>(self, value: String) -> Result<V::Value, E> {
        self.visitor.visit_string(value)
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }
}

struct Items<'p, A> {
    parts: &'p Parts,
    items: A,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Items<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.items.next_element_seed(Seed { parts: self.parts, seed })
    }
}

struct Fields<'p, A> {
    parts: &'p Parts,
    fields: A,
    /// Of the value that comes next.
    next: &'p Parts,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Fields<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        while let Some(field) = self.fields.next_key_seed(Name)? {
            match self.parts.of(&field) {
                Parts::Nothing => drop(self.fields.next_value::<IgnoredAny>()?),
                parts => {
                    self.next = parts;
                    let name: CowStrDeserializer<'_, A::Error> = field.into_deserializer();
                    return seed.deserialize(name).map(Some);
                }
            }
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        match self.next {
            Parts::All => self.fields.next_value_seed(seed),
            parts => self.fields.next_value_seed(Seed { parts, seed }),
        }
    }
}

/// Reads something of which only parts are shown.
struct Seed<'p, S> {
    parts: &'p Parts,
    seed: S,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<S::Value, D::Error> {
        self.seed.deserialize(Partly { parts: self.parts, reader })
    }
}

/// Reads a field's name, and takes memory for it only if it cannot be borrowed.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Cow<'de, str>, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::Parts::{All, AllBut, Nothing, Only};
    use super::*;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    fn read<'de, T: Deserialize<'de>>(text: &'de str, parts: &Parts) -> serde_json::Result<T> {
        let mut reader = serde_json::Deserializer::from_str(text);
        T::deserialize(Partly { parts, reader: &mut reader })
    }

    #[test]
    fn what_is_not_asked_for_is_as_if_it_were_not_there() {
        let object = json!({"kind": "Pod", "metadata": {"name": "x", "managedFields": [{"manager": "m"}]},
            "spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b", "ports": [1.5, -2, true, null]}]}});
        let check = |parts: Parts, expected: Value| {
            assert_eq!(read::<Value>(&object.to_string(), &parts).unwrap(), expected, "{parts:?}");
        };
        check(All, object.clone());
        const NAMES: Parts = Only(&[("spec", Only(&[("containers", Only(&[("name", All)]))]))]);
        check(NAMES, json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}));
        check(
            Only(&[("spec", Only(&[("containers", Only(&[]))]))]),
            json!({"spec": {"containers": [{}, {}]}}),
        );
        const PORTS: Parts = Only(&[("spec", Only(&[("containers", Only(&[("ports", Only(&[]))]))]))]);
        check(PORTS, json!({"spec": {"containers": [{}, {"ports": [1.5, -2, true, null]}]}}));
        check(AllBut(&[("metadata", Nothing), ("spec", Only(&[]))]), json!({"kind": "Pod", "spec": {}}));
        check(Only(&[("spec", Nothing)]), json!({}));
    }

    #[test]
    fn a_type_need_not_know_that_it_is_shown_parts() {
        let text = r#"{"metadata":{"name":"a\u0062","labels":{"a":"b"},"managedFields":[{"manager":"m","time":"2026-01-01T00:00:00Z",
            "fieldsV1":{"f:spec":{},"f:metadata":{"f:name":{},"f:labels":{}}}}]},
            "spec":{"nodeName":null,"containers":[{"name":"c","env":[{"name":"E"}],"ports":[{"containerPort":1}]}]},
            "status":{"startTime":"2026-01-01T00:00:00Z"}}"#;
        const MAKER: Parts =
            Only(&[("manager", All), ("fieldsV1", Only(&[("f:metadata", Only(&[("f:name", All)]))]))]);
        const SPEC: Parts = AllBut(&[("containers", AllBut(&[("env", Nothing)]))]);
        const PARTS: Parts = AllBut(&[("metadata", AllBut(&[("managedFields", MAKER)])), ("spec", SPEC)]);
        let expected = json!({"metadata": {"name": "ab", "labels": {"a": "b"}, "managedFields": [{"manager": "m",
            "fieldsV1": {"f:metadata": {"f:name": {}}}}]},
            "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 1}]}]},
            "status": {"startTime": "2026-01-01T00:00:00Z"}});
        let expected: Pod = serde_json::from_value(expected).unwrap();
        assert_eq!(read::<Pod>(text, &PARTS).unwrap(), expected);
        assert!(read::<Pod>(r#"{"metadata":{"name":1}}"#, &PARTS).is_err());
    }
}
