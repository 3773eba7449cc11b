//! A pod of every DaemonSet on every node that wants one: snapshot → [`daemonset`] plan → act → status.
//!
//! 1. Events only say which DaemonSets to look at ([`wakes`]), and what of them to read again ([`ledgers`]); a burst within
//!    [`COALESCE`] is one look. A plan is an update of the ledger, or a full pass if there is none.
//! 2. What is created or deleted is remembered until the cache shows it ([`Expectations`]), so that a look at a late
//!    cache does nothing twice.
//! 3. A failed daemon's wait is remembered per node, and lost with the process (WE-23).
//!
//! Kubernetes: `daemon_controller.go` (`syncDaemonSet` and the event handlers).

pub(crate) mod doubts;
mod foreign;
mod gauges;
pub(crate) mod ledgers;
mod rehearsal;
mod takeover;
mod wakes;

use crate::Shared;
use crate::act::{ActError, Actor};
use crate::caches::mirror::Kept;
use crate::caches::{BY_OWNER, Caches, Change, Watched, Whole, orphans_of};
use crate::expectations::Expectations;
use crate::metrics::{Phase, table};
use crate::reconcile::{Next, Queue, work};
use crate::traces::Span;
use crate::traces::wakes::Wakes;
use daemonset::ledger::Update;
use daemonset::{Action, Backoff, Ledger, Plan, Snapshot, Unseen};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use ledgers::Ledgers;
use objects::key::ObjectKey;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Kinds that this loop reads.
pub(crate) const READS: &[Watched] =
    &[Watched::DaemonSets, Watched::Revisions, Watched::Pods, Watched::NodePlaces];

/// DaemonSets at a time. Kubernetes: `--concurrent-daemonset-syncs` is 2, which made others wait (#128442).
pub(crate) const WORKERS: usize = 8;
/// A rollout over a thousand nodes brings thousands of events a second; each look costs requests.
const COALESCE: Duration = Duration::from_millis(30);
/// What upstream calls its queue, for metrics.
const QUEUE: &str = "daemonset";

struct Loop {
    shared: Arc<Shared>,
    queue: Queue<ObjectKey>,
    expectations: Expectations,
    ledgers: Arc<Ledgers>,
    gate: takeover::Gate,
    rehearsal: Option<rehearsal::Rehearsal>,
    progress: gauges::Progress,
    /// What woke whom, for traces.
    woken: Wakes,
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
    let ledgers = Arc::<Ledgers>::default();
    note_pods(&ledgers, &shared.caches);
    let this = Arc::new(Loop {
        // After the notes: see `ledgers`.
        expectations: Expectations::new(shared.caches.pods.clone()),
        ledgers,
        gate: takeover::Gate::new(shared.config.manager),
        rehearsal: shared.config.rehearse.map(rehearsal::Rehearsal::new),
        progress: gauges::Progress::default(),
        woken: Wakes::new(&shared.config.traces, shared.config.now),
        queue: Queue::new(COALESCE).measured(QUEUE, &shared.config.metrics, &shared.config.limits),
        memory: Mutex::default(),
        shared: Arc::new(Shared {
            client: shared.client.clone(),
            unhurried: shared.unhurried.clone(),
            caches: shared.caches.clone(),
            recorder: shared.recorder.named("daemonset-controller"),
            config: shared.config.clone(),
        }),
    });
    this.clone().listen();
    gauges::gather(&this);
    foreign::Foreign::listen(&this.shared);
    shared.synced(READS).await;
    shared.config.metrics.enter(Phase::Working);
    work(&this.queue, shared.config.workers, |key| this.reconcile(key)).await
}

fn note_pods(ledgers: &Arc<Ledgers>, caches: &Caches) {
    let (ledgers, known) = (ledgers.clone(), caches.clone());
    caches.pods.listen(move |change| {
        ledgers.pod_changed(&wakes::by_dependent(&known, change), &change.key().name);
    });
}

impl Loop {
    fn listen(self: Arc<Self>) {
        let caches = &self.shared.caches;
        let this = self.clone();
        caches.daemonsets.listen(move |change| this.daemonset_changed(change));
        let this = self.clone();
        caches.pods.listen(move |change| {
            this.wake(wakes::by_dependent(&this.shared.caches, change), "Pod", change);
        });
        let this = self.clone();
        caches.revisions.listen(move |change| {
            let woken = wakes::by_revision(&this.shared.caches, change);
            this.ledgers.history_changed(&woken);
            this.wake(woken, "ControllerRevision", change);
        });
        let this = self.clone();
        caches.nodes.listen(move |change| {
            let woken = wakes::by_node(&this.shared.caches, change);
            this.ledgers.node_changed(&woken, &change.key().name);
            this.wake(woken, "Node", change);
        });
    }

    /// WE-1…WE-3.
    fn daemonset_changed(&self, change: &Change<'_, Whole<DaemonSet>>) {
        if let (Some(old), None) = (change.old, change.new) {
            self.forget(&change.key(), uid(&old.object.metadata));
        }
        self.wake(BTreeSet::from([change.key()]), "DaemonSet", change);
    }

    /// MG-28.
    fn forget(&self, key: &ObjectKey, uid: &str) {
        self.expectations.forget(uid);
        self.ledgers.forget(key, uid);
        self.gate.forget(uid);
        self.progress.forget(uid);
        self.rehearsal.iter().for_each(|rehearsal| rehearsal.forget(key));
        let mut memory = self.memory();
        memory.backoffs.remove(uid);
        memory.written.remove(uid);
    }

    fn wake<T: Kept>(&self, keys: BTreeSet<ObjectKey>, kind: &'static str, change: &Change<'_, T>) {
        self.woken.note(&keys, kind, change);
        keys.into_iter().for_each(|key| self.queue.add(key));
    }

    async fn reconcile(&self, key: ObjectKey) -> Result<Next, SyncError> {
        let daemonsets = &self.shared.caches.daemonsets;
        let woken = self.woken.take(&key);
        let Some(subject) = daemonsets.get(&key) else { return Ok(Next::Rest) };
        let span = self.shared.config.traces.look(&key, woken, self.shared.now());
        let again = doubts::settle(&self.shared, &self.expectations, &self.ledgers, &subject).await;
        // As it is after the question: that may have taken long.
        let Some(subject) = daemonsets.get(&key) else { return Ok(Next::Rest) };
        span.subject(&subject);
        let next = self.look(&key, &subject, &span).await;
        span.came_to(&next);
        drop(span);
        // It may have gone meanwhile, and been forgotten too early.
        let uid = uid(&subject.object.metadata);
        if daemonsets.get(&key).is_none_or(|live| live.object.metadata.uid.as_deref() != Some(uid)) {
            self.forget(&key, uid);
        }
        Ok(next?.sooner(again.map_or(Next::Rest, Next::After)))
    }

    async fn look(
        &self,
        key: &ObjectKey,
        subject: &Whole<DaemonSet>,
        span: &Span,
    ) -> Result<Next, SyncError> {
        let now = self.shared.now();
        let mut plan = self.plan(key, subject, now, &span.child("plan"));
        if let Some(standstill) = &plan.standstill {
            tracing::debug!(%key, %standstill, "nothing is planned");
        } else {
            self.progress.note(uid(&subject.object.metadata), &plan.status);
        }
        if let Some(rehearsal) = &self.rehearsal {
            rehearsal.tell(key, &plan);
            // What is planned now is planned at every look.
            plan.more = false;
            return Ok(next(&plan, now));
        }
        let writing = self.new_status(subject, &mut plan);
        let Self { shared, expectations, ledgers, .. } = self;
        let acting = span.acting(&shared.client, &plan.actions);
        let actor = Actor { shared, expectations, ledgers, subject, acting: &acting };
        let news = std::mem::take(&mut plan.news).into_iter().filter(|_| writing.is_some());
        std::mem::take(&mut plan.events).into_iter().chain(news).for_each(|event| actor.tell(Some(event)));
        let start = Instant::now();
        let outcome = actor.carry_out(&plan.actions).await;
        if !plan.actions.is_empty() {
            shared.config.metrics.observe(&table::ACTS, &[], start.elapsed());
        }
        acting.came_to(&outcome);
        outcome?;
        if let Some(written) = writing {
            self.memory().written.insert(uid(&subject.object.metadata).to_string(), written);
        }
        if !plan.problems.is_empty() {
            return Err(SyncError::Problems(plan.problems));
        }
        Ok(next(&plan, now))
    }

    /// The expectations are read before the notes, and both before the caches: see [`ledgers`].
    fn plan(&self, key: &ObjectKey, subject: &Whole<DaemonSet>, now: Timestamp, span: &Span) -> Plan {
        let uid = uid(&subject.object.metadata);
        let unseen = self.expectations.of(uid, now);
        let (ledger, touched) = self.ledgers.take(key, uid);
        let backoff = self.memory().backoffs.remove(uid).unwrap_or_default();
        let caches = &self.shared.caches;
        let update = Update {
            daemon_set: &subject.object,
            raw: &subject.json,
            touched: &touched,
            node: &|name| caches.nodes.get(&ObjectKey::new("", name)),
            pod: &|name| {
                caches.pods.get(&ObjectKey::new(&key.namespace, name)).map(|pod| pod.itself().clone())
            },
            backoff: &backoff,
            unseen: &unseen,
        };
        let start = Instant::now();
        let updated = ledger.and_then(|ledger| ledger.update(&update, now));
        let pass = if updated.is_some() { "update" } else { "full" };
        let (mut plan, ledger) = match updated {
            Some((plan, ledger)) => (plan, Some(ledger)),
            None => self.admitted(subject, self.read_everything(key, subject, &backoff, &unseen, now), now),
        };
        self.shared.config.metrics.observe(&table::PLANS, &[pass], start.elapsed());
        self.ledgers.put(uid, ledger);
        self.remember(uid, backoff, &mut plan, now);
        span.planned(pass, &plan);
        plan
    }

    fn read_everything(
        &self,
        key: &ObjectKey,
        subject: &Whole<DaemonSet>,
        backoff: &Backoff,
        unseen: &Unseen,
        now: Timestamp,
    ) -> (Plan, Option<Ledger>) {
        let caches = &self.shared.caches;
        let own = caches.pods.by(BY_OWNER, uid(&subject.object.metadata));
        let orphans = caches.pods.by(BY_OWNER, &orphans_of(&key.namespace));
        let (nodes, revisions) = (caches.nodes.all(), caches.revisions.in_namespace(&key.namespace));
        let snapshot = Snapshot {
            daemon_set: &subject.object,
            raw: &subject.json,
            nodes: nodes.iter().map(Arc::as_ref).collect(),
            pods: own.iter().chain(&orphans).map(|pod| pod.itself().as_ref()).collect(),
            revisions: revisions.iter().map(Arc::as_ref).collect(),
            backoff,
            unseen,
        };
        Ledger::open(&snapshot, now)
    }

    /// The plan, unless another controller had the DaemonSet and the gate leaves it alone. Then there is no ledger: the gate
    /// judges only plans that have looked at everything.
    fn admitted(
        &self,
        subject: &Whole<DaemonSet>,
        (plan, ledger): (Plan, Option<Ledger>),
        now: Timestamp,
    ) -> (Plan, Option<Ledger>) {
        let nodes = &self.shared.caches.nodes;
        let born = |node: &str| {
            nodes.get(&ObjectKey::new("", node))?.metadata.creation_timestamp.as_ref().map(|t| t.0)
        };
        match self.gate.leaves_alone(&subject.object, &plan, born) {
            None => (plan, ledger),
            Some(takeover) => (takeover.left_alone(&subject.object, now), None),
        }
    }

    /// Remembers failures.
    fn remember(&self, uid: &str, mut backoff: Backoff, plan: &mut Plan, now: Timestamp) {
        if !plan.backoff.is_empty() {
            backoff.apply(std::mem::take(&mut plan.backoff), now);
        }
        if !backoff.is_empty() {
            self.memory().backoffs.insert(uid.to_string(), backoff);
        }
    }

    /// The status that the plan writes, and upon which version; one that is written already and only not seen yet is
    /// taken out of the plan.
    fn new_status(&self, subject: &Whole<DaemonSet>, plan: &mut Plan) -> Option<Written> {
        let meta = &subject.object.metadata;
        let Some(Action::WriteStatus(status)) = plan.actions.last() else { return None };
        let writing = (meta.resource_version.clone(), timeless(status));
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

/// A status without the times of its conditions: a second look at a late cache would turn them again.
fn timeless(status: &DaemonSetStatus) -> DaemonSetStatus {
    let mut status = status.clone();
    status.conditions.iter_mut().flatten().for_each(|condition| condition.last_transition_time = None);
    status
}

fn uid(meta: &ObjectMeta) -> &str {
    meta.uid.as_deref().unwrap_or_default()
}
