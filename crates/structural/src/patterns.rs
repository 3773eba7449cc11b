//! The patterns of one schema, compiled.
//!
//! Twenty bytes of a pattern can be a quarter of a megabyte of program, and a schema has room for a hundred thousand of
//! them: each text is compiled once, and all of them together may take [`MAX_PATTERNS_BYTES`].

mod go;

use crate::{MAX_PATTERN_BYTES, MAX_PATTERNS_BYTES};
use regex::{Error, Regex, RegexBuilder};
use std::collections::BTreeMap;

/// Sizes that are tried: what a pattern takes cannot be asked, only limited.
const SIZES: [usize; 4] = [4 << 10, 16 << 10, 64 << 10, MAX_PATTERN_BYTES];

/// What has been compiled, and how much room is left.
pub(crate) struct Patterns {
    known: BTreeMap<String, Regex>,
    left: usize,
}

impl Patterns {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { known: BTreeMap::new(), left: MAX_PATTERNS_BYTES }
    }

    /// A pattern as Go reads it, or what is wrong with it.
    pub(crate) fn compile(&mut self, text: &str) -> Result<Regex, String> {
        if let Some(regex) = self.known.get(text) {
            return Ok(regex.clone());
        }
        let (size, regex) = smallest(&go::as_rust(text)).map_err(|why| {
            let why = why.to_string().replace('\n', " ");
            format!("must be a valid regular expression, but isn't: {why}")
        })?;
        let left = self.left.checked_sub(size);
        self.left = left.ok_or_else(|| {
            format!("the patterns of the schema take more room than {MAX_PATTERNS_BYTES} bytes")
        })?;
        self.known.insert(text.to_string(), regex.clone());
        Ok(regex)
    }
}

/// The first of the sizes that is enough.
fn smallest(pattern: &str) -> Result<(usize, Regex), Error> {
    let mut last = Error::CompiledTooBig(MAX_PATTERN_BYTES);
    for size in SIZES {
        let mut builder = RegexBuilder::new(pattern);
        match builder.size_limit(size).dfa_size_limit(MAX_PATTERN_BYTES).build() {
            Ok(regex) => return Ok((size, regex)),
            Err(error @ Error::CompiledTooBig(_)) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_has_room_for_many_patterns_and_not_for_very_many_large_ones() {
        let mut patterns = Patterns::new();
        assert!((0..10_000).all(|_| patterns.compile("^[a-z]\\w{1,63}$").is_ok()), "each text counts once");
        assert!((0..500).all(|n| patterns.compile(&format!("^a{n}[a-z]*$")).is_ok()));
        let refused = (1..10_000).find_map(|n| patterns.compile(&format!("{n}\\pL{{3}}")).err()).unwrap();
        assert_eq!(refused, "the patterns of the schema take more room than 8388608 bytes");
        assert!(patterns.compile("^a1[a-z]*$").is_ok(), "what is known is known");
    }
}
