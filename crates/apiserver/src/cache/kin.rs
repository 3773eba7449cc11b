//! PURE. Which objects of a kind are alike, so that one is told by another?
//!
//! - Objects are kin when their names are equal without numbers and without the five letters that Kubernetes appends:
//!   the pods of a DaemonSet, the nodes of a pool, their leases. It is a guess, and a wrong one costs only the looking.
//! - Kin of about the same length are in the same state of their life; one of them is the [`Pattern`] of the others.
//! - What is alone of its kin is no pattern: it would be held for nobody.

use super::difference::Pattern;
use super::item::{Item, Labels, share};
use crate::graph::Link;
use objects::name::SUFFIX_LENGTH;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Shorter bytes stay whole: what stands around them is as much.
const SHORT: usize = 512;
/// Longer bytes stay whole: few objects are so long, and a pattern of them would be, too.
const LONG: usize = 64 << 10;
/// Kin whose lengths differ by less are alike: a condition more is another state.
const STEP: usize = 512;
/// Most patterns of a kind. A DaemonSet has some ten; what a new one replaces stays only for those told by it.
const MOST: usize = 2048;

/// What is known of the kin in a collection.
#[derive(Debug, Default)]
pub struct Kindred {
    families: BTreeMap<Box<str>, Family>,
    patterns: usize,
}

#[derive(Debug, Default)]
struct Family {
    /// Of the newest.
    labels: Arc<Labels>,
    links: Arc<[Link]>,
    /// By length; none yet: one has been seen, the next will be the pattern.
    patterns: BTreeMap<usize, Option<Arc<Pattern>>>,
}

impl Kindred {
    /// A new object shares with the newest of its kin what is equal.
    pub fn welcome(&mut self, mut item: Item) -> Item {
        self.make_room();
        let family = self.families.entry(stem(&item.name)).or_default();
        share(&mut item.labels, &family.labels);
        share(&mut item.links, &family.links);
        family.labels.clone_from(&item.labels);
        family.links.clone_from(&item.links);
        item
    }

    /// Keeps of an object that few will ask for only how it differs from its kin's pattern.
    pub fn shorten(&mut self, item: &Item) {
        if !(SHORT..=LONG).contains(&item.length) {
            return;
        }
        self.make_room();
        let family = self.families.entry(stem(&item.name)).or_default();
        match family.patterns.get_mut(&(item.length / STEP)) {
            None => {
                family.patterns.insert(item.length / STEP, None);
                self.patterns += 1;
            }
            Some(Some(pattern)) if item.shorten(pattern) => {}
            Some(pattern) => *pattern = Some(Arc::new(Pattern::new(item.value()))),
        }
    }

    /// Begins anew when there is too much: whatever is needed comes again.
    fn make_room(&mut self) {
        if self.patterns >= MOST || self.families.len() >= MOST {
            *self = Self::default();
        }
    }
}

/// What the names of kin have in common.
fn stem(name: &str) -> Box<str> {
    let stem = match name.rsplit_once('-') {
        Some((stem, appended)) if appended.len() == SUFFIX_LENGTH => stem,
        _ => name,
    };
    stem.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_who_is_kin() {
        for (one, other) in [
            ("hello-x7k2p", "hello-9q2wz"),
            ("n1", "n4711"),
            ("web-7d4b9c-x7k2p", "web-7d4b9c-bbbbb"),
            ("ip-10-0-3-7.eu-west-1.internal", "ip-10-12-13-14.eu-west-1.internal"),
        ] {
            assert_eq!(stem(one), stem(other));
        }
        assert_ne!(stem("hello-x7k2p"), stem("world-x7k2p"));
    }
}
