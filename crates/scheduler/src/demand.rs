//! What a pod takes from a node: resources, host ports, a place in the order of importance.
//!
//! Kubernetes: framework/types.go `calculateResource`, util/pod_resources.go.

use crate::amounts::Amounts;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use objects::pod::HostPort;
use objects::quantity::Amount;
use std::collections::BTreeMap;

/// What a container without requests counts for in scores, so that a hundred of them are not free.
/// Kubernetes: util/pod_resources.go, DefaultMilliCPURequest and DefaultMemoryRequest.
const UNSAID: [(&str, &str); 2] = [("cpu", "100m"), ("memory", "200Mi")];

/// What a pod takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
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
        pod.spec.as_ref().map(Self::of_spec).unwrap_or_default()
    }

    /// What a pod with such containers, overhead and priority takes.
    pub fn of_spec(spec: &PodSpec) -> Self {
        let unsaid: BTreeMap<String, Amount> = UNSAID
            .iter()
            .filter_map(|(name, amount)| Some((name.to_string(), Amount::parse(amount).ok()?)))
            .collect();
        Self {
            resources: Amounts::read(objects::pod::requests(spec)),
            scored: Amounts::read(objects::pod::requests_or(spec, &unsaid))
                .only(|name| unsaid.contains_key(name)),
            ports: objects::pod::host_ports(spec),
            priority: spec.priority.unwrap_or(0),
        }
    }
}
