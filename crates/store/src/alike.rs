//! PURE. Values that are like others are kept as how they differ from them: the pods of a DaemonSet differ by names, addresses
//! and times, and 200 bytes tell one of 4,700.
//!
//! - Kin are those whose names are equal without numbers and without a tail of five letters, as generated names have it. It is
//!   a guess, and a wrong one costs only the looking.
//! - Kin of about the same length are in the same state of their life; one of them is the [`Pattern`] of the others.
//! - What is alone of its kin is no pattern: it would be kept for nobody.
//! - A pattern is whole, so that nothing is told by what is told itself.

mod pattern;

use bytes::Bytes;
use pattern::Pattern;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Shorter values stay whole: what stands around them is as much.
const SHORT: usize = 512;
/// Longer values stay whole: few are so long, and a pattern of them would be, too.
const LONG: usize = 64 << 10;
/// Kin whose lengths differ by less are alike: a condition more is another state.
const STEP: usize = 512;
/// Most families, and most patterns. A DaemonSet has some ten; what a new one replaces stays only for those told by it.
const MOST: usize = 2048;
/// Letters at the end of a generated name, behind a dash.
const TAIL: usize = 5;

/// Bytes that never change, whole or as they differ from others.
#[derive(Clone)]
pub struct Value(Held);

#[derive(Clone)]
enum Held {
    Whole(Bytes),
    Told(Arc<Told>),
}

struct Told {
    pattern: Arc<Pattern>,
    difference: Box<[u8]>,
    length: usize,
}

impl Value {
    /// The bytes: copied together, if they are not whole.
    pub fn bytes(&self) -> Bytes {
        match &self.0 {
            Held::Whole(bytes) => bytes.clone(),
            // Was seen to be right when it was made.
            Held::Told(told) => {
                told.pattern.applied(&told.difference, told.length).unwrap_or_default().into()
            }
        }
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        match &self.0 {
            Held::Whole(bytes) => bytes.len(),
            Held::Told(told) => told.length,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes are kept for this value alone.
    pub fn kept(&self) -> usize {
        match &self.0 {
            Held::Whole(bytes) => bytes.len(),
            Held::Told(told) => told.difference.len(),
        }
    }

    /// None if that is not much shorter.
    fn told_by(&self, pattern: &Arc<Pattern>) -> Option<Self> {
        let (bytes, length) = (self.bytes(), self.len());
        let difference = pattern.difference(&bytes)?;
        let is_right = pattern.applied(&difference, length).as_deref() == Some(&*bytes);
        let told = Told { pattern: pattern.clone(), difference, length };
        is_right.then(|| Self(Held::Told(Arc::new(told))))
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self(Held::Whole(bytes))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.bytes() == other.bytes()
    }
}

impl Eq for Value {}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.bytes(), f)
    }
}

/// What is known of those that are alike.
#[derive(Debug, Default)]
pub struct Kindred {
    /// By length; none yet: one has been seen, the next will be the pattern.
    families: BTreeMap<Box<str>, BTreeMap<usize, Option<Arc<Pattern>>>>,
    patterns: usize,
}

impl Kindred {
    /// The same value by how it differs from its kin's pattern; none if it is to stay as it is.
    pub fn told(&mut self, name: &str, value: &Value) -> Option<Value> {
        if !(SHORT..=LONG).contains(&value.len()) || matches!(value.0, Held::Told(_)) {
            return None;
        }
        // Begins anew when there is too much: whatever is needed comes again.
        if self.patterns >= MOST || self.families.len() >= MOST {
            *self = Self::default();
        }
        let family = self.families.entry(family(name)).or_default();
        let Some(pattern) = family.get_mut(&(value.len() / STEP)) else {
            family.insert(value.len() / STEP, None);
            self.patterns += 1;
            return None;
        };
        let told = pattern.as_ref().and_then(|pattern| value.told_by(pattern));
        if told.is_none() {
            *pattern = Some(Arc::new(Pattern::new(value.bytes())));
        }
        told
    }
}

/// What the names of kin have in common; a name may be a path.
pub fn family(name: &str) -> Box<str> {
    let (folder, last) = name.rsplit_once('/').map_or(("", name), |(folder, last)| (folder, last));
    let last = match last.rsplit_once('-') {
        Some((stem, tail)) if tail.len() == TAIL => stem,
        _ => last,
    };
    folder.chars().chain(['/']).chain(last.chars().filter(|letter| !letter.is_ascii_digit())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(number: usize) -> Value {
        let words: Vec<String> = (0..100).map(|word| format!("word-{word}")).collect();
        Bytes::from(format!("{{\"name\":\"p-{number:05}\",\"words\":{words:?},\"node\":\"n{number}\"}}"))
            .into()
    }

    #[test]
    fn names_tell_who_is_kin() {
        for (one, other) in [
            ("pods/a/hello-x7k2p", "pods/a/hello-9q2wz"),
            ("n1", "n4711"),
            ("web-7d4b9c-x7k2p", "web-7d4b9c-bbbbb"),
            ("ip-10-0-3-7.eu-west-1.internal", "ip-10-12-13-14.eu-west-1.internal"),
        ] {
            assert_eq!(family(one), family(other));
        }
        assert_ne!(family("a/hello-x7k2p"), family("b/hello-x7k2p"));
        assert_ne!(family("hello-x7k2p"), family("world-x7k2p"));
    }

    #[test]
    fn the_third_of_its_kin_is_told_by_the_second_and_comes_back_as_it_was() {
        let mut kindred = Kindred::default();
        let mut told = |number: usize| kindred.told(&format!("p-{number:05}"), &value(number));
        assert_eq!([told(1), told(2)], [None, None]);
        for number in 3..50 {
            let told = told(number).unwrap();
            assert_eq!((told.bytes(), told.len()), (value(number).bytes(), value(number).len()));
            assert!(told.kept() < 60, "{}", told.kept());
            assert_eq!(told, value(number));
        }
        assert_eq!(kindred.told("p-00000", &Bytes::from_static(b"short").into()), None);
        let noise: Vec<u8> = (0..1_500_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        assert_eq!(kindred.told("p-00000", &Bytes::from(noise).into()), None);
    }

    #[test]
    fn families_without_end_are_forgotten() {
        let mut kindred = Kindred::default();
        for number in 0..3 * MOST {
            let letters: String = number.to_string().bytes().map(|digit| char::from(digit + 49)).collect();
            kindred.told(&letters, &value(number));
            assert!(kindred.families.len() <= MOST);
        }
    }
}
