//! Is an answer unlike all before?
//!
//! A target says what it saw: codes, reasons, kinds of errors, with names and numbers taken out. An input that shows
//! something new is kept, and changed further. It is what coverage of code is for other fuzzers, seen from outside.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher as _};

thread_local! {
    static SEEN: RefCell<BTreeSet<u64>> = const { RefCell::new(BTreeSet::new()) };
}

/// Longest shape of a text; what follows is mostly what the client itself had sent.
const SHAPE_MAX: usize = 160;

/// The running input shows this.
pub fn saw(what: impl Hash) {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    SEEN.with_borrow_mut(|seen| seen.insert(hasher.finish()));
}

/// What has been shown since the last time.
pub fn take() -> BTreeSet<u64> {
    SEEN.take()
}

/// A text without what differs from object to object: quoted parts and numbers.
pub fn shape(text: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    for letter in text.chars() {
        match letter {
            '"' | '`' | '\'' => quoted = !quoted,
            _ if quoted => continue,
            '0'..='9' if out.ends_with('0') => continue,
            '0'..='9' => out.push('0'),
            letter if letter.is_ascii() => out.push(letter),
            _ if out.ends_with('?') => continue,
            _ => out.push('?'),
        }
        if out.len() >= SHAPE_MAX {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_differ_in_names_and_numbers_have_one_shape() {
        let one = shape("metadata.labels[12]: Invalid value: \"a b\": must be no more than 63");
        assert_eq!(one, "metadata.labels[0]: Invalid value: : must be no more than 0");
        assert_eq!(one, shape("metadata.labels[7]: Invalid value: \"\": must be no more than 253"));
    }
}
