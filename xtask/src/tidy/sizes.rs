//! A function fits a screen, a file one sitting. What is larger today stands in `xtask/sizes.txt` and may only
//! shrink: a ratchet, so that the rule holds for new code without a big bang for the old.

use super::{Source, product};
use crate::program;
use anyhow::Result;
use std::collections::BTreeMap;

/// A file above this asks for a reason.
const FILE_LINES: usize = 400;
/// A function above this is split.
const FUNCTION_LINES: usize = 70;
/// No reason is good enough above this; for files of nothing but test cases it is the only limit.
const FILE_LINES_MAX: usize = 800;

const RECORD: &str = "xtask/sizes.txt";

/// Complaints about what grew; with `ratchet` the record is written anew.
pub fn check(sources: &[Source], ratchet: bool) -> Result<Vec<String>> {
    let now = large(sources);
    let record = program::root().join(RECORD);
    if ratchet {
        let lines: String = now.iter().map(|(what, size)| format!("{size} {what}\n")).collect();
        std::fs::write(&record, lines)?;
    }
    let recorded = parse(&std::fs::read_to_string(&record).unwrap_or_default());
    Ok(complaints(&now, &recorded))
}

fn parse(text: &str) -> BTreeMap<String, usize> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(size, what)| Some((what.to_string(), size.parse().ok()?)))
        .collect()
}

fn complaints(now: &BTreeMap<String, usize>, recorded: &BTreeMap<String, usize>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (what, size) in now {
        let allowed = recorded.get(what).copied().unwrap_or(0);
        if *size > allowed {
            complaints.push(format!(
                "{what}: {size} lines; split it (file {FILE_LINES}, function {FUNCTION_LINES})"
            ));
        }
        if !what.contains(" fn ") && *size > FILE_LINES_MAX {
            complaints.push(format!("{what}: {size} lines is above {FILE_LINES_MAX}; split it"));
        }
    }
    complaints
}

/// Everything above its limit: `path` or `path fn name` → lines.
fn large(sources: &[Source]) -> BTreeMap<String, usize> {
    let mut large = BTreeMap::new();
    for source in sources {
        let lines = product(&source.text).lines().count();
        let limit = if is_cases(&source.path) { FILE_LINES_MAX } else { FILE_LINES };
        if lines > limit {
            large.insert(source.path.clone(), lines);
        }
        for (name, lines) in functions(product(&source.text)) {
            if lines > FUNCTION_LINES {
                large.insert(format!("{} fn {name}", source.path), lines);
            }
        }
    }
    large
}

/// Rows of test cases read well in one piece.
fn is_cases(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("/tests/")
}

/// Functions and their lengths, by indentation: rustfmt puts the closing brace below the first letter.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        // A trait's method without a body has no closing brace of its own.
        let signature_end = lines[start..].iter().find(|l| l.ends_with(['{', '}', ';']));
        if signature_end.is_some_and(|l| l.ends_with(';')) {
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let closing = format!("{indent}}}");
        let length = lines[start..].iter().position(|l| *l == closing).unwrap_or(0);
        found.push((name, length + 1));
    }
    found
}

/// The name of the function that a line begins.
pub fn function_name(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().skip_while(|word| {
        matches!(*word, "pub" | "async" | "const" | "unsafe" | "extern") || word.starts_with("pub(")
    });
    if words.next()? != "fn" {
        return None;
    }
    words.next()?.split(['(', '<']).next().map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_function_is_found_by_name() {
        let body = "    x();\n".repeat(80);
        let text = format!("//! x\npub async fn long(a: u8) {{\n{body}}}\n\nfn short() {{\n}}\n");
        let sources = [Source { path: "a.rs".into(), text }];
        assert_eq!(large(&sources), BTreeMap::from([("a.rs fn long".to_string(), 82)]));
    }

    #[test]
    fn what_is_recorded_may_shrink_but_not_grow() {
        let size = |n| BTreeMap::from([("a.rs".to_string(), n)]);
        assert!(complaints(&size(450), &size(500)).is_empty());
        assert_eq!(complaints(&size(501), &size(500)).len(), 1);
        assert_eq!(complaints(&size(900), &size(900)).len(), 1);
    }
}
