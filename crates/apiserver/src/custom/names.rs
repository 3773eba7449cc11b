//! Names of defined kinds, kept for as long as the process lives.
//!
//! A [`crate::resources::Kind`] is made of static texts. A definition's names are few and come again and again, so each
//! distinct one is kept once; how many there may be is limited, and a definition beyond that is not served.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Most distinct names and lists of names in one process: a thousand definitions have ten thousand. At 63 bytes each,
/// 6 MB at the most.
const MAX_NAMES: usize = 100_000;

type List = &'static [&'static str];

static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
static LISTS: Mutex<BTreeSet<List>> = Mutex::new(BTreeSet::new());

/// The name, static. None when there are too many.
pub fn name(text: &str) -> Option<&'static str> {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(text) {
        return Some(known);
    }
    if names.len() >= MAX_NAMES {
        return None;
    }
    let kept: &'static str = Box::leak(text.to_string().into_boxed_str());
    names.insert(kept);
    Some(kept)
}

/// A list of names, static. None when there are too many.
pub fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<List> {
    let wanted = texts.into_iter().map(name).collect::<Option<Vec<_>>>()?;
    let mut lists = LISTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = lists.get(wanted.as_slice()) {
        return Some(known);
    }
    if lists.len() >= MAX_NAMES {
        return None;
    }
    let kept: List = Box::leak(wanted.into_boxed_slice());
    lists.insert(kept);
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once() {
        let again = ["widgets", "example"].join(".");
        let (one, two) = (name("widgets.example").unwrap(), name(&again).unwrap());
        assert!(std::ptr::eq(one, two));
        let (one, two) = (list(["a", "b"]).unwrap(), list(["a", "b"]).unwrap());
        assert!(std::ptr::eq(one, two));
        assert_eq!(list([]), Some(&[][..]));
    }
}
