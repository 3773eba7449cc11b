//! Where does a file cite rules, and is it test code that does?
//!
//! 1. A citation is a family and a number, `RU-14`, `MG-1.7`, `WE-16a`; `RU-14…16` and `OW-1…OW-5` cite all between.
//! 2. Test code is what stands below `#[cfg(test)]`, in a file `tests.rs`, or in a folder `tests`. A file's head (`//!`)
//!    belongs to no test and proves nothing.
//! 3. A citation belongs to the function or table around it; outside of one, to the item that its comment stands above.
//!    In a golden case it belongs to the case.

use super::Book;
use crate::tidy::{Source, function_name, product};

/// A line that cites rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Citation {
    /// Path of the file from the root.
    pub path: String,
    /// Counted from 1.
    pub line: usize,
    /// Who cites.
    pub place: Place,
    /// First and last of each range; equal for a single rule.
    pub numbers: Vec<(String, String)>,
}

/// Who cites a rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// A test, its table, an invariant or a golden case of this name.
    Test(String),
    /// Product code, or the head of a file.
    Code,
}

/// All lines of a file that cite rules of the book.
pub fn citations(source: &Source, book: &Book) -> Vec<Citation> {
    let lines: Vec<&str> = source.text.lines().collect();
    let tests_from = if is_test_file(&source.path) { 0 } else { product(&source.text).lines().count() };
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let numbers = ranges(line, book);
        if numbers.is_empty() {
            continue;
        }
        let name = if index < tests_from { None } else { name_at(source, &lines, index) };
        let place = name.map_or(Place::Code, Place::Test);
        found.push(Citation { path: source.path.clone(), line: index + 1, place, numbers });
    }
    found
}

/// First and last of every range of rules that a text names.
pub fn ranges(text: &str, book: &Book) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(hyphen) = rest.find('-') {
        let (before, after) = (&rest[..hyphen], &rest[hyphen + 1..]);
        let word = before.rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(before, |at| {
            let width = before[at..].chars().next().map_or(1, char::len_utf8);
            &before[at + width..]
        });
        let digits = number(after);
        rest = after;
        if digits.is_empty() || !book.has_family(word) {
            continue;
        }
        rest = &after[digits.len()..];
        let first = format!("{word}-{digits}");
        let last = match upper_end(rest, word) {
            Some((digits, left)) => {
                rest = left;
                format!("{word}-{}", on_the_same_level(&first, digits))
            }
            None => first.clone(),
        };
        found.push((first, last));
    }
    found
}

/// `14`, `1.7`, `16a`: digits, then perhaps a step or a letter.
fn number(text: &str) -> &str {
    let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let whole = digits(text);
    if whole == 0 {
        return "";
    }
    let tail = &text[whole..];
    let step = tail.strip_prefix('.').map_or(0, digits);
    let mut end = if step > 0 { whole + 1 + step } else { whole };
    let mut next = text[end..].chars();
    let letter = next.next().is_some_and(|c| c.is_ascii_lowercase());
    if letter && !next.next().is_some_and(|c| c.is_ascii_alphanumeric()) {
        end += 1;
    }
    &text[..end]
}

/// What follows `…`, with or without the family, and the text behind it.
fn upper_end<'a>(text: &'a str, family: &str) -> Option<(&'a str, &'a str)> {
    let after = text.strip_prefix('…').or_else(|| text.strip_prefix("..."))?;
    let bare = after.strip_prefix(family).and_then(|after| after.strip_prefix('-')).unwrap_or(after);
    let digits = number(bare);
    (!digits.is_empty()).then(|| (digits, &bare[digits.len()..]))
}

/// `MG-1.7…10` ends at `1.10`: an end without a step of its own takes the start's.
fn on_the_same_level(first: &str, last: &str) -> String {
    let start = first.split_once('-').map_or(first, |(_, digits)| digits);
    match start.split_once('.') {
        Some((whole, _)) if !last.contains('.') => format!("{whole}.{last}"),
        _ => last.to_string(),
    }
}

fn is_test_file(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

fn name_at(source: &Source, lines: &[&str], index: usize) -> Option<String> {
    if !source.path.ends_with(".rs") {
        return source.path.rsplit('/').next().map(str::to_string);
    }
    if lines[index].trim_start().starts_with("//!") {
        return None;
    }
    around(lines, index).or_else(|| below(lines, index))
}

/// The innermost function, constant or static that a line stands in.
fn around(lines: &[&str], index: usize) -> Option<String> {
    (0..=index).rev().find_map(|start| {
        let name = item_name(lines[start])?;
        (end_of(lines, start) >= index).then_some(name)
    })
}

/// The item that a comment stands above.
fn below(lines: &[&str], index: usize) -> Option<String> {
    let item = lines[index..].iter().find(|line| {
        let line = line.trim_start();
        !line.is_empty() && !line.starts_with("//") && !line.starts_with("#[")
    })?;
    let words = item.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let mut words =
        words.filter(|word| !matches!(*word, "" | "pub" | "crate" | "struct" | "enum" | "mod" | "impl"));
    item_name(item).or_else(|| words.next().map(str::to_string))
}

fn item_name(line: &str) -> Option<String> {
    function_name(line).or_else(|| {
        let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
        matches!(words.next()?, "const" | "static")
            .then(|| words.next())?
            .map(|w| w.trim_end_matches(':').to_string())
    })
}

/// The last line of an item: rustfmt puts its closing bracket below its first letter.
fn end_of(lines: &[&str], start: usize) -> usize {
    if lines[start].ends_with([';', '}']) {
        return start;
    }
    let indent = lines[start].len() - lines[start].trim_start().len();
    let closes = |line: &&str| {
        line.len() > indent
            && line.is_char_boundary(indent)
            && line[..indent].trim().is_empty()
            && line[indent..].starts_with(['}', ']'])
    };
    lines[start + 1..].iter().position(closes).map_or(start, |length| start + 1 + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> Book {
        let numbers = "MG-1 MG-1.7 MG-1.8 MG-1.9 MG-1.10 MG-2 WE-16 WE-16a WE-16b OW-1 OW-2 OW-3";
        let lines: String = numbers.split(' ').map(|number| format!("{number} x y\n")).collect();
        Book::parse(&lines, "", "").unwrap()
    }

    #[test]
    fn numbers_steps_letters_and_ranges_are_read() {
        for (text, expected) in [
            ("// MG-1, MG-2: why", "MG-1 MG-2"),
            ("see MG-1.", "MG-1"),
            ("MG-1.7…10", "MG-1.7>MG-1.10"),
            ("MG-1.7…MG-1.9", "MG-1.7>MG-1.9"),
            ("(OW-1…3)", "OW-1>OW-3"),
            ("OW-1...OW-3.", "OW-1>OW-3"),
            ("WE-16b; WE-16a", "WE-16b WE-16a"),
            ("\"OW-1 {x}\"", "OW-1"),
            ("…OW-1", "OW-1"),
            ("SHOW-1 KNOW-2 x-3 - MG-x", ""),
        ] {
            let found: Vec<String> = ranges(text, &book())
                .into_iter()
                .map(|(first, last)| if first == last { first } else { format!("{first}>{last}") })
                .collect();
            assert_eq!(found.join(" "), expected, "{text}");
        }
    }

    fn check(path: &str, text: &str, expected: &[(usize, Place)]) {
        let source = Source { path: path.into(), text: text.into() };
        let found: Vec<(usize, Place)> =
            citations(&source, &book()).into_iter().map(|citation| (citation.line, citation.place)).collect();
        assert_eq!(found, expected, "{path}");
    }

    fn test(name: &str) -> Place {
        Place::Test(name.into())
    }

    #[test]
    fn a_citation_belongs_to_what_stands_around_or_below_it() {
        let text = "//! MG-1\n\n/// MG-2\n#[test]\nfn first() {\n    // OW-1\n    check(\n        1,\n    );\n}\n\n\
                    const ROWS: &[(u8, &str)] = &[\n    (1, \"OW-2\"),\n];\n\n/// OW-3\npub struct Fleet {\n}\n";
        let expected = [
            (1, Place::Code),
            (3, test("first")),
            (6, test("first")),
            (13, test("ROWS")),
            (16, test("Fleet")),
        ];
        check("crates/x/tests/all.rs", text, &expected);
    }

    #[test]
    fn a_golden_case_cites_for_itself_and_product_code_for_nobody() {
        check("crates/x/tests/cases/a_case.yaml", "# MG-2: x\n", &[(1, test("a_case.yaml"))]);
        check("crates/x/src/lib.rs", "// MG-2\nfn f() {\n}\n", &[(1, Place::Code)]);
    }
}
