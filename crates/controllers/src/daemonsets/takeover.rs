//! May this plan be carried out, or had another controller the DaemonSet, which was not about to do that? (TK-5)
//!
//! Asked of the first plan of each DaemonSet in this process, before its first write; [`daemonset::takeover`] answers. What
//! has passed is ours and not asked about again.

use daemonset::{Plan, Takeover, takeover};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Stands before the first write.
#[derive(Debug)]
pub(super) struct Gate {
    /// Without a name of ours there is no other controller.
    ours: Option<&'static str>,
    /// Uids of DaemonSets that have passed.
    passed: Mutex<BTreeSet<String>>,
}

impl Gate {
    /// For a process whose writes the server knows under this name.
    pub(super) fn new(ours: Option<&'static str>) -> Self {
        Self { ours, passed: Mutex::default() }
    }

    /// Why the plan, which has looked at everything, is not carried out; none if it is.
    pub(super) fn leaves_alone(
        &self,
        daemon_set: &DaemonSet,
        plan: &Plan,
        born: impl Fn(&str) -> Option<Timestamp>,
    ) -> Option<Takeover> {
        let uid = daemon_set.metadata.uid.clone().unwrap_or_default();
        let ours = self.ours.filter(|_| !self.passed().contains(&uid))?;
        let takeover = takeover::is_pending(daemon_set, ours)
            .then(|| Takeover::of(daemon_set, plan, born))
            .filter(|takeover| !takeover.unannounced.is_empty());
        if takeover.is_none() && plan.standstill.is_none() {
            self.passed().insert(uid);
        }
        takeover
    }

    /// The DaemonSet is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.passed().remove(uid);
    }

    fn passed(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
