//! PURE. From which unready nodes may pods be evicted now?
//!
//! Many nodes that fall silent at once mean a broken network rather than broken nodes, and evicting everything would
//! make it worse. So: one node per zone each [`NORMAL_GAP`]; in a zone where most nodes are unready, much slower if it
//! is large, and not at all if it is small; and not at all anywhere when every node is unready.
//!
//! Kubernetes: `nodelifecycle` (`ComputeZoneState`, `--node-eviction-rate`, `--secondary-node-eviction-rate`).

use super::health::Readiness;
use super::taints::{self, Eviction};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use objects::node;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Between two evicted nodes of a zone. Kubernetes: 0.1 per second.
const NORMAL_GAP: SignedDuration = SignedDuration::from_secs(10);
/// The same in a large zone that is mostly unready. Kubernetes: 0.01 per second.
const SLOW_GAP: SignedDuration = SignedDuration::from_secs(100);
/// Above so many nodes a zone is large. Kubernetes: `--large-cluster-size-threshold`.
const LARGE: usize = 50;
/// From this share of unready nodes on a zone is mostly unready. Kubernetes: `--unhealthy-zone-threshold`.
const UNHEALTHY_PERCENT: usize = 55;
/// Up to so many unready nodes are never a broken zone.
const FEW: usize = 2;

/// When a node of a zone was last given up, by zone.
pub(super) type Granted = BTreeMap<String, Timestamp>;

#[derive(Default)]
struct Zone<'a> {
    ready: usize,
    unready: usize,
    /// Unready nodes that have no NoExecute taint yet, in the order of names.
    waiting: Vec<&'a str>,
}

/// The nodes whose pods may be evicted now, and the new memory.
pub(super) fn grant(nodes: &[Arc<Node>], before: &Granted, now: Timestamp) -> (Vec<String>, Granted) {
    let zones = zones(nodes);
    let all_unready = zones.values().all(|zone| zone.ready == 0);
    let (mut granted, mut memory) = (Vec::new(), before.clone());
    memory.retain(|zone, _| zones.contains_key(zone));
    for (name, zone) in zones {
        let Some(gap) = gap(&zone).filter(|_| !all_unready) else { continue };
        let is_early = before.get(&name).is_some_and(|last| now.duration_since(*last) < gap);
        if let (false, Some(node)) = (is_early, zone.waiting.first()) {
            granted.push(node.to_string());
            memory.insert(name, now);
        }
    }
    (granted, memory)
}

/// For one node of those that were granted.
pub(super) fn eviction(granted: &[String], node: &str) -> Eviction {
    if granted.iter().any(|name| name == node) { Eviction::Allowed } else { Eviction::Withheld }
}

fn zones(nodes: &[Arc<Node>]) -> BTreeMap<String, Zone<'_>> {
    let mut zones: BTreeMap<String, Zone<'_>> = BTreeMap::new();
    for node in nodes {
        let zone = zones.entry(zone_of(node)).or_default();
        match Readiness::of(node) {
            Readiness::Ready => zone.ready += 1,
            // New nodes have not fallen silent: they do not count until they have spoken or their grace is over.
            _ if node::condition(node, "Ready").is_none() => {}
            _ => zone.unready += 1,
        }
        if node::condition(node, "Ready").is_some() && taints::awaits_eviction(node) {
            zone.waiting.push(node::name(node));
        }
    }
    zones
}

fn gap(zone: &Zone<'_>) -> Option<SignedDuration> {
    let total = zone.ready + zone.unready;
    let mostly_unready = zone.unready > FEW && zone.unready * 100 >= total * UNHEALTHY_PERCENT;
    match (mostly_unready && zone.ready > 0, total > LARGE) {
        (false, _) => Some(NORMAL_GAP),
        (true, true) => Some(SLOW_GAP),
        (true, false) => None,
    }
}

fn zone_of(node: &Node) -> String {
    let label = |key: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(key)).cloned();
    let region = label("topology.kubernetes.io/region").unwrap_or_default();
    let zone = label("topology.kubernetes.io/zone").unwrap_or_default();
    format!("{region}/{zone}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nodes(ready: usize, silent: usize) -> Vec<Arc<Node>> {
        let node = |name: String, status: &str| {
            let conditions = json!([{"type": "Ready", "status": status}]);
            Arc::new(
                serde_json::from_value(
                    json!({"metadata": {"name": name}, "status": {"conditions": conditions}}),
                )
                .unwrap(),
            )
        };
        let ready = (0..ready).map(|n| node(format!("r{n:03}"), "True"));
        ready.chain((0..silent).map(|n| node(format!("s{n:03}"), "Unknown"))).collect()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn one_node_every_ten_seconds() {
        let (granted, memory) = grant(&nodes(3, 2), &Granted::new(), at(0));
        assert_eq!(granted, ["s000"]);
        assert_eq!(grant(&nodes(3, 2), &memory, at(9)).0, Vec::<String>::new());
        assert_eq!(grant(&nodes(3, 2), &memory, at(10)).0, ["s000"]);
    }

    #[test]
    fn a_broken_network_evicts_nobody() {
        for (ready, silent, allowed) in
            [(2, 1, true), (1, 2, true), (2, 3, false), (0, 3, false), (0, 1, false), (30, 40, true)]
        {
            let (granted, _) = grant(&nodes(ready, silent), &Granted::new(), at(0));
            assert_eq!(!granted.is_empty(), allowed, "{ready} ready, {silent} silent");
        }
        let (_, memory) = grant(&nodes(30, 40), &Granted::new(), at(0));
        assert!(grant(&nodes(30, 40), &memory, at(99)).0.is_empty(), "a large zone goes slowly");
        assert!(!grant(&nodes(30, 40), &memory, at(100)).0.is_empty());
    }
}
