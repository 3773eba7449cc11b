//! A pattern of Go in the words of our engine.
//!
//! Both are finite automata of the same family, but `\w`, `\d`, `\s` and `\b` are ASCII in Go (and all of Unicode for ours:
//! wrong, and large), a bracket inside of brackets is a bracket, and a brace that repeats nothing is a brace.
//! Go: `regexp/syntax`.

use std::iter::Peekable;
use std::str::Chars;

/// The pattern for our engine. What is wrong with it stays wrong.
pub(super) fn as_rust(pattern: &str) -> String {
    let mut translation = Translation {
        rest: pattern.chars().peekable(),
        out: String::with_capacity(pattern.len()),
        inside: Place::Outside,
    };
    while let Some(letter) = translation.rest.next() {
        translation.letter(letter);
    }
    translation.out
}

#[derive(PartialEq)]
enum Place {
    Outside,
    /// Just behind the bracket that opens a class: a closing one means itself.
    First,
    Class,
}

struct Translation<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    inside: Place,
}

impl Translation<'_> {
    fn letter(&mut self, letter: char) {
        let place = std::mem::replace(&mut self.inside, Place::Class);
        match (place, letter) {
            (place, '\\') => {
                self.inside = if place == Place::Outside { place } else { Place::Class };
                self.escape();
            }
            (Place::Outside, '[') => {
                self.out.push('[');
                if self.rest.next_if_eq(&'^').is_some() {
                    self.out.push('^');
                }
                self.inside = Place::First;
            }
            (Place::Outside, '{') if !self.repeats() => self.outside("\\{"),
            (Place::Outside, letter) => self.outside(letter.encode_utf8(&mut [0; 4])),
            (Place::Class, ']') => self.outside("]"),
            (Place::First | Place::Class, '[') if self.rest.peek() == Some(&':') => self.posix(),
            (Place::First | Place::Class, letter @ ('[' | '&' | '~')) => self.out.extend(['\\', letter]),
            (Place::First | Place::Class, '-') if self.rest.next_if_eq(&'-').is_some() => {
                self.out.push_str("-\\-")
            }
            (Place::First | Place::Class, letter) => self.out.push(letter),
        }
    }

    fn outside(&mut self, text: &str) {
        self.out.push_str(text);
        self.inside = Place::Outside;
    }

    fn escape(&mut self) {
        let is_outside = self.inside == Place::Outside;
        match self.rest.next() {
            Some('w') => self.out.push_str("[0-9A-Za-z_]"),
            Some('W') => self.out.push_str("[^0-9A-Za-z_]"),
            Some('d') => self.out.push_str("[0-9]"),
            Some('D') => self.out.push_str("[^0-9]"),
            Some('s') => self.out.push_str("[\\t\\n\\f\\r ]"),
            Some('S') => self.out.push_str("[^\\t\\n\\f\\r ]"),
            Some('b') if is_outside => self.out.push_str("(?-u:\\b)"),
            Some('Q') if is_outside => self.quoted(),
            Some(letter) => {
                self.out.extend(['\\', letter]);
                // `\x{e9}`, `\p{Greek}`.
                if matches!(letter, 'x' | 'p' | 'P') && self.rest.peek() == Some(&'{') {
                    self.through('}');
                }
            }
            None => self.out.push('\\'),
        }
    }

    /// `\Q…\E`; without an end, to the pattern's.
    fn quoted(&mut self) {
        let mut literal = String::new();
        while let Some(letter) = self.rest.next() {
            if letter == '\\' && self.rest.next_if_eq(&'E').is_some() {
                break;
            }
            literal.push(letter);
        }
        self.out.push_str(&regex::escape(&literal));
    }

    /// `[:alpha:]`, as far as it goes.
    fn posix(&mut self) {
        self.out.push('[');
        self.through(']');
    }

    /// As it stands, to this letter.
    fn through(&mut self, end: char) {
        for letter in self.rest.by_ref() {
            self.out.push(letter);
            if letter == end {
                break;
            }
        }
    }

    /// Whether a brace is the beginning of `{3}`, `{3,}` or `{3,5}`.
    fn repeats(&self) -> bool {
        let inner: String = self.rest.clone().take_while(|letter| *letter != '}').take(16).collect();
        let (least, most) = inner.split_once(',').unwrap_or((&inner, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        !least.is_empty() && is_number(least) && is_number(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    #[test]
    fn a_pattern_means_what_it_means_in_go() {
        let check = |pattern: &str, good: &[&str], bad: &[&str]| {
            let regex = Regex::new(&as_rust(pattern)).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            good.iter().for_each(|text| assert!(regex.is_match(text), "{pattern} {text}"));
            bad.iter().for_each(|text| assert!(!regex.is_match(text), "{pattern} {text}"));
        };
        check("^\\d+$", &["123"], &["\u{0663}", ""]);
        check("^\\w{1,63}$", &["a_1"], &["\u{e9}"]);
        check("^[\\w.-]+$", &["a.b-c"], &["a b", "\u{e9}"]);
        check("^[^\\W_]$", &["a", "1"], &["_", "-"]);
        check("^\\S+\\s\\D$", &["ab c"], &["a\u{a0}b", "a 1"]);
        check("\\bfoo\\b", &["a foo b"], &["afoob"]);
        check("^[[(]$", &["[", "("], &["a"]);
        check("^[]a]$", &["]", "a"], &["["]);
        check("^[^]]$", &["a"], &["]"]);
        check("^[a&&b]+$", &["a&b"], &["c"]);
        check("^[[:alpha:]\\d]+$", &["a1"], &["-"]);
        check("^{{x}}$", &["{{x}}"], &["x"]);
        check("^a{2,3}$", &["aa", "aaa"], &["a{2,3}"]);
        check("^\\Qa.b[\\E$", &["a.b["], &["axb["]);
        check("^\\Q(", &["("], &["x"]);
        check("^\\x{e9}\\pL\\.$", &["\u{e9}\u{e9}."], &["ab."]);
    }
}
