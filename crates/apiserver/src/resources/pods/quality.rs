//! Which quality of service does a pod get? From its requests and limits alone, settled at create.
//!
//! Guaranteed: every container limits cpu and memory and requests just that. BestEffort: nobody asks for either.
//! Kubernetes: `apis/core/helper/qos.ComputePodQOS`.

use crate::resources::fields::{entries, items};
use crate::resources::pod_template::amounts;
use objects::quantity::Amount;
use serde_json::Value;
use std::collections::BTreeMap;

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn class(spec: &Value) -> &'static str {
    let (mut requests, mut limits) = (BTreeMap::new(), BTreeMap::new());
    let mut all_limited = true;
    let containers = items(spec, "containers").iter().chain(items(spec, "initContainers"));
    for container in containers {
        add(&mut requests, &container["resources"], "requests");
        let limited = add(&mut limits, &container["resources"], "limits");
        all_limited &= limited == 2;
    }
    match (requests.is_empty() && limits.is_empty(), all_limited) {
        (true, _) => "BestEffort",
        (false, true) if covers(&limits, &requests) => "Guaranteed",
        _ => "Burstable",
    }
}

/// Adds the amounts of cpu and memory that are above zero; answers how many there are.
fn add<'a>(sums: &mut BTreeMap<&'a str, Amount>, resources: &'a Value, map: &str) -> usize {
    let mut found = 0;
    for (name, value) in entries(resources, map) {
        if let ("cpu" | "memory", Some(amount)) = (name, amounts::parse(value))
            && !amount.is_zero()
        {
            *sums.entry(name).or_insert(Amount::ZERO) += amount;
            found += 1;
        }
    }
    found
}

/// Nothing is requested below its limit.
fn covers(limits: &BTreeMap<&str, Amount>, requests: &BTreeMap<&str, Amount>) -> bool {
    limits.len() == requests.len() && requests.iter().all(|(name, amount)| limits.get(name) == Some(amount))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_class_follows_from_requests_and_limits() {
        let check = |containers: Value, expected: &str| {
            assert_eq!(class(&json!({"containers": containers})), expected, "{containers}");
        };
        let both = json!({"cpu": "1", "memory": "1Gi"});
        check(json!([{}]), "BestEffort");
        check(json!([{"resources": {"limits": {"nvidia.com/gpu": 1}}}]), "BestEffort");
        check(json!([{"resources": {"requests": {"cpu": "0"}}}]), "BestEffort");
        check(json!([{"resources": {"limits": both, "requests": both}}]), "Guaranteed");
        check(
            json!([{"resources": {"limits": both, "requests": {"cpu": "1000m", "memory": "1024Mi"}}}]),
            "Guaranteed",
        );
        check(
            json!([{"resources": {"limits": both, "requests": {"cpu": "1", "memory": "1Mi"}}}]),
            "Burstable",
        );
        check(json!([{"resources": {"limits": both, "requests": both}}, {}]), "Burstable");
        check(json!([{"resources": {"requests": {"cpu": "1m"}}}]), "Burstable");
        check(json!([{"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}}]), "Burstable");
    }
}
