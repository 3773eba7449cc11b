//! What is wrong, and where, in the words of Kubernetes' field errors.

use serde_json::Value;

/// One broken rule at one field.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Path as Kubernetes writes it; `<nil>` for what belongs to no field.
    pub field: String,
    /// What kind of break it is.
    pub problem: Problem,
    /// The offending value.
    pub value: Value,
    /// What to do about it; may be empty.
    pub detail: String,
}

/// The kinds of broken rule. Kubernetes: `field.ErrorType`.
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
    /// The text is too long.
    TooLong,
    /// There are too many items.
    TooMany,
}

impl Finding {
    /// A finding of any kind.
    pub fn new(
        field: impl ToString,
        problem: Problem,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self { field: field.to_string(), problem, value: value.into(), detail: detail.into() }
    }

    /// A required field is missing.
    pub fn required(field: impl ToString, detail: impl Into<String>) -> Self {
        Self::new(field, Problem::Required, Value::Null, detail)
    }

    /// The value breaks a rule.
    pub fn invalid(field: impl ToString, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(field, Problem::Invalid, value, detail)
    }

    /// The field must not be set.
    pub fn forbidden(field: impl ToString, detail: impl Into<String>) -> Self {
        Self::new(field, Problem::Forbidden, Value::Null, detail)
    }

    /// The value is none of `supported`; values that are no texts are shown as JSON.
    pub fn not_supported(
        field: impl ToString,
        value: impl Into<Value>,
        supported: impl IntoIterator<Item = Value>,
    ) -> Self {
        let quoted = supported.into_iter().map(|value| match value {
            Value::String(text) => format!("{text:?}"),
            other => format!("{:?}", other.to_string()),
        });
        let detail = format!("supported values: {}", quoted.collect::<Vec<_>>().join(", "));
        Self::new(field, Problem::NotSupported, value, detail)
    }
}
