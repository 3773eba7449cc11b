//! PURE. What a step waits for, and how far it is.

use crate::seen::Seen;
use std::fmt;

/// Something that the cluster shows sooner or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// So many nodes are Ready, and no more.
    NodesReady(u32),
    /// Only so many nodes are still Ready.
    NodesLeft(u32),
    /// Every DaemonSet has a pod with this image on so many nodes.
    Created {
        /// Which one.
        image: u32,
        /// How many.
        nodes: u32,
    },
    /// Every DaemonSet has a Ready pod with this image on so many nodes.
    Ready {
        /// Which one.
        image: u32,
        /// How many.
        nodes: u32,
    },
    /// Every DaemonSet's status is that of this generation, and says that all is well on so many nodes.
    Status {
        /// Which one.
        generation: i64,
        /// How many.
        nodes: u32,
    },
    /// Every DaemonSet's status says that its pods are ready on so many nodes, and no more.
    StatusReady(u32),
    /// This generation of every DaemonSet has been observed.
    Observed(i64),
    /// No pod is left.
    Gone,
}

/// How far a goal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What there is.
    pub now: u64,
    /// What there has to be.
    pub wanted: u64,
}

impl Progress {
    /// Nothing is missing, and nothing is too much.
    pub fn is_reached(self) -> bool {
        self.now == self.wanted
    }
}

impl Goal {
    /// How far it is; `daemonsets` of them are expected.
    pub fn progress(&self, seen: &Seen, daemonsets: u32) -> Progress {
        let sets = u64::from(daemonsets);
        let (now, wanted) = match *self {
            Goal::NodesReady(nodes) | Goal::NodesLeft(nodes) => (seen.ready_nodes(), u64::from(nodes)),
            Goal::Created { image, nodes } => (seen.pods_with(image), sets * u64::from(nodes)),
            Goal::Ready { image, nodes } => (seen.ready_pods(image), sets * u64::from(nodes)),
            Goal::Status { generation, nodes } => (seen.sets(|set| set.is_well(generation, nodes)), sets),
            Goal::StatusReady(nodes) => (seen.sets(|set| set.ready == i64::from(nodes)), sets),
            Goal::Observed(generation) => (seen.sets(|set| set.observed == generation), sets),
            Goal::Gone => (seen.pods(), 0),
        };
        Progress { now, wanted }
    }

    /// How many things have happened when it is reached, in a step that touches so many nodes: what a rate is made of.
    pub fn things(&self, touched: u32, daemonsets: u32) -> u64 {
        match self {
            Goal::NodesReady(_) | Goal::NodesLeft(_) | Goal::Observed(_) => u64::from(touched),
            Goal::Created { .. } | Goal::Ready { .. } | Goal::Gone => {
                u64::from(touched) * u64::from(daemonsets)
            }
            Goal::Status { .. } | Goal::StatusReady(_) => u64::from(daemonsets),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Goal::NodesReady(_) => "nodes Ready",
            Goal::NodesLeft(_) => "nodes no longer Ready",
            Goal::Created { .. } => "pods created",
            Goal::Ready { .. } => "pods Ready",
            Goal::Status { .. } => "statuses right",
            Goal::StatusReady(_) => "statuses say so",
            Goal::Observed(_) => "nodes relabelled and looked at",
            Goal::Gone => "pods gone",
        })
    }
}
