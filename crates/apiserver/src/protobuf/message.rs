//! One protobuf message of a known type, as the JSON object it stands for.
//!
//! Unknown numbers are skipped. Some types have messages of their own behind a plain JSON value: times, quantities,
//! int-or-string, raw JSON (wire 9.8). Embedded structs write into their host's object.

use super::Error;
use super::wire::{Payload, Reader};
use crate::decode::MAX_DEPTH;
use crate::schema::{Base, Container, Field, Member, Shape, Type, schema};
use base64::Engine;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// Reads the fields of `bytes` into `object`.
pub(super) fn read(
    bytes: &[u8],
    ty: &Type,
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), Error> {
    if depth >= MAX_DEPTH {
        return Err(Error::Malformed("exceeded max depth"));
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, payload)) = reader.next()? {
        match ty.member(number) {
            Some(Member::Embedded(id)) => read(payload.bytes()?, schema().get(id), object, depth + 1)?,
            Some(Member::Field(at)) => {
                if let Some(field) = ty.fields.get(usize::from(at)) {
                    read_field(payload, field, object, depth)?;
                }
            }
            None => {}
        }
    }
    Ok(())
}

fn read_field(
    payload: Payload<'_>,
    field: &Field,
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), Error> {
    match field.shape.container {
        Container::One => {
            // A message that stands twice is merged, as protobuf demands.
            let before = object.remove(field.name).unwrap_or(Value::Null);
            let value = one(payload, &field.shape, before, depth)?;
            object.insert(field.name.to_string(), value);
        }
        Container::List => {
            let list = object.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(items) = list {
                push_items(payload, &field.shape, items, depth)?;
            }
        }
        Container::Map => {
            let (key, value) = entry(payload.bytes()?, &field.shape, depth)?;
            let map = object.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(entries) = map {
                entries.insert(key, value);
            }
        }
    }
    Ok(())
}

fn push_items(
    payload: Payload<'_>,
    shape: &Shape,
    items: &mut Vec<Value>,
    depth: usize,
) -> Result<(), Error> {
    match (shape.base, payload) {
        (Base::Int32 | Base::Int64, Payload::Bytes(packed)) => {
            let mut reader = Reader::new(packed);
            while let Some(number) = reader.packed()? {
                items.push(integer(number, shape.base));
            }
        }
        _ => items.push(one(payload, shape, Value::Null, depth)?),
    }
    Ok(())
}

/// `{1: key, 2: value}`; an absent value is the zero value.
fn entry(bytes: &[u8], shape: &Shape, depth: usize) -> Result<(String, Value), Error> {
    let (mut key, mut value) = (String::new(), None);
    let mut reader = Reader::new(bytes);
    while let Some((number, payload)) = reader.next()? {
        match number {
            1 => key = payload.text()?.to_string(),
            2 => value = Some(one(payload, shape, Value::Null, depth)?),
            _ => {}
        }
    }
    match value {
        Some(value) => Ok((key, value)),
        None => Ok((key, one(Payload::Bytes(&[]), shape, Value::Null, depth)?)),
    }
}

fn one(payload: Payload<'_>, shape: &Shape, before: Value, depth: usize) -> Result<Value, Error> {
    Ok(match shape.base {
        Base::String => payload.text()?.into(),
        Base::Int32 | Base::Int64 => integer(payload.varint()?, shape.base),
        Base::Bool => (payload.varint()? != 0).into(),
        Base::Bytes => base64::engine::general_purpose::STANDARD.encode(payload.bytes()?).into(),
        Base::Quantity => match scalars(payload)?.text {
            Some(text) if !text.is_empty() => text.into(),
            _ => "0".into(),
        },
        Base::IntOrString => {
            let inner = scalars(payload)?;
            match inner.first {
                Some(1) => inner.text.unwrap_or_default().into(),
                _ => integer(inner.second.unwrap_or(0), Base::Int32),
            }
        }
        Base::Time => time(payload, "%Y-%m-%dT%H:%M:%SZ")?,
        Base::MicroTime => time(payload, "%Y-%m-%dT%H:%M:%S.%6fZ")?,
        Base::Raw | Base::Fields => raw(payload)?,
        Base::Extra => strings(payload)?,
        Base::Struct(id) => {
            let mut object = match before {
                Value::Object(object) => object,
                _ => Map::new(),
            };
            read(payload.bytes()?, schema().get(id), &mut object, depth + 1)?;
            object.into()
        }
    })
}

fn integer(varint: u64, base: Base) -> Value {
    match base {
        // Negative numbers are sign-extended to 64 bits; the low half is the number.
        Base::Int32 => (varint as u32 as i32).into(),
        _ => (varint as i64).into(),
    }
}

/// The scalars of the small messages: varints 1 and 2, and the one string, whatever its number.
#[derive(Default)]
struct Scalars {
    first: Option<u64>,
    second: Option<u64>,
    text: Option<String>,
}

fn scalars(payload: Payload<'_>) -> Result<Scalars, Error> {
    let mut found = Scalars::default();
    let mut reader = Reader::new(payload.bytes()?);
    while let Some((number, payload)) = reader.next()? {
        match (number, payload) {
            (1, Payload::Varint(v)) => found.first = Some(v),
            (2, Payload::Varint(v)) => found.second = Some(v),
            (_, Payload::Bytes(_)) => found.text = Some(payload.text()?.to_string()),
            _ => {}
        }
    }
    Ok(found)
}

/// `{1: seconds, 2: nanoseconds}`; no bytes at all are Go's zero time, which JSON calls null.
fn time(payload: Payload<'_>, format: &str) -> Result<Value, Error> {
    if payload.bytes()?.is_empty() {
        return Ok(Value::Null);
    }
    let inner = scalars(payload)?;
    let seconds = inner.first.unwrap_or(0) as i64;
    let nanos = inner.second.unwrap_or(0) as u32 as i32;
    let time = Timestamp::new(seconds, nanos).map_err(|_| Error::Malformed("a time out of range"))?;
    Ok(time.strftime(format).to_string().into())
}

fn raw(payload: Payload<'_>) -> Result<Value, Error> {
    let mut json: &[u8] = &[];
    let mut reader = Reader::new(payload.bytes()?);
    while let Some((number, payload)) = reader.next()? {
        if number == 1 {
            json = payload.bytes()?;
        }
    }
    if json.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(json).map_err(|e| Error::EmbeddedJson(e.to_string()))
}

fn strings(payload: Payload<'_>) -> Result<Value, Error> {
    let mut items: Vec<Value> = Vec::new();
    let mut reader = Reader::new(payload.bytes()?);
    while let Some((number, payload)) = reader.next()? {
        if number == 1 {
            items.push(payload.text()?.into());
        }
    }
    Ok(items.into())
}
