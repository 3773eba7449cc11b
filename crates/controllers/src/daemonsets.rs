//! A pod of every DaemonSet on every node that wants one: snapshot → [`daemonset::plan`] → act → status.
//!
//! 1. Events only say which DaemonSets to look at ([`wakes`]); a burst within [`COALESCE`] is one look.
//! 2. What is created or deleted is remembered until the cache shows it ([`Expectations`]), so that a look at a late
//!    cache does nothing twice.
//! 3. A failed daemon's wait is remembered per node, and lost with the process (WE-23).
//!
//! Kubernetes: `daemon_controller.go` (`syncDaemonSet` and the event handlers).

pub(crate) mod doubts;
mod wakes;

use crate::Shared;
use crate::act::{ActError, Actor};
use crate::caches::{BY_OWNER, Change, Watched, Whole, orphans_of};
use crate::expectations::Expectations;
use crate::reconcile::{Next, Queue, work};
use daemonset::{Action, Backoff, Plan, Snapshot};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use objects::key::ObjectKey;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Kinds that this loop reads.
pub(crate) const READS: &[Watched] =
    &[Watched::DaemonSets, Watched::Revisions, Watched::Pods, Watched::Nodes];

/// DaemonSets at a time. Kubernetes: `--concurrent-daemonset-syncs` is 2, which made others wait (#128442).
const WORKERS: usize = 8;
/// A rollout over a thousand nodes brings thousands of events a second; each look passes over all of them.
const COALESCE: Duration = Duration::from_millis(30);

struct Loop {
    shared: Arc<Shared>,
    queue: Queue<ObjectKey>,
    expectations: Expectations,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// Waits of failed daemons, by the DaemonSet's uid.
    backoffs: BTreeMap<String, Backoff>,
    /// The last status that was written, by uid.
    written: BTreeMap<String, Written>,
}

/// A status, and the version of the object upon which it was written.
type Written = (Option<String>, DaemonSetStatus);

/// Why a look did not achieve what it should.
#[derive(Debug, thiserror::Error)]
enum SyncError {
    #[error(transparent)]
    Act(#[from] ActError),
    #[error("{}", .0.join("; "))]
    Problems(Vec<String>),
}

/// Keeps daemons on nodes, for ever.
pub(crate) async fn run(shared: Arc<Shared>) -> Infallible {
    let this = Arc::new(Loop {
        expectations: Expectations::new(shared.caches.pods.clone()),
        queue: Queue::new(COALESCE),
        memory: Mutex::default(),
        shared: Arc::new(Shared {
            client: shared.client.clone(),
            caches: shared.caches.clone(),
            recorder: shared.recorder.named("daemonset-controller"),
            config: shared.config.clone(),
        }),
    });
    this.clone().listen();
    shared.synced(READS).await;
    work(&this.queue, WORKERS, |key| this.reconcile(key)).await
}

impl Loop {
    fn listen(self: Arc<Self>) {
        let caches = &self.shared.caches;
        let this = self.clone();
        caches.daemonsets.listen(move |change| this.daemonset_changed(change));
        let this = self.clone();
        caches.pods.listen(move |change| this.wake(wakes::by_dependent(&this.shared.caches, change)));
        let this = self.clone();
        caches.revisions.listen(move |change| this.wake(wakes::by_dependent(&this.shared.caches, change)));
        let this = self.clone();
        caches.nodes.listen(move |change| this.wake(wakes::by_node(&this.shared.caches, change)));
    }

    /// WE-1…WE-3.
    fn daemonset_changed(&self, change: &Change<'_, Whole<DaemonSet>>) {
        if let (Some(old), None) = (change.old, change.new) {
            let uid = uid(&old.object.metadata);
            self.expectations.forget(uid);
            let mut memory = self.memory();
            memory.backoffs.remove(uid);
            memory.written.remove(uid);
        }
        self.queue.add(change.key());
    }

    fn wake(&self, keys: BTreeSet<ObjectKey>) {
        keys.into_iter().for_each(|key| self.queue.add(key));
    }

    async fn reconcile(&self, key: ObjectKey) -> Result<Next, SyncError> {
        let daemonsets = &self.shared.caches.daemonsets;
        let Some(subject) = daemonsets.get(&key) else { return Ok(Next::Rest) };
        let again = doubts::settle(&self.shared, &self.expectations, &subject).await;
        // As it is after the question: that may have taken long.
        let Some(subject) = daemonsets.get(&key) else { return Ok(Next::Rest) };
        let now = self.shared.now();
        let mut plan = self.plan(&key, &subject, now);
        if let Some(standstill) = &plan.standstill {
            tracing::debug!(%key, %standstill, "nothing is planned");
        }
        self.note(&subject, &mut plan, now);
        let writing = self.new_status(&subject, &mut plan);
        let actor = Actor { shared: &self.shared, expectations: &self.expectations, subject: &subject };
        let news = std::mem::take(&mut plan.news).into_iter().filter(|_| writing.is_some());
        std::mem::take(&mut plan.events).into_iter().chain(news).for_each(|event| actor.tell(Some(event)));
        actor.carry_out(&plan.actions).await?;
        if let Some(written) = writing {
            self.memory().written.insert(uid(&subject.object.metadata).to_string(), written);
        }
        if !plan.problems.is_empty() {
            return Err(SyncError::Problems(plan.problems));
        }
        let again = again.map_or(Next::Rest, Next::After);
        Ok(next(&plan, now).sooner(again))
    }

    fn plan(&self, key: &ObjectKey, subject: &Whole<DaemonSet>, now: Timestamp) -> Plan {
        let caches = &self.shared.caches;
        let uid = uid(&subject.object.metadata);
        let unseen = self.expectations.of(uid, now);
        let backoff = self.memory().backoffs.get(uid).cloned().unwrap_or_default();
        let nodes = caches.nodes.all();
        let (own, orphans) =
            (caches.pods.by(BY_OWNER, uid), caches.pods.by(BY_OWNER, &orphans_of(&key.namespace)));
        let revisions = caches.revisions.in_namespace(&key.namespace);
        let snapshot = Snapshot {
            daemon_set: &subject.object,
            raw: &subject.json,
            nodes: nodes.iter().map(Arc::as_ref).collect(),
            pods: own.iter().chain(&orphans).map(Arc::as_ref).collect(),
            revisions: revisions.iter().map(Arc::as_ref).collect(),
            backoff: &backoff,
            unseen: &unseen,
        };
        daemonset::plan(&snapshot, now)
    }

    /// Remembers failures.
    fn note(&self, subject: &Whole<DaemonSet>, plan: &mut Plan, now: Timestamp) {
        let uid = uid(&subject.object.metadata);
        let mut memory = self.memory();
        let backoff = memory.backoffs.entry(uid.to_string()).or_default();
        backoff.apply(std::mem::take(&mut plan.backoff), now);
        if backoff.is_empty() {
            memory.backoffs.remove(uid);
        }
    }

    /// The status that the plan writes, and upon which version; one that is written already and only not seen yet is
    /// taken out of the plan.
    fn new_status(&self, subject: &Whole<DaemonSet>, plan: &mut Plan) -> Option<Written> {
        let meta = &subject.object.metadata;
        let Some(Action::WriteStatus(status)) = plan.actions.last() else { return None };
        let writing = (meta.resource_version.clone(), status.as_ref().clone());
        if self.memory().written.get(uid(meta)) == Some(&writing) {
            plan.actions.pop();
            return None;
        }
        Some(writing)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When to look again: at once if a burst was cut (MG-17), else when time alone changes something.
fn next(plan: &Plan, now: Timestamp) -> Next {
    if plan.more {
        return Next::After(Duration::ZERO);
    }
    match plan.wake_at {
        Some(at) => Next::After(Duration::try_from(at.duration_since(now)).unwrap_or_default()),
        None => Next::Rest,
    }
}

fn uid(meta: &ObjectMeta) -> &str {
    meta.uid.as_deref().unwrap_or_default()
}
