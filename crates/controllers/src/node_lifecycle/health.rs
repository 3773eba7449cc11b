//! PURE. Is a node alive, and what does its status say if not?
//!
//! A node has spoken when its lease is renewed or its Ready condition has a new heartbeat. When that is longer ago than
//! the grace period, the conditions that only the node itself can know become Unknown; nothing else is touched, so that
//! a returning node just goes on. Kubernetes: `nodelifecycle/node_lifecycle_controller.go` (`tryUpdateNodeHealth`).

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use objects::condition::set_node_condition;
use objects::node;
use std::time::Duration;

/// Conditions that a silent node cannot vouch for any more.
const OWN_CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// What a node has said last; a change is a sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Pulse {
    heartbeat: Option<Timestamp>,
    renewed: Option<Timestamp>,
}

impl Pulse {
    /// Reads it from the node and its lease.
    pub(super) fn of(node: Option<&Node>, lease: Option<&Lease>) -> Self {
        let ready = node.and_then(|node| node::condition(node, "Ready"));
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref());
        Self {
            heartbeat: ready.and_then(|ready| ready.last_heartbeat_time.as_ref()).map(|time| time.0),
            renewed: renewed.map(|time| time.0),
        }
    }
}

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    /// It says that it can run pods.
    Ready,
    /// It says that it cannot.
    NotReady,
    /// It says nothing any more, or never has.
    Unknown,
}

impl Readiness {
    /// As the Ready condition has it.
    pub(super) fn of(node: &Node) -> Self {
        match node::condition(node, "Ready").map(|ready| ready.status.as_str()) {
            Some("True") => Self::Ready,
            Some("False") => Self::NotReady,
            _ => Self::Unknown,
        }
    }
}

/// How long nodes may be silent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grace {
    /// One that has reported before.
    pub(super) known: Duration,
    /// One that has never reported.
    pub(super) new: Duration,
}

/// The conditions to write, if the silence has lasted too long and they do not say so yet.
pub(super) fn overdue(
    node: &Node,
    silence: Duration,
    grace: Grace,
    now: Timestamp,
) -> Option<Vec<NodeCondition>> {
    let has_reported = node::condition(node, "Ready").is_some();
    let limit = if has_reported { grace.known } else { grace.new };
    if silence <= limit {
        return None;
    }
    let mut conditions =
        node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut changed = false;
    for type_ in OWN_CONDITIONS {
        let condition = match node::condition(node, type_) {
            Some(condition) if condition.status == "Unknown" => continue,
            Some(condition) => silent(condition, now),
            None => never(type_, node, now),
        };
        changed |= set_node_condition(&mut conditions, condition);
    }
    changed.then_some(conditions)
}

fn silent(condition: &NodeCondition, now: Timestamp) -> NodeCondition {
    NodeCondition {
        status: "Unknown".into(),
        reason: Some("NodeStatusUnknown".into()),
        message: Some("Kubelet stopped posting node status.".into()),
        last_transition_time: Some(Time(now)),
        ..condition.clone()
    }
}

fn never(type_: &str, node: &Node, now: Timestamp) -> NodeCondition {
    NodeCondition {
        type_: type_.into(),
        status: "Unknown".into(),
        reason: Some("NodeStatusNeverUpdated".into()),
        message: Some("Kubelet never posted node status.".into()),
        last_heartbeat_time: node.metadata.creation_timestamp.clone(),
        last_transition_time: Some(Time(now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const GRACE: Grace = Grace { known: Duration::from_secs(40), new: Duration::from_secs(60) };

    fn node(conditions: Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": "n"}, "status": {"conditions": conditions}}))
            .unwrap()
    }

    fn check(node: &Node, silence: u64) -> Option<Vec<(String, String, String)>> {
        let conditions = overdue(node, Duration::from_secs(silence), GRACE, Timestamp::UNIX_EPOCH)?;
        Some(conditions.into_iter().map(|c| (c.type_, c.status, c.reason.unwrap_or_default())).collect())
    }

    #[test]
    fn a_silent_node_becomes_unknown_after_its_grace() {
        let live = node(json!([
            {"type": "Ready", "status": "True", "reason": "KubeletReady"},
            {"type": "NetworkUnavailable", "status": "False", "reason": "Fine"},
            {"type": "DiskPressure", "status": "False"},
        ]));
        assert_eq!(check(&live, 40), None);
        let row = |t: &str, s: &str, r: &str| (t.to_string(), s.to_string(), r.to_string());
        assert_eq!(
            check(&live, 41).unwrap(),
            [
                row("Ready", "Unknown", "NodeStatusUnknown"),
                row("NetworkUnavailable", "False", "Fine"),
                row("DiskPressure", "Unknown", "NodeStatusUnknown"),
                row("MemoryPressure", "Unknown", "NodeStatusNeverUpdated"),
                row("PIDPressure", "Unknown", "NodeStatusNeverUpdated"),
            ]
        );
        let written = overdue(&live, Duration::from_secs(41), GRACE, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(check(&node(json!(written)), 100), None, "said once");
    }

    #[test]
    fn a_node_that_never_reported_has_longer() {
        let new = node(json!([]));
        assert_eq!(check(&new, 60), None);
        assert_eq!(check(&new, 61).unwrap().len(), 4);
    }

    #[test]
    fn a_renewed_lease_or_a_new_heartbeat_is_a_sign_of_life() {
        let beat = |time: &str| node(json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": time}]));
        let lease = |time: &str| -> Lease {
            serde_json::from_value(json!({"metadata": {}, "spec": {"renewTime": time}})).unwrap()
        };
        let (a, b) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:10Z");
        let first = Pulse::of(Some(&beat(a)), Some(&lease("2026-01-01T00:00:00.000000Z")));
        assert_eq!(first, Pulse::of(Some(&beat(a)), Some(&lease("2026-01-01T00:00:00.000000Z"))));
        assert_ne!(first, Pulse::of(Some(&beat(b)), Some(&lease("2026-01-01T00:00:00.000000Z"))));
        assert_ne!(first, Pulse::of(Some(&beat(a)), Some(&lease("2026-01-01T00:00:10.000000Z"))));
    }
}
