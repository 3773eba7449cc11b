//! A DaemonSet's [`Book`], kept up to date: a change of one node or pod costs that pair and the sums.
//!
//! 1. [`Ledger::open`] reads everything, once. [`Ledger::update`] reads only what was touched, again from the objects as
//!    they are now: a ledger gets names and never changes, so that a lost or doubled event does no harm.
//! 2. Both give the same plan (but for `nodes`, of which an update has only the touched ones). `tests/ledger` holds one
//!    against the other.
//! 3. What is rare is not kept up to date: another template, another revision, an object to adopt or release. Then there
//!    is no ledger, and everything is read again.
//!
//! Kubernetes passes over all nodes and pods at every event.

use crate::backoff::Backoff;
use crate::book::Book;
use crate::budget;
use crate::claims::{self, Claims};
use crate::coverage::Question;
use crate::placement::Judge;
use crate::plan::{Action, Event, Plan};
use crate::revision::{self, Collision, History};
use crate::round::{Round, Said};
use crate::seats::{NodeName, Seat, Sitter, Versions};
use crate::snapshot::{Snapshot, Standstill, Subject};
use crate::template;
use crate::unseen::{Overlay, Unseen};
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
    /// Nodes where our own writes, or a failure that we have noted, make a difference: read again every time.
    shadowed: BTreeSet<NodeName>,
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

    /// The next plan. `None`, and no ledger any more, if something is to be adopted or released, or the object is not the
    /// one that it was.
    pub fn update(mut self, seen: &Update<'_>, now: Timestamp) -> Option<(Plan, Self)> {
        let subject = Subject::read(seen.daemon_set, seen.raw).ok()?;
        if self.terms != Terms::of(&subject) {
            return None;
        }
        let writes = seen.unseen.overlay(now);
        let mut stale = std::mem::take(&mut self.shadowed);
        stale.extend(self.book.due(now).cloned());
        stale.extend(seen.touched.nodes.iter().map(String::as_str).chain(writes.nodes()).map(NodeName::from));
        let mut opened: BTreeMap<NodeName, Seat> = BTreeMap::new();
        for name in &seen.touched.pods {
            self.move_pod(name, (seen.pod)(name).as_deref(), &subject, &mut opened)?;
        }
        for node in stale {
            self.open_seat(&node, &mut opened);
        }
        let judge = Judge::with(subject.pod_spec, self.tolerations.clone());
        let desk = Desk::new(&subject, judge, seen.backoff, writes, now);
        let touched: Vec<NodeName> = opened.keys().cloned().collect();
        for (node, mut seat) in opened {
            desk.place(&node, (seen.node)(&node).as_deref(), &mut seat);
            self.enter(node, seat, &desk);
        }
        let (mut plan, said) = self.round(&subject, seen.unseen, Vec::new(), now);
        plan.nodes = said.verdicts(touched.iter().filter_map(|node| Some((node, self.book.entry(node)?))));
        touched.iter().for_each(|node| self.book.forget_if_idle(node));
        Some((plan, self))
    }

    /// A pod as it is now takes its place, and leaves the one it had.
    fn move_pod(
        &mut self,
        name: &str,
        pod: Option<&Pod>,
        subject: &Subject<'_>,
        opened: &mut BTreeMap<NodeName, Seat>,
    ) -> Option<()> {
        if let Some(node) = self.homes.leave(name) {
            self.open_seat(&node, opened).sitters.retain(|sitter| *sitter.name != *name);
        }
        let Some(pod) = pod else { return Some(()) };
        match claims::answer(&pod.metadata, subject) {
            Claim::Ignore => {}
            Claim::Adopt | Claim::Release => return None,
            Claim::Own => {
                let sitter = Sitter::of(pod, subject, &self.versions);
                let home = sitter.map(|(target, sitter)| {
                    let node = NodeName::from(target);
                    self.open_seat(&node, opened).take(sitter);
                    node
                });
                self.homes.settle(pod, home);
            }
        }
        Some(())
    }

    fn open_seat<'o>(&mut self, node: &NodeName, opened: &'o mut BTreeMap<NodeName, Seat>) -> &'o mut Seat {
        let book = &mut self.book;
        opened
            .entry(node.clone())
            .or_insert_with(|| book.take(node).map(|(_, seat)| seat).unwrap_or_default())
    }

    fn enter(&mut self, node: NodeName, seat: Seat, desk: &Desk<'_>) {
        if seat.is_shadowed() {
            self.shadowed.insert(node.clone());
        }
        self.book.put(node, seat, desk.question);
    }

    fn round(
        &mut self,
        subject: &Subject<'_>,
        unseen: &Unseen,
        before: Vec<Action>,
        now: Timestamp,
    ) -> (Plan, Said) {
        let round = Round { subject, hash: &self.history.hash, unseen, now };
        let drops = || self.history.truncate(subject, |hash| self.homes.is_carried(hash));
        let (plan, said) = round.plan(&self.book, before, drops);
        self.shadowed.extend(said.acted().cloned());
        (plan, said)
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
    let unseen = seen.unseen.clone().without(seen.pods.iter().copied());
    let versions = Versions::of(subject, history.hashes.clone());
    let mut ledger = Ledger {
        terms: Terms::of(subject),
        versions,
        tolerations: template::tolerations(subject.pod_spec).into(),
        history,
        book: Book::default(),
        homes: Homes::default(),
        shadowed: BTreeSet::new(),
    };
    let judge = Judge::with(subject.pod_spec, ledger.tolerations.clone());
    let desk = Desk::new(subject, judge, seen.backoff, unseen.overlay(now), now);
    for (name, (node, mut seat)) in ledger.seats(seen, subject, &claims.pods) {
        desk.place(&name, node, &mut seat);
        ledger.enter(name, seat, &desk);
    }
    let (mut plan, said) = ledger.round(subject, &unseen, before, now);
    plan.nodes = said.verdicts(ledger.book.entries());
    ledger.book.forget_idle();
    (plan, is_ordinary.then_some(ledger))
}

impl Ledger {
    /// All nodes, each with who sits there.
    fn seats<'n>(
        &mut self,
        seen: &Snapshot<'n>,
        subject: &Subject<'_>,
        pods: &[&Pod],
    ) -> BTreeMap<NodeName, (Option<&'n Node>, Seat)> {
        let listed = seen.nodes.iter().map(|node| (node::name(node).into(), (Some(*node), Seat::default())));
        let mut seats: BTreeMap<NodeName, (Option<&Node>, Seat)> = listed.collect();
        for pod in pods {
            let home = Sitter::of(pod, subject, &self.versions).map(|(target, sitter)| {
                let node =
                    seats.get_key_value(target).map_or_else(|| target.into(), |(node, _)| node.clone());
                seats.entry(node.clone()).or_default().1.take(sitter);
                node
            });
            self.homes.settle(pod, home);
        }
        seats
    }
}

/// What seats are judged with.
struct Desk<'a> {
    judge: Judge<'a>,
    writes: Overlay<'a>,
    question: Question<'a>,
}

impl<'a> Desk<'a> {
    fn new(
        subject: &'a Subject<'a>,
        judge: Judge<'a>,
        backoff: &'a Backoff,
        writes: Overlay<'a>,
        now: Timestamp,
    ) -> Self {
        let question = Question {
            namespace: subject.namespace,
            generation: subject.generation,
            surges: budget::surges(subject.spec),
            backoff,
            now,
        };
        Self { judge, writes, question }
    }

    fn place(&self, name: &str, node: Option<&Node>, seat: &mut Seat) {
        seat.see(node, node.map(|node| self.judge.place(node)));
        seat.overlay(name, &self.writes);
    }
}

/// Where each pod of ours sits, and how many carry which hash.
#[derive(Debug, Clone, Default)]
struct Homes {
    by_pod: BTreeMap<Box<str>, Home>,
    hashes: BTreeMap<Arc<str>, usize>,
}

#[derive(Debug, Clone)]
struct Home {
    node: Option<NodeName>,
    hash: Option<Arc<str>>,
}

impl Homes {
    /// A pod that sits nowhere still carries its hash (MG-5).
    fn settle(&mut self, pod: &Pod, node: Option<NodeName>) {
        let hash = pod::hash_label(pod).map(|hash| self.carry(hash));
        self.by_pod.insert(pod.metadata.name.as_deref().unwrap_or_default().into(), Home { node, hash });
    }

    fn carry(&mut self, hash: &str) -> Arc<str> {
        let hash = self.hashes.get_key_value(hash).map_or_else(|| hash.into(), |(hash, _)| hash.clone());
        *self.hashes.entry(hash.clone()).or_default() += 1;
        hash
    }

    fn leave(&mut self, pod: &str) -> Option<NodeName> {
        let Home { node, hash } = self.by_pod.remove(pod)?;
        if let Some(hash) = hash
            && let Some(count) = self.hashes.get_mut(&hash)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.hashes.remove(&hash);
            }
        }
        node
    }

    fn is_carried(&self, hash: &str) -> bool {
        self.hashes.contains_key(hash)
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
