//! Every rule of the behaviour specification is proven, or says why not.
//!
//! A rule without a citation in test code must stand in `xtask/rules/not-ours.txt` or `open.txt`, each with its reason.
//! The open list may only shrink: what is proven is taken off, and `--ratchet` does it.

use crate::program;
use crate::rules::Evidence;
use anyhow::Result;

const OPEN: &str = "xtask/rules/open.txt";

/// Complaints about rules that nobody proves, and citations of rules that there are not.
pub fn check(evidence: &Evidence, ratchet: bool) -> Result<Vec<String>> {
    if ratchet {
        let path = program::root().join(OPEN);
        std::fs::write(&path, shrunk(&std::fs::read_to_string(&path)?, evidence))?;
    }
    Ok(complaints(evidence))
}

fn complaints(evidence: &Evidence) -> Vec<String> {
    let book = &evidence.book;
    let mut complaints: Vec<String> = evidence
        .unknown
        .iter()
        .map(|citation| format!("{citation} is no rule of xtask/rules/book.txt"))
        .collect();
    for rule in &book.rules {
        let number = &rule.number;
        let (foreign, proven) = (book.not_ours.contains_key(number), evidence.is_proven(number));
        if foreign && proven {
            complaints
                .push(format!("{number} is proven, so it is ours: take it off xtask/rules/not-ours.txt"));
        }
        let listed = foreign || book.open.contains_key(number);
        if !listed && !proven {
            complaints.push(format!("{number} ({}): no test cites it: {}", rule.room, rule.title));
        }
    }
    complaints
}

/// The open list without what is proven by now, or is not ours.
fn shrunk(open: &str, evidence: &Evidence) -> String {
    let is_settled = |number: &str| evidence.is_proven(number) || evidence.book.not_ours.contains_key(number);
    let is_open = |line: &&str| !line.split_whitespace().next().is_some_and(is_settled);
    open.lines().filter(is_open).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Book;
    use crate::tidy::Source;

    fn evidence(open: &str) -> Evidence {
        let book = Book::parse("RU-1 daemonset one\nRU-2 daemonset two\n", "", open).unwrap();
        let case = Source { path: "crates/x/tests/cases/a.yaml".into(), text: "# RU-2: x\n".into() };
        Evidence::of(book, &[case])
    }

    #[test]
    fn a_rule_that_no_test_cites_is_a_complaint() {
        assert_eq!(complaints(&evidence("")), ["RU-1 (daemonset): no test cites it: one"]);
        assert_eq!(complaints(&evidence("RU-1 soon\n")), Vec::<String>::new());
    }

    #[test]
    fn what_is_proven_leaves_the_open_list() {
        assert_eq!(shrunk("# why\nRU-1 soon\nRU-2 soon\n", &evidence("")), "# why\nRU-1 soon\n");
    }
}
