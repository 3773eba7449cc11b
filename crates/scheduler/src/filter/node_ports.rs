//! A host port can be had once for each address of the node.
//!
//! Kubernetes: plugins/nodeports/node_ports.go, framework/types.go `HostPortInfo.CheckConflict`.

use super::{Plugin, Refusal};
use crate::Asking;
use crate::cluster::NodeState;

pub(super) fn refuses(asking: &Asking<'_>, node: &NodeState) -> Option<Refusal> {
    let mut wanted = asking.demand.ports.iter();
    let conflict = wanted.any(|port| node.taken_ports().any(|taken| taken.conflicts(port)));
    let reason = "node(s) didn't have free ports for the requested pod ports";
    conflict.then(|| Refusal::of_pods(Plugin::NodePorts, vec![reason.into()]))
}
