//! What a person is told about a DaemonSet: why each node has what it has, and how far its rollout is.
//!
//! `daemonset` says what shall be done; this room says why it has not come about. It joins the plan's verdict with what
//! pods, nodes and events report, and makes one [`Line`] a node out of them: it runs; it should run, but …; it is left
//! out, because …. Pure: everything comes in as values, read from any cluster, and nothing here asks or waits.
//!
//! Reading order: [`report`] (what is said), `lines` (which verdict, which pod), `pod` and `container` (what holds a pod
//! back), `obstacles` (what keeps one away), `turn` (who holds up the rollout), [`table`], then [`history`] and [`progress`] for
//! `everynode rollout`.

mod container;
mod happened;
pub mod history;
mod lines;
mod obstacles;
mod pod;
pub mod progress;
pub mod reason;
pub mod report;
pub mod table;
mod turn;
mod yaml;

pub use reason::Reason;
pub use report::{Line, Report, State};

pub use daemonset::snapshot::PAUSED_ANNOTATION;

use daemonset::Snapshot;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;

/// What is known about one DaemonSet.
#[derive(Debug, Clone)]
pub struct Known<'a> {
    /// The DaemonSet, all nodes, its pods and revisions.
    pub snapshot: Snapshot<'a>,
    /// Events about the DaemonSet and its pods, in any order. Without them some answers say less.
    pub events: Vec<&'a Event>,
}

/// One line a node, and the sums.
pub fn why(known: &Known<'_>, now: Timestamp) -> Report {
    let plan = daemonset::plan(&known.snapshot, now);
    let mut lines = lines::lines(known, &plan, now);
    turn::explain(&mut lines, known.snapshot.daemon_set);
    Report::new(known.snapshot.daemon_set, &plan, lines)
}
