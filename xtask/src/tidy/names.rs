//! A file is named by the question it answers; some names answer none.

use super::Source;

const NO_QUESTION: &[&str] = &["common", "utils", "util", "helpers", "helper", "types", "manager", "misc"];

/// Complaints about files and folders with such names.
pub fn check(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| source.path.split(['/', '.']).any(|part| NO_QUESTION.contains(&part)))
        .map(|source| format!("{}: the name answers no question; name it after what it decides", source.path))
        .collect()
}
