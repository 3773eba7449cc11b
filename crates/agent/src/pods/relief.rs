//! A node under pressure sends one pod after the other away, until the pressure is gone (NP-15).
//!
//! Who goes is decided in [`crate::evict`]. The next one is chosen when the one before has ended, not earlier: what it held
//! must be free before anybody can tell whether that was enough. Kubernetes: `eviction_manager.go` (`synchronize`).

use super::{Handle, Pods};
use crate::events::Kind;
use crate::evict::{self, Tenant};
use crate::{cgroup, sandbox};
use std::time::Duration;

/// How often to look. Kubernetes: `evictionMonitoringPeriod`.
pub(super) const PERIOD: Duration = Duration::from_secs(10);

impl Pods {
    /// Chooses a pod if the node is short of something, and tells its worker.
    pub(super) fn relieve(&self) {
        let config = &self.shared.config;
        let pressures = (config.pressure)(&config.data_dir).names();
        let is_leaving =
            |handle: &Handle| handle.orders.borrow().evicted.is_some() && handle.active().is_some();
        if pressures.is_empty() || self.workers.values().any(is_leaving) {
            return;
        }
        let active: Vec<&Handle> = self.workers.values().filter(|handle| handle.active().is_some()).collect();
        let tenants: Vec<Tenant> = active.iter().map(|handle| self.tenant(handle)).collect();
        let Some((place, rejection)) = evict::choose(&pressures, &tenants) else { return };
        let (Some(handle), Some(tenant)) = (active.get(place), tenants.get(place)) else { return };
        tracing::warn!(pod = crate::plan::full_name(&tenant.pod), reason = rejection.message, "evicts a pod");
        self.shared.recorder.pod(&tenant.pod, None, Kind::Warning, &rejection.reason, &rejection.message);
        handle.orders.send_modify(|order| order.evicted = Some(rejection));
    }

    fn tenant(&self, handle: &Handle) -> Tenant {
        let pod = handle.orders.borrow().pod.clone();
        let spec = pod.spec.clone().unwrap_or_default();
        let used = cgroup::usage(&sandbox::cgroup(&self.shared.config, &spec, &handle.key.uid));
        Tenant { pod, memory: used.memory, processes: used.processes }
    }
}
