//! A pod on a node: what of it the decisions about other pods read.

use crate::demand::Demand;
use crate::terms::{Labels, Terms};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use objects::key::ObjectKey;
use objects::pod;
use objects::pool::Pool;
use std::sync::Arc;

/// The condition of a pod that somebody evicts, and its reason when a scheduler does.
pub const DISRUPTION_TARGET: &str = "DisruptionTarget";
/// See [`DISRUPTION_TARGET`].
pub const PREEMPTION_BY_SCHEDULER: &str = "PreemptionByScheduler";

/// A pod on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its name.
    pub key: ObjectKey,
    /// Which node.
    pub node: String,
    /// Which pod of this name.
    pub uid: String,
    /// What it has in common with others of its make.
    pub shape: Arc<Shape>,
    /// When its node began with it; none if that is still to come.
    pub started: Option<Timestamp>,
    /// Whether it is about to go.
    pub ending: Ending,
    /// Whether the API server has said so.
    pub standing: Standing,
}

/// What the pods of one template have alike: there are many pods, and few templates.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// Its controller's uid, for the spread.
    pub owner: Option<String>,
    /// For the selectors of budgets and of other pods.
    pub labels: Labels,
    /// What it wants of other pods.
    pub terms: Option<Terms>,
    /// What it takes.
    pub demand: Demand,
}

/// How sure we are that a pod stands, or waits, where we count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// We decided it; the write is under way.
    Assumed,
    /// The API server has it so.
    Confirmed,
}

/// Whether a pod is about to go. Its room is taken until it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Nobody has told it to go.
    Stays,
    /// It is being deleted.
    Leaves,
    /// It is being deleted, or will be in a moment, to make room for a more important pod.
    Evicted,
}

impl Placed {
    pub(super) fn new(
        pod: &Pod,
        demand: Demand,
        node: &str,
        standing: Standing,
        shapes: &mut Pool<Shape>,
    ) -> Self {
        let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
        Self {
            key: ObjectKey::of(&pod.metadata),
            node: node.into(),
            uid: uid_of(pod).into(),
            shape: shapes.share(Shape::of(pod, demand)),
            started: started.map(|time| time.0),
            ending: Ending::of(pod),
            standing,
        }
    }
}

impl Shape {
    fn of(pod: &Pod, demand: Demand) -> Self {
        Self {
            owner: objects::owner::controller_of(&pod.metadata).map(|owner| owner.uid.clone()),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            terms: Terms::of(pod),
            demand,
        }
    }
}

impl Ending {
    fn of(pod: &Pod) -> Self {
        let evicted = pod::condition(pod, DISRUPTION_TARGET).is_some_and(|target| {
            target.status == "True" && target.reason.as_deref() == Some(PREEMPTION_BY_SCHEDULER)
        });
        match (pod::is_terminating(pod), evicted) {
            (false, _) => Self::Stays,
            (true, false) => Self::Leaves,
            (true, true) => Self::Evicted,
        }
    }
}

pub(super) fn uid_of(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}
