//! Everything that a plan may look at, and what is read from the DaemonSet before anything is decided.
//!
//! Lists come in any order; nothing below depends on it. The DaemonSet comes twice: typed, for the decisions, and as the
//! JSON that the server sent, because its template must survive whole (fields that our types do not know included)
//! in ControllerRevisions and pods (TK-3).

use crate::backoff::Backoff;
use crate::unseen::Unseen;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetSpec};
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};
use objects::selector::Selector;
use serde_json::Value;
use std::fmt;

/// The annotation that counts template changes (OW-25); pods carry the number as [`GENERATION_LABEL`].
pub const GENERATION_ANNOTATION: &str = "deprecated.daemonset.template.generation";
/// The label that says from which template generation a pod was made.
pub const GENERATION_LABEL: &str = "pod-template-generation";

/// `"true"` on a DaemonSet pauses its rollout; see [`Hold`](crate::Hold).
pub const PAUSED_ANNOTATION: &str = "everynode.dev/paused";

/// What a plan is made from.
#[derive(Debug, Clone)]
pub struct Snapshot<'a> {
    /// The DaemonSet.
    pub daemon_set: &'a DaemonSet,
    /// The same object as the server sent it.
    pub raw: &'a Value,
    /// All nodes of the cluster.
    pub nodes: Vec<&'a Node>,
    /// The pods of its namespace: at least those that its selector matches or that it controls.
    pub pods: Vec<&'a Pod>,
    /// The ControllerRevisions of its namespace, also those of others: a name may be taken (RV-14).
    pub revisions: Vec<&'a ControllerRevision>,
    /// Failed daemons of this DaemonSet.
    pub backoff: &'a Backoff,
    /// Our own writes that the lists may not show yet.
    pub unseen: &'a Unseen,
}

/// Why nothing is planned at all; such a plan writes no status either (ST-17).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standstill {
    /// The DaemonSet is being deleted (MG-1.4).
    Terminating,
    /// Its selector is empty (MG-1.3).
    SelectsAll,
    /// Its selector cannot be read.
    BadSelector(String),
    /// It has no spec.
    NoSpec,
}

impl fmt::Display for Standstill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Terminating => f.write_str("the DaemonSet is being deleted"),
            Self::SelectsAll => f.write_str("the DaemonSet's selector is empty"),
            Self::BadSelector(text) => write!(f, "the DaemonSet's selector cannot be read: {text}"),
            Self::NoSpec => f.write_str("the DaemonSet has no spec"),
        }
    }
}

/// The DaemonSet, read once.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) daemon_set: &'a DaemonSet,
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) uid: &'a str,
    pub(crate) generation: i64,
    pub(crate) spec: &'a DaemonSetSpec,
    /// The template as the server sent it.
    pub(crate) template: &'a Value,
    pub(crate) pod_spec: &'a PodSpec,
    pub(crate) selector: Selector,
    /// The template's generation, if the annotation can be read (MG-19).
    pub(crate) template_generation: Option<i64>,
    pub(crate) min_ready_seconds: i32,
    pub(crate) born: Option<Timestamp>,
}

static NO_POD_SPEC: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);

impl<'a> Subject<'a> {
    pub(crate) fn read(daemon_set: &'a DaemonSet, raw: &'a Value) -> Result<Self, Standstill> {
        let meta = &daemon_set.metadata;
        let spec = daemon_set.spec.as_ref().ok_or(Standstill::NoSpec)?;
        let selector = Selector::from_label_selector(&spec.selector)
            .map_err(|error| Standstill::BadSelector(error.to_string()))?;
        if selector.is_empty() {
            return Err(Standstill::SelectsAll);
        }
        if meta.deletion_timestamp.is_some() {
            return Err(Standstill::Terminating);
        }
        let annotations = meta.annotations.as_ref();
        Ok(Self {
            daemon_set,
            name: meta.name.as_deref().unwrap_or_default(),
            namespace: meta.namespace.as_deref().unwrap_or_default(),
            uid: meta.uid.as_deref().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            spec,
            template: &raw["spec"]["template"],
            pod_spec: spec.template.spec.as_ref().unwrap_or(&NO_POD_SPEC),
            selector,
            template_generation: annotations.and_then(|a| a.get(GENERATION_ANNOTATION)?.parse().ok()),
            min_ready_seconds: spec.min_ready_seconds.unwrap_or_default(),
            born: meta.creation_timestamp.as_ref().map(|time| time.0),
        })
    }
}
