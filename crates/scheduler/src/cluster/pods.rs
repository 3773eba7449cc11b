//! Pods in the order of their keys, each of which is held once: in the pod itself.

use super::Placed;
use objects::key::ObjectKey;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Pods on nodes, or on one of them.
#[derive(Debug, Clone, Default)]
pub struct Pods(BTreeSet<ByKey>);

impl Pods {
    /// The pod of this key.
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<Placed>> {
        self.0.get(key).map(|ByKey(placed)| placed)
    }

    /// Whether it is among them.
    pub fn contains(&self, key: &ObjectKey) -> bool {
        self.0.contains(key)
    }

    /// All of them, in key order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Placed>> + Clone {
        self.0.iter().map(|ByKey(placed)| placed)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a pod in, in place of the one of its key.
    pub(super) fn put(&mut self, placed: Arc<Placed>) {
        self.0.replace(ByKey(placed));
    }

    pub(super) fn take(&mut self, key: &ObjectKey) -> Option<Arc<Placed>> {
        self.0.take(key).map(|ByKey(placed)| placed)
    }
}

/// Not only the same keys: the same pods.
impl PartialEq for Pods {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

#[derive(Debug, Clone)]
struct ByKey(Arc<Placed>);

impl Borrow<ObjectKey> for ByKey {
    fn borrow(&self) -> &ObjectKey {
        &self.0.key
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ByKey {}
