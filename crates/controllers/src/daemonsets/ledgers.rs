//! The ledger of each DaemonSet, and what has happened that it has not read yet.
//!
//! 1. Listeners note names, and the next plan reads what the caches have under them then. A name too many does no harm.
//! 2. A name is noted *before* an expectation about it is dropped, and a plan takes the expectations *before* the names:
//!    so a pod is on the way or noted, and never neither, which would make a second one.
//! 3. A new revision makes everything to be read again.

use daemonset::Ledger;
use daemonset::ledger::Touched;
use objects::key::ObjectKey;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// All ledgers.
#[derive(Debug, Default)]
pub(crate) struct Ledgers(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// By the DaemonSet's uid.
    ledgers: BTreeMap<String, Ledger>,
    news: BTreeMap<ObjectKey, News>,
}

#[derive(Debug, Default)]
struct News {
    touched: Touched,
    history: bool,
}

impl Ledgers {
    /// A pod of these DaemonSets has come, changed or gone.
    pub(crate) fn pod_changed<'k>(&self, daemonsets: impl IntoIterator<Item = &'k ObjectKey>, pod: &str) {
        self.note(daemonsets, |news| news.touched.pods.extend([pod.to_string()]));
    }

    /// A node has come, changed or gone, in the eyes of these DaemonSets.
    pub(super) fn node_changed(&self, daemonsets: &BTreeSet<ObjectKey>, node: &str) {
        self.note(daemonsets, |news| news.touched.nodes.extend([node.to_string()]));
    }

    /// A revision of these DaemonSets has come, changed or gone.
    pub(super) fn history_changed(&self, daemonsets: &BTreeSet<ObjectKey>) {
        self.note(daemonsets, |news| news.history = true);
    }

    /// The DaemonSet is gone.
    pub(super) fn forget(&self, key: &ObjectKey, uid: &str) {
        let mut inner = self.lock();
        inner.ledgers.remove(uid);
        inner.news.remove(key);
    }

    /// The ledger, if there is one that can be kept up to date, and what it has to read again.
    pub(super) fn take(&self, key: &ObjectKey, uid: &str) -> (Option<Ledger>, Touched) {
        let mut inner = self.lock();
        let News { touched, history } = inner.news.remove(key).unwrap_or_default();
        (inner.ledgers.remove(uid).filter(|_| !history), touched)
    }

    /// The ledger that the next plan begins with.
    pub(super) fn put(&self, uid: &str, ledger: Option<Ledger>) {
        if let Some(ledger) = ledger {
            self.lock().ledgers.insert(uid.to_string(), ledger);
        }
    }

    fn note<'k>(&self, daemonsets: impl IntoIterator<Item = &'k ObjectKey>, note: impl Fn(&mut News)) {
        let mut inner = self.lock();
        daemonsets.into_iter().for_each(|key| note(inner.news.entry(key.clone()).or_default()));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_taken_once() {
        let (ledgers, key) = (Ledgers::default(), ObjectKey::new("ns", "d"));
        let keys = BTreeSet::from([key.clone()]);
        ledgers.pod_changed(&keys, "p");
        ledgers.node_changed(&keys, "n");
        let touched = Touched { nodes: ["n".to_string()].into(), pods: ["p".to_string()].into() };
        assert_eq!(ledgers.take(&key, "uid").1, touched);
        assert_eq!(ledgers.take(&key, "uid").1, Touched::default());
    }
}
