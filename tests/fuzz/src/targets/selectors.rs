//! Label and field selectors: what is read prints as something that is read as the same.

use super::Target;
use crate::draw::Draw;
use crate::memory::Account;
use crate::novelty::{saw, shape};
use objects::selector::{FieldSelector, Selector};
use std::collections::BTreeMap;

/// The target.
pub const TARGET: Target = Target {
    name: "selectors",
    question: "label and field selectors: print what they read, match what they say",
    tested: 45_000,
    words: &[
        "a",
        "!a",
        "a=b",
        "a==b",
        "a!=b",
        " in (b,c)",
        " notin (",
        "a>1",
        "a<",
        ",",
        "()",
        "é",
        "x/y",
        "\\",
        "metadata.name=",
    ],
    run,
};

/// Longest term that is made of pieces: there may be thousands of it.
const TERM_MAX: usize = 64;
/// Pieces of the grammar, right and wrong.
const PIECES: &[&str] = &[
    "a",
    "b.c/d",
    "in",
    "notin",
    " ",
    "=",
    "==",
    "!=",
    "!",
    ",",
    "(",
    ")",
    ">",
    "<",
    "1",
    "-9223372036854775808",
    "é",
    "\u{0}",
    "kubernetes.io/x",
    "",
    "\t",
    "_",
    "A.b-C",
    "/",
    "//",
    "metadata.name",
    "spec.nodeName",
    "\\,",
    "\\=",
    "\\",
];

fn run(input: &[u8], account: &mut Account) {
    let mut draw = Draw::new(input);
    let how = draw.byte();
    // Seldom thousands.
    let times = 1 << (how >> 4).min(12);
    let text = match how % 4 {
        0 => draw.rest_text(),
        1 => pieces(&mut draw),
        2 => {
            let term = pieces(&mut draw);
            vec![term; times].join(",")
        }
        _ => {
            let values = pieces(&mut draw);
            format!("a in ({})", vec![values; times].join(","))
        }
    };
    account.send(text.len());
    labels(&text);
    fields(&text);
}

fn pieces(draw: &mut Draw<'_>) -> String {
    let mut text = String::new();
    while !draw.is_over() && text.len() < TERM_MAX {
        text.push_str(draw.word(PIECES));
    }
    text
}

fn labels(text: &str) {
    let selector = match Selector::parse(text) {
        Ok(selector) => selector,
        Err(error) => return saw(shape(&error.to_string())),
    };
    let printed = selector.to_string();
    if printed.contains("in ()") {
        // As in Kubernetes: the one empty value prints as none.
        return;
    }
    let again = Selector::parse(&printed);
    assert_eq!(again.as_ref(), Ok(&selector), "{text:?} prints as {printed:?}");
    assert_eq!(again.map(|again| again.to_string()), Ok(printed.clone()), "printing is canonical");
    let of = |labels: &[(&str, &str)]| {
        let owned = labels.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        selector.matches(&owned.collect::<BTreeMap<_, _>>())
    };
    saw((
        selector.requirements().len().min(4),
        of(&[]),
        of(&[("a", "b")]),
        of(&[("a", "1"), ("b.c/d", "2")]),
    ));
    for requirement in selector.requirements().iter().take(16) {
        saw((requirement.operator() as u8, requirement.values().len().min(3)));
    }
}

fn fields(text: &str) {
    let selector = match FieldSelector::parse(text) {
        Ok(selector) => selector,
        Err(error) => return saw(shape(&error.to_string())),
    };
    let field = |path: &str| if path == "metadata.name" { "a" } else { "" };
    let matches = selector.matches(field);
    let each = selector.requirements().iter().all(|one| (field(&one.path) == one.value) == one.equal);
    assert_eq!(matches, each, "{text:?}");
    saw((selector.requirements().len().min(4), matches));
}
