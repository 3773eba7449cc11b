//! Decisions are functions of values: no await, clock, chance, log or unordered map in them.
//!
//! It holds for the pure crates, and for every file elsewhere that says so with the word in capitals in its header.

use super::{Source, product};

const PURE_CRATES: &[&str] = &[
    "crates/objects/src/",
    "crates/daemonset/src/",
    "crates/scheduler/src/",
    "crates/structural/src/",
    "crates/why/src/",
];

/// What a pure file must not contain, and why.
const BANNED: &[(&str, &str)] = &[
    (".await", "a decision does not wait"),
    ("async fn", "a decision does not wait"),
    ("Instant::now", "time is an argument"),
    ("SystemTime::now", "time is an argument"),
    ("Timestamp::now", "time is an argument"),
    ("Zoned::now", "time is an argument"),
    ("HashMap", "order is part of the answer: BTreeMap"),
    ("HashSet", "order is part of the answer: BTreeSet"),
    ("getrandom", "chance is an argument"),
    ("tracing::", "reasons go into the plan, not into a log"),
    ("println!", "reasons go into the plan, not to a terminal"),
    ("std::fs", "a decision reads no files"),
    ("std::env", "a decision reads no environment"),
];

/// Complaints about impure lines in pure files.
pub fn check(sources: &[Source]) -> Vec<String> {
    sources.iter().filter(|source| is_pure(source)).flat_map(impurities).collect()
}

fn is_pure(source: &Source) -> bool {
    PURE_CRATES.iter().any(|folder| source.path.starts_with(folder))
        || source.text.lines().take_while(|l| l.starts_with("//!")).any(|l| l.contains("PURE"))
}

fn impurities(source: &Source) -> Vec<String> {
    if source.path.ends_with("tests.rs") {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for (number, line) in product(&source.text).lines().enumerate() {
        let code = line.split("//").next().unwrap_or(line);
        for (banned, reason) in BANNED.iter().filter(|(banned, _)| code.contains(banned)) {
            complaints.push(format!("{}:{}: `{banned}` in a pure file: {reason}", source.path, number + 1));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_in_a_pure_file_is_found_and_one_in_its_tests_is_not() {
        let impure = Source {
            path: "crates/daemonset/src/budget.rs".into(),
            text: "//! x\nlet now = Timestamp::now();\n#[cfg(test)]\nlet x = Timestamp::now();\n".into(),
        };
        assert_eq!(check(&[impure]).len(), 1);
    }

    #[test]
    fn a_marked_file_in_an_io_crate_is_pure_too() {
        let marked = Source {
            path: "crates/agent/src/restart.rs".into(),
            text: "//! PURE. When a container starts again.\nuse std::collections::HashMap;\n".into(),
        };
        assert_eq!(check(&[marked]).len(), 1);
    }
}
