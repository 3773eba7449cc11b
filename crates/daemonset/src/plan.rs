//! What shall be done, in which order, and why: the answer of [`plan`](crate::plan()), and how it reads as text.
//!
//! 1. Actions stand in the order in which they are carried out. Creates may run in parallel batches (MG-20), deletes
//!    all at once (MG-21); the rest one by one.
//! 2. After a failed action for which [`Action::is_barrier`] holds nothing else of the plan is done (MG-1.5, OW-8).
//!    Any other failure stops its kind at most: the status is written in any case (MG-1.10).
//! 3. Texts of reasons are Kubernetes' where it has them.

mod event;
mod text;

pub use event::{Event, EventKind};

use crate::backoff;
use crate::hold::Hold;
use crate::placement::Placement;
use crate::revision::NewRevision;
use crate::snapshot::Standstill;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSetStatus;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The name of a node or a pod, shared by all that mention it.
pub type Name = Arc<str>;

/// The answer to one snapshot.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Why nothing is planned; everything below is then empty, but for events.
    pub standstill: Option<Standstill>,
    /// What to do, in order.
    pub actions: Vec<Action>,
    /// Every node of the snapshot: whether it wants a daemon, why not, and what happens there now.
    pub nodes: BTreeMap<Name, Verdict>,
    /// The status as it should be; an action writes it if it differs.
    pub status: DaemonSetStatus,
    /// Events to emit on the DaemonSet before acting.
    pub events: Vec<Event>,
    /// What the new status says that the old one did not: events to emit when it is written.
    pub news: Vec<Event>,
    /// Failures to remember once the plan is carried out ([`backoff::Backoff::apply`]).
    pub backoff: Vec<(String, backoff::Failure)>,
    /// When to plan again even if nothing happens.
    pub wake_at: Option<Timestamp>,
    /// There was more to do than one plan may (MG-17): plan again when this one is carried out.
    pub more: bool,
    /// What is wrong with the DaemonSet and keeps a part of the work from being planned. The loop reports it as the
    /// error of this round.
    pub problems: Vec<String>,
}

/// What happens to one node.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Whether the node wants a daemon.
    pub placement: Placement,
    /// What happens there now.
    pub doing: Doing,
}

/// What happens on a node now.
#[derive(Debug, Clone, PartialEq)]
pub enum Doing {
    /// Nothing is there, and nothing shall be.
    Nothing,
    /// A daemon is there and stays.
    Serving {
        /// The pod.
        pod: Name,
    },
    /// A pod is created.
    Creating,
    /// A pod has been created, and the cache does not show it yet.
    Coming,
    /// A pod is deleted.
    Deleting {
        /// The pod.
        pod: Name,
        /// Why.
        cause: Cause,
    },
    /// The old pod must be gone before a new one comes (MG-4).
    WaitingForEnd {
        /// The pod.
        pod: Name,
    },
    /// A daemon has failed, or ended by itself; its next try comes later (MG-9).
    BackingOff {
        /// The pod that has ended.
        pod: Name,
        /// Until when.
        until: Timestamp,
    },
    /// The old pod stays until others are available (RU-8, RU-15).
    WaitingForBudget {
        /// The old pod.
        pod: Name,
    },
    /// Both pods stay until the new one is available (RU-14).
    WaitingForNew {
        /// The old pod.
        old: Name,
    },
    /// The pod is outdated, and there is a reason to leave it alone.
    OnHold {
        /// The old pod.
        pod: Name,
        /// Why.
        why: Hold,
    },
    /// It will be done in a later plan (MG-17).
    NextBurst,
}

/// Why a pod is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The node does not want a daemon any more (MG-6 C).
    NotWanted(String),
    /// It has failed (MG-9).
    Failed,
    /// It has ended by itself (MG-11).
    Succeeded,
    /// Another pod of the DaemonSet is kept on the node (MG-13, MG-14).
    Duplicate {
        /// The kept one.
        kept: Name,
    },
    /// Its node is gone, before it got there (MG-15).
    NodeGone,
    /// It is of an older template, and not available (RU-8).
    OutdatedUnavailable,
    /// It is of an older template, and its turn has come (RU-8).
    Outdated,
    /// A pod of the new template takes its place (RU-14, MG-14).
    Superseded,
    /// It is of an older template on a node that wants none; more are available than needed (RU-16).
    Surplus,
}

/// One thing to do through the API. Names are within the DaemonSet's namespace.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Read the DaemonSet from the server (not the cache): same uid and not terminating, or stop (OW-7). Stands before
    /// the first adoption.
    ConfirmAlive,
    /// Strategic merge patch of a pod: adopt or release. 404 is fine; 422 is fine for a release (OW-6, OW-7).
    ClaimPod {
        /// Name of the pod.
        name: String,
        /// Adopt or release.
        claim: Change,
        /// The body; it carries the uid as a precondition.
        patch: Value,
    },
    /// The same for a ControllerRevision (RV-9).
    ClaimRevision {
        /// Name of the revision.
        name: String,
        /// Adopt or release.
        claim: Change,
        /// The body.
        patch: Value,
    },
    /// Create a ControllerRevision. If the name is taken, stop: the next plan will know by whom (RV-14).
    CreateRevision(Box<NewRevision>),
    /// Merge patch: a revision without the hash label gets its name as hash (RV-10).
    LabelRevision {
        /// Name of the revision.
        name: String,
        /// The hash.
        hash: String,
    },
    /// Merge patch: the current revision gets the highest number (RV-12).
    NumberRevision {
        /// Name of the revision.
        name: String,
        /// Its new number.
        revision: i64,
    },
    /// Merge patch of a pod's hash label, before a duplicate revision goes (RV-13).
    RelabelPod {
        /// Name of the pod.
        name: String,
        /// Its uid, a precondition.
        uid: String,
        /// The hash of the revision that stays.
        hash: String,
    },
    /// Delete a ControllerRevision. 404 is fine.
    DeleteRevision {
        /// Name of the revision.
        name: String,
        /// Its uid, a precondition.
        uid: String,
        /// Why.
        cause: Obsolete,
    },
    /// Another object has the name of our new revision: raise `status.collisionCount` (RV-14).
    RaiseCollisionCount {
        /// The new count.
        to: i32,
    },
    /// Create a pod. JSON, so that template fields which our types do not know survive.
    CreatePod {
        /// For this node.
        node: String,
        /// The pod.
        pod: Value,
    },
    /// Delete a pod. 404 is fine (MG-21), and so is 409: the next plan decides anew.
    DeletePod {
        /// Name of the pod.
        name: String,
        /// Its uid, a precondition.
        uid: String,
        /// The version that the decision was made from, a precondition; empty if it is not known.
        ///
        /// Differs: upstream sends the uid alone, and so deletes from a late cache a pod that its user has just released
        /// from the DaemonSet by a label, to look at it.
        resource_version: String,
        /// Its node.
        node: String,
        /// Why.
        cause: Cause,
    },
    /// Write the status (ST-14). Stands last and is done whatever failed before, barriers excepted.
    WriteStatus(Box<DaemonSetStatus>),
}

/// Why a ControllerRevision is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obsolete {
    /// Another one has the same data, and is kept (RV-12).
    Duplicate,
    /// The history limit keeps it no longer (RV-19).
    History,
}

/// What happens to an object's owner reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Ours is added.
    Adopt,
    /// Ours is removed.
    Release,
}

impl Action {
    /// Whether nothing else may be done after this one has failed.
    pub fn is_barrier(&self) -> bool {
        match self {
            Self::CreatePod { .. } | Self::DeletePod { .. } | Self::WriteStatus(_) => false,
            Self::DeleteRevision { cause, .. } => *cause == Obsolete::Duplicate,
            _ => true,
        }
    }
}
