//! PURE. What a container asks for → what the kernel is told.
//!
//! Kubernetes: kuberuntime_container_linux.go, cm/helpers_linux.go, qos/policy.go.

use crate::runtime::cri::messages::LinuxContainerResources;
use crate::status;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// Microseconds in which a quota is given.
const CPU_PERIOD: i64 = 100_000;
/// The kernel takes no smaller quota.
const MINIMUM_QUOTA: i64 = 1_000;
/// The kernel takes no fewer shares.
const MINIMUM_SHARES: i64 = 2;
/// From this priority on a pod is critical for its node (`system-node-critical`).
const NODE_CRITICAL: i32 = 2_000_001_000;

/// The kernel's limits for one container, on a node with so much memory.
#[must_use]
pub fn linux(spec: &PodSpec, container: &Container, node_memory: i64) -> LinuxContainerResources {
    let asked = container.resources.clone().unwrap_or_default();
    let (limits, requests) = (asked.limits.unwrap_or_default(), asked.requests.unwrap_or_default());
    let cpu_limit = milli(&limits, "cpu");
    let cpu_request = milli(&requests, "cpu").or(cpu_limit).unwrap_or(0);
    let memory_request = whole(&requests, "memory").or(whole(&limits, "memory")).unwrap_or(0);
    LinuxContainerResources {
        cpu_period: CPU_PERIOD,
        cpu_quota: cpu_limit.map_or(0, |m| m.saturating_mul(CPU_PERIOD / 1000).max(MINIMUM_QUOTA)),
        cpu_shares: (cpu_request.saturating_mul(1024) / 1000).max(MINIMUM_SHARES),
        memory_limit_in_bytes: whole(&limits, "memory").unwrap_or(0),
        oom_score_adj: oom_score_adj(spec, memory_request, node_memory),
    }
}

/// Who is killed first when the node has no memory left. Kubernetes: `GetContainerOOMScoreAdjust`.
fn oom_score_adj(spec: &PodSpec, memory_request: i64, node_memory: i64) -> i64 {
    if spec.priority.is_some_and(|priority| priority >= NODE_CRITICAL) {
        return -997;
    }
    match status::qos(spec) {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let share = memory_request.saturating_mul(1000) / node_memory.max(1);
            (1000 - share).clamp(3, 999)
        }
    }
}

/// A quantity in thousandths, rounded up; `None` if it is missing or cannot be read.
#[must_use]
pub fn milli(amounts: &BTreeMap<String, Quantity>, name: &str) -> Option<i64> {
    let amount = objects::quantity::Amount::parse(&amounts.get(name)?.0).ok()?;
    Some(i64::try_from(amount.milli()).unwrap_or(i64::MAX))
}

/// A quantity in whole units, rounded up; `None` if it is missing or cannot be read.
#[must_use]
pub fn whole(amounts: &BTreeMap<String, Quantity>, name: &str) -> Option<i64> {
    let amount = objects::quantity::Amount::parse(&amounts.get(name)?.0).ok()?;
    Some(i64::try_from(amount.value()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ResourceRequirements;

    fn amounts(list: &[(&str, &str)]) -> Option<BTreeMap<String, Quantity>> {
        Some(list.iter().map(|(name, text)| ((*name).to_string(), Quantity((*text).to_string()))).collect())
    }

    fn check(requests: &[(&str, &str)], limits: &[(&str, &str)], expected: [i64; 4]) {
        let resources = ResourceRequirements {
            requests: amounts(requests),
            limits: amounts(limits),
            ..ResourceRequirements::default()
        };
        let container = Container { resources: Some(resources), ..Container::default() };
        let spec = PodSpec { containers: vec![container.clone()], ..PodSpec::default() };
        let made = linux(&spec, &container, 1 << 30);
        let found = [made.cpu_shares, made.cpu_quota, made.memory_limit_in_bytes, made.oom_score_adj];
        assert_eq!(found, expected, "{requests:?} {limits:?}");
    }

    #[test]
    fn requests_and_limits_become_shares_quota_and_bytes() {
        check(&[], &[], [2, 0, 0, 1000]);
        check(&[("cpu", "100m"), ("memory", "512Mi")], &[], [102, 0, 0, 500]);
        check(&[], &[("cpu", "2"), ("memory", "64Mi")], [2048, 200_000, 64 << 20, -997]);
        check(&[("cpu", "1m")], &[("cpu", "1m")], [2, 1000, 0, 999]);
    }
}
