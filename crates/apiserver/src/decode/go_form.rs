//! How would Go write this object after reading it?
//!
//! Kubernetes decodes into structs and encodes them again; clients see the result: unknown fields are gone, `null`
//! and zero values of `omitempty` fields are gone, structs that are no pointers stand as `{}`, other zero values stand,
//! quantities and times are canonical (wire 2.2.8). Two objects that are equal for Kubernetes are therefore equal JSON
//! here. A pointer to an empty struct (`emptyDir: {}`) always stays. Walks schema and value together, in place.
//! Differs: absent times without omitempty stay absent instead of `null`, as Kubernetes does from 1.34 on.

use super::findings::Findings;
use super::path::Path;
use crate::schema::{Base, Container, Field, Shape, Type, schema};
use base64::Engine;
use jiff::Timestamp;
use objects::quantity::Amount;
use serde_json::{Map, Value};

/// Whether fields that Go always writes are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fill {
    /// A whole object.
    Zeros,
    /// A partial object (server-side apply): what is absent stays absent, what is empty stays.
    Nothing,
}

/// Brings `value` into Go's form. Returns texts like `unknown field "spec.bogus"`, or Go's error for a wrong type.
/// `settled` is an earlier state that has Go's form: what stands there as well is not looked at again, and most of what is
/// patched stands there.
pub(crate) fn settle(
    value: &mut Value,
    ty: &Type,
    fill: Fill,
    settled: Option<&Value>,
) -> Result<Vec<String>, String> {
    // What is not looked at is not counted: of what could come near the limit everything is.
    let settled = settled.filter(|_| values(value) <= LARGE);
    let mut walk = Walk { fill, unknown: Findings::default(), structs: 0 };
    walk.fields(value, ty, &Path::Root, settled)?;
    Ok(walk.unknown.texts())
}

/// How many values there are, itself and all within.
fn values(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(values).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(values).sum::<usize>(),
        _ => 1,
    }
}

/// What Go calls the kind of a JSON value in its errors.
pub(crate) fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Structs in one object. Three bytes of JSON are an empty container, and each grows by its zero values: without a
/// limit a body of the allowed size could fill the memory. The largest honest objects have some thousands.
const MAX_STRUCTS: usize = 200_000;

/// Values of which not even ten structs each, zero values included, are [`MAX_STRUCTS`].
const LARGE: usize = 10_000;

struct Walk {
    fill: Fill,
    unknown: Findings,
    structs: usize,
}

impl Walk {
    fn fields(
        &mut self,
        value: &mut Value,
        ty: &Type,
        at: &Path<'_>,
        settled: Option<&Value>,
    ) -> Result<(), String> {
        self.structs += 1;
        if self.structs > MAX_STRUCTS {
            return Err(format!("too many items: limit is {MAX_STRUCTS}"));
        }
        if value.is_null() {
            *value = Value::Object(Map::new());
        }
        let Value::Object(map) = value else {
            return Err(at.cannot(word(value), format_args!("v1.{}", ty.short_name())));
        };
        let mut failed = Ok(());
        map.retain(|name, inner| {
            let before = settled.and_then(|settled| settled.get(name));
            if failed.is_err() || before == Some(&*inner) {
                return true;
            }
            let Some(field) = ty.field(name) else {
                self.unknown.add(|| unknown(at, name));
                return false;
            };
            match self.field(inner, field, ty, at, before) {
                Ok(keep) => keep,
                Err(why) => {
                    failed = Err(why);
                    true
                }
            }
        });
        failed?;
        if self.fill == Fill::Zeros {
            self.fill_zeros(map, ty, at)?;
        }
        Ok(())
    }

    /// Settles one field; false when Go would not write it.
    fn field(
        &mut self,
        value: &mut Value,
        field: &Field,
        ty: &Type,
        at: &Path<'_>,
        settled: Option<&Value>,
    ) -> Result<bool, String> {
        let here = Path::Field(at, ty.short_name(), field.name);
        if value.is_null() {
            // A struct that is no pointer comes back as `{}` by `fill_zeros`. Raw JSON may be null.
            return Ok(false);
        }
        match field.shape.container {
            Container::One => self.one(value, &field.shape, &here, settled)?,
            Container::List => self.list(value, &field.shape, &here)?,
            Container::Map => self.map(value, &field.shape, &here)?,
        }
        Ok(self.fill == Fill::Nothing || !field.omit_empty || !is_zero(value, &field.shape))
    }

    fn list(&mut self, value: &mut Value, shape: &Shape, at: &Path<'_>) -> Result<(), String> {
        let Value::Array(items) = value else { return Err(at.cannot(word(value), shape.go_type())) };
        let element = shape.element();
        for (i, item) in items.iter_mut().enumerate() {
            self.one(item, &element, &Path::Index(at, i), None)?;
        }
        Ok(())
    }

    fn map(&mut self, value: &mut Value, shape: &Shape, at: &Path<'_>) -> Result<(), String> {
        let Value::Object(entries) = value else { return Err(at.cannot(word(value), shape.go_type())) };
        // A named map is not a map of that name's values.
        let element = Shape { named: None, ..shape.element() };
        for (key, item) in entries.iter_mut() {
            self.one(item, &element, &Path::Key(at, key), None)?;
        }
        Ok(())
    }

    fn one(
        &mut self,
        value: &mut Value,
        shape: &Shape,
        at: &Path<'_>,
        settled: Option<&Value>,
    ) -> Result<(), String> {
        match shape.base {
            Base::Struct(id) => return self.fields(value, schema().get(id), at, settled),
            Base::Extra => {
                let strings = Shape { container: Container::List, base: Base::String, ..*shape };
                return self.list(value, &strings, at);
            }
            Base::Raw | Base::Fields => return Ok(()),
            _ => {}
        }
        if value.is_null() {
            *value = zero(shape.base);
            return Ok(());
        }
        match (shape.base, &*value) {
            (Base::String, Value::String(_)) | (Base::Bool, Value::Bool(_)) => Ok(()),
            (Base::Int32 | Base::Int64, Value::Number(number)) => match number.as_i64() {
                Some(n) if shape.base == Base::Int64 || i32::try_from(n).is_ok() => Ok(()),
                _ => Err(at.cannot(format_args!("number {number}"), shape.go_type())),
            },
            (Base::Bytes, Value::String(text)) => base64_text(text),
            (Base::IntOrString, _) => int_or_string(value),
            (Base::Quantity, _) => replace(value, quantity_text),
            (Base::Time, _) => {
                replace(value, |v| time_text(v, "2006-01-02T15:04:05Z07:00", "%Y-%m-%dT%H:%M:%SZ"))
            }
            (Base::MicroTime, _) => {
                replace(value, |v| time_text(v, "2006-01-02T15:04:05.000000Z07:00", "%Y-%m-%dT%H:%M:%S.%6fZ"))
            }
            (_, other) => Err(at.cannot(word(other), shape.go_type())),
        }
    }

    /// Go always writes structs, and scalars without omitempty.
    fn fill_zeros(&mut self, map: &mut Map<String, Value>, ty: &Type, at: &Path<'_>) -> Result<(), String> {
        for field in &ty.fields {
            if field.shape.pointer || field.shape.container != Container::One || map.contains_key(field.name)
            {
                continue;
            }
            match field.shape.base {
                Base::Struct(id) => {
                    let mut inner = Value::Null;
                    let here = Path::Field(at, ty.short_name(), field.name);
                    self.fields(&mut inner, schema().get(id), &here, None)?;
                    map.insert(field.name.to_string(), inner);
                }
                base @ (Base::String | Base::Int32 | Base::Int64 | Base::Bool) if !field.omit_empty => {
                    map.insert(field.name.to_string(), zero(base));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn unknown(at: &Path<'_>, name: &str) -> String {
    match at {
        Path::Root => format!("unknown field \"{name}\""),
        parent => format!("unknown field \"{parent}.{name}\""),
    }
}

/// What `omitempty` leaves out. Structs and pointers are never empty; types that marshal themselves neither.
fn is_zero(value: &Value, shape: &Shape) -> bool {
    if shape.pointer {
        return false;
    }
    match (shape.container, shape.base, value) {
        (Container::List, _, Value::Array(items)) => items.is_empty(),
        (Container::Map, _, Value::Object(entries)) => entries.is_empty(),
        (Container::One, Base::String | Base::Bytes, Value::String(text)) => text.is_empty(),
        (Container::One, Base::Int32 | Base::Int64, Value::Number(n)) => n.as_i64() == Some(0),
        (Container::One, Base::Bool, Value::Bool(b)) => !b,
        _ => false,
    }
}

fn zero(base: Base) -> Value {
    match base {
        Base::Int32 | Base::Int64 | Base::IntOrString => 0.into(),
        Base::Bool => false.into(),
        Base::Quantity => "0".into(),
        Base::Time | Base::MicroTime => Value::Null,
        _ => "".into(),
    }
}

fn replace(value: &mut Value, read: impl FnOnce(&Value) -> Result<String, String>) -> Result<(), String> {
    *value = Value::String(read(value)?);
    Ok(())
}

fn quantity_text(value: &Value) -> Result<String, String> {
    let text = match value {
        Value::String(text) => text.trim().to_string(),
        // Go hands the raw JSON to the parser, so that anything else is a text that is no quantity.
        other => other.to_string(),
    };
    Amount::parse(&text).map(|amount| amount.to_string()).map_err(|e| e.to_string())
}

fn int_or_string(value: &Value) -> Result<(), String> {
    match value {
        Value::String(_) => Ok(()),
        Value::Number(n) if n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => Ok(()),
        Value::Number(n) => Err(format!("json: cannot unmarshal number {n} into Go value of type int32")),
        other => Err(format!("json: cannot unmarshal {} into Go value of type int32", word(other))),
    }
}

fn time_text(value: &Value, layout: &str, format: &str) -> Result<String, String> {
    let Value::String(text) = value else {
        return Err(format!("json: cannot unmarshal {} into Go value of type string", word(value)));
    };
    match text.parse::<Timestamp>() {
        Ok(time) => Ok(time.strftime(format).to_string()),
        Err(_) => Err(format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\"")),
    }
}

fn base64_text(text: &str) -> Result<(), String> {
    let plain: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match base64::engine::general_purpose::STANDARD.decode(&plain) {
        Ok(_) => Ok(()),
        Err(base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _)) => {
            Err(format!("illegal base64 data at input byte {at}"))
        }
        Err(_) => Err(format!("illegal base64 data at input byte {}", plain.len())),
    }
}
