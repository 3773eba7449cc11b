//! What object did the client send?
//!
//! Bytes of JSON, YAML or Kubernetes' protobuf become one JSON value in the form that a round trip through Go's types
//! would give it ([`go_form`]), or a refusal with Kubernetes' text (wire 2.5). Pure: no store, no clock. Invariant:
//! what leaves here has the right `apiVersion` and `kind`, only fields that the kind knows, each of its right type.
//! Kubernetes: `apimachinery/pkg/runtime/serializer`, `apiserver/pkg/endpoints/handlers/rest.go`.

mod findings;
pub(crate) mod go_form;
mod json;
mod path;
mod yaml;

pub(crate) use json::depth;

use crate::custom::Custom;
use crate::error::ApiError;
use crate::protobuf;
use crate::resources::Kind;
use crate::schema::{Gvk, schema};
use serde_json::{Map, Value};

/// Largest request body: etcd's default request limit doubled, as kube-apiserver has it.
pub const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;

/// Deepest nesting of an object. serde_json reads 128 levels; a list or a watch event puts an object some levels
/// down, and what is stored must be readable again.
pub const MAX_DEPTH: usize = 100;

/// Media type of Kubernetes' protobuf.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// What bodies may be written in, in the order Kubernetes lists them.
pub const ACCEPTED: &[&str] = &["application/json", "application/yaml", PROTOBUF];

/// What to do with fields that the kind does not know, or that stand twice (wire 2.5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and say so in `Warning` headers.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

impl FieldValidation {
    /// Reads the query parameter; `None` for a value that does not exist (422 by the caller).
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Warn" => Some(Self::Warn),
            "Ignore" => Some(Self::Ignore),
            "Strict" => Some(Self::Strict),
            _ => None,
        }
    }

    /// Findings become an error, warnings or nothing.
    fn judge(self, gvk: Gvk<'_>, findings: Vec<String>) -> Result<Vec<String>, ApiError> {
        match self {
            Self::Ignore => Ok(Vec::new()),
            Self::Warn => Ok(findings),
            Self::Strict if findings.is_empty() => Ok(findings),
            Self::Strict => {
                Err(cannot_handle(gvk, gvk.kind, format!("strict decoding error: {}", findings.join(", "))))
            }
        }
    }
}

/// A decoded body.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The object; `apiVersion` and `kind` are set.
    pub object: Value,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

/// Decodes the body of a create or update of `kind`.
///
/// # Errors
/// 400 for what cannot be understood, 413 above [`MAX_BODY_BYTES`], 415 for an unknown `content_type`.
pub fn body(
    content_type: &str,
    bytes: &[u8],
    kind: &Kind,
    validation: FieldValidation,
) -> Result<Decoded, ApiError> {
    read_body(content_type, bytes, kind.into(), kind.custom(), validation)
}

/// Decodes a body that is not of a served kind's own type: `Eviction`, `Binding`, `TokenRequest`, a review.
///
/// # Errors
/// As [`body`].
pub fn body_as(
    content_type: &str,
    bytes: &[u8],
    expected: Gvk<'_>,
    validation: FieldValidation,
) -> Result<Decoded, ApiError> {
    read_body(content_type, bytes, expected, None, validation)
}

fn read_body(
    content_type: &str,
    bytes: &[u8],
    expected: Gvk<'_>,
    custom: Option<&Custom>,
    validation: FieldValidation,
) -> Result<Decoded, ApiError> {
    if custom.is_some() && media_type(content_type) == PROTOBUF {
        return Err(ApiError::unsupported_media_type(&["application/json", "application/yaml"]));
    }
    let Parsed { mut object, mut findings, binary } = parse(content_type, bytes, expected)?;
    check_kind(&mut object, expected, bytes)?;
    let unknown = settle(&mut object, expected, custom, go_form::Fill::Zeros, None)?;
    findings.extend(unknown);
    let warnings = if binary { Vec::new() } else { validation.judge(expected, findings)? };
    Ok(Decoded { object, warnings })
}

/// Decodes the optional body of a DELETE; an empty one is an empty `DeleteOptions`.
///
/// # Errors
/// As [`body`].
pub fn delete_options(content_type: &str, bytes: &[u8]) -> Result<Value, ApiError> {
    if bytes.is_empty() {
        return Ok(serde_json::json!({"kind": "DeleteOptions", "apiVersion": "v1"}));
    }
    let any = Gvk::new("v1", "DeleteOptions");
    let Parsed { mut object, .. } = parse(content_type, bytes, any)?;
    let api_version = object.get("apiVersion").and_then(Value::as_str).unwrap_or("").to_string();
    let theirs = if api_version.is_empty() { any } else { Gvk::new(&api_version, "DeleteOptions") };
    // Every group registers DeleteOptions, so any known group and version is right.
    check_kind(&mut object, if schema().kind(theirs).is_some() { theirs } else { any }, bytes)?;
    settle(&mut object, any, None, go_form::Fill::Zeros, None)?;
    Ok(object)
}

/// Decodes a partial object for server-side apply: JSON or YAML, of exactly this kind; what is absent stays absent.
///
/// # Errors
/// As [`body`]; fields that the kind does not know are refused whatever `validation` says (wire 4.5.11).
pub fn partial(bytes: &[u8], kind: &Kind, validation: FieldValidation) -> Result<Decoded, ApiError> {
    let gvk: Gvk<'_> = kind.into();
    let Parsed { mut object, findings, .. } = parse("application/yaml", bytes, gvk)?;
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_string();
    let (api_version, name) = (text("apiVersion"), text("kind"));
    if (api_version.as_str(), name.as_str()) != (&gvk.api_version(), gvk.kind) {
        let actual = if api_version.is_empty() { "/".to_string() } else { api_version };
        return Err(ApiError::bad_request(format!("invalid object type: {actual}, Kind={name}")));
    }
    check_kind(&mut object, gvk, bytes)?;
    let warnings = validation.judge(gvk, findings)?;
    let unknown = settle(&mut object, gvk, kind.custom(), go_form::Fill::Nothing, None)?;
    match unknown.first() {
        None => Ok(Decoded { object, warnings }),
        Some(text) => Err(not_declared(gvk, &object, text)),
    }
}

/// `unknown field "spec.x"` in the words of server-side apply.
fn not_declared(gvk: Gvk<'_>, object: &Value, finding: &str) -> ApiError {
    let path = finding.split('"').nth(1).unwrap_or_default();
    let name = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    ApiError::bad_request(format!(
        "failed to create typed patch object ({}/{}; {}, Kind={}): .{path}: field not declared in schema",
        name("namespace"),
        name("name"),
        gvk.api_version(),
        gvk.kind
    ))
}

/// Settles what a patch has made of the stored object `before`: unknown fields, types, zero values. Returns texts for
/// `Warning` headers. What was stored is settled already.
///
/// Differs: kube-apiserver answers 422 with a Go dump of the patch for `Strict`; we answer as for a PUT.
///
/// # Errors
/// 400 for a wrong type, for unknown fields under [`FieldValidation::Strict`], or for another kind.
pub fn check(
    kind: &Kind,
    object: &mut Value,
    before: &Value,
    validation: FieldValidation,
) -> Result<Vec<String>, ApiError> {
    check_settled(kind.into(), kind.custom(), object, Some(before), validation)
}

/// [`check`] for a kind that has no [`Kind`].
///
/// # Errors
/// As [`check`].
pub fn check_as(
    gvk: Gvk<'_>,
    object: &mut Value,
    validation: FieldValidation,
) -> Result<Vec<String>, ApiError> {
    check_settled(gvk, None, object, None, validation)
}

fn check_settled(
    gvk: Gvk<'_>,
    custom: Option<&Custom>,
    object: &mut Value,
    before: Option<&Value>,
    validation: FieldValidation,
) -> Result<Vec<String>, ApiError> {
    check_kind(object, gvk, b"")?;
    if json::depth(object) > MAX_DEPTH {
        return Err(cannot_handle(gvk, gvk.kind, "exceeded max depth"));
    }
    let unknown = settle(object, gvk, custom, go_form::Fill::Zeros, before)?;
    validation.judge(gvk, unknown)
}

struct Parsed {
    object: Value,
    findings: Vec<String>,
    /// Protobuf: numbers, not names, so there is nothing to find (wire 2.5.3).
    binary: bool,
}

fn parse(content_type: &str, bytes: &[u8], expected: Gvk<'_>) -> Result<Parsed, ApiError> {
    if bytes.len() > MAX_BODY_BYTES {
        return Err(ApiError::too_large(format!("limit is {MAX_BODY_BYTES}")));
    }
    let media = media_type(content_type);
    match media.as_str() {
        "" | "application/json" => {
            let json::Scanned { value, duplicates } = json::scan(bytes).map_err(|e| {
                unrecognized(expected, format!("couldn't get version/kind; json parse error: {e}"), bytes)
            })?;
            Ok(Parsed { object: value, findings: duplicates, binary: false })
        }
        "application/yaml" => {
            let json::Scanned { value, duplicates } = yaml::scan(bytes)
                .map_err(|e| unrecognized(expected, format!("error converting YAML to JSON: {e}"), bytes))?;
            Ok(Parsed { object: value, findings: duplicates, binary: false })
        }
        PROTOBUF => protobuf::decode(bytes, expected)
            .map(|object| Parsed { object, findings: Vec::new(), binary: true })
            .map_err(|e| unrecognized(expected, e.to_string(), bytes)),
        _ => Err(ApiError::unsupported_media_type(ACCEPTED)),
    }
}

/// `Application/JSON; charset=utf-8` is `application/json`.
pub(crate) fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

/// `apiVersion` and `kind` may be absent; when there, they are the expected ones (wire 2.1.5).
fn check_kind(object: &mut Value, expected: Gvk<'_>, bytes: &[u8]) -> Result<(), ApiError> {
    let Value::Object(map) = object else {
        let why = format!("couldn't get version/kind; json parse error: {}", not_an_object(object));
        return Err(unrecognized(expected, why, bytes));
    };
    let api_version = header(map, "apiVersion", expected, bytes)?;
    let kind = header(map, "kind", expected, bytes)?;
    if api_version.matches('/').count() > 1 {
        return Err(unrecognized(expected, format!("unexpected GroupVersion string: {api_version}"), bytes));
    }
    let wanted = expected.api_version();
    let actual = Gvk::new(
        if api_version.is_empty() { &wanted } else { &api_version },
        if kind.is_empty() { expected.kind } else { &kind },
    );
    if actual != expected {
        return Err(wrong_kind(actual, expected));
    }
    map.insert("apiVersion".into(), wanted.into());
    map.insert("kind".into(), expected.kind.into());
    Ok(())
}

fn header(map: &Map<String, Value>, key: &str, expected: Gvk<'_>, bytes: &[u8]) -> Result<String, ApiError> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => {
            let why = format!(
                "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go struct field .{key} of type string",
                go_form::word(other)
            );
            Err(unrecognized(expected, why, bytes))
        }
    }
}

fn not_an_object(value: &Value) -> String {
    format!(
        "json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; \
         Kind string \"json:\\\"kind,omitempty\\\"\" }}",
        go_form::word(value)
    )
}

fn wrong_kind(actual: Gvk<'_>, expected: Gvk<'_>) -> ApiError {
    let api_version = actual.api_version();
    if schema().kind(actual).is_none() {
        let why = format!(
            "no kind {:?} is registered for version {api_version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
            actual.kind
        );
        return cannot_handle(actual, expected.kind, why);
    }
    if actual.kind == expected.kind {
        return ApiError::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            expected.api_version()
        ));
    }
    let package = |gvk: Gvk<'_>| match gvk.group.split('.').next() {
        None | Some("") => "core".to_string(),
        Some(first) => first.to_string(),
    };
    let why = format!(
        "converting ({}.{}) to ({}.{}): unknown conversion",
        actual.version,
        actual.kind,
        package(expected),
        expected.kind
    );
    cannot_handle(actual, expected.kind, why)
}

/// Brings the object into Go's form, or takes away what its definition does not know; a kind without a schema stays as
/// it is.
fn settle(
    object: &mut Value,
    gvk: Gvk<'_>,
    custom: Option<&Custom>,
    fill: go_form::Fill,
    before: Option<&Value>,
) -> Result<Vec<String>, ApiError> {
    let settled = match (custom, schema().kind(gvk)) {
        (Some(custom), _) => custom.settle(object, fill),
        (None, Some(ty)) => go_form::settle(object, ty, fill, before),
        (None, None) => Ok(Vec::new()),
    };
    settled.map_err(|why| cannot_handle(gvk, gvk.kind, why))
}

fn cannot_handle(actual: Gvk<'_>, wanted: &str, why: impl std::fmt::Display) -> ApiError {
    ApiError::bad_request(format!(
        "{} in version {:?} cannot be handled as a {wanted}: {why}",
        actual.kind, actual.version
    ))
}

fn unrecognized(expected: Gvk<'_>, why: String, bytes: &[u8]) -> ApiError {
    ApiError::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): {why} ({})",
        expected.kind,
        summary(bytes)
    ))
}

/// The first bytes of a body, as Kubernetes shows them: text when it looks like JSON, else hexadecimal.
fn summary(bytes: &[u8]) -> String {
    const SHOWN: usize = 30;
    let head = bytes.get(..SHOWN).unwrap_or(bytes);
    let more = if bytes.len() > SHOWN { " ..." } else { "" };
    match bytes.first() {
        None => "<empty>".to_string(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(head)),
        Some(_) => {
            let hex: String = head.iter().map(|b| format!("{b:02x}")).collect();
            format!("{hex}{more}")
        }
    }
}

#[cfg(test)]
mod tests;
