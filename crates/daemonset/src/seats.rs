//! Who sits where: every node with its placement and its daemons (MG-3, MG-4, EL-33).
//!
//! 1. A node that is listed has a seat, wanted or not; a node that is not listed has one while pods are bound to it.
//! 2. Pods that have ended *and* are being deleted sit nowhere (MG-3). Pods without a readable target neither (EL-33).
//! 3. Pods on a seat are sorted: bound before not bound, then older, then by name (MG-13).
//! 4. Our own writes count as done: see [`Unseen`](crate::Unseen).

use crate::placement::{Judge, Placement};
use crate::plan::Doing;
use crate::snapshot::GENERATION_LABEL;
use crate::snapshot::{Snapshot, Subject};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use objects::pod::{self, Availability};
use objects::{node, node_affinity};
use std::collections::{BTreeMap, BTreeSet};

/// All seats by node name.
pub(crate) type Seats<'a> = BTreeMap<&'a str, Seat<'a>>;

/// One node and its daemons.
#[derive(Debug)]
pub(crate) struct Seat<'a> {
    /// `None` for a node that is not listed.
    pub(crate) placement: Option<Placement>,
    pub(crate) sitters: Vec<Sitter<'a>>,
    /// Pods that we have created and the cache does not show.
    pub(crate) coming: usize,
    pub(crate) doing: Option<Doing>,
}

/// One daemon.
#[derive(Debug, Clone)]
pub(crate) struct Sitter<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) phase: Phase,
    pub(crate) updated: bool,
    pub(crate) availability: Availability,
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
#[derive(Debug)]
pub(crate) struct Versions<'a> {
    /// Hashes of the current revision and its equals (TK-1, TK-2).
    pub(crate) hashes: &'a BTreeSet<String>,
    pub(crate) generation: Option<String>,
    pub(crate) born: Option<Timestamp>,
}

/// All seats, and the pods that are pinned to nodes which do not exist (MG-15).
pub(crate) fn seats<'a>(
    seen: &Snapshot<'a>,
    subject: &Subject<'a>,
    pods: &[&'a Pod],
    versions: &Versions<'_>,
    now: Timestamp,
) -> (Seats<'a>, Vec<Sitter<'a>>) {
    let judge = Judge::of(subject.pod_spec);
    let mut seats: Seats<'a> = seen
        .nodes
        .iter()
        .map(|node| (node::name(node), Seat { placement: Some(judge.place(node)), ..Seat::empty() }))
        .collect();
    let mut strays = Vec::new();
    for pod in pods {
        let Some(target) = target(pod) else { continue };
        let sitter = sitter(pod, seen, subject, versions, now);
        if pod::is_terminal(pod) && pod::is_terminating(pod) {
            continue;
        }
        match seats.get_mut(target) {
            Some(seat) => seat.sitters.push(sitter),
            None if pod::node_name(pod).is_none() => strays.push(sitter),
            None => seats.entry(target).or_insert_with(Seat::empty).sitters.push(sitter),
        }
    }
    seats.values_mut().for_each(|seat| seat.sitters.sort_by(|a, b| a.rank().cmp(&b.rank())));
    add_coming(&mut seats, seen, now);
    (seats, strays)
}

impl<'a> Seat<'a> {
    fn empty() -> Self {
        Self { placement: None, sitters: Vec::new(), coming: 0, doing: None }
    }

    /// Whether a pod should be here.
    pub(crate) fn wanted(&self) -> bool {
        self.placement.as_ref().is_some_and(Placement::runs)
    }

    /// The pods that run or may run, in order.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Sitter<'a>> {
        self.sitters.iter().filter(|sitter| sitter.phase == Phase::Running)
    }

    /// The pods that nobody has told to end, in order.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Sitter<'a>> {
        self.sitters.iter().filter(|sitter| sitter.phase != Phase::Ending)
    }
}

impl<'a> Sitter<'a> {
    pub(crate) fn name(&self) -> &'a str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn uid(&self) -> &'a str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(crate) fn is_available(&self) -> bool {
        self.availability == Availability::Yes
    }

    pub(crate) fn is_ready(&self) -> bool {
        pod::is_ready(self.pod)
    }

    /// MG-13.
    fn rank(&self) -> (bool, Option<Timestamp>, &'a str) {
        let created = self.pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (pod::node_name(self.pod).is_none(), created, self.name())
    }
}

impl Versions<'_> {
    /// RU-5. Differs: the generation label of a pod that is older than the DaemonSet is not believed, because it was
    /// counted for a predecessor (TK-8, BUG-21).
    pub(crate) fn is_updated(&self, pod: &Pod) -> bool {
        if pod::hash_label(pod).is_some_and(|hash| self.hashes.contains(hash)) {
            return true;
        }
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let inherited = created.zip(self.born).is_some_and(|(created, born)| created < born);
        !inherited
            && self.generation.is_some()
            && pod::label(pod, GENERATION_LABEL) == self.generation.as_deref()
    }
}

/// EL-33.
pub(crate) fn target(pod: &Pod) -> Option<&str> {
    node_affinity::target_node(pod.spec.as_ref()?).ok()
}

fn sitter<'a>(
    pod: &'a Pod,
    seen: &Snapshot<'_>,
    subject: &Subject<'_>,
    versions: &Versions<'_>,
    now: Timestamp,
) -> Sitter<'a> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let phase = match pod::phase(pod) {
        _ if pod::is_terminating(pod) || seen.unseen.is_deleted(uid, now) => Phase::Ending,
        "Failed" => Phase::Failed,
        "Succeeded" => Phase::Succeeded,
        _ => Phase::Running,
    };
    let availability = pod::is_available(pod, subject.min_ready_seconds, now);
    Sitter { pod, phase, updated: versions.is_updated(pod), availability }
}

fn add_coming<'a>(seats: &mut Seats<'a>, seen: &Snapshot<'a>, now: Timestamp) {
    if seen.unseen.is_empty() {
        return;
    }
    let shown: BTreeSet<&str> = seen.pods.iter().filter_map(|pod| pod.metadata.uid.as_deref()).collect();
    for (_, node) in seen.unseen.coming(now).filter(|(uid, _)| !shown.contains(uid)) {
        // On a node that is not listed nothing is planned anyway.
        if let Some(seat) = seats.get_mut(node) {
            seat.coming += 1;
        }
    }
}
