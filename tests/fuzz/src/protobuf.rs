//! A value in Kubernetes' protobuf, as its Go clients would send it.
//!
//! What the type does not know, or has another form of, is left out: such things no client can say either. The lengths of
//! what is said may lie.

use crate::body;
use crate::draw::Draw;
use apiserver::schema::{Base, Container, Member, Shape, Type, schema};
use base64::Engine as _;
use serde_json::Value;

/// The envelope, with the object in it.
pub fn enveloped(draw: &mut Draw<'_>, value: &Value, ty: &Type) -> Vec<u8> {
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    let mut meta = Vec::new();
    bytes_field(&mut meta, 1, text("apiVersion").as_bytes());
    bytes_field(&mut meta, 2, text("kind").as_bytes());
    let mut raw = Vec::new();
    message(value, ty, &mut raw);
    let raw = body::broken(draw, raw);
    let mut out = b"k8s\0".to_vec();
    bytes_field(&mut out, 1, &meta);
    bytes_field(&mut out, 2, &raw);
    body::broken(draw, out)
}

fn message(value: &Value, ty: &Type, out: &mut Vec<u8>) {
    for (number, member) in &ty.members {
        match member {
            Member::Embedded(id) => {
                let mut inner = Vec::new();
                message(value, schema().get(*id), &mut inner);
                bytes_field(out, *number, &inner);
            }
            Member::Field(at) => {
                let field = &ty.fields[usize::from(*at)];
                if let Some(inner) = value.get(field.name) {
                    member_of(inner, *number, &field.shape, out);
                }
            }
        }
    }
}

fn member_of(value: &Value, number: u16, shape: &Shape, out: &mut Vec<u8>) {
    match (shape.container, value) {
        (Container::One, value) => one(value, number, shape.base, out),
        (Container::List, Value::Array(items)) => {
            items.iter().for_each(|item| one(item, number, shape.base, out))
        }
        (Container::Map, Value::Object(map)) => {
            for (key, value) in map {
                let mut entry = Vec::new();
                bytes_field(&mut entry, 1, key.as_bytes());
                one(value, 2, shape.base, &mut entry);
                bytes_field(out, number, &entry);
            }
        }
        _ => {}
    }
}

fn one(value: &Value, number: u16, base: Base, out: &mut Vec<u8>) {
    match (base, value) {
        (Base::String, Value::String(text)) => bytes_field(out, number, text.as_bytes()),
        (Base::Int32 | Base::Int64, Value::Number(n)) => {
            varint_field(out, number, n.as_i64().unwrap_or(-1) as u64)
        }
        (Base::Bool, Value::Bool(yes)) => varint_field(out, number, u64::from(*yes)),
        (Base::Bytes, Value::String(text)) => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
            bytes_field(out, number, &bytes);
        }
        (Base::Quantity, Value::String(text)) => {
            inner(out, number, |out| bytes_field(out, 1, text.as_bytes()))
        }
        (Base::IntOrString, Value::String(text)) => inner(out, number, |out| {
            varint_field(out, 1, 1);
            bytes_field(out, 3, text.as_bytes());
        }),
        (Base::IntOrString, Value::Number(n)) => {
            inner(out, number, |out| varint_field(out, 2, n.as_i64().unwrap_or(-1) as u64));
        }
        (Base::Time | Base::MicroTime, Value::String(text)) => {
            let seconds = text.parse::<jiff::Timestamp>().map_or(i64::MAX, |time| time.as_second());
            inner(out, number, |out| varint_field(out, 1, seconds as u64));
        }
        (Base::Raw | Base::Fields, value) => {
            inner(out, number, |out| bytes_field(out, 1, value.to_string().as_bytes()))
        }
        (Base::Extra, Value::Array(items)) => inner(out, number, |out| {
            items.iter().filter_map(Value::as_str).for_each(|text| bytes_field(out, 1, text.as_bytes()));
        }),
        (Base::Struct(id), value @ Value::Object(_)) => {
            inner(out, number, |out| message(value, schema().get(id), out))
        }
        _ => {}
    }
}

fn inner(out: &mut Vec<u8>, number: u16, write: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes_field(out, number, &bytes);
}

fn bytes_field(out: &mut Vec<u8>, number: u16, bytes: &[u8]) {
    varint(out, u64::from(number) << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn varint_field(out: &mut Vec<u8>, number: u16, value: u64) {
    varint(out, u64::from(number) << 3);
    varint(out, value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
