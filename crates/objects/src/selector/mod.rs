//! Label and field selectors: which objects are meant.
//!
//! [`Selector`] matches labels (wire 3.7), [`FieldSelector`] the few fields that a kind lets one select by (3.8). A
//! selector that cannot be understood is an error and never "everything" (3.8.5); the texts are Kubernetes'.
//! Kubernetes: `apimachinery/pkg/labels/selector.go`, `pkg/fields`.

mod fields;
mod labels;
mod parse;

pub use fields::{FieldError, FieldRequirement, FieldSelector};
pub use labels::{Operator, Requirement, Selector, SelectorError};
