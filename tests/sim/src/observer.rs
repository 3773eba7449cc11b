//! Looks at every single write, in order, and has every claim checked.
//!
//! It reads the store itself, past server and faults. A write and its look fall into the same simulated instant, so
//! what [`crate::faults::Faults::just_now`] says of the moment is about this write.

use crate::clock;
use crate::faults::Faults;
use crate::invariants::Invariants;
use crate::trace::Trace;
use crate::truth::{Change, Truth};
use apiserver::encode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::{Listing, Revision, Store};
use tokio::sync::Notify;

/// What is known of the store. Clones are the same.
#[derive(Clone)]
pub(crate) struct Observer(Arc<Shared>);

struct Shared {
    truth: Mutex<Truth>,
    moved: Notify,
    trace: Trace,
}

impl Observer {
    /// Somebody who knows what the store holds.
    pub(crate) fn new(trace: Trace, held: Listing) -> Self {
        let truth = Mutex::new(Truth::of(held));
        Self(Arc::new(Shared { truth, moved: Notify::new(), trace }))
    }

    /// What the store holds, as far as it was looked at.
    pub(crate) fn truth(&self) -> MutexGuard<'_, Truth> {
        self.0.truth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every write up to this revision was looked at.
    pub(crate) async fn reach(&self, revision: Revision) {
        loop {
            let moved = self.0.moved.notified();
            if self.truth().revision >= revision {
                return;
            }
            moved.await;
        }
    }

    /// Looks on, for ever.
    pub(crate) async fn watch(self, store: Arc<dyn Store>, faults: Faults, mut invariants: Invariants) {
        let known = self.truth().revision;
        let Ok(mut watch) = store.watch(encode::ROOT, known).await else {
            return self.0.trace.broken("the store can be watched", "it cannot");
        };
        while let Some(Ok(batch)) = watch.next().await {
            for event in &batch.events {
                let mut truth = self.truth();
                let change = truth.apply(event, clock::elapsed());
                say(&self.0.trace, &change, &faults);
                invariants.look(&truth, &change, &event.key, &faults, &self.0.trace);
                self.0.trace.step();
            }
            self.0.moved.notify_waiters();
        }
    }
}

/// One line for a write that matters.
fn say(trace: &Trace, change: &Change, faults: &Faults) {
    let by = |plural: &str, key: &str, is_new: bool| {
        let verbs = ["post", "put", "patch", "delete"];
        let calls =
            verbs.iter().flat_map(|verb| faults.just_now(verb, plural, if is_new { "" } else { key }));
        let mut names: Vec<String> = calls.map(|call| call.client).collect();
        names.dedup();
        names.join(", ")
    };
    match change {
        Change::Pod(pair) => {
            if let Some(what) = crate::words::of_pod(pair.old.as_deref(), pair.new.as_deref()) {
                trace.say(format_args!(
                    "pod {} {what} [{}]",
                    pair.key,
                    by("pods", &pair.key, pair.old.is_none())
                ));
            }
        }
        Change::Set(pair) => {
            let what = crate::words::of_set(pair.old.as_deref(), pair.new.as_deref());
            trace.say(format_args!(
                "daemonset {} {what} [{}]",
                pair.key,
                by("daemonsets", &pair.key, pair.old.is_none())
            ));
        }
        Change::Node(pair) => {
            if let Some(what) = crate::words::of_node(pair.old.as_deref(), pair.new.as_deref()) {
                trace.say(format_args!(
                    "node {} {what} [{}]",
                    pair.key,
                    by("nodes", &pair.key, pair.old.is_none())
                ));
            }
        }
        Change::Revision(pair) => {
            let what = crate::words::of_revision(pair.old.as_deref(), pair.new.as_deref());
            trace.say(format_args!(
                "revision {} {what} [{}]",
                pair.key,
                by("controllerrevisions", &pair.key, pair.old.is_none())
            ));
        }
        Change::Other => {}
    }
}
