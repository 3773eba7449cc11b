//! What nodes and pods use, for `kubectl top`: read-only, and never stored ([`crate::usage`]).
//!
//! Kubernetes: `k8s.io/metrics`, served there by metrics-server.

use super::cells::{self, NAME, column};
use super::fields::items;
use super::{Column, Kind, ORDINARY, Row, Rules};
use jiff::Timestamp;
use objects::quantity::Amount;
use serde_json::Value;

/// The group of both kinds.
pub const GROUP: &str = "metrics.k8s.io";
const VERSION: &str = "v1beta1";
const VERBS: &[&str] = &["get", "list"];

/// What a node uses.
pub const NODES: Kind = Kind {
    group: GROUP,
    version: VERSION,
    kind: "NodeMetrics",
    plural: "nodes",
    namespaced: false,
    verbs: VERBS,
    rules: super::Rulebook::Fixed(&Usage),
    ..ORDINARY
};

/// What the containers of a pod use.
pub const PODS: Kind = Kind {
    group: GROUP,
    version: VERSION,
    kind: "PodMetrics",
    plural: "pods",
    verbs: VERBS,
    rules: super::Rulebook::Fixed(&Usage),
    ..ORDINARY
};

struct Usage;

impl Rules for Usage {
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("cpu", "Processors in use, over the window."),
                column("memory", "Memory that cannot be taken back at once."),
                column("Window", "How long processor time was counted."),
            ]
        }
    }

    fn row(&self, object: &Value, _: Timestamp) -> Row {
        let window = object["window"].clone();
        cells::row(vec![cells::name(object), total(object, "cpu"), total(object, "memory"), window])
    }
}

/// The node's own, or the sum of the pod's containers.
fn total(object: &Value, resource: &str) -> Value {
    let of_containers = items(object, "containers").iter().map(|container| &container["usage"]);
    let amounts = of_containers.chain([&object["usage"]]).filter_map(|usage| usage[resource].as_str());
    let amounts = amounts.filter_map(|text| Amount::parse(text).ok());
    amounts.reduce(|one, other| one + other).unwrap_or(Amount::ZERO).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_adds_the_containers_up() {
        let check = |object: Value, expected: [&str; 4]| {
            assert_eq!(Usage.row(&object, Timestamp::UNIX_EPOCH).cells, expected, "{object}");
        };
        let container = |cpu: &str, memory: &str| json!({"usage": {"cpu": cpu, "memory": memory}});
        check(
            json!({"metadata": {"name": "p"}, "window": "1.5s",
                "containers": [container("250m", "1Mi"), container("1", "512Ki")]}),
            ["p", "1250m", "1536Ki", "1.5s"],
        );
        check(
            json!({"metadata": {"name": "n"}, "window": "10s", "usage": {"cpu": "12345n", "memory": "4Ki"}}),
            ["n", "12345n", "4Ki", "10s"],
        );
    }
}
