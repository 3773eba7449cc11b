//! Which waiting pod is tried next, and when one that failed is tried again.
//!
//! ```text
//!            push                 pop                    bound, deleted
//!  (new) ───────────▶ active ───────────▶ in flight ───────────────────▶ (gone)
//!                       ▲  ▲                │    │
//!            time passed│  │wake            │    │ failed (a node may change)
//!                       │  └────────────┐   │    ▼
//!                    back-off ◀─────────┼───┘  unschedulable
//!                       ▲      error    │        │
//!                       └───────────────┴────────┘ wake while the back-off still runs
//! ```
//! 1. A pod is in at most one place.
//! 2. What happens while an attempt is in flight is not lost: a failed attempt that it concerns goes to back-off.
//! 3. Nobody is forgotten: after [`LONGEST_SLEEP`] an unschedulable pod is tried without any event.
//! 4. An event of a node costs nothing for those who wait for other nodes.
//!
//! `now` is an argument. Kubernetes: backend/queue/scheduling_queue.go.

mod event;

pub use event::{ClusterEvent, Interest, NodeChanges};

use crate::cluster::key_of;
use crate::demand::Demand;
use crate::filter::node_affinity::{Eligible, eligible};
use crate::why::Unschedulable;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use objects::key::ObjectKey;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Back-off after the first failure; doubled by each. Kubernetes: podInitialBackoffSeconds.
pub const FIRST_BACK_OFF: SignedDuration = SignedDuration::from_secs(1);

/// The longest back-off. Kubernetes: podMaxBackoffSeconds.
pub const LONGEST_BACK_OFF: SignedDuration = SignedDuration::from_secs(10);

/// An unschedulable pod is tried after this even if nothing happened: against events that we misjudge.
/// Kubernetes: DefaultPodMaxInUnschedulablePodsDuration.
pub const LONGEST_SLEEP: SignedDuration = SignedDuration::from_secs(5 * 60);

/// Events that are kept during one attempt; after more of them it is tried again whatever they were.
const MEANWHILE_MAX: usize = 64;

/// Pods that wait for a node.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: BTreeMap<ObjectKey, Waiting>,
    active: BTreeSet<Rank>,
    /// By the moment at which the back-off ends.
    backing_off: BTreeSet<(Timestamp, ObjectKey)>,
    in_flight: BTreeSet<ObjectKey>,
    asleep: Asleep,
}

/// Unschedulable pods, by what can wake them.
#[derive(Debug, Default)]
struct Asleep {
    by_time: BTreeSet<(Timestamp, ObjectKey)>,
    /// Those who name their nodes, and wait for nothing that happens elsewhere.
    by_node: BTreeMap<String, BTreeSet<ObjectKey>>,
    anywhere: BTreeSet<ObjectKey>,
    /// Those who were refused for pods of other nodes.
    around: BTreeSet<ObjectKey>,
}

/// A pod that is to be tried now.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Its key, for the answer.
    pub key: ObjectKey,
    /// The pod as it was seen last.
    pub pod: Arc<Pod>,
    /// 1 for the first.
    pub number: u32,
}

#[derive(Debug)]
struct Waiting {
    pod: Arc<Pod>,
    rank: Rank,
    interest: Interest,
    failures: u32,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Active,
    BackOff { until: Timestamp },
    InFlight { meanwhile: Vec<ClusterEvent> },
    Unschedulable { since: Timestamp, why: Unschedulable },
}

/// The order of attempts: important first, daemons before others (a node without its daemons is of no use to
/// them), then who was created first, then who came first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    priority: Reverse<i32>,
    daemon: Reverse<bool>,
    created: Option<Timestamp>,
    since: Timestamp,
    key: ObjectKey,
}

impl Queue {
    /// Takes a pod in, or its newer version. A version that differs only in what the scheduler does not read
    /// (status, annotations) changes nothing; another one is tried again.
    pub fn push(&mut self, pod: Arc<Pod>, now: Timestamp) {
        let Some(key) = key_of(&pod) else { return };
        match self.waiting.get_mut(&key) {
            Some(waiting) if waiting.pod.metadata.uid != pod.metadata.uid => {
                self.remove(&key);
                self.start(key, pod, now);
            }
            Some(waiting) if reads_same(&waiting.pod, &pod) => waiting.pod = pod,
            Some(_) => self.change(&key, pod, now),
            None => self.start(key, pod, now),
        }
    }

    /// A pod is bound or gone.
    pub fn remove(&mut self, key: &ObjectKey) {
        self.leave(key);
        self.waiting.remove(key);
    }

    /// The next pod to try; it is in flight until [`Queue::remove`], [`Queue::failed`] or [`Queue::error`].
    pub fn pop(&mut self, now: Timestamp) -> Option<Attempt> {
        self.wake_in_time(now);
        let rank = self.active.pop_first()?;
        let waiting = self.waiting.get_mut(&rank.key)?;
        waiting.place = Place::InFlight { meanwhile: Vec::new() };
        self.in_flight.insert(rank.key.clone());
        Some(Attempt { key: rank.key, pod: waiting.pod.clone(), number: waiting.failures + 1 })
    }

    /// No node took it. It sleeps until something happens that could change this.
    pub fn failed(&mut self, key: &ObjectKey, why: Unschedulable, now: Timestamp) {
        let Some(waiting) = self.waiting.get_mut(key) else { return };
        let Place::InFlight { meanwhile } = &waiting.place else { return };
        waiting.failures = waiting.failures.saturating_add(1);
        if meanwhile.iter().any(|event| event.concerns(&waiting.interest, &why)) {
            self.back_off(key, now, now);
        } else {
            self.sleep(key, why, now);
        }
    }

    /// The attempt itself failed, a binding for instance: tried again after the back-off.
    pub fn error(&mut self, key: &ObjectKey, now: Timestamp) {
        let Some(waiting) = self.waiting.get_mut(key) else { return };
        if matches!(waiting.place, Place::InFlight { .. }) {
            waiting.failures = waiting.failures.saturating_add(1);
            self.back_off(key, now, now);
        }
    }

    /// What it sleeps for will not come, an eviction that failed for instance: tried again after the back-off.
    pub fn reconsider(&mut self, key: &ObjectKey, now: Timestamp) {
        if let Some(Place::Unschedulable { since, .. }) = self.waiting.get(key).map(|waiting| &waiting.place)
        {
            self.back_off(key, *since, now);
        }
    }

    /// Something happened: whoever was refused for what it changes is tried again.
    pub fn wake(&mut self, event: &ClusterEvent, now: Timestamp) {
        for key in &self.in_flight {
            if let Some(Waiting { place: Place::InFlight { meanwhile }, .. }) = self.waiting.get_mut(key)
                && !meanwhile.contains(event)
            {
                let full = meanwhile.len() >= MEANWHILE_MAX;
                meanwhile.push(if full { ClusterEvent::PodChanged } else { event.clone() });
                meanwhile.truncate(MEANWHILE_MAX + 1);
            }
        }
        let mut woken = Vec::new();
        for key in self.asleep.within_reach_of(event) {
            if let Some(waiting) = self.waiting.get(key)
                && let Place::Unschedulable { since, why } = &waiting.place
                && event.concerns(&waiting.interest, why)
            {
                woken.push((key.clone(), *since));
            }
        }
        for (key, since) in woken {
            self.back_off(&key, since, now);
        }
    }

    /// When [`Queue::pop`] has something again though nothing happens; none if only events can help.
    /// In the past when it has something now.
    pub fn next_wake(&self) -> Option<Timestamp> {
        if let Some(first) = self.active.first() {
            return Some(first.since);
        }
        let backing_off = self.backing_off.first().map(|(until, _)| *until);
        let asleep = self.asleep.by_time.first().map(|(since, _)| later(*since, LONGEST_SLEEP));
        asleep.into_iter().chain(backing_off).min()
    }

    /// How many pods wait, in whatever place.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn start(&mut self, key: ObjectKey, pod: Arc<Pod>, now: Timestamp) {
        let waiting = Waiting {
            rank: Rank::of(&pod, key.clone(), now),
            interest: Interest::of(&pod),
            pod,
            failures: 0,
            place: Place::Active,
        };
        self.active.insert(waiting.rank.clone());
        self.waiting.insert(key, waiting);
    }

    /// Another spec: what was found out about the old one is worth nothing.
    fn change(&mut self, key: &ObjectKey, pod: Arc<Pod>, now: Timestamp) {
        let Some(waiting) = self.waiting.get_mut(key) else { return };
        match &mut waiting.place {
            Place::InFlight { meanwhile } => meanwhile.push(ClusterEvent::PodChanged),
            Place::Active => drop(self.active.remove(&waiting.rank)),
            Place::BackOff { .. } => {}
            Place::Unschedulable { since, .. } => {
                let since = *since;
                self.back_off(key, since, now);
            }
        }
        let Some(waiting) = self.waiting.get_mut(key) else { return };
        self.active.remove(&waiting.rank);
        waiting.rank = Rank::of(&pod, key.clone(), waiting.rank.since);
        waiting.interest = Interest::of(&pod);
        waiting.pod = pod;
        if matches!(waiting.place, Place::Active) {
            self.active.insert(waiting.rank.clone());
        }
    }

    /// To back-off counted from the last attempt, or straight to the active ones if it is over.
    fn back_off(&mut self, key: &ObjectKey, attempted: Timestamp, now: Timestamp) {
        self.leave(key);
        let Some(waiting) = self.waiting.get_mut(key) else { return };
        let until = later(attempted, back_off_after(waiting.failures));
        if until <= now {
            self.activate(key);
        } else {
            waiting.place = Place::BackOff { until };
            self.backing_off.insert((until, key.clone()));
        }
    }

    fn activate(&mut self, key: &ObjectKey) {
        self.leave(key);
        if let Some(waiting) = self.waiting.get_mut(key) {
            waiting.place = Place::Active;
            self.active.insert(waiting.rank.clone());
        }
    }

    fn sleep(&mut self, key: &ObjectKey, why: Unschedulable, now: Timestamp) {
        self.leave(key);
        if let Some(waiting) = self.waiting.get_mut(key) {
            let looks_around = why.refused_by.iter().any(|plugin| plugin.looks_around());
            self.asleep.insert(key, now, &waiting.interest, looks_around);
            waiting.place = Place::Unschedulable { since: now, why };
        }
    }

    /// Takes a pod out of the list of its place.
    fn leave(&mut self, key: &ObjectKey) {
        let Some(waiting) = self.waiting.get(key) else { return };
        match waiting.place {
            Place::Active => drop(self.active.remove(&waiting.rank)),
            Place::BackOff { until } => drop(self.backing_off.remove(&(until, key.clone()))),
            Place::InFlight { .. } => drop(self.in_flight.remove(key)),
            Place::Unschedulable { since, .. } => self.asleep.remove(key, since, &waiting.interest),
        }
    }

    fn wake_in_time(&mut self, now: Timestamp) {
        while let Some((until, key)) = self.backing_off.first()
            && *until <= now
        {
            let key = key.clone();
            self.activate(&key);
        }
        while let Some((since, key)) = self.asleep.by_time.first()
            && later(*since, LONGEST_SLEEP) <= now
        {
            let key = key.clone();
            self.activate(&key);
        }
    }
}

impl Asleep {
    fn insert(&mut self, key: &ObjectKey, since: Timestamp, interest: &Interest, looks_around: bool) {
        self.by_time.insert((since, key.clone()));
        match &interest.pins {
            _ if looks_around => drop(self.around.insert(key.clone())),
            Eligible::Named(nodes) => nodes.iter().for_each(|node| {
                self.by_node.entry(node.clone()).or_default().insert(key.clone());
            }),
            Eligible::All | Eligible::Conflict => drop(self.anywhere.insert(key.clone())),
        }
    }

    fn remove(&mut self, key: &ObjectKey, since: Timestamp, interest: &Interest) {
        self.by_time.remove(&(since, key.clone()));
        self.anywhere.remove(key);
        self.around.remove(key);
        if let Eligible::Named(nodes) = &interest.pins {
            for node in nodes {
                let Some(keys) = self.by_node.get_mut(node) else { continue };
                keys.remove(key);
                if keys.is_empty() {
                    self.by_node.remove(node);
                }
            }
        }
    }

    fn within_reach_of<'a>(&'a self, event: &ClusterEvent) -> Box<dyn Iterator<Item = &'a ObjectKey> + 'a> {
        match (event, event.node()) {
            // One pod more helps only those who look around.
            (ClusterEvent::PodPlaced { .. }, _) => Box::new(self.around.iter()),
            (_, Some(node)) => {
                let here = self.by_node.get(node).into_iter().flatten();
                Box::new(here.chain(&self.anywhere).chain(&self.around))
            }
            (_, None) => Box::new(self.by_time.iter().map(|(_, key)| key)),
        }
    }
}

impl Interest {
    fn of(pod: &Pod) -> Self {
        let pins = pod.spec.as_ref().map_or(Eligible::All, eligible);
        Self { pins, demand: Demand::of(pod) }
    }
}

impl Rank {
    fn of(pod: &Pod, key: ObjectKey, since: Timestamp) -> Self {
        let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
        let owner = objects::owner::controller_of(&pod.metadata);
        let daemon = owner.is_some_and(|owner| owner.kind == "DaemonSet");
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        Self { priority: Reverse(priority), daemon: Reverse(daemon), created, since, key }
    }
}

/// 1 s, 2 s, 4 s, 8 s, 10 s, 10 s …
fn back_off_after(failures: u32) -> SignedDuration {
    let doublings = failures.saturating_sub(1).min(10);
    FIRST_BACK_OFF.saturating_mul(1 << doublings).min(LONGEST_BACK_OFF)
}

fn later(from: Timestamp, duration: SignedDuration) -> Timestamp {
    from.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// Whether a decision about one holds for the other.
fn reads_same(one: &Pod, other: &Pod) -> bool {
    one.spec == other.spec
        && one.metadata.labels == other.metadata.labels
        && one.metadata.owner_references == other.metadata.owner_references
}

#[cfg(test)]
mod tests;
