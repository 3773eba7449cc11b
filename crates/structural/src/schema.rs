//! A structural schema, read and found good.
//!
//! One node type for the structure and for what `allOf`, `anyOf`, `oneOf` and `not` say about it; [`crate::read`] has made
//! sure that the latter carry only conditions. Kubernetes: `apiserver/schema/structural.go`.

use regex::Regex;
use serde_json::{Number, Value};
use std::collections::BTreeMap;

use crate::format::Format;

/// One node.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    /// `type`; none where nothing is said, and for integers-or-strings.
    pub ty: Option<Type>,
    /// `nullable`.
    pub nullable: bool,
    /// `default`.
    pub default: Option<Value>,
    /// `properties`.
    pub properties: BTreeMap<String, Schema>,
    /// `additionalProperties`.
    pub additional: Additional,
    /// `items`.
    pub items: Option<Box<Schema>>,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserves_unknown: bool,
    /// `x-kubernetes-embedded-resource`.
    pub is_resource: bool,
    /// `x-kubernetes-int-or-string`.
    pub int_or_string: bool,
    /// `x-kubernetes-list-type` and its keys.
    pub list_type: ListType,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic_map: bool,
    /// Conditions on the value.
    pub(crate) conditions: Conditions,
}

/// `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A map or struct.
    Object,
    /// A list.
    Array,
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// True or false.
    Boolean,
}

impl Type {
    /// Reads the keyword's value.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "object" => Type::Object,
            "array" => Type::Array,
            "string" => Type::String,
            "integer" => Type::Integer,
            "number" => Type::Number,
            "boolean" => Type::Boolean,
            _ => return None,
        })
    }

    /// As it stands in a schema.
    pub fn as_str(self) -> &'static str {
        match self {
            Type::Object => "object",
            Type::Array => "array",
            Type::String => "string",
            Type::Integer => "integer",
            Type::Number => "number",
            Type::Boolean => "boolean",
        }
    }
}

/// What a map may hold beyond its properties.
#[derive(Debug, Clone, Default)]
pub enum Additional {
    /// Nothing is said, or `false`: what is unknown is pruned.
    #[default]
    Nothing,
    /// `true`: any keys, whose values have no schema.
    Any,
    /// Any keys, with values of one schema.
    Of(Box<Schema>),
}

/// How server-side apply sees a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ListType {
    /// As a whole.
    #[default]
    Atomic,
    /// Every value once.
    Set,
    /// Items named by these fields.
    Map(Box<[String]>),
}

/// The keywords that only check.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conditions {
    pub(crate) format: Option<Format>,
    pub(crate) one_of_values: Option<Box<[Value]>>,
    pub(crate) pattern: Option<(String, Regex)>,
    pub(crate) minimum: Option<Bound>,
    pub(crate) maximum: Option<Bound>,
    pub(crate) multiple_of: Option<Number>,
    pub(crate) length: Range,
    pub(crate) items: Range,
    pub(crate) properties: Range,
    pub(crate) required: Box<[String]>,
    pub(crate) all_of: Box<[Schema]>,
    pub(crate) any_of: Box<[Schema]>,
    pub(crate) one_of: Box<[Schema]>,
    pub(crate) not: Option<Box<Schema>>,
}

/// A limit of numbers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bound {
    pub(crate) value: Number,
    pub(crate) exclusive: bool,
}

/// Limits of a count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) min: Option<u64>,
    pub(crate) max: Option<u64>,
}

impl Schema {
    /// The schema of a key of this map; none when it is unknown, or has none.
    pub fn key(&self, name: &str) -> Option<&Schema> {
        self.properties.get(name).or(match &self.additional {
            Additional::Of(schema) => Some(schema),
            Additional::Nothing | Additional::Any => None,
        })
    }

    /// Whether a value's being null means that it is not set.
    pub(crate) fn refuses(&self, value: &Value) -> bool {
        value.is_null() && !self.nullable
    }

    /// The schema at a path of properties, `.spec.replicas`.
    pub fn at(&self, path: &str) -> Option<&Schema> {
        let mut names = path.split('.').filter(|name| !name.is_empty());
        names.try_fold(self, |schema, name| schema.properties.get(name))
    }
}
