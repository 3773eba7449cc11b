//! Where does each pod of ours sit, and which hashes are carried?
//!
//! A pod is told of by its name, so a ledger must know which seat to look at; and an old revision is dropped only when no
//! pod carries its hash (RV-20). A pod that sits nowhere still carries its hash (MG-5).

use crate::plan::Name;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The pods' homes.
#[derive(Debug, Clone, Default)]
pub(super) struct Homes {
    by_pod: BTreeMap<Name, Home>,
    hashes: Hashes,
}

#[derive(Debug, Clone)]
struct Home {
    node: Option<Name>,
    hash: Option<Arc<str>>,
}

/// How many pods carry which hash.
#[derive(Debug, Clone, Default)]
struct Hashes(BTreeMap<Arc<str>, usize>);

impl Homes {
    /// Of these pods, each with its node and its hash.
    pub(super) fn of<'p>(pods: impl Iterator<Item = (Name, Option<Name>, Option<&'p str>)>) -> Self {
        let mut hashes = Hashes::default();
        let homes =
            pods.map(|(pod, node, hash)| (pod, Home { node, hash: hash.map(|hash| hashes.carry(hash)) }));
        Self { by_pod: homes.collect(), hashes }
    }

    /// A pod that was not there comes.
    pub(super) fn arrive(&mut self, pod: Name, node: Option<Name>, hash: Option<&str>) {
        let hash = hash.map(|hash| self.hashes.carry(hash));
        self.by_pod.insert(pod, Home { node, hash });
    }

    /// A pod goes, from this node.
    pub(super) fn leave(&mut self, pod: &str) -> Option<Name> {
        let Home { node, hash } = self.by_pod.remove(pod)?;
        if let Some(hash) = hash {
            self.hashes.put_down(&hash);
        }
        node
    }

    pub(super) fn is_carried(&self, hash: &str) -> bool {
        self.hashes.0.contains_key(hash)
    }
}

impl Hashes {
    fn carry(&mut self, hash: &str) -> Arc<str> {
        let carried = self.0.entry(hash.into());
        let shared = carried.key().clone();
        *carried.or_default() += 1;
        shared
    }

    fn put_down(&mut self, hash: &str) {
        if let Some(count) = self.0.get_mut(hash) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(hash);
            }
        }
    }
}
