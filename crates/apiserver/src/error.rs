//! What went wrong, as a client of Kubernetes expects to read it.
//!
//! [`ApiError`] is the one error of this crate's verbs: it is a `Status` object waiting to be written.
//! Its texts are contracts (wire 2.9): scripts search for them, and kubectl prints them as they are.
//! What only the operator may see goes to the log, never into the text.

use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A refusal, with everything its `Status` object needs.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status code.
    pub code: u16,
    /// CamelCase reason of the Status, empty where Kubernetes writes none.
    pub reason: &'static str,
    /// The text for the client.
    pub message: String,
    /// `details` of the Status; `null` leaves it out.
    pub details: Value,
    /// Seconds for the `Retry-After` header and `details.retryAfterSeconds`.
    pub retry_after: Option<u32>,
    /// `metadata.continue` of the Status: where an expired list may go on (wire 3.2.3).
    pub resume: Option<String>,
}

/// How a resource is named in an error: `daemonsets.apps`, or `pods` in the core group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceName<'a> {
    /// API group, empty for the core group.
    pub group: &'a str,
    /// Plural, as in the URL.
    pub plural: &'a str,
}

impl std::fmt::Display for ResourceName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.group {
            "" => f.write_str(self.plural),
            group => write!(f, "{}.{group}", self.plural),
        }
    }
}

impl ApiError {
    /// An error without details.
    pub fn plain(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null, retry_after: None, resume: None }
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::plain(400, "BadRequest", message)
    }

    /// 401: no credential that we know.
    pub fn unauthorized() -> Self {
        Self::plain(401, "Unauthorized", "Unauthorized")
    }

    /// 403: known, but not allowed. `why` follows "… is forbidden: ".
    pub fn forbidden(resource: ResourceName<'_>, name: &str, why: impl std::fmt::Display) -> Self {
        let object = if name.is_empty() { resource.to_string() } else { format!("{resource} \"{name}\"") };
        Self {
            details: details(resource, name),
            ..Self::plain(403, "Forbidden", format!("{object} is forbidden: {why}"))
        }
    }

    /// 404: no object of this name.
    pub fn not_found(resource: ResourceName<'_>, name: &str) -> Self {
        Self {
            details: details(resource, name),
            ..Self::plain(404, "NotFound", format!("{resource} \"{name}\" not found"))
        }
    }

    /// 404: no such path below a served group and version (wire 1.2.6).
    pub fn no_such_path() -> Self {
        Self {
            details: json!({}),
            ..Self::plain(404, "NotFound", "the server could not find the requested resource")
        }
    }

    /// 405: the path exists, the method does not.
    pub fn method_not_allowed() -> Self {
        Self {
            details: json!({}),
            ..Self::plain(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            )
        }
    }

    /// 409: create of a name that is taken.
    pub fn already_exists(resource: ResourceName<'_>, name: &str) -> Self {
        Self {
            details: details(resource, name),
            ..Self::plain(409, "AlreadyExists", format!("{resource} \"{name}\" already exists"))
        }
    }

    /// 409: somebody else wrote in between. `why` follows the fixed first half.
    pub fn conflict(resource: ResourceName<'_>, name: &str, why: impl std::fmt::Display) -> Self {
        Self {
            details: details(resource, name),
            ..Self::plain(
                409,
                "Conflict",
                format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}"),
            )
        }
    }

    /// 409 with the usual text of a stale resourceVersion.
    pub fn stale(resource: ResourceName<'_>, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 410: history does not reach back that far.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::plain(410, "Expired", message)
    }

    /// 413: the body is above the limit.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::plain(413, "RequestEntityTooLarge", message)
    }

    /// 415: a content type that this endpoint does not read.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        Self::plain(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {}",
                accepted.join(", ")
            ),
        )
    }

    /// 422: the object is understood and breaks a rule. `kind` is the Kind, not the plural (wire 2.9.3).
    ///
    /// Differs: of very many errors the first are told ([`TOLD_MAX`], [`TOLD_BYTES`]).
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let errors = told(errors);
        let object = if group.is_empty() { kind.to_string() } else { format!("{kind}.{group}") };
        let causes: Vec<Value> = errors
            .iter()
            .map(|e| json!({"reason": e.problem.cause(), "message": e.text(), "field": e.field}))
            .collect();
        Self {
            details: details_of(group, kind, name, Some(causes)),
            ..Self::plain(422, "Invalid", format!("{object} \"{name}\" is invalid: {}", sentence(errors)))
        }
    }

    /// 500: our fault. The cause belongs into the log of the caller.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::plain(500, "InternalError", format!("Internal error occurred: {message}"))
    }

    /// The `Status` object.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        if let Some(seconds) = self.retry_after {
            status["details"]["retryAfterSeconds"] = seconds.into();
        }
        if let Some(token) = &self.resume {
            status["metadata"]["continue"] = token.as_str().into();
        }
        status
    }
}

fn details(resource: ResourceName<'_>, name: &str) -> Value {
    details_of(resource.group, resource.plural, name, None)
}

fn details_of(group: &str, kind: &str, name: &str, causes: Option<Vec<Value>>) -> Value {
    let mut details = json!({ "kind": kind });
    for (key, value) in [("name", name), ("group", group)] {
        if !value.is_empty() {
            details[key] = value.into();
        }
    }
    if let Some(causes) = causes {
        details["causes"] = causes.into();
    }
    details
}

/// Most broken rules that are told: a body may break half a million, and each takes a hundred times its room in an answer.
const TOLD_MAX: usize = 1_000;
/// Bytes of paths, values and advice after which no more are told; the first may be as long as the body.
const TOLD_BYTES: usize = 256 * 1024;

/// The first errors, as many as an answer has room for.
fn told(errors: &[FieldError]) -> &[FieldError] {
    let mut left = TOLD_BYTES;
    let fits = |error: &FieldError| {
        let room = left > 0;
        let value = if error.problem.shows_value() { error.value.to_string().len() } else { 0 };
        left = left.saturating_sub(error.field.len() + error.detail.len() + value);
        room
    };
    let count = errors.iter().take(TOLD_MAX).map(fits).take_while(|room| *room).count();
    errors.get(..count).unwrap_or(errors)
}

/// Several errors stand in brackets, equal texts once (AP-21).
fn sentence(errors: &[FieldError]) -> String {
    let (mut texts, mut seen) = (Vec::new(), BTreeSet::new());
    for error in errors {
        let text = format!("{}: {}", error.field, error.text());
        if seen.insert(text.clone()) {
            texts.push(text);
        }
    }
    several(&texts)
}

/// Several reasons stand in brackets. Kubernetes: `util/errors.Aggregate`.
pub fn several(texts: &[String]) -> String {
    match texts {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// One broken rule at one field. Kubernetes: `apimachinery/pkg/util/validation/field/errors.go`.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// Path as Kubernetes writes it: `spec.template.spec.containers[0].image`.
    pub field: String,
    /// What kind of break it is.
    pub problem: Problem,
    /// The offending value; printed for the kinds that show it (AP-22).
    pub value: Value,
    /// What to do about it; may be empty.
    pub detail: String,
}

/// The kinds of broken rule, with their texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// The field must be there.
    Required,
    /// The value breaks a rule.
    Invalid,
    /// The value is of another type.
    TypeInvalid,
    /// The value is not one of a known list.
    NotSupported,
    /// The field must not be there.
    Forbidden,
    /// The value stands twice.
    Duplicate,
    /// The value points to nothing.
    NotFound,
    /// The text is too long.
    TooLong,
    /// The list has too many items.
    TooMany,
}

impl Problem {
    fn cause(self) -> &'static str {
        match self {
            Problem::Required => "FieldValueRequired",
            Problem::Invalid => "FieldValueInvalid",
            Problem::TypeInvalid => "FieldValueTypeInvalid",
            Problem::NotSupported => "FieldValueNotSupported",
            Problem::Forbidden => "FieldValueForbidden",
            Problem::Duplicate => "FieldValueDuplicate",
            Problem::NotFound => "FieldValueNotFound",
            Problem::TooLong => "FieldValueTooLong",
            Problem::TooMany => "FieldValueTooMany",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Problem::Required => "Required value",
            Problem::Invalid | Problem::TypeInvalid => "Invalid value",
            Problem::NotSupported => "Unsupported value",
            Problem::Forbidden => "Forbidden",
            Problem::Duplicate => "Duplicate value",
            Problem::NotFound => "Not found",
            Problem::TooLong => "Too long",
            Problem::TooMany => "Too many",
        }
    }

    fn shows_value(self) -> bool {
        !matches!(self, Problem::Required | Problem::Forbidden | Problem::TooLong)
    }
}

impl FieldError {
    /// A required field is missing.
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), problem: Problem::Required, value: Value::Null, detail: detail.into() }
    }

    /// The value breaks a rule.
    pub fn invalid(field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), problem: Problem::Invalid, value: value.into(), detail: detail.into() }
    }

    /// The value is none of `supported`.
    pub fn not_supported(field: impl Into<String>, value: impl Into<Value>, supported: &[&str]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        Self {
            field: field.into(),
            problem: Problem::NotSupported,
            value: value.into(),
            detail: format!("supported values: {}", quoted.join(", ")),
        }
    }

    /// The field must not be set.
    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), problem: Problem::Forbidden, value: Value::Null, detail: detail.into() }
    }

    /// The value stands twice.
    pub fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { field: field.into(), problem: Problem::Duplicate, value: value.into(), detail: String::new() }
    }

    /// The value points to nothing.
    pub fn not_found(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { field: field.into(), problem: Problem::NotFound, value: value.into(), detail: String::new() }
    }

    /// The text has more than `max` bytes.
    pub fn too_long(field: impl Into<String>, max: usize) -> Self {
        Self {
            field: field.into(),
            problem: Problem::TooLong,
            value: Value::Null,
            detail: format!("must have at most {max} bytes"),
        }
    }

    /// The list has `actual` items, more than `max`.
    pub fn too_many(field: impl Into<String>, actual: usize, max: usize) -> Self {
        Self {
            field: field.into(),
            problem: Problem::TooMany,
            value: actual.into(),
            detail: format!("must have at most {max} items"),
        }
    }

    /// Everything after `<field>: `.
    pub fn text(&self) -> String {
        let mut text = self.problem.words().to_string();
        if self.problem.shows_value() {
            text.push_str(": ");
            text.push_str(&shown(&self.value));
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

/// A list of strings prints as Go prints it: `[]string{"a", "b"}`.
fn shown(value: &Value) -> String {
    let strings =
        value.as_array().and_then(|items| items.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    match strings {
        Some(items) => {
            format!("[]string{{{}}}", items.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(", "))
        }
        None => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAEMONSETS: ResourceName<'static> = ResourceName { group: "apps", plural: "daemonsets" };

    #[test]
    fn a_missing_object_reads_as_kubernetes_writes_it() {
        let status = ApiError::not_found(DAEMONSETS, "x").status();
        assert_eq!(status["message"], "daemonsets.apps \"x\" not found");
        assert_eq!(status["details"], json!({"name": "x", "group": "apps", "kind": "daemonsets"}));
    }

    #[test]
    fn equal_field_errors_print_once_and_cause_twice() {
        // AP-21.
        let e = FieldError::required("spec.selector", "");
        let error = ApiError::invalid("apps", "DaemonSet", "x", &[e.clone(), e]);
        assert_eq!(error.message, "DaemonSet.apps \"x\" is invalid: spec.selector: Required value");
        assert_eq!(error.details["causes"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn of_very_many_errors_the_first_are_told_at_once() {
        // Found by tests/fuzz: the text was built in the square of the errors.
        let errors: Vec<FieldError> =
            (0..200_000).map(|at| FieldError::invalid(format!("data[{at}]"), "x", "is bad")).collect();
        let error = ApiError::invalid("", "ConfigMap", "x", &errors);
        assert_eq!(error.details["causes"].as_array().map(Vec::len), Some(TOLD_MAX));
        assert!(
            error
                .message
                .starts_with("ConfigMap \"x\" is invalid: [data[0]: Invalid value: \"x\": is bad, data[1]:")
        );
        let long: Vec<FieldError> =
            (0..100).map(|at| FieldError::required(format!("{}[{at}]", "k".repeat(100_000)), "")).collect();
        let error = ApiError::invalid("", "ConfigMap", "x", &long);
        assert_eq!(error.details["causes"].as_array().map(Vec::len), Some(3));
    }

    #[test]
    fn a_field_error_shows_its_value_where_kubernetes_does() {
        // AP-22.
        for (error, text) in [
            (FieldError::required("f", ""), "Required value"),
            (FieldError::required("f", "must be there"), "Required value: must be there"),
            (FieldError::forbidden("f", "not here"), "Forbidden: not here"),
            (FieldError::too_long("f", 9), "Too long: must have at most 9 bytes"),
            (FieldError::invalid("f", "a", "is bad"), "Invalid value: \"a\": is bad"),
            (FieldError::invalid("f", -1, "is bad"), "Invalid value: -1: is bad"),
            (FieldError::invalid("f", true, "is bad"), "Invalid value: true: is bad"),
            (FieldError::duplicate("f", "a"), "Duplicate value: \"a\""),
            (FieldError::not_found("f", "a"), "Not found: \"a\""),
            (
                FieldError::not_supported("f", "Never", &["Always", "Sometimes"]),
                "Unsupported value: \"Never\": supported values: \"Always\", \"Sometimes\"",
            ),
        ] {
            assert_eq!(error.text(), text);
        }
    }
}
