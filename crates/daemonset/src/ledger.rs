//! A DaemonSet's `book`, kept up to date: a change of one node or pod costs that pair and the sums.
//!
//! 1. [`Ledger::open`] reads everything, once. [`Ledger::update`] reads only what was touched, again from the objects as
//!    they are now: a ledger gets names and never changes, so that a doubled, late or needless name does no harm. A name that
//!    is never told is never read: whoever watches must compare with what it had when a watch begins anew.
//! 2. Both give the same plan (but for `nodes`, of which an update has only the touched ones). `tests/ledger` holds one
//!    against the other.
//! 3. What is rare is not kept up to date, and everything is read again. The ledger ends itself with another spec, an object
//!    to adopt or release, or a clock that goes back. Revisions it does not see at all: when one of them has come, changed
//!    or gone, whoever keeps the ledger must drop it.
//!
//! Kubernetes passes over all nodes and pods at every event.

mod homes;

use crate::backoff::Backoff;
use crate::book::Book;
use crate::budget;
use crate::claims::{self, Claims};
use crate::coverage::Question;
use crate::placement::Judge;
use crate::plan::{Action, Event, Name, Plan};
use crate::revision::{self, Collision, History};
use crate::round::{Remarks, Round};
use crate::seats::{Seat, Sitter, Versions};
use crate::snapshot::{Snapshot, Standstill, Subject};
use crate::template;
use crate::unseen::{Unseen, Writes};
use homes::Homes;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod, Toleration};
use objects::owner::Claim;
use objects::{node, pod};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is known of one DaemonSet's nodes and pods.
#[derive(Debug, Clone)]
pub struct Ledger {
    terms: Terms,
    versions: Versions,
    tolerations: Arc<[Toleration]>,
    history: History,
    book: Book,
    homes: Homes,
    /// Nodes that the next update reads in any case: something of ours is unseen there, or was to be done.
    reread: BTreeSet<Name>,
    /// When it was last kept up to date: what time has done is in the book, and is not taken back.
    as_of: Timestamp,
}

/// What has happened since the last plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Names of nodes that have come, gone or changed.
    pub nodes: BTreeSet<String>,
    /// The same for pods of the DaemonSet's namespace: those that it controls, or has controlled.
    pub pods: BTreeSet<String>,
}

/// What an update reads.
pub struct Update<'a> {
    /// The DaemonSet, as in a [`Snapshot`].
    pub daemon_set: &'a DaemonSet,
    /// The same object as the server sent it.
    pub raw: &'a Value,
    /// What is to be read again.
    pub touched: &'a Touched,
    /// The node of this name.
    pub node: &'a dyn Fn(&str) -> Option<Arc<Node>>,
    /// The pod of this name in the DaemonSet's namespace.
    pub pod: &'a dyn Fn(&str) -> Option<Arc<Pod>>,
    /// Failed daemons of this DaemonSet.
    pub backoff: &'a Backoff,
    /// Our own writes that the objects may not show yet.
    pub unseen: &'a Unseen,
}

/// What must stay the same for a ledger to hold. A changed spec is a new generation (AP-16).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Terms {
    uid: String,
    generation: i64,
    template_generation: Option<i64>,
}

impl Ledger {
    /// Reads everything. The second answer is there if all is ordinary, so that the next plan can be an update.
    pub fn open(seen: &Snapshot<'_>, now: Timestamp) -> (Plan, Option<Self>) {
        let subject = match Subject::read(seen.daemon_set, seen.raw) {
            Ok(subject) => subject,
            Err(standstill) => return (stand_still(standstill), None),
        };
        let claims = claims::claim(seen, &subject);
        match revision::history(seen, &subject, &claims) {
            Ok(history) => open_with(seen, &subject, claims, history, now),
            Err(Collision { to }) => (raise_collision_count(&subject, claims, to), None),
        }
    }

    /// The next plan. `None`, and no ledger any more, if something is to be adopted or released, if the DaemonSet is not the
    /// one that it was, or if it is earlier than before.
    pub fn update(mut self, seen: &Update<'_>, now: Timestamp) -> Option<(Plan, Self)> {
        let subject = Subject::read(seen.daemon_set, seen.raw).ok()?;
        if self.terms != Terms::of(&subject) || now < self.as_of {
            return None;
        }
        self.as_of = now;
        let writes = seen.unseen.writes(now);
        let mut stale = std::mem::take(&mut self.reread);
        stale.extend(self.book.due(now).cloned());
        stale.extend(seen.touched.nodes.iter().map(String::as_str).chain(writes.nodes()).map(Name::from));
        let mut opened: BTreeMap<Name, Seat> = BTreeMap::new();
        for name in &seen.touched.pods {
            self.move_pod(name, (seen.pod)(name).as_deref(), &subject, &mut opened)?;
        }
        for node in stale {
            self.open_seat(&node, &mut opened);
        }
        let judge = Judge::with(subject.pod_spec, self.tolerations.clone());
        let look = Look::new(&subject, judge, seen.backoff, writes, now);
        let touched: Vec<Name> = opened.keys().cloned().collect();
        for (node, mut seat) in opened {
            seat.see((seen.node)(&node).as_deref(), &look.judge);
            seat.count_unseen(&node, &look.writes);
            self.enter(node, seat, look.question);
        }
        let (mut plan, remarks) = self.round(&subject, seen.unseen, Vec::new(), now);
        plan.nodes = remarks.verdicts(touched.iter().filter_map(|node| Some((node, self.book.entry(node)?))));
        touched.iter().for_each(|node| self.book.forget_if_idle(node));
        Some((plan, self))
    }

    /// A pod as it is now takes its place, and leaves the one it had.
    fn move_pod(
        &mut self,
        name: &str,
        pod: Option<&Pod>,
        subject: &Subject<'_>,
        opened: &mut BTreeMap<Name, Seat>,
    ) -> Option<()> {
        if let Some(node) = self.homes.leave(name) {
            self.open_seat(&node, opened).sitters.retain(|sitter| *sitter.name != *name);
        }
        let Some(pod) = pod else { return Some(()) };
        match claims::answer(&pod.metadata, subject) {
            Claim::Ignore => {}
            Claim::Adopt | Claim::Release => return None,
            Claim::Own => {
                let home = Sitter::of(pod, subject, &self.versions).map(|(target, sitter)| {
                    let node = Name::from(target);
                    self.open_seat(&node, opened).add(sitter);
                    node
                });
                self.homes.arrive(pod::name(pod).into(), home, pod::hash_label(pod));
            }
        }
        Some(())
    }

    fn open_seat<'o>(&mut self, node: &Name, opened: &'o mut BTreeMap<Name, Seat>) -> &'o mut Seat {
        let book = &mut self.book;
        opened
            .entry(node.clone())
            .or_insert_with(|| book.remove(node).map(|(_, seat)| seat).unwrap_or_default())
    }

    fn enter(&mut self, node: Name, seat: Seat, question: Question<'_>) {
        if seat.has_unseen() {
            self.reread.insert(node.clone());
        }
        self.book.put(node, seat, question);
    }

    fn round(
        &mut self,
        subject: &Subject<'_>,
        unseen: &Unseen,
        before: Vec<Action>,
        now: Timestamp,
    ) -> (Plan, Remarks) {
        let round = Round { subject, hash: &self.history.hash, unseen, now };
        let drops = || self.history.truncate(subject, |hash| self.homes.is_carried(hash));
        let (plan, remarks) = round.plan(&self.book, before, drops);
        self.reread.extend(remarks.acted().cloned());
        (plan, remarks)
    }
}

fn open_with(
    seen: &Snapshot<'_>,
    subject: &Subject<'_>,
    claims: Claims<'_>,
    mut history: History,
    now: Timestamp,
) -> (Plan, Option<Ledger>) {
    let is_ordinary = claims.actions.is_empty() && history.actions.is_empty();
    let mut before = claims.actions;
    before.append(&mut history.actions);
    let versions = Versions::of(subject, history.hashes.clone());
    let tolerations: Arc<[Toleration]> = template::tolerations(subject.pod_spec).into();
    let judge = Judge::with(subject.pod_spec, tolerations.clone());
    let look = Look::new(subject, judge, seen.backoff, seen.unseen.writes(now), now);
    let (seats, homes) = look.seat_all(&seen.nodes, &claims.pods, &versions);
    let reread = seats.iter().filter(|(_, seat)| seat.has_unseen()).map(|(node, _)| node.clone()).collect();
    let book = Book::of(seats, look.question);
    let terms = Terms::of(subject);
    let mut ledger = Ledger { terms, versions, tolerations, history, book, homes, reread, as_of: now };
    let (mut plan, remarks) = ledger.round(subject, seen.unseen, before, now);
    plan.nodes = remarks.verdicts(ledger.book.entries());
    ledger.book.forget_idle();
    (plan, is_ordinary.then_some(ledger))
}

/// One look at the cluster: what seats are made and judged with.
struct Look<'a> {
    subject: &'a Subject<'a>,
    judge: Judge<'a>,
    writes: Writes<'a>,
    question: Question<'a>,
}

impl<'a> Look<'a> {
    fn new(
        subject: &'a Subject<'a>,
        judge: Judge<'a>,
        backoff: &'a Backoff,
        writes: Writes<'a>,
        now: Timestamp,
    ) -> Self {
        let question = Question {
            namespace: subject.namespace,
            generation: subject.generation,
            surges: budget::surges(subject.spec),
            backoff,
            now,
        };
        Self { subject, judge, writes, question }
    }

    /// All nodes, each with who sits there, and all pods, each with where it sits.
    fn seat_all(&self, nodes: &[&Node], pods: &[&Pod], versions: &Versions) -> (BTreeMap<Name, Seat>, Homes) {
        let listed = nodes.iter().map(|node| (node::name(node).into(), Seat::on(node, &self.judge)));
        let mut seats: BTreeMap<Name, Seat> = listed.collect();
        let homes = Homes::of(pods.iter().map(|pod| {
            let hash = pod::hash_label(pod);
            let Some((target, sitter)) = Sitter::of(pod, self.subject, versions) else {
                return (pod::name(pod).into(), None, hash);
            };
            let (name, seat) = (sitter.name.clone(), seats.entry(target.into()));
            let node = seat.key().clone();
            seat.or_default().add(sitter);
            (name, Some(node), hash)
        }));
        seats.iter_mut().for_each(|(node, seat)| seat.count_unseen(node, &self.writes));
        (seats, homes)
    }
}

impl Terms {
    fn of(subject: &Subject<'_>) -> Self {
        let Subject { uid, generation, template_generation, .. } = *subject;
        Self { uid: uid.to_string(), generation, template_generation }
    }
}

fn stand_still(standstill: Standstill) -> Plan {
    let event = (standstill == Standstill::SelectsAll).then(|| {
        let text = "This daemon set is selecting all pods. A non-empty selector is required.";
        Event::warning("SelectingAll", text.to_string())
    });
    Plan { standstill: Some(standstill), events: event.into_iter().collect(), ..Plan::default() }
}

/// Everything else needs the hash, and so waits for the next plan (RV-14).
fn raise_collision_count(subject: &Subject<'_>, claims: Claims<'_>, to: i32) -> Plan {
    let mut actions = claims.actions;
    actions.push(Action::RaiseCollisionCount { to });
    let status = subject.daemon_set.status.clone().unwrap_or_default();
    Plan { actions, status, ..Plan::default() }
}
