//! What does a structural schema say about a custom object?
//!
//! PURE: JSON values in, values and findings out. A schema is read once ([`read()`]), which finds everything that is
//! wrong with it; from then on it prunes ([`prune`]), fills in ([`fill`]) and checks ([`check`]) objects without being able to
//! fail. Work is bounded: a schema has at most [`MAX_NODES`] nodes, an object costs at most [`MAX_STEPS`] steps, defaults
//! add at most [`MAX_FILLED`] bytes, patterns are linear in their text ([`MAX_PATTERN_BYTES`]).
//! Kubernetes: `apiextensions-apiserver/pkg/apiserver/schema`, `kube-openapi/pkg/validation`.

mod check;
pub mod column;
mod fill;
mod finding;
mod format;
mod lists;
mod path;
mod patterns;
mod prune;
mod read;
mod rules;
mod schema;

pub use check::{Scope, check};
pub use fill::{TooMuch, fill};
pub use finding::{Finding, Problem};
pub use path::Path;
pub use prune::{Unknown, prune};
pub use read::read;
pub use rules::has_expressions;
pub use schema::{Additional, ListType, Schema, Type};

/// Most nodes of one schema: the largest known (a whole pod template in a list of a list) have 20,000.
pub const MAX_NODES: usize = 100_000;
/// Most steps of checking one object; a step is one keyword group at one value. Half a second of work at the most.
pub const MAX_STEPS: usize = 2_000_000;
/// Most bytes that defaults may add to one object: what a request body may have.
pub const MAX_FILLED: usize = 3 * 1024 * 1024;
/// Most memory of one compiled pattern.
pub const MAX_PATTERN_BYTES: usize = 256 * 1024;
/// Most memory of all compiled patterns of one schema. The largest known schemas have some hundred texts of some kB each.
pub const MAX_PATTERNS_BYTES: usize = 8 * 1024 * 1024;
/// Most findings about one object: nobody reads more, and each costs memory.
pub const MAX_FINDINGS: usize = 100;
