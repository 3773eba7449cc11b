//! Which rules are there, in which order, and which need no proof?
//!
//! The lists are plain text, one rule a line, so that a change of them is read in review like code. A line of
//! `not-ours.txt` and `open.txt` may name a range, `KR-1…29`; the rules of a range are those that stand between its
//! ends in the book.

use super::citations::ranges;
use crate::program;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

const FOLDER: &str = "xtask/rules";

/// One rule.
pub struct Rule {
    /// `RU-14`, `MG-1.7`, `WE-16a`.
    pub number: String,
    /// The room that owns the noun, as in ARCHITECTURE.md.
    pub room: String,
    /// What it says, in a few words.
    pub title: String,
}

impl Rule {
    /// `RU` of `RU-14`.
    pub fn family(&self) -> &str {
        self.number.split('-').next().unwrap_or_default()
    }
}

/// All rules, and those that nothing proves, with the reason.
pub struct Book {
    /// In the specification's order.
    pub rules: Vec<Rule>,
    /// Rules that do not apply to us.
    pub not_ours: BTreeMap<String, String>,
    /// Rules that wait for their proof.
    pub open: BTreeMap<String, String>,
}

impl Book {
    /// Reads the three lists.
    pub fn read() -> Result<Book> {
        let text = |name: &str| {
            let path = program::root().join(FOLDER).join(name);
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        Book::parse(&text("book.txt")?, &text("not-ours.txt")?, &text("open.txt")?)
    }

    /// Reads the texts of the three lists.
    pub fn parse(rules: &str, not_ours: &str, open: &str) -> Result<Book> {
        let mut book = Book { rules: Vec::new(), not_ours: BTreeMap::new(), open: BTreeMap::new() };
        for line in lines(rules) {
            let (number, rest) = first_word(line);
            let (room, title) = first_word(rest);
            if title.is_empty() || book.position(number).is_some() {
                bail!("{FOLDER}/book.txt: a rule is a number of its own, a room and a title, not: {line}");
            }
            book.rules.push(Rule { number: number.into(), room: room.into(), title: title.into() });
        }
        book.not_ours = book.reasons(not_ours, "not-ours.txt")?;
        book.open = book.reasons(open, "open.txt")?;
        Ok(book)
    }

    /// The rules from the one to the other; `None` if one of them is not in the book.
    pub fn between(&self, first: &str, last: &str) -> Option<&[Rule]> {
        self.rules.get(self.position(first)?..=self.position(last)?)
    }

    /// Whether a word before a hyphen names rules.
    pub fn has_family(&self, family: &str) -> bool {
        self.rules.iter().any(|rule| rule.family() == family)
    }

    fn position(&self, number: &str) -> Option<usize> {
        self.rules.iter().position(|rule| rule.number == number)
    }

    fn reasons(&self, text: &str, file: &str) -> Result<BTreeMap<String, String>> {
        let mut reasons = BTreeMap::new();
        for line in lines(text) {
            let (number, reason) = first_word(line);
            let [(first, last)] = &ranges(number, self)[..] else {
                bail!("{FOLDER}/{file}: no rule: {line}")
            };
            let Some(rules) = self.between(first, last) else {
                bail!("{FOLDER}/{file}: no such rule: {line}")
            };
            if reason.is_empty() {
                bail!("{FOLDER}/{file}: {number} needs a reason");
            }
            reasons.extend(rules.iter().map(|rule| (rule.number.clone(), reason.to_string())));
        }
        Ok(reasons)
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn first_word(line: &str) -> (&str, &str) {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    (word, rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_a_list_gives_each_member_the_reason() {
        let rules = "KR-1 x one\nKR-2 x two\nKR-3 x three\n";
        let book = Book::parse(rules, "# why\nKR-1…2  another product\n", "KR-3  later\n").unwrap();
        let reason = |n: &str| book.not_ours.get(n).map(String::as_str);
        assert_eq!(
            (reason("KR-1"), reason("KR-2"), reason("KR-3")),
            (Some("another product"), Some("another product"), None)
        );
        assert!(book.open.contains_key("KR-3"));
    }

    #[test]
    fn a_list_without_reason_or_with_a_strange_rule_is_refused() {
        for (rules, not_ours) in
            [("KR-1 x", ""), ("KR-1 x y\nKR-1 x z", ""), ("KR-1 x y", "KR-1"), ("KR-1 x y", "KR-2 because")]
        {
            assert!(Book::parse(rules, not_ours, "").is_err(), "{rules} {not_ours}");
        }
    }
}
