//! `cargo xtask rules`: which test proves which rule of the behaviour specification?
//!
//! 1. `xtask/rules/book.txt` names every rule, the room that owns it, and what it says in a few words of ours.
//! 2. A rule is proven when test code cites its number: a test, a golden case, an invariant of the simulation. A
//!    comment in product code says where a rule is followed, not that it is; it is listed, and does not count.
//! 3. `not-ours.txt` names the rules that do not apply to us, `open.txt` those that nothing proves yet, each with its
//!    reason. `cargo xtask tidy` refuses a rule that is in none of the three.

mod book;
mod citations;

use crate::tidy::{self, Source};
use anyhow::{Result, bail};
pub use book::{Book, Rule};
pub use citations::{Citation, Place, citations};
use std::collections::BTreeMap;

/// The rules, and everything in the repository that names one.
pub struct Evidence {
    /// What is to be proven.
    pub book: Book,
    /// By the number of the rule, in the order of files and lines.
    pub cited: BTreeMap<String, Vec<Citation>>,
    /// Citations of numbers that the book does not have, as `file:line: number`.
    pub unknown: Vec<String>,
}

impl Evidence {
    /// Reads the book and searches the repository.
    pub fn gather() -> Result<Evidence> {
        let sources = tidy::sources(&["crates", "tests"], &["rs", "yaml", "txt"])?;
        Ok(Evidence::of(Book::read()?, &sources))
    }

    /// What these files cite of this book.
    pub fn of(book: Book, sources: &[Source]) -> Evidence {
        let mut cited: BTreeMap<String, Vec<Citation>> = BTreeMap::new();
        let mut unknown = Vec::new();
        for citation in sources.iter().flat_map(|source| citations(source, &book)) {
            for (first, last) in &citation.numbers {
                match book.between(first, last) {
                    Some(rules) => rules.iter().for_each(|rule| {
                        cited.entry(rule.number.clone()).or_default().push(citation.clone())
                    }),
                    None => unknown.push(format!("{}:{}: {first}…{last}", citation.path, citation.line)),
                }
            }
        }
        Evidence { book, cited, unknown }
    }

    /// Whether test code cites it.
    pub fn is_proven(&self, number: &str) -> bool {
        self.of_rule(number).iter().any(|citation| matches!(citation.place, Place::Test(_)))
    }

    fn of_rule(&self, number: &str) -> &[Citation] {
        self.cited.get(number).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Prints all rules, or one, or one family (`RU`), and counts them.
pub fn rules(wanted: Option<&str>, open_only: bool) -> Result<()> {
    let evidence = Evidence::gather()?;
    let chosen: Vec<&Rule> = evidence
        .book
        .rules
        .iter()
        .filter(|rule| wanted.is_none_or(|wanted| rule.number == wanted || rule.family() == wanted))
        .filter(|rule| !open_only || evidence.book.open.contains_key(&rule.number))
        .collect();
    if let (true, Some(wanted)) = (chosen.is_empty(), wanted) {
        bail!("no rule or family of rules is called {wanted}; `cargo xtask rules` lists them");
    }
    for rule in &chosen {
        print!("{}", shown(rule, &evidence));
    }
    println!("{}", counted(&chosen, &evidence));
    Ok(())
}

fn shown(rule: &Rule, evidence: &Evidence) -> String {
    let mut text = format!("{:<8}{:<13}{}\n", rule.number, rule.room, rule.title);
    for (list, reasons) in [("not ours", &evidence.book.not_ours), ("open", &evidence.book.open)] {
        if let Some(reason) = reasons.get(&rule.number) {
            text += &format!("        {list}: {reason}\n");
        }
    }
    for citation in evidence.of_rule(&rule.number) {
        let (path, line) = (&citation.path, citation.line);
        text += &match &citation.place {
            Place::Test(name) => format!("        {path}:{line}  {name}\n"),
            Place::Code => format!("        code: {path}:{line}\n"),
        };
    }
    text
}

fn counted(chosen: &[&Rule], evidence: &Evidence) -> String {
    let listed = |list: &BTreeMap<String, String>| {
        let unproven = |rule: &&&Rule| list.contains_key(&rule.number) && !evidence.is_proven(&rule.number);
        chosen.iter().filter(unproven).count()
    };
    let proven = chosen.iter().filter(|rule| evidence.is_proven(&rule.number)).count();
    let (not_ours, open) = (listed(&evidence.book.not_ours), listed(&evidence.book.open));
    format!("{} rules: {proven} proven, {not_ours} not ours, {open} open", chosen.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_citation_in_product_code_proves_nothing() {
        let book = Book::parse("RU-1 daemonset one\nRU-2 daemonset two\n", "", "").unwrap();
        let source = Source {
            path: "crates/x/src/lib.rs".into(),
            text: "//! x\n/// RU-1.\nfn f() {}\n#[cfg(test)]\nmod tests {\n    /// RU-2.\n    #[test]\n    fn it_holds() {\n    }\n}\n".into(),
        };
        let evidence = Evidence::of(book, &[source]);
        assert!(!evidence.is_proven("RU-1"));
        assert!(evidence.is_proven("RU-2"));
        let two = &evidence.book.rules[1];
        assert_eq!(
            shown(two, &evidence),
            "RU-2    daemonset    two\n        crates/x/src/lib.rs:6  it_holds\n"
        );
        let all: Vec<&Rule> = evidence.book.rules.iter().collect();
        assert_eq!(counted(&all, &evidence), "2 rules: 1 proven, 0 not ours, 0 open");
    }

    #[test]
    fn a_number_that_the_book_does_not_have_is_unknown() {
        let book = Book::parse("RU-1 daemonset one\n", "", "").unwrap();
        let source = Source { path: "tests/sim/cases/a.txt".into(), text: "# RU-1, RU-9: x\n".into() };
        assert_eq!(Evidence::of(book, &[source]).unknown, ["tests/sim/cases/a.txt:1: RU-9…RU-9"]);
    }
}
