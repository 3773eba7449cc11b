//! A real object, bent: values that no one expects, in places where something stands, or where the schema has a field.

use crate::draw::Draw;
use apiserver::schema::{Base, Container, Shape, Type, schema};
use serde_json::{Map, Value, json};

/// How a text begins that stands for one of [`body::RAW`](crate::body::RAW).
pub const RAW_MARK: &str = "\u{1}raw:";
/// Most edits of one object.
const EDITS: usize = 6;
/// Longest that a value becomes by being repeated.
const GROWN_MAX: usize = 512 << 10;
/// Deepest value that is made after the schema: types may hold themselves.
const DEPTH: usize = 6;

const TEXTS: &[&str] = &[
    "",
    "x",
    "a",
    "default",
    "é",
    "\u{0}",
    "a/b",
    "a/b/c",
    "../..",
    "%2f",
    "A_B",
    "-",
    ".",
    "1",
    "0",
    "true",
    "null",
    " ",
    "a b",
    "a=b",
    "kubernetes.io/x",
    "node-role.kubernetes.io/master",
    "Always",
    "None",
    "100%",
    "-1%",
    "1Ki",
    "1e400",
    "0.0000000001",
    "9223372036854775807",
    "2020-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "0000-00-00T00:00:00Z",
    "10.0.0.1",
    "::1",
    "10.0.0.0/8",
    "http://x",
    "\"",
    "\\",
    "{}",
    "[",
    "$patch",
    "f:metadata",
    "k:{\"name\":\"a\"}",
    "v:1",
    "🦀",
    "\u{202e}",
    "Foreground",
    "RollingUpdate",
    "In",
    "Exists",
    "ClusterIP",
    "spec.nodeName",
    "metadata.name",
    "status",
];
const KEYS: &[&str] = &[
    "",
    "x",
    "metadata",
    "spec",
    "status",
    "name",
    "namespace",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "managedFields",
    "generateName",
    "resourceVersion",
    "uid",
    "deletionTimestamp",
    "creationTimestamp",
    "generation",
    "deletionGracePeriodSeconds",
    "fieldsV1",
    "data",
    "binaryData",
    "stringData",
    "immutable",
    "$patch",
    "$retainKeys",
    "$setElementOrder/containers",
    "$deleteFromPrimitiveList/finalizers",
    "f:x",
    ".",
    "é",
    "a/b",
    "a~b",
    "kind",
    "apiVersion",
    "items",
    "template",
    "selector",
    "type",
    "key",
    "operator",
    "values",
];

/// Bends a value of this type in some places.
pub fn bend(draw: &mut Draw<'_>, value: &mut Value, ty: Option<&'static Type>) {
    for _ in 0..draw.below(EDITS + 1) {
        let places = places(value);
        let place = draw.pick(&places).clone();
        edit(draw, value, &place, &places, ty);
    }
}

/// Pointers (RFC 6901) to everything in a value, itself first.
pub fn places(value: &Value) -> Vec<String> {
    fn walk(value: &Value, at: &str, found: &mut Vec<String>) {
        found.push(at.to_string());
        match value {
            Value::Array(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(index, item)| walk(item, &format!("{at}/{index}"), found));
            }
            Value::Object(map) => {
                map.iter().for_each(|(key, inner)| walk(inner, &format!("{at}/{}", escaped(key)), found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(value, "", &mut found);
    found
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn edit(draw: &mut Draw<'_>, value: &mut Value, place: &str, places: &[String], ty: Option<&'static Type>) {
    let what = draw.below(12);
    let other = draw.pick(places);
    let copy = value.pointer(other).cloned().unwrap_or_default();
    let shape = ty.and_then(|ty| shape_at(ty, place));
    let Some(target) = value.pointer_mut(place) else { return };
    match what {
        0 => *target = scalar(draw),
        1 => {
            let key = draw.byte();
            remove(target, usize::from(key));
        }
        2 => *target = copy,
        3 => insert(draw, target, copy),
        4 => {
            let new = scalar(draw);
            insert(draw, target, new);
        }
        5 => *target = json!([target.take()]),
        6 => *target = json!({ draw.word(KEYS): target.take() }),
        7 => grow(target, 1 << draw.below(11)),
        8 => {
            if let Value::String(text) = target {
                let at = text
                    .char_indices()
                    .map(|(at, _)| at)
                    .nth(draw.below(text.len() + 1))
                    .unwrap_or(text.len());
                text.insert_str(at, draw.word(TEXTS));
            }
        }
        // A field that the schema has here: most are in no seed.
        _ => match (shape, target) {
            (Some(Shape { container: Container::One, base: Base::Struct(id), .. }), Value::Object(map)) => {
                let fields = &schema().get(id).fields;
                if !fields.is_empty() {
                    let field = draw.pick(fields);
                    map.insert(field.name.to_string(), made(draw, &field.shape, 0));
                }
            }
            (Some(shape), target) => *target = made(draw, &shape, 0),
            (None, target) => *target = scalar(draw),
        },
    }
}

/// A value that is short to say and long to think about.
pub fn scalar(draw: &mut Draw<'_>) -> Value {
    match draw.below(10) {
        0 => Value::Null,
        1 => json!(draw.byte() & 1 == 0),
        2 => json!(draw.pick(&[0, 1, -1, i64::MAX, i64::MIN, 65535, 65536, 1 << 31, -(1 << 31), 1 << 53])),
        3 => json!(draw.pick(&[0.5, 1.0, 1e18, 1e19, 1e300, -0.0])),
        4 => json!({}),
        5 => json!([]),
        6 => json!(draw.word(TEXTS).repeat(1 << draw.below(13))),
        7 => json!(format!("{RAW_MARK}{}", draw.byte())),
        8 => json!(String::from_utf8_lossy(draw.bytes(8))),
        _ => json!(draw.word(TEXTS)),
    }
}

fn remove(target: &mut Value, which: usize) {
    match target {
        Value::Object(map) => {
            let key = map.keys().nth(which.checked_rem(map.len()).unwrap_or_default()).cloned();
            key.map(|key| map.remove(&key));
        }
        Value::Array(items) if !items.is_empty() => _ = items.remove(which % items.len()),
        other => *other = Value::Null,
    }
}

fn insert(draw: &mut Draw<'_>, target: &mut Value, new: Value) {
    match target {
        Value::Object(map) => {
            let known = map.keys().nth(draw.below(map.len().max(1))).cloned().unwrap_or_default();
            let key = match draw.below(4) {
                0 => format!("{known}{}", draw.word(TEXTS)),
                1 => draw.word(TEXTS).repeat(1 << draw.below(9)),
                _ => draw.word(KEYS).to_string(),
            };
            map.insert(key, new);
        }
        Value::Array(items) => items.push(new),
        other => *other = new,
    }
}

/// The same again and again, with names of its own.
fn grow(target: &mut Value, times: usize) {
    let times = times.min(GROWN_MAX / (1 + target.to_string().len()));
    match target {
        Value::Array(items) => {
            let Some(model) = items.last().cloned() else { return };
            for number in 0..times {
                let mut item = model.clone();
                match &mut item {
                    Value::Object(map) => {
                        if let Some(Value::String(name)) = map.get_mut("name") {
                            name.push_str(&number.to_string());
                        }
                    }
                    Value::String(text) => text.push_str(&number.to_string()),
                    _ => {}
                }
                items.push(item);
            }
        }
        Value::Object(map) => {
            let Some((key, model)) = map.iter().next().map(|(key, value)| (key.clone(), value.clone()))
            else {
                return;
            };
            for number in 0..times {
                map.insert(format!("{key}{number}"), model.clone());
            }
        }
        Value::String(text) => *text = text.repeat(times),
        _ => {}
    }
}

/// What the schema says of a place.
fn shape_at(ty: &'static Type, place: &str) -> Option<Shape> {
    let mut shape: Option<Shape> = None;
    let mut ty = Some(ty);
    for token in place.split('/').skip(1) {
        shape = Some(match (ty, shape) {
            (Some(ty), _) => ty.field(token)?.shape,
            (None, Some(shape)) if shape.container != Container::One => shape.element(),
            (None, _) => return None,
        });
        ty = match shape {
            Some(Shape { container: Container::One, base: Base::Struct(id), .. }) => Some(schema().get(id)),
            _ => None,
        };
    }
    shape
}

/// A value of this type, right or nearly so.
fn made(draw: &mut Draw<'_>, shape: &Shape, depth: usize) -> Value {
    if draw.sometimes(16) {
        return scalar(draw);
    }
    match shape.container {
        Container::One => one(draw, shape.base, depth),
        Container::List => (0..draw.below(4)).map(|_| made(draw, &shape.element(), depth)).collect(),
        Container::Map => {
            let entries = (0..draw.below(4)).map(|_| {
                let key = draw.word(TEXTS).to_string();
                (key, made(draw, &shape.element(), depth))
            });
            entries.collect::<Map<_, _>>().into()
        }
    }
}

fn one(draw: &mut Draw<'_>, base: Base, depth: usize) -> Value {
    match base {
        Base::String => json!(draw.word(TEXTS)),
        Base::Int32 | Base::Int64 => {
            json!(draw.pick(&[0, 1, 2, 8080, -1, 3600, i64::from(i32::MAX), i64::MAX]))
        }
        Base::Bool => json!(draw.byte() & 1 == 0),
        Base::Bytes => json!(draw.word(&["", "eA==", "eHh4", "=", "é"])),
        Base::Quantity => {
            json!(draw.word(&["0", "1", "100m", "2Gi", "-1", "1e3", "x", "1e400", "9223372036854775807Ei"]))
        }
        Base::IntOrString => match draw.byte() & 1 {
            0 => json!(draw.word(TEXTS)),
            _ => json!(draw.pick(&[0, 1, 80, -1, 65536])),
        },
        Base::Time => json!(draw.word(&[
            "2020-01-01T00:00:00Z",
            "2020-01-01T00:00:00+23:59",
            "0001-01-01T00:00:00Z",
            "x"
        ])),
        Base::MicroTime => json!(draw.word(&[
            "2020-01-01T00:00:00.000001Z",
            "2020-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999Z"
        ])),
        Base::Raw | Base::Fields => match draw.byte() & 3 {
            0 => json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}}),
            1 => {
                json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}}, "k:{": {}, "v:\"x\"": {}, "i:0": {}}}})
            }
            2 => json!({"a": [1, {"b": null}]}),
            _ => scalar(draw),
        },
        Base::Extra => json!([draw.word(TEXTS)]),
        Base::Struct(_) if depth >= DEPTH => json!({}),
        Base::Struct(id) => {
            let fields = &schema().get(id).fields;
            let mut map = Map::new();
            for _ in 0..draw.below(6).min(fields.len()) {
                let field = draw.pick(fields);
                map.insert(field.name.to_string(), made(draw, &field.shape, depth + 1));
            }
            map.into()
        }
    }
}
