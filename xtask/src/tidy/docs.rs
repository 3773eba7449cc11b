//! Every file begins by saying what it is for.

use super::Source;

/// Complaints about files without a `//!` at the top.
pub fn check(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| !source.text.trim_start().starts_with("//!"))
        .map(|source| format!("{}: must begin with //! and say which question it answers", source.path))
        .collect()
}
