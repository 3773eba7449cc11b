//! How do the bytes of an OpenAPI v2 document read as protobuf? The only form that kubectl asks for.
//!
//! Pure. Each function writes one message of gnostic's `OpenAPIv2.proto`, in the words of that file; the numbers are its
//! field numbers. Free values (`Any`) travel as YAML text, and JSON is YAML. What [`super::swagger`] never writes has
//! no place here. Kubernetes: `github.com/google/gnostic-models/openapiv2`.

use serde_json::{Map, Value};

/// `Document`.
pub(super) fn document(v2: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &v2["swagger"]);
    let mut info = Message::default();
    info.text(1, &v2["info"]["title"]);
    info.text(2, &v2["info"]["version"]);
    out.message(2, &info);
    let mut paths = Message::default();
    each(&v2["paths"], |path, item| paths.named(2, path, &path_item(item)));
    out.message(8, &paths);
    let mut definitions = Message::default();
    each(&v2["definitions"], |name, value| definitions.named(1, name, &schema(value)));
    out.message(9, &definitions);
    out.bytes
}

fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    for (number, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if item[method].is_object() {
            out.message(number, &operation(&item[method]));
        }
    }
    items(&item["parameters"]).for_each(|parameter| out.message(9, &parameters_item(parameter)));
    out
}

fn operation(operation: &Value) -> Message {
    let mut out = Message::default();
    out.texts(1, &operation["tags"]);
    out.text(3, &operation["description"]);
    out.text(5, &operation["operationId"]);
    out.texts(6, &operation["produces"]);
    out.texts(7, &operation["consumes"]);
    items(&operation["parameters"]).for_each(|parameter| out.message(8, &parameters_item(parameter)));
    let mut responses = Message::default();
    each(&operation["responses"], |code, response| {
        let mut value = Message::default();
        value.message(1, &self::response(response));
        responses.named(1, code, &value);
    });
    out.message(9, &responses);
    out.texts(10, &operation["schemes"]);
    out.extensions(13, operation);
    out
}

fn response(response: &Value) -> Message {
    let mut out = Message::default();
    out.text(1, &response["description"]);
    if response["schema"].is_object() {
        let mut item = Message::default();
        item.message(1, &schema(&response["schema"]));
        out.message(2, &item);
    }
    out
}

/// `ParametersItem`, which wraps `Parameter`, which wraps what stands where.
fn parameters_item(parameter: &Value) -> Message {
    let mut inner = Message::default();
    match parameter["in"].as_str() {
        Some("body") => {
            let mut body = Message::default();
            body.text(1, &parameter["description"]);
            body.text(2, &parameter["name"]);
            body.text(3, &parameter["in"]);
            body.flag(4, &parameter["required"]);
            body.message(5, &schema(&parameter["schema"]));
            inner.message(1, &body);
        }
        place => {
            let in_path = place == Some("path");
            let mut other = Message::default();
            // Query and path parameters differ in whether a value may be empty, which shifts the numbers behind it.
            let shift = if in_path { 0 } else { 1 };
            other.flag(1, &parameter["required"]);
            other.text(2, &parameter["in"]);
            other.text(3, &parameter["description"]);
            other.text(4, &parameter["name"]);
            other.text(5 + shift, &parameter["type"]);
            other.flag(19 + shift, &parameter["uniqueItems"]);
            let mut non_body = Message::default();
            non_body.message(if in_path { 4 } else { 3 }, &other);
            inner.message(2, &non_body);
        }
    }
    let mut out = Message::default();
    out.message(1, &inner);
    out
}

fn schema(schema: &Value) -> Message {
    let mut out = Message::default();
    out.text(1, &schema["$ref"]);
    out.text(2, &schema["format"]);
    out.text(4, &schema["description"]);
    if let Some(default) = schema.get("default") {
        out.message(5, &any(default));
    }
    out.texts(19, &schema["required"]);
    items(&schema["enum"]).for_each(|value| out.message(20, &any(value)));
    match &schema["additionalProperties"] {
        Value::Null => {}
        Value::Bool(any) => {
            let mut item = Message::default();
            item.flag(2, &Value::Bool(*any));
            out.message(21, &item);
        }
        inner => {
            let mut item = Message::default();
            item.message(1, &self::schema(inner));
            out.message(21, &item);
        }
    }
    if schema["type"].is_string() {
        let mut of_type = Message::default();
        of_type.text(1, &schema["type"]);
        out.message(22, &of_type);
    }
    if schema["items"].is_object() {
        let mut of_items = Message::default();
        of_items.message(1, &self::schema(&schema["items"]));
        out.message(23, &of_items);
    }
    if schema["properties"].is_object() {
        let mut properties = Message::default();
        each(&schema["properties"], |name, property| properties.named(1, name, &self::schema(property)));
        out.message(25, &properties);
    }
    out.extensions(31, schema);
    out
}

/// `Any`: its text is YAML.
fn any(value: &Value) -> Message {
    let mut out = Message::default();
    out.text(2, &Value::String(format!("{value}\n")));
    out
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn each(value: &Value, mut write: impl FnMut(&str, &Value)) {
    let empty = Map::new();
    value.as_object().unwrap_or(&empty).iter().for_each(|(name, value)| write(name, value));
}

/// The bytes of a message, as they grow.
#[derive(Default)]
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A text; absent and empty are the same.
    fn text(&mut self, number: u32, value: &Value) {
        if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
            self.delimited(number, text.as_bytes());
        }
    }

    fn texts(&mut self, number: u32, value: &Value) {
        items(value).for_each(|text| self.text(number, text));
    }

    fn flag(&mut self, number: u32, value: &Value) {
        if value == &Value::Bool(true) {
            self.varint(u64::from(number) << 3);
            self.varint(1);
        }
    }

    fn message(&mut self, number: u32, message: &Message) {
        self.delimited(number, &message.bytes);
    }

    /// `NamedSchema`, `NamedPathItem` and their kin: name and value.
    fn named(&mut self, number: u32, name: &str, value: &Message) {
        let mut pair = Message::default();
        pair.delimited(1, name.as_bytes());
        pair.message(2, value);
        self.message(number, &pair);
    }

    /// Every key that begins with `x-`.
    fn extensions(&mut self, number: u32, value: &Value) {
        each(value, |name, value| {
            if name.starts_with("x-") {
                self.named(number, name, &any(value));
            }
        });
    }

    fn delimited(&mut self, number: u32, bytes: &[u8]) {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_is_written_byte_for_byte() {
        let v2 = json!({"swagger": "2.0", "info": {"title": "K", "version": "v1"}, "paths": {}, "definitions": {
            "a": {"type": "string", "x-b": [1]}}});
        let expected: &[&[u8]] = &[
            b"\x0a\x032.0",
            b"\x12\x07\x0a\x01K\x12\x02v1",
            b"\x42\x00",
            // Definitions, NamedSchema a, its Schema: type 22, vendor extension 31.
            b"\x4a\x22\x0a\x20\x0a\x01a\x12\x1b",
            b"\xb2\x01\x08\x0a\x06string",
            b"\xfa\x01\x0d\x0a\x03x-b\x12\x06\x12\x04[1]\n",
        ];
        let written = document(&v2);
        assert_eq!(written, expected.concat(), "{written:02x?}");
    }
}
