//! Which JSON value does this YAML say, and which keys stand twice?
//!
//! One document only, as in Kubernetes; anchors are bounded by the parser's own budget, so that a small text cannot
//! become a huge object.

use super::findings::Findings;
use super::json::{Scanned, Tree};
use serde::de::DeserializeSeed;
use serde_saphyr::options::DuplicateKeyPolicy;
use std::cell::RefCell;

/// Reads one YAML document; an empty one is `null`.
pub(super) fn scan(bytes: &[u8]) -> Result<Scanned, String> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| "yaml: control characters are not allowed".to_string())?;
    let duplicates = RefCell::new(Findings::default());
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
    let value = serde_saphyr::with_deserializer_from_str_with_options(text, options, |from| {
        Tree::new(&duplicates).deserialize(from)
    })
    .map_err(|e| format!("yaml: {}", first_line(&e.to_string())))?;
    Ok(Scanned { value, duplicates: duplicates.into_inner().texts() })
}

/// The parser adds a picture of the place; a Status message is one line.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or(text)
}
