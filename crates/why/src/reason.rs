//! Why a node has what it has, as one word for programs, with a sentence for people.
//!
//! The words are stable: scripts compare them (docs/why.md lists them). Where kubelet has a word of its own for a waiting
//! container (`ImagePullBackOff`, `CrashLoopBackOff`, …), it is kept, so that the list is open at that end.

use serde::{Serialize, Serializer};

/// One word.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Runs: available.
    Available,
    /// Runs: ready, and not yet for `minReadySeconds`.
    WaitingForAvailability,
    /// Runs an old pod: others are being replaced first.
    WaitingForTurn,
    /// Runs an old pod until the new one beside it is available.
    WaitingForReplacement,
    /// Runs an old pod that is about to be replaced.
    Outdated,
    /// Runs an old pod: the rollout is paused.
    Paused,
    /// Runs an old pod: with `OnDelete` it is replaced when somebody deletes it.
    OnDelete,
    /// No pod yet.
    NotCreated,
    /// No pod: the server refuses to create it.
    CreateFailed,
    /// The scheduler finds no room for the pod.
    Unschedulable,
    /// The scheduler has not bound the pod.
    Unscheduled,
    /// The pod is bound, and its node has not said that it starts.
    Starting,
    /// A container's image is being pulled.
    Pulling,
    /// A container has ended, and is started again.
    ContainerEnded,
    /// A container has not passed its probe.
    NotReady,
    /// A readiness gate of the pod is not `True`.
    ReadinessGate,
    /// The pod has failed.
    Failed,
    /// The pod has ended by itself.
    Succeeded,
    /// The pod is ending.
    Terminating,
    /// The node says that it is not ready.
    NodeNotReady,
    /// The node says nothing.
    NodeUnreachable,
    /// Left out: the template names another node.
    OtherNode,
    /// Left out: `nodeSelector`.
    NodeSelector,
    /// Left out: required node affinity.
    NodeAffinity,
    /// Left out: a taint.
    Taint,
    /// The node does not exist any more.
    NodeGone,
    /// The controller does nothing at all, and the report says why.
    Standstill,
    /// Kubelet's word for a waiting container.
    Waiting(String),
}

impl Reason {
    /// The word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Available => "Available",
            Self::WaitingForAvailability => "WaitingForAvailability",
            Self::WaitingForTurn => "WaitingForTurn",
            Self::WaitingForReplacement => "WaitingForReplacement",
            Self::Outdated => "Outdated",
            Self::Paused => "Paused",
            Self::OnDelete => "OnDelete",
            Self::NotCreated => "NotCreated",
            Self::CreateFailed => "CreateFailed",
            Self::Unschedulable => "Unschedulable",
            Self::Unscheduled => "Unscheduled",
            Self::Starting => "Starting",
            Self::Pulling => "Pulling",
            Self::ContainerEnded => "ContainerEnded",
            Self::NotReady => "NotReady",
            Self::ReadinessGate => "ReadinessGate",
            Self::Failed => "Failed",
            Self::Succeeded => "Succeeded",
            Self::Terminating => "Terminating",
            Self::NodeNotReady => "NodeNotReady",
            Self::NodeUnreachable => "NodeUnreachable",
            Self::OtherNode => "OtherNode",
            Self::NodeSelector => "NodeSelector",
            Self::NodeAffinity => "NodeAffinity",
            Self::Taint => "Taint",
            Self::NodeGone => "NodeGone",
            Self::Standstill => "Standstill",
            Self::Waiting(word) => word,
        }
    }

    /// The word under which a trouble is counted once: kubelet changes between two words while it tries again.
    pub fn trouble(&self) -> &str {
        match self.as_str() {
            "ErrImagePull" => "ImagePullBackOff",
            "ContainerEnded" => "CrashLoopBackOff",
            word => word,
        }
    }

    /// Whether this passes by itself in the ordinary course of a rollout.
    pub fn passes(&self) -> bool {
        match self {
            Self::Available
            | Self::WaitingForAvailability
            | Self::WaitingForTurn
            | Self::WaitingForReplacement
            | Self::Outdated
            | Self::NotCreated
            | Self::Unscheduled
            | Self::Starting
            | Self::Pulling
            | Self::Terminating => true,
            Self::Waiting(word) => matches!(word.as_str(), "ContainerCreating" | "PodInitializing"),
            _ => false,
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A word and its sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}
