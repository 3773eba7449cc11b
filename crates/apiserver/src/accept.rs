//! Which form of an object does a client ask for? The `Accept` header, read once.
//!
//! Pure. Entries are walked by weight, then in their order; an entry that we do not know is skipped, and when
//! none is left the answer is 406 (wire 3.9). Bodies are always JSON: protobuf in an answer is a matter of speed.

use crate::error::ApiError;
use crate::options::Query;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One object.
    Single,
    /// A collection.
    List,
    /// A stream of events.
    Watch,
}

/// The form of objects in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As they are.
    Object,
    /// `PartialObjectMetadata`.
    Metadata,
    /// `Table`, with what each row carries.
    Table(Include),
}

/// `includeObject` (3.9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// Metadata.
    Metadata,
    /// The whole object.
    Object,
}

/// One entry of an Accept header.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// `application/json`.
    pub media: String,
    /// Parameters without the weight.
    pub parameters: Vec<(String, String)>,
    weight: f32,
}

impl Entry {
    /// A parameter; absent reads as empty.
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// Whether JSON is an answer to this entry.
    pub fn takes_json(&self) -> bool {
        matches!(self.media.as_str(), "application/json" | "*/*" | "application/*")
    }
}

/// The entries, the most wanted first.
pub fn entries(accept: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> =
        accept.split(',').map(str::trim).filter(|e| !e.is_empty()).map(entry).collect();
    if entries.is_empty() {
        entries.push(entry("*/*"));
    }
    entries.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    entries
}

fn entry(text: &str) -> Entry {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default().to_ascii_lowercase();
    let mut entry = Entry { media, parameters: Vec::new(), weight: 1.0 };
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        match name.trim() {
            "q" => entry.weight = value.trim().parse().unwrap_or(0.0),
            name => entry.parameters.push((name.to_string(), value.trim().trim_matches('"').to_string())),
        }
    }
    entry
}

/// The form to answer in.
pub fn form(accept: &str, query: &Query, shape: Shape) -> Result<Form, ApiError> {
    for entry in entries(accept).iter().filter(|entry| entry.takes_json()) {
        let meta = entry.parameter("g") == "meta.k8s.io";
        match (entry.parameter("as"), entry.parameter("v")) {
            ("", _) => return Ok(Form::Object),
            ("Table", "v1" | "v1beta1") if meta => return include(query).map(Form::Table),
            ("PartialObjectMetadata", "v1" | "v1beta1") if meta && shape != Shape::List => {
                return Ok(Form::Metadata);
            }
            ("PartialObjectMetadataList", "v1" | "v1beta1") if meta && shape == Shape::List => {
                return Ok(Form::Metadata);
            }
            ("PartialObjectMetadataList", _) if meta => {
                return Err(not_acceptable(
                    "you requested PartialObjectMetadataList, but the requested object is not a list",
                ));
            }
            ("PartialObjectMetadata", _) if meta => {
                return Err(not_acceptable(
                    "you requested PartialObjectMetadata, but the requested object is a list",
                ));
            }
            _ => {}
        }
    }
    Err(not_acceptable("only the following media types are accepted: application/json"))
}

fn not_acceptable(message: &str) -> ApiError {
    ApiError::plain(406, "NotAcceptable", message)
}

fn include(query: &Query) -> Result<Include, ApiError> {
    match query.get("includeObject") {
        "" | "Metadata" => Ok(Include::Metadata),
        "Object" => Ok(Include::Object),
        "None" => Ok(Include::None),
        other => Err(ApiError::bad_request(format!("unrecognized includeObject value: {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_entry_decides() {
        let check = |accept: &str, shape: Shape, expected: Form| {
            assert_eq!(form(accept, &Query::default(), shape), Ok(expected), "{accept}");
        };
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        check(kubectl, Shape::List, Form::Table(Include::Metadata));
        check("application/vnd.kubernetes.protobuf,application/json", Shape::List, Form::Object);
        check("application/json, */*", Shape::Single, Form::Object);
        check("", Shape::Single, Form::Object);
        check("application/json;as=Unknown;g=x;v=v1,application/json", Shape::Single, Form::Object);
        let collector = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
        check(collector, Shape::List, Form::Metadata);
        check(
            "application/json;q=0.1,application/json;as=Table;v=v1;g=meta.k8s.io",
            Shape::List,
            Form::Table(Include::Metadata),
        );
    }

    #[test]
    fn nothing_known_is_not_acceptable() {
        for accept in ["text/html", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"] {
            assert_eq!(form(accept, &Query::default(), Shape::Single).unwrap_err().code, 406, "{accept}");
        }
    }
}
