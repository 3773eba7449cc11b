//! Is this a structural schema, and which?
//!
//! [`read()`] walks the JSON once. Whatever is wrong becomes a finding with its path, in Kubernetes' words; only a schema
//! without findings may be used. Rules about several keywords of one node stand in [`crate::rules`].
//! Kubernetes: `apiserver/schema/{convert,validation,complete}.go`, `apis/apiextensions/validation`.

use crate::finding::Finding;
use crate::format::Format;
use crate::path::Path;
use crate::patterns::Patterns;
use crate::schema::{Additional, Bound, Conditions, ListType, Range, Schema, Type};
use crate::{MAX_FINDINGS, MAX_NODES, MAX_STEPS, rules};
use regex::Regex;
use serde_json::{Map, Value, json};

/// Reads the schema of a whole object.
///
/// # Errors
/// Every broken rule, in the order of the schema.
pub fn read(schema: &Value, at: &Path<'_>) -> Result<Schema, Vec<Finding>> {
    let mut reader = Reader { found: Vec::new(), nodes: 0, patterns: Patterns::new() };
    let read = reader.node(schema, at, Level::Root, Nesting::Structure);
    if reader.found.is_empty() {
        rules::complete(&read, at, &mut reader.found);
        rules::defaults(&read, at, &mut { MAX_STEPS }, &mut reader.found);
    }
    reader.found.truncate(MAX_FINDINGS);
    if reader.found.is_empty() { Ok(read) } else { Err(reader.found) }
}

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// The whole object.
    Root,
    /// An item of a list.
    Item,
    /// A field, or a value of a map.
    Field,
}

/// Whether a node says what there is, or only which values are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nesting {
    Structure,
    Condition,
    /// One of the two alternatives of integer-or-string, which may name their type.
    IntOrString,
}

struct Reader {
    found: Vec<Finding>,
    nodes: usize,
    patterns: Patterns,
}

impl Reader {
    fn node(&mut self, value: &Value, at: &Path<'_>, level: Level, nesting: Nesting) -> Schema {
        let Some(map) = value.as_object() else {
            self.found.push(Finding::invalid(at, value.clone(), "must be a schema object"));
            return Schema::default();
        };
        if self.found.len() >= MAX_FINDINGS {
            return Schema::default();
        }
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            if self.nodes == MAX_NODES + 1 {
                let detail = format!("the schema has too many nodes, the limit is {MAX_NODES}");
                self.found.push(Finding::forbidden(at, detail));
            }
            return Schema::default();
        }
        self.unsupported(map, at);
        let mut node = Schema {
            ty: self.type_of(map, at),
            nullable: flag(map, "nullable"),
            default: map.get("default").filter(|value| !value.is_null()).cloned(),
            preserves_unknown: flag(map, "x-kubernetes-preserve-unknown-fields"),
            is_resource: flag(map, "x-kubernetes-embedded-resource"),
            int_or_string: flag(map, "x-kubernetes-int-or-string"),
            list_type: list_type(map),
            atomic_map: map.get("x-kubernetes-map-type").is_some_and(|kind| kind == "atomic"),
            ..Schema::default()
        };
        self.children(map, at, level, nesting, &mut node);
        node.conditions = self.conditions(map, at, level, node.ty);
        match nesting {
            Nesting::Structure => rules::structure(map, &node, level, at, &mut self.found),
            Nesting::Condition => rules::condition(map, at, false, &mut self.found),
            Nesting::IntOrString => rules::condition(map, at, true, &mut self.found),
        }
        node
    }

    fn children(
        &mut self,
        map: &Map<String, Value>,
        at: &Path<'_>,
        level: Level,
        nesting: Nesting,
        node: &mut Schema,
    ) {
        let nesting = if nesting == Nesting::IntOrString { Nesting::Condition } else { nesting };
        for (name, schema) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let (list, below) = (at.field("properties"), Level::Field);
            let read = self.node(schema, &list.key(name), below, nesting);
            node.properties.insert(name.clone(), read);
        }
        match map.get("items") {
            None | Some(Value::Null) => {}
            Some(Value::Array(_)) => {
                let detail = "items must be a schema object and not an array";
                self.found.push(Finding::forbidden(at.field("items"), detail));
            }
            Some(items) => {
                let read = self.node(items, &at.field("items"), Level::Item, nesting);
                node.items = Some(Box::new(read));
            }
        }
        node.additional = match map.get("additionalProperties") {
            None | Some(Value::Null | Value::Bool(false)) => Additional::Nothing,
            Some(Value::Bool(true)) => Additional::Any,
            Some(schema) => {
                let read = self.node(schema, &at.field("additionalProperties"), Level::Field, nesting);
                Additional::Of(Box::new(read))
            }
        };
        let closed = map.get("additionalProperties").is_some_and(|said| *said != true && !said.is_null());
        if closed && !node.properties.is_empty() {
            let detail = "additionalProperties and properties are mutual exclusive";
            self.found.push(Finding::forbidden(at.field("additionalProperties"), detail));
        }
        if level == Level::Root && !matches!(node.additional, Additional::Nothing) {
            let path = at.field("additionalProperties");
            self.found.push(Finding::forbidden(path, "must not be used at the root"));
        }
    }

    fn unsupported(&mut self, map: &Map<String, Value>, at: &Path<'_>) {
        for name in ["$ref", "additionalItems", "definitions", "dependencies", "id", "patternProperties"] {
            let said = map.get(name).is_some_and(|value| match value {
                Value::Null => false,
                Value::String(text) => !text.is_empty(),
                Value::Object(map) => !map.is_empty(),
                _ => true,
            });
            if said {
                self.found.push(Finding::forbidden(at.field(name), format!("{name} is not supported")));
            }
        }
        if flag(map, "uniqueItems") {
            let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.found.push(Finding::forbidden(at.field("uniqueItems"), detail));
        }
        if map.get("x-kubernetes-preserve-unknown-fields").is_some_and(|value| *value == false) {
            let path = at.field("x-kubernetes-preserve-unknown-fields");
            self.found.push(Finding::invalid(path, false, "must be true or undefined"));
        }
    }

    fn type_of(&mut self, map: &Map<String, Value>, at: &Path<'_>) -> Option<Type> {
        let text = map.get("type").and_then(Value::as_str).filter(|text| !text.is_empty())?;
        let ty = Type::parse(text);
        if ty.is_none() {
            let known = ["array", "boolean", "integer", "number", "object", "string"].map(Value::from);
            self.found.push(Finding::not_supported(at.field("type"), text, known));
            if text == "null" {
                let detail = "type cannot be set to null, use nullable as an alternative";
                self.found.push(Finding::forbidden(at.field("type"), detail));
            }
        }
        ty
    }

    fn conditions(
        &mut self,
        map: &Map<String, Value>,
        at: &Path<'_>,
        level: Level,
        ty: Option<Type>,
    ) -> Conditions {
        let bound = |name: &str, exclusive: &str| match map.get(name) {
            Some(Value::Number(value)) => {
                Some(Bound { value: value.clone(), exclusive: flag(map, exclusive) })
            }
            _ => None,
        };
        let range = |min: &str, max: &str| Range { min: count(map, min), max: count(map, max) };
        // The one place where a condition may name a type.
        let pattern = json!([{"type": "integer"}, {"type": "string"}]);
        let is_pattern = map.get("anyOf") == Some(&pattern);
        let alternatives = if is_pattern { Nesting::IntOrString } else { Nesting::Condition };
        Conditions {
            format: map.get("format").and_then(Value::as_str).and_then(|text| Format::parse(text, ty)),
            one_of_values: map.get("enum").and_then(Value::as_array).map(|all| all.clone().into()),
            pattern: self.pattern(map, at),
            minimum: bound("minimum", "exclusiveMinimum"),
            maximum: bound("maximum", "exclusiveMaximum"),
            multiple_of: self.multiple_of(map, at),
            length: range("minLength", "maxLength"),
            items: range("minItems", "maxItems"),
            properties: range("minProperties", "maxProperties"),
            required: texts(map, "required"),
            all_of: self.all(map, "allOf", at, level, Nesting::Condition),
            any_of: self.all(map, "anyOf", at, level, alternatives),
            one_of: self.all(map, "oneOf", at, level, Nesting::Condition),
            not: map
                .get("not")
                .filter(|value| !value.is_null())
                .map(|value| Box::new(self.node(value, &at.field("not"), level, Nesting::Condition))),
        }
    }

    fn all(
        &mut self,
        map: &Map<String, Value>,
        name: &str,
        at: &Path<'_>,
        level: Level,
        nesting: Nesting,
    ) -> Box<[Schema]> {
        let list = at.field(name);
        let schemas = map.get(name).and_then(Value::as_array).into_iter().flatten().enumerate();
        schemas.map(|(index, schema)| self.node(schema, &list.index(index), level, nesting)).collect()
    }

    fn pattern(&mut self, map: &Map<String, Value>, at: &Path<'_>) -> Option<(String, Regex)> {
        let text = map.get("pattern").and_then(Value::as_str).filter(|text| !text.is_empty())?;
        match self.patterns.compile(text) {
            Ok(regex) => Some((text.to_string(), regex)),
            Err(why) => {
                self.found.push(Finding::invalid(at.field("pattern"), text, why));
                None
            }
        }
    }

    fn multiple_of(&mut self, map: &Map<String, Value>, at: &Path<'_>) -> Option<serde_json::Number> {
        let Some(Value::Number(number)) = map.get("multipleOf") else { return None };
        if number.as_f64().is_none_or(|value| value <= 0.0) {
            let detail = "must be greater than 0";
            self.found.push(Finding::invalid(at.field("multipleOf"), number.clone(), detail));
            return None;
        }
        Some(number.clone())
    }
}

fn list_type(map: &Map<String, Value>) -> ListType {
    match map.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListType::Set,
        Some("map") => ListType::Map(texts(map, "x-kubernetes-list-map-keys")),
        _ => ListType::Atomic,
    }
}

fn flag(map: &Map<String, Value>, name: &str) -> bool {
    map.get(name).and_then(Value::as_bool).unwrap_or_default()
}

fn count(map: &Map<String, Value>, name: &str) -> Option<u64> {
    map.get(name).and_then(Value::as_i64).map(|count| u64::try_from(count).unwrap_or_default())
}

pub(crate) fn texts(map: &Map<String, Value>, name: &str) -> Box<[String]> {
    let items = map.get(name).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_string).collect()
}
