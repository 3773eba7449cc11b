//! What woke each DaemonSet first since its last look, and how much more did.
//!
//! One entry for each DaemonSet that waits for a look, so it is bounded like the queue; nothing is kept while nobody wants
//! traces.

use super::Traces;
use crate::caches::Change;
use crate::caches::mirror::Kept;
use jiff::Timestamp;
use objects::key::ObjectKey;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// What has happened since the last look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wake {
    /// When the first event came.
    pub(super) at: SystemTime,
    /// The kind of the object that it was about.
    pub(super) kind: &'static str,
    /// The object.
    pub(super) object: ObjectKey,
    /// Its resourceVersion; empty if it has none.
    pub(super) version: String,
    /// What became of it, in the words of a watch.
    pub(super) change: &'static str,
    /// How many further events came before the look.
    pub(super) more: i64,
}

/// What woke whom; empty while nobody wants traces.
#[derive(Debug)]
pub(crate) struct Wakes {
    is_on: bool,
    now: fn() -> Timestamp,
    first: Mutex<BTreeMap<ObjectKey, Wake>>,
}

impl Wakes {
    /// Nothing yet.
    pub(crate) fn new(traces: &Traces, now: fn() -> Timestamp) -> Self {
        Self { is_on: traces.are_on(), now, first: Mutex::default() }
    }

    /// These are to be looked at because of this change.
    pub(crate) fn note<'k, T: Kept>(
        &self,
        woken: impl IntoIterator<Item = &'k ObjectKey>,
        kind: &'static str,
        change: &Change<'_, T>,
    ) {
        if !self.is_on {
            return;
        }
        let mut first = self.lock();
        for key in woken {
            match first.get_mut(key) {
                Some(wake) => wake.more += 1,
                None => _ = first.insert(key.clone(), Wake::by(kind, change, (self.now)())),
            }
        }
    }

    /// A look begins: later events are the next one's.
    pub(crate) fn take(&self, key: &ObjectKey) -> Option<Wake> {
        self.is_on.then(|| self.lock().remove(key)).flatten()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Wake>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake {
    fn by<T: Kept>(kind: &'static str, change: &Change<'_, T>, now: Timestamp) -> Self {
        let version = change.latest().and_then(|object| object.meta().resource_version.clone());
        Self {
            at: now.into(),
            kind,
            object: change.key(),
            version: version.unwrap_or_default(),
            change: match (change.old, change.new) {
                (None, _) => "ADDED",
                (Some(_), Some(_)) => "MODIFIED",
                (Some(_), None) => "DELETED",
            },
            more: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Node;
    use opentelemetry::global::BoxedTracer;
    use opentelemetry::trace::noop::NoopTracer;
    use std::sync::Arc;

    fn node(name: &str, version: &str) -> Arc<Node> {
        let mut node = Node::default();
        node.metadata.name = Some(name.to_string());
        node.metadata.resource_version = Some(version.to_string());
        Arc::new(node)
    }

    #[test]
    fn the_first_event_of_a_burst_is_kept_and_the_others_are_counted() {
        // WE-17.
        let traces = Traces::to(Some(Arc::new(BoxedTracer::new(Box::new(NoopTracer::new())))));
        let check = |traces: &Traces, expected: Option<Wake>| {
            let (wakes, key) = (Wakes::new(traces, || Timestamp::UNIX_EPOCH), ObjectKey::new("ns", "d"));
            let (old, new) = (node("n1", "7"), node("n1", "8"));
            wakes.note([&key], "Node", &Change { old: None, new: Some(&old) });
            wakes.note([&key], "Node", &Change { old: Some(&old), new: Some(&new) });
            wakes.note([&key], "Node", &Change { old: Some(&new), new: None });
            assert_eq!(wakes.take(&key), expected);
            assert_eq!(wakes.take(&key), None);
        };
        check(&Traces::default(), None);
        let first = Wake {
            at: SystemTime::UNIX_EPOCH,
            kind: "Node",
            object: ObjectKey::new("", "n1"),
            version: "7".to_string(),
            change: "ADDED",
            more: 2,
        };
        check(&traces, Some(first));
    }
}
