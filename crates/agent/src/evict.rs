//! PURE. Whom does a node that is short of something send away? (NP-15)
//!
//! 1. One pod at a time, and never a critical one ([`admit::is_critical`]); that it is a daemon protects nobody.
//! 2. Memory first, then disk, then process ids.
//! 3. Short of memory: first who uses more than it asked for, then the lower priority, then who is furthest above what it
//!    asked for. Process ids: the lower priority, then who has most. Disk: the lower priority, then who came last.
//!
//! Kubernetes: `pkg/kubelet/eviction/helpers.go` (`rankMemoryPressure`, `rankPIDPressure`). Differs: what a pod has on the
//! disk is not known here, so that its age decides where upstream asks for its use.

use crate::admit;
use crate::heartbeat::{DISK_PRESSURE, MEMORY_PRESSURE, PID_PRESSURE};
use crate::plan::Rejection;
use k8s_openapi::api::core::v1::Pod;
use objects::pod;
use std::cmp::Reverse;
use std::sync::Arc;

/// A pod of this node and what it uses of it.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Bytes of memory that cannot be taken back.
    pub memory: u64,
    /// Processes and threads.
    pub processes: u64,
}

/// The place of the pod that has to go, and what it is told; none if the node is short of nothing, or nobody may go.
#[must_use]
pub fn choose(pressures: &[&str], tenants: &[Tenant]) -> Option<(usize, Rejection)> {
    let (resource, first): (_, fn(&Tenant, &Tenant) -> std::cmp::Ordering) = match pressures {
        all if all.contains(&MEMORY_PRESSURE) => ("memory", |a, b| by_memory(a).cmp(&by_memory(b))),
        all if all.contains(&DISK_PRESSURE) => ("ephemeral-storage", |a, b| by_age(a).cmp(&by_age(b))),
        all if all.contains(&PID_PRESSURE) => ("pids", |a, b| by_processes(a).cmp(&by_processes(b))),
        _ => return None,
    };
    let mut free: Vec<(usize, &Tenant)> =
        tenants.iter().enumerate().filter(|(_, tenant)| !admit::is_critical(&tenant.pod)).collect();
    // Names settle what is equal otherwise: the same node chooses the same pod again.
    free.sort_by(|(_, a), (_, b)| first(a, b).then_with(|| name(a).cmp(&name(b))));
    let (place, _) = free.first()?;
    let message = format!("The node was low on resource: {resource}. ");
    Some((*place, Rejection { reason: "Evicted".into(), message }))
}

fn by_memory(tenant: &Tenant) -> impl Ord + use<> {
    let above = i128::from(tenant.memory) - requested_memory(&tenant.pod);
    (above <= 0, priority(&tenant.pod), Reverse(above))
}

fn by_processes(tenant: &Tenant) -> impl Ord + use<> {
    (priority(&tenant.pod), Reverse(tenant.processes))
}

fn by_age(tenant: &Tenant) -> impl Ord + use<> {
    let since = tenant.pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    (priority(&tenant.pod), Reverse(since))
}

fn requested_memory(pod: &Pod) -> i128 {
    let requests = pod.spec.as_ref().map(pod::requests).unwrap_or_default();
    requests.get("memory").map_or(0, objects::quantity::Amount::value)
}

fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default()
}

fn name(tenant: &Tenant) -> (Option<&str>, Option<&str>) {
    let meta = &tenant.pod.metadata;
    (meta.namespace.as_deref(), meta.name.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MIB: u64 = 1 << 20;

    /// Name, priority, memory asked for and used in MiB, processes, second of its start.
    fn tenant(name: &str, priority: i32, asked: u64, used: u64, processes: u64, start: u32) -> Tenant {
        let pod = json!({"metadata": {"name": name},
            "spec": {"priority": priority, "containers": [{"name": "c",
                "resources": {"requests": {"memory": format!("{asked}Mi")}}}]},
            "status": {"startTime": format!("2026-01-01T00:00:{start:02}Z")}});
        let pod = Arc::new(serde_json::from_value(pod).unwrap());
        Tenant { pod, memory: used * MIB, processes }
    }

    fn check(pressures: &[&str], tenants: &[Tenant], expected: Option<(&str, &str)>) {
        let chosen = choose(pressures, tenants);
        let found = chosen.as_ref().map(|(place, rejection)| {
            assert_eq!(rejection.reason, "Evicted");
            (tenants[*place].pod.metadata.name.as_deref().unwrap(), rejection.message.as_str())
        });
        assert_eq!(found, expected, "{pressures:?}");
    }

    #[test]
    fn who_uses_more_than_it_asked_for_goes_before_the_rest() {
        // NP-15.
        let (memory, text) = (["MemoryPressure"], "The node was low on resource: memory. ");
        let modest = tenant("modest", 0, 100, 90, 1, 0);
        let greedy = tenant("greedy", 0, 10, 50, 1, 0);
        let greedier = tenant("greedier", 0, 10, 60, 1, 0);
        let important = tenant("important", 100, 0, 900, 1, 0);
        check(&memory, &[modest.clone(), greedy.clone()], Some(("greedy", text)));
        check(&memory, &[greedy.clone(), greedier.clone(), important.clone()], Some(("greedier", text)));
        check(&memory, &[important.clone(), modest.clone()], Some(("important", text)));
        check(&memory, std::slice::from_ref(&modest), Some(("modest", text)));
        check(&[], &[greedy], None);
        check(&["Ready"], &[modest], None);
    }

    #[test]
    fn the_lower_priority_goes_and_among_equals_the_larger_or_the_newer() {
        let (few, many) = (tenant("few", 0, 0, 0, 3, 1), tenant("many", 0, 0, 0, 300, 0));
        let important = tenant("important", 5, 0, 0, 3000, 9);
        let all = [few, many, important];
        check(&["PIDPressure"], &all, Some(("many", "The node was low on resource: pids. ")));
        check(&["DiskPressure"], &all, Some(("few", "The node was low on resource: ephemeral-storage. ")));
        check(
            &["DiskPressure", "MemoryPressure"],
            &all,
            Some(("few", "The node was low on resource: memory. ")),
        );
    }

    #[test]
    fn the_critical_stay_and_daemons_go_like_others() {
        // NP-15: exempt are static pods, mirrors and the system's priorities; a daemon is not.
        let critical = tenant("critical", 2_000_000_000, 0, 900, 1, 0);
        check(&["MemoryPressure"], std::slice::from_ref(&critical), None);
        let mut daemon = tenant("daemon", 0, 0, 1, 1, 0);
        let owner = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "d", "controller": true});
        Arc::make_mut(&mut daemon.pod).metadata.owner_references =
            serde_json::from_value(json!([owner])).unwrap();
        let text = "The node was low on resource: memory. ";
        check(&["MemoryPressure"], &[critical, daemon], Some(("daemon", text)));
        let mut mirror = tenant("mirror", 0, 0, 900, 1, 0);
        let annotations = [("kubernetes.io/config.mirror".to_string(), "m".to_string())];
        Arc::make_mut(&mut mirror.pod).metadata.annotations = Some(annotations.into());
        check(&["MemoryPressure"], &[mirror], None);
    }
}
