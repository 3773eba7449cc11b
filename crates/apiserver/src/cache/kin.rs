//! PURE. What new objects have in common with others of their kind, and how old ones are kept.
//!
//! - Kin are told by their names ([`store::alike::family`]).
//! - A new object shares with the newest of its kin what is equal.
//! - One that few will ask for is kept as its difference from its kin ([`store::alike`]).

use super::item::{Item, Labels, share};
use crate::graph::Link;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::alike;

/// Families that are remembered.
const MOST: usize = 2048;

/// What is known of the kin in a collection.
#[derive(Debug, Default)]
pub struct Kindred {
    newest: BTreeMap<Box<str>, Shared>,
    values: alike::Kindred,
}

/// Of the newest of a family.
#[derive(Debug, Default)]
struct Shared {
    labels: Arc<Labels>,
    links: Arc<[Link]>,
}

impl Kindred {
    /// A new object, which shares what it can.
    pub fn welcome(&mut self, mut item: Item) -> Item {
        if self.newest.len() >= MOST {
            self.newest.clear();
        }
        let newest = self.newest.entry(alike::family(&item.name)).or_default();
        share(&mut item.labels, &newest.labels);
        share(&mut item.links, &newest.links);
        newest.labels.clone_from(&item.labels);
        newest.links.clone_from(&item.links);
        item
    }

    /// Few will ask for this one from now on.
    pub fn shorten(&mut self, item: &Item) {
        item.shorten(&mut self.values);
    }
}
