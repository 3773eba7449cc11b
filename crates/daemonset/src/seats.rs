//! Who sits where: a node with its placement and its daemons (MG-3, MG-4, EL-33).
//!
//! 1. Pods on a seat are sorted: bound before not bound, then older, then by name (MG-13).
//! 2. Pods that have ended *and* are being deleted sit nowhere (MG-3); only their hash still counts (MG-5).
//! 3. Our own writes count as done ([`Seat::count_unseen`]).
//! 4. A seat holds facts and no objects, so that it can be kept: what time changes is asked with the time.

use crate::placement::{Judge, Placement};
use crate::plan::Name;
use crate::snapshot::{GENERATION_LABEL, Subject};
use crate::unseen::Writes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use objects::pod::{self, Availability};
use objects::{node, node_affinity};
use std::collections::BTreeSet;

/// One node and its daemons.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Seat {
    /// `None` for a node that is not listed.
    pub(crate) placement: Option<Placement>,
    /// Its kubelet has not been heard of: nothing that happens there is known.
    pub(crate) silent: bool,
    /// In order.
    pub(crate) sitters: Vec<Sitter>,
    /// Pods that we have created and the cache does not show.
    pub(crate) coming: usize,
}

/// One daemon.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sitter {
    pub(crate) name: Name,
    pub(crate) uid: Box<str>,
    /// The version that all this is read from.
    pub(crate) resource_version: Box<str>,
    pub(crate) updated: bool,
    pub(crate) ready: bool,
    is_bound: bool,
    created: Option<Timestamp>,
    phase: Phase,
    /// As [`objects::pod::is_available`] says before the beginning of time.
    availability: Availability,
    /// Since when it is as it is: not ready, or told to end.
    since: Option<Timestamp>,
    /// We have deleted it, and the cache does not show it.
    deleted: bool,
}

/// What manage and rollout distinguish (MG-8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Told to end, by anyone.
    Ending,
    Failed,
    Succeeded,
    /// Anything else: pending, running, unknown.
    Running,
}

/// Tells updated pods from old ones (RU-5).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Versions {
    /// Hashes of the current revision and its equals (TK-1, TK-2).
    pub(crate) hashes: BTreeSet<String>,
    pub(crate) generation: Option<String>,
    pub(crate) born: Option<Timestamp>,
}

impl Seat {
    /// A node where nobody sits yet.
    pub(crate) fn on(node: &Node, judge: &Judge<'_>) -> Self {
        let mut seat = Self::default();
        seat.see(Some(node), judge);
        seat
    }

    /// Looks at the node; none for one that is not listed.
    pub(crate) fn see(&mut self, node: Option<&Node>, judge: &Judge<'_>) {
        self.silent = node.is_some_and(node::is_silent);
        self.placement = node.map(|node| judge.place(node));
    }

    /// Lets a pod sit down, in its place.
    pub(crate) fn add(&mut self, sitter: Sitter) {
        let place = self.sitters.partition_point(|other| other.rank() < sitter.rank());
        // Nearly all seats have one sitter, and there may be a million seats.
        self.sitters.reserve_exact(1);
        self.sitters.insert(place, sitter);
    }

    /// Counts our own writes as done.
    pub(crate) fn count_unseen(&mut self, node: &str, writes: &Writes<'_>) {
        for sitter in &mut self.sitters {
            sitter.deleted = writes.is_deleted(&sitter.uid);
        }
        let is_here = |uid: &str| self.sitters.iter().any(|sitter| *sitter.uid == *uid);
        let coming = writes.coming_to(node).iter().filter(|uid| !is_here(uid)).count();
        // On a node that is gone nothing arrives.
        self.coming = if self.placement.is_some() { coming } else { 0 };
    }

    /// Whether our own writes make a difference here.
    pub(crate) fn has_unseen(&self) -> bool {
        self.coming > 0 || self.sitters.iter().any(|sitter| sitter.deleted)
    }

    /// Whether a pod should be here.
    pub(crate) fn wanted(&self) -> bool {
        self.placement.as_ref().is_some_and(Placement::runs)
    }

    /// Whether nothing is here and nothing shall be.
    pub(crate) fn is_idle(&self) -> bool {
        !self.wanted() && self.sitters.is_empty() && self.coming == 0
    }

    /// The pod that speaks for the node in the status. BUG-6, as upstream: it is the oldest, so that an update shows only
    /// when the old pod is gone, and an old pod that is not ready hides a new one that is (ST-11).
    pub(crate) fn speaker(&self) -> Option<&Sitter> {
        self.sitters.first()
    }

    /// The pods that run or may run, in order.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Sitter> {
        self.sitters.iter().filter(|sitter| sitter.phase() == Phase::Running)
    }

    /// The pods that nobody has told to end, in order.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Sitter> {
        self.sitters.iter().filter(|sitter| sitter.phase() != Phase::Ending)
    }

    /// The pods that are only pinned to a node which is not listed: they will never get there (MG-15).
    pub(crate) fn strays(&self) -> impl Iterator<Item = &Sitter> {
        self.live().filter(|sitter| self.placement.is_none() && !sitter.is_bound)
    }

    /// The pods that a rollout sees: all but strays.
    pub(crate) fn residents(&self) -> impl Iterator<Item = &Sitter> {
        self.sitters.iter().filter(|sitter| self.placement.is_some() || sitter.is_bound)
    }

    /// Whether something has just been done here, or is to be done now.
    pub(crate) fn is_moving(&self) -> bool {
        self.sitters.is_empty() || self.has_unseen()
    }

    /// Whether a daemon can be expected to work here.
    pub(crate) fn is_expectant(&self) -> bool {
        self.wanted() && !self.silent
    }

    /// Since when something is waited for here, if it is: for a new pod to become available, or an old one to end.
    pub(crate) fn waits_since(&self, now: Timestamp) -> Option<Timestamp> {
        let is_fine = |pod: &Sitter| pod.updated && pod.phase() != Phase::Ending && pod.is_available(now);
        if self.speaker().is_some_and(is_fine) {
            return None;
        }
        let waited_for = |pod: &&Sitter| pod.phase() == Phase::Ending || !pod.is_available(now);
        self.sitters.iter().filter(waited_for).filter_map(|pod| pod.since(now)).max()
    }

    /// The next moment at which a pod here becomes available by waiting (BUG-15).
    pub(crate) fn matures(&self, now: Timestamp) -> Option<Timestamp> {
        self.sitters.iter().filter_map(|sitter| sitter.matures(now)).min()
    }
}

impl Sitter {
    /// A pod of ours and the node that it is for; none for a pod without a readable target (EL-33), and for one that has
    /// ended and is being deleted (MG-3).
    pub(crate) fn of<'p>(
        pod: &'p Pod,
        subject: &Subject<'_>,
        versions: &Versions,
    ) -> Option<(&'p str, Self)> {
        let target = target(pod)?;
        if pod::is_terminal(pod) && pod::is_terminating(pod) {
            return None;
        }
        let phase = match pod::phase(pod) {
            _ if pod::is_terminating(pod) => Phase::Ending,
            "Failed" => Phase::Failed,
            "Succeeded" => Phase::Succeeded,
            _ => Phase::Running,
        };
        let meta = &pod.metadata;
        let sitter = Self {
            name: pod::name(pod).into(),
            uid: meta.uid.as_deref().unwrap_or_default().into(),
            resource_version: meta.resource_version.as_deref().unwrap_or_default().into(),
            updated: versions.is_updated(pod),
            ready: pod::is_ready(pod),
            is_bound: pod::node_name(pod).is_some(),
            created: meta.creation_timestamp.as_ref().map(|time| time.0),
            phase,
            availability: pod::is_available(pod, subject.min_ready_seconds, Timestamp::MIN),
            since: since(pod),
            deleted: false,
        };
        Some((target, sitter))
    }

    pub(crate) fn phase(&self) -> Phase {
        if self.deleted { Phase::Ending } else { self.phase }
    }

    /// RU-3.
    pub(crate) fn is_available(&self, now: Timestamp) -> bool {
        match self.availability {
            Availability::Yes => true,
            Availability::After(end) => end < now,
            Availability::No => false,
        }
    }

    /// When it becomes available if it stays ready; none if it is, or waiting does not help.
    pub(crate) fn matures(&self, now: Timestamp) -> Option<Timestamp> {
        match self.availability {
            Availability::After(end) if end >= now => Some(end),
            _ => None,
        }
    }

    fn since(&self, now: Timestamp) -> Option<Timestamp> {
        self.matures(now).or(self.since)
    }

    /// Who comes first (MG-13), and stays where one is enough and none serves.
    fn rank(&self) -> (bool, Option<Timestamp>, &str) {
        (!self.is_bound, self.created, &self.name)
    }
}

impl Versions {
    pub(crate) fn of(subject: &Subject<'_>, hashes: BTreeSet<String>) -> Self {
        let generation = subject.template_generation.map(|generation| generation.to_string());
        Self { hashes, generation, born: subject.born }
    }

    /// RU-5. Differs: the generation label of a pod that is older than the DaemonSet is not believed, because it was
    /// counted for a predecessor (TK-8, BUG-21).
    pub(crate) fn is_updated(&self, pod: &Pod) -> bool {
        if pod::hash_label(pod).is_some_and(|hash| self.hashes.contains(hash)) {
            return true;
        }
        self.generation.is_some()
            && pod::label(pod, GENERATION_LABEL) == self.generation.as_deref()
            && !is_inherited(pod, self.born)
    }
}

/// Whether a pod is older than the DaemonSet, and so was made by a predecessor (TK-8).
pub(crate) fn is_inherited(pod: &Pod, born: Option<Timestamp>) -> bool {
    let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    created.zip(born).is_some_and(|(created, born)| created < born)
}

/// EL-33.
fn target(pod: &Pod) -> Option<&str> {
    node_affinity::target_node(pod.spec.as_ref()?).ok()
}

fn since(pod: &Pod) -> Option<Timestamp> {
    let ready = || pod::condition(pod, "Ready").and_then(|ready| ready.last_transition_time.as_ref());
    let meta = &pod.metadata;
    meta.deletion_timestamp.as_ref().or_else(ready).or(meta.creation_timestamp.as_ref()).map(|time| time.0)
}
