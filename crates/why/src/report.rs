//! What is said, as data: the `-o json` of `everynode why`, field by field.
//!
//! Stable: fields are added, never renamed or taken away; docs/why.md describes them. Times are RFC 3339, absent values
//! are left out.

use crate::reason::Reason;
use daemonset::Plan;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Taint, Toleration};
use serde::Serialize;

/// Everything about one DaemonSet.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Version of this form.
    pub api_version: &'static str,
    /// What this is.
    pub kind: &'static str,
    /// Whom it is about.
    pub daemon_set: Subject,
    /// Why the controller does nothing at all; only nodes with pods are told of then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standstill: Option<String>,
    /// What keeps the controller from a part of its work.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// The sums.
    pub summary: Summary,
    /// Every node, by name.
    pub nodes: Vec<Line>,
}

/// The DaemonSet.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Counts changes of its spec.
    pub generation: i64,
    /// The last one that its controller has acted upon.
    pub observed_generation: i64,
    /// Whether [`crate::PAUSED_ANNOTATION`] stands on it.
    pub paused: bool,
    /// `RollingUpdate` or `OnDelete`.
    pub update_strategy: String,
}

/// How many nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Where a ready pod is, and one is wanted.
    pub runs: usize,
    /// Where a pod is wanted, and none is ready.
    pub should_run: usize,
    /// Where none is wanted.
    pub left_out: usize,
    /// Where a pod of an older template is; also counted above.
    pub old: usize,
}

/// What is said about a node, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum State {
    /// A ready pod is there.
    Runs,
    /// A pod is wanted, and none is ready.
    ShouldRun,
    /// No pod is wanted.
    LeftOut,
}

impl State {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Runs => "Runs",
            Self::ShouldRun => "ShouldRun",
            Self::LeftOut => "LeftOut",
        }
    }
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Its name.
    pub node: String,
    /// In one word.
    pub state: State,
    /// Why, as one stable word.
    pub reason: Reason,
    /// Why, as a sentence.
    pub message: String,
    /// The pod that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
    /// Everything that keeps a pod away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub obstacles: Vec<Obstacle>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodRef {
    /// Its name.
    pub name: String,
    /// Whether it is of the current template; absent where nobody can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<Version>,
    /// The hash of the ControllerRevision that it was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_hash: Option<String>,
    /// When it was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Since when it has been ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_since: Option<Timestamp>,
}

/// Of which template a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// The current one.
    New,
    /// An older one.
    Old,
}

impl Version {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Old => "old",
        }
    }
}

/// One thing that keeps a pod away from a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Obstacle {
    /// The template's `nodeName` is another.
    OtherNode {
        /// That one.
        wanted: String,
    },
    /// A pair of `nodeSelector`.
    NodeSelector {
        /// The label's key.
        key: String,
        /// What is required.
        wanted: String,
        /// What the node has.
        #[serde(skip_serializing_if = "Option::is_none")]
        found: Option<String>,
    },
    /// Required node affinity: each term in its place, and why it does not match.
    NodeAffinity {
        /// Empty where the required block has no terms.
        terms: Vec<Term>,
    },
    /// A taint.
    Taint {
        /// The taint.
        taint: Taint,
        /// The toleration that would let a pod in.
        toleration: Toleration,
    },
}

/// Why one term of required node affinity does not match.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Term {
    /// What is wrong with the term itself: it can match no node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the node does not meet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<Unmet>,
}

/// A requirement that the node does not meet.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unmet {
    /// A label's key, or `metadata.name`.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`.
    pub operator: String,
    /// What it is compared with.
    pub values: Vec<String>,
    /// What the node has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

impl Report {
    pub(crate) fn new(daemon_set: &DaemonSet, plan: &Plan, nodes: Vec<Line>) -> Self {
        let count = |state: State| nodes.iter().filter(|line| line.state == state).count();
        let is_old = |line: &&Line| line.pod.as_ref().is_some_and(|pod| pod.revision == Some(Version::Old));
        Self {
            api_version: "everynode.dev/v1alpha1",
            kind: "Why",
            daemon_set: Subject::of(daemon_set),
            standstill: plan.standstill.as_ref().map(ToString::to_string),
            problems: plan.problems.clone(),
            summary: Summary {
                runs: count(State::Runs),
                should_run: count(State::ShouldRun),
                left_out: count(State::LeftOut),
                old: nodes.iter().filter(is_old).count(),
            },
            nodes,
        }
    }

    /// The same about one node only; the sums stay those of all. `None` if it has no line.
    pub fn only(mut self, node: &str) -> Option<Self> {
        self.nodes.retain(|line| line.node == node);
        (!self.nodes.is_empty()).then_some(self)
    }
}

impl Subject {
    fn of(daemon_set: &DaemonSet) -> Self {
        let meta = &daemon_set.metadata;
        let strategy = daemon_set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            observed_generation: observed_generation(daemon_set),
            paused: is_paused(daemon_set),
            update_strategy: strategy
                .and_then(|strategy| strategy.type_.clone())
                .unwrap_or_else(|| "RollingUpdate".to_string()),
        }
    }
}

/// What its controller has acted upon.
pub(crate) fn observed_generation(daemon_set: &DaemonSet) -> i64 {
    daemon_set.status.as_ref().and_then(|status| status.observed_generation).unwrap_or_default()
}

/// Whether the rollout is paused.
pub fn is_paused(daemon_set: &DaemonSet) -> bool {
    daemonset::hold::paused(daemon_set) == Ok(true)
}
