//! What a pod takes from a node: resources, host ports, a place in the order of importance.
//!
//! Resources are whole numbers, so that sums are exact: thousandths for `cpu`, bytes or pieces for the others.
//! Kubernetes: framework/types.go `calculateResource`, util/pod_resources.go.

use k8s_openapi::api::core::v1::Pod;
use objects::pod::HostPort;
use objects::quantity::Amount;
use std::collections::BTreeMap;

/// Resource name → amount; absent is zero.
pub type Amounts = BTreeMap<String, i128>;

/// What a container without requests counts for in scores, so that a hundred of them are not free.
/// Kubernetes: util/pod_resources.go, DefaultMilliCPURequest and DefaultMemoryRequest.
const UNSAID: [(&str, &str); 2] = [("cpu", "100m"), ("memory", "200Mi")];

/// What a pod takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Demand {
    /// What it asks for.
    pub resources: Amounts,
    /// cpu and memory, with a little for containers that say nothing: for scores only.
    pub scored: Amounts,
    /// Ports of the node that must be free.
    pub ports: Vec<HostPort>,
    /// Who may push whom aside.
    pub priority: i32,
}

impl Demand {
    /// What this pod takes.
    pub fn of(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self::default() };
        let resources = amounts(objects::pod::requests(spec));
        let unsaid = UNSAID
            .iter()
            .filter_map(|(name, amount)| Some((name.to_string(), Amount::parse(amount).ok()?)))
            .collect();
        let mut scored = amounts(objects::pod::requests_or(spec, &unsaid));
        scored.retain(|name, _| unsaid.contains_key(name));
        Self {
            resources,
            scored,
            ports: objects::pod::host_ports(spec),
            priority: spec.priority.unwrap_or(0),
        }
    }
}

/// Amounts as whole numbers, rounded up. What is zero is absent.
pub fn amounts(exact: impl IntoIterator<Item = (String, Amount)>) -> Amounts {
    exact.into_iter().map(|(name, amount)| whole(name, &amount)).filter(|(_, number)| *number != 0).collect()
}

fn whole(name: String, amount: &Amount) -> (String, i128) {
    let number = if name == "cpu" { amount.milli() } else { amount.value() };
    (name, number)
}
