//! Objects, lists, Tables and Status become responses.
//!
//! Objects that come from the cache are copied as bytes with their revision spliced in ([`crate::encode`]); only a Table
//! decodes, because its cells are computed. Everything here is dull: no decision but the form that
//! [`crate::accept`] has chosen.

pub mod pieces;

use crate::accept::{Form, Include};
use crate::cache::item::Item;
use crate::encode;
use crate::error::ApiError;
use crate::resources::Kind;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use store::Revision;

/// What ends a body in the middle.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// The body of a response.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;
/// A response.
pub type Reply = Response<Body>;

/// Most bytes of all warnings of one response (2.5.6).
const WARNINGS_MAX: usize = 4096;

/// A body that is there already.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// An answer that keeps something until its body has been sent or dropped.
pub fn holding(reply: Reply, what: impl Send + 'static) -> Reply {
    let kept = move |frame| {
        let _ = &what;
        frame
    };
    let (head, body) = reply.into_parts();
    Reply::from_parts(head, body.map_frame(kept).boxed_unsync())
}

/// A JSON answer.
pub fn json_bytes(code: u16, bytes: impl Into<Bytes>) -> Reply {
    with_type(code, "application/json", bytes)
}

/// A value as JSON, with its newline.
pub fn json_value(code: u16, value: &Value) -> Reply {
    json_bytes(code, format!("{value}\n"))
}

/// Plain text.
pub fn text(code: u16, body: impl Into<Bytes>) -> Reply {
    with_type(code, "text/plain; charset=utf-8", body)
}

/// Any bytes with a content type.
pub fn with_type(code: u16, media: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(full(body));
    *reply.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    reply
}

/// The refusal as a Status.
pub fn error(error: &ApiError) -> Reply {
    let mut reply = json_value(error.code, &error.status());
    if let Some(seconds) = error.retry_after {
        reply.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    reply
}

/// Adds one `Warning` header for each text, until the limit (2.5.6).
pub fn with_warnings(mut reply: Reply, warnings: &[String]) -> Reply {
    let mut left = WARNINGS_MAX;
    for text in warnings {
        let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let line = format!("299 - \"{}\"", clean.replace('\\', "\\\\").replace('"', "\\\""));
        if line.len() > left {
            break;
        }
        left -= line.len();
        if let Ok(value) = HeaderValue::from_bytes(line.as_bytes()) {
            reply.headers_mut().append(http::header::WARNING, value);
        }
    }
    reply
}

/// One object as it lies in the store: the answer to a write.
pub fn stored(code: u16, kind: &Kind, (bytes, revision): (&[u8], Revision), form: Form) -> Reply {
    let mut out = BytesMut::with_capacity(bytes.len() + 64);
    append(&mut out, kind, (bytes, revision), form, true);
    out.put_u8(b'\n');
    json_bytes(code, out)
}

/// One object that is stored nowhere: the answer to a question.
pub fn object(code: u16, kind: &Kind, object: &Value, form: Form) -> Reply {
    match form {
        Form::Object => json_value(code, object),
        Form::Metadata => json_value(code, &metadata_of(object)),
        Form::Table(include) => {
            let mut row = BytesMut::new();
            begin_row(&mut row, kind, object);
            row.put_slice(format!("{}}}", included(object, include)).as_bytes());
            let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            json_bytes(code, table_of(&row, &metadata, &definitions(kind), LIST_END))
        }
    }
}

/// One object from the cache.
pub fn item(kind: &Kind, item: &Item, form: Form) -> Reply {
    stored(200, kind, (&item.value(), item.revision), form)
}

/// What a list's metadata says.
pub struct Page {
    /// The snapshot's revision.
    pub revision: Revision,
    /// Token of the next page; empty on the last.
    pub resume: String,
    /// How many items follow, when that is known.
    pub remaining: Option<usize>,
}

impl Page {
    fn metadata(&self) -> Value {
        let mut metadata = json!({"resourceVersion": self.revision.to_string()});
        if !self.resume.is_empty() {
            metadata["continue"] = self.resume.as_str().into();
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        metadata
    }
}

/// A list of objects from the cache, at once.
pub fn list<'a>(
    kind: &Kind,
    page: &Page,
    items: impl ExactSizeIterator<Item = &'a Item>,
    form: Form,
) -> Bytes {
    let mut out = BytesMut::with_capacity(items.len() * 1024 + 256);
    out.put_slice(list_head(kind, page, form).as_bytes());
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        append_item(&mut out, kind, item, form);
    }
    out.put_slice(LIST_END);
    out.freeze()
}

/// What stands before the first item of a list.
fn list_head(kind: &Kind, page: &Page, form: Form) -> String {
    let metadata = page.metadata();
    let (list_kind, version) = match form {
        Form::Table(_) => return table_head(&metadata, &definitions(kind)),
        Form::Object => (list_kind(kind), encode::api_version(kind.group, kind.version)),
        Form::Metadata => ("PartialObjectMetadataList".to_string(), "meta.k8s.io/v1".to_string()),
    };
    format!("{{\"kind\":\"{list_kind}\",\"apiVersion\":\"{version}\",\"metadata\":{metadata},\"items\":[")
}

/// What stands behind the last item of a list, or the last row of a Table.
const LIST_END: &[u8] = b"]}\n";

/// One item of a list, or one row of a Table.
fn append_item(out: &mut BytesMut, kind: &Kind, item: &Item, form: Form) {
    match form {
        Form::Object => encode::send(out, kind, &item.value(), item.revision),
        Form::Metadata => encode::send_metadata(out, kind, &item.value(), item.revision),
        Form::Table(include) => append_row(out, kind, (&item.value(), item.revision), include),
    }
}

/// Kind of lists: `PodList`, or what a definition says.
fn list_kind(kind: &Kind) -> String {
    kind.custom().map_or_else(|| format!("{}List", kind.kind), |custom| custom.family.list_kind.clone())
}

/// Appends one object in a form. `columns` is about Tables: only the first of a watch has them (3.9.8).
pub fn append(
    out: &mut BytesMut,
    kind: &Kind,
    (bytes, revision): (&[u8], Revision),
    form: Form,
    columns: bool,
) {
    match form {
        Form::Object => encode::send(out, kind, bytes, revision),
        Form::Metadata => encode::send_metadata(out, kind, bytes, revision),
        Form::Table(include) => {
            let definitions = if columns { definitions(kind) } else { Value::Null };
            let revision_text = (revision != encode::UNSTORED).then(|| revision.to_string());
            let metadata = json!({ "resourceVersion": revision_text });
            out.put_slice(table_head(&metadata, &definitions).as_bytes());
            append_row(out, kind, (bytes, revision), include);
            out.put_slice(b"]}");
        }
    }
}

/// A Table with one row that says nothing: what a bookmark looks like to a Table watcher (3.9.8).
pub fn bookmark_table(kind: &Kind, metadata: &Value, columns: bool) -> Bytes {
    let zero = |column: &Value| match column["type"].as_str() {
        Some("integer" | "number") => json!(0),
        Some("boolean") => json!(false),
        _ => json!(""),
    };
    let cells: Vec<Value> = kind.rules.column_definitions().iter().map(zero).collect();
    let object =
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata});
    let row = json!({"cells": cells, "object": object}).to_string();
    let head = json!({"resourceVersion": metadata["resourceVersion"]});
    let definitions = if columns { definitions(kind) } else { Value::Null };
    table_of(row.as_bytes(), &head, &definitions, b"]}")
}

/// A Table of one row.
fn table_of(row: &[u8], metadata: &Value, definitions: &Value, end: &[u8]) -> Bytes {
    [table_head(metadata, definitions).as_bytes(), row, end].concat().into()
}

fn table_head(metadata: &Value, definitions: &Value) -> String {
    format!(
        "{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{metadata},\"columnDefinitions\":{definitions},\"rows\":["
    )
}

fn definitions(kind: &Kind) -> Value {
    kind.rules.column_definitions().into()
}

/// The row of an object from the cache. Of the object only what its cells show is decoded; what it carries is copied.
fn append_row(out: &mut BytesMut, kind: &Kind, (bytes, revision): (&[u8], Revision), include: Include) {
    let object = match kind.custom() {
        None => encode::parts::read(bytes, kind.rules.shown()).unwrap_or_default(),
        // Its columns may show any field.
        Some(custom) => {
            let mut object = encode::value(bytes, revision).unwrap_or_default();
            custom.open(&mut object);
            object
        }
    };
    begin_row(out, kind, &object);
    match include {
        Include::None => out.put_slice(b"null"),
        Include::Metadata => encode::send_metadata(out, kind, bytes, revision),
        Include::Object => encode::send(out, kind, bytes, revision),
    }
    out.put_u8(b'}');
}

/// A row up to what it carries.
fn begin_row(out: &mut BytesMut, kind: &Kind, object: &Value) {
    let row = kind.rules.row(object, jiff::Timestamp::now());
    out.put_slice(b"{\"cells\":");
    put_json(out, &row.cells);
    if !row.conditions.is_empty() {
        out.put_slice(b",\"conditions\":");
        put_json(out, &row.conditions);
    }
    out.put_slice(b",\"object\":");
}

fn put_json(out: &mut BytesMut, values: &[Value]) {
    // Writing a JSON value to memory cannot fail.
    let _ = serde_json::to_writer(out.writer(), values);
}

fn included(object: &Value, include: Include) -> Value {
    match include {
        Include::None => Value::Null,
        Include::Metadata => metadata_of(object),
        Include::Object => object.clone(),
    }
}

fn metadata_of(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}
