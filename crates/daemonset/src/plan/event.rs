//! Which events does a plan tell, and which does carrying it out?
//!
//! Events stand on the DaemonSet, so that `kubectl describe` shows them. Reasons and texts are Kubernetes' (MG-9, MG-11,
//! MG-21) where it has them.

use super::Action;

/// An event on the DaemonSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `Normal` or `Warning`.
    pub kind: EventKind,
    /// CamelCase.
    pub reason: &'static str,
    /// The text.
    pub message: String,
}

/// The type of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Something happened.
    Normal,
    /// Something is wrong.
    Warning,
}

impl EventKind {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

impl Event {
    pub(crate) fn normal(reason: &'static str, message: String) -> Self {
        Self { kind: EventKind::Normal, reason, message }
    }

    pub(crate) fn warning(reason: &'static str, message: String) -> Self {
        Self { kind: EventKind::Warning, reason, message }
    }
}

impl Action {
    /// The event after success (MG-21). `name` is the name that the server gave to a created pod.
    pub fn succeeded(&self, name: &str) -> Option<Event> {
        match self {
            Self::CreatePod { .. } => Some(Event::normal("SuccessfulCreate", format!("Created pod: {name}"))),
            Self::DeletePod { name, .. } => {
                Some(Event::normal("SuccessfulDelete", format!("Deleted pod: {name}")))
            }
            _ => None,
        }
    }

    /// The event after a failure (MG-21). A create in a namespace that is terminating, and a delete of a pod that is
    /// gone already, are none.
    pub fn failed(&self, error: &str) -> Option<Event> {
        match self {
            Self::CreatePod { .. } => {
                Some(Event::warning("FailedCreate", format!("Error creating: {error}")))
            }
            Self::DeletePod { .. } => {
                Some(Event::warning("FailedDelete", format!("Error deleting: {error}")))
            }
            _ => None,
        }
    }
}
