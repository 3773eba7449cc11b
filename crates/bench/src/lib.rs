//! How long does a cluster take for the life of DaemonSets on many nodes?
//!
//! The bench is N hollow nodes ([`agent::fleet`]) and a user, in one process and as one client, so that it measures any
//! Kubernetes API alike. It plays [`Step`]s one after the other: each is something a user does or a node suffers, and ends
//! when the cluster shows what has to come of it ([`goal::Goal`]). What is seen comes from watches of its own, never from
//! the nodes that it plays.
//!
//! 1. Everything it makes carries [`manifests::LABEL`] or stands in the namespace [`manifests::NAMESPACE`]; [`clean::clean`]
//!    removes that, also what a killed bench has left.
//! 2. Seconds begin before the first request of a step, and end when the last sign of its goal has arrived.
//! 3. Nothing is asserted about time: who reads the table judges.

pub mod clean;
pub mod goal;
mod hands;
pub mod manifests;
mod nodes;
pub mod processes;
pub mod report;
mod run;
pub mod seen;
pub mod steps;
mod watch;

pub use report::Report;
pub use run::{BenchError, run};
pub use steps::Step;

use std::collections::BTreeSet;
use std::time::Duration;

/// Most nodes: their names and addresses are of one /16.
pub const MAX_NODES: u32 = 50_000;
/// Most nodes that join: with the others still of one /16.
pub const MAX_JOINING: u32 = 10_000;
/// Most DaemonSets: more would measure the bench.
pub const MAX_DAEMONSETS: u32 = 500;

/// What is measured.
pub struct Config {
    /// The cluster, as a user who may write nodes, namespaces, pods' statuses and DaemonSets. Without a limit of its own.
    pub client: kube::Client,
    /// How many hollow nodes there are from the start.
    pub nodes: u32,
    /// How many join later, all at once.
    pub join: u32,
    /// How many DaemonSets want a pod on each of them.
    pub daemonsets: u32,
    /// Steps to leave out.
    pub skip: BTreeSet<Step>,
    /// Whose processor time and memory to tell.
    pub processes: Vec<processes::Watched>,
    /// How long a step may show no progress at all before it is given up.
    pub patience: Duration,
}
