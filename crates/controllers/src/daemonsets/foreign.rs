//! Does another controller write to DaemonSets that we lead? (TK-9)
//!
//! Nothing in Kubernetes keeps two controllers apart, so whoever forgets to switch off the built-in one has two. Servers
//! record who writes (`managedFields`): a status that another name has written after we began, and a pod of ours that
//! another name has made, are told as an event, a metric and a line in the log; once an hour for each DaemonSet and name.

use crate::Shared;
use crate::caches::{Change, Pod, Whole};
use crate::events;
use crate::metrics::table;
use daemonset::takeover;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use objects::key::ObjectKey;
use objects::owner::controller_of;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Between two events of one DaemonSet about one writer: it is one mistake, however often it writes.
const AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// Times have whole seconds, and a server's clock is not ours: what was written as we began is no quarrel.
const GRACE: SignedDuration = SignedDuration::from_secs(5);

/// Notices writes of others.
pub(super) struct Foreign {
    shared: Arc<Shared>,
    ours: &'static str,
    since: Timestamp,
    told: Mutex<BTreeMap<(ObjectKey, String), Timestamp>>,
}

impl Foreign {
    /// Listens from now on, if servers know our writes by a name.
    pub(super) fn listen(shared: &Arc<Shared>) {
        let Some(ours) = shared.config.manager else { return };
        let since = shared.now().saturating_add(GRACE).unwrap_or(Timestamp::MAX);
        let this = Arc::new(Self { shared: shared.clone(), ours, since, told: Mutex::default() });
        let by = this.clone();
        shared.caches.daemonsets.listen(move |change| by.daemonset_changed(change));
        shared.caches.pods.listen(move |change| this.pod_changed(change));
    }

    fn daemonset_changed(&self, change: &Change<'_, Whole<DaemonSet>>) {
        let writer = |seen: &Arc<Whole<DaemonSet>>| takeover::status_writer(&seen.object.metadata).cloned();
        let (old, new) = (change.old.and_then(writer), change.new.and_then(writer));
        let Some(new) = new.filter(|new| Some(new) != old.as_ref()) else { return };
        if self.is_anothers(&new) && new.time.as_ref().is_some_and(|time| self.since < time.0) {
            self.tell(&change.key(), new.manager.as_deref().unwrap_or_default(), "status");
        }
    }

    fn pod_changed(&self, change: &Change<'_, Pod>) {
        let (None, Some(new)) = (change.old, change.new) else { return };
        let meta = &new.metadata;
        let is_new = meta.creation_timestamp.as_ref().is_some_and(|time| self.since < time.0);
        let maker = meta.managed_fields.iter().flatten().next().filter(|maker| self.is_anothers(maker));
        let (Some(maker), Some(key), true) = (maker, self.owner(meta), is_new) else { return };
        self.tell(&key, maker.manager.as_deref().unwrap_or_default(), "pod");
    }

    fn is_anothers(&self, entry: &ManagedFieldsEntry) -> bool {
        entry.manager.as_deref().is_some_and(|manager| manager != self.ours)
    }

    fn owner(&self, meta: &ObjectMeta) -> Option<ObjectKey> {
        let owner = controller_of(meta)?;
        let key = ObjectKey::new(meta.namespace.as_deref().unwrap_or_default(), &owner.name);
        let seen = self.shared.caches.daemonsets.get(&key)?;
        (seen.object.metadata.uid.as_deref() == Some(&owner.uid)).then_some(key)
    }

    fn tell(&self, key: &ObjectKey, manager: &str, what: &str) {
        self.shared.config.metrics.count(&table::FOREIGN, &[manager, what]);
        if !self.is_news(key, manager) {
            return;
        }
        let wrote = if what == "pod" { "a pod was created" } else { "its status was written" };
        let message = format!(
            "{wrote} by {manager:?} while everynode controller leads; two controllers of DaemonSets must not run together: \
             switch one off"
        );
        tracing::warn!(%key, manager, what, "another controller writes to our DaemonSet");
        if let Some(seen) = self.shared.caches.daemonsets.get(key) {
            self.shared.recorder.warning(events::reference(&seen.object), "ForeignController", message);
        }
    }

    fn is_news(&self, key: &ObjectKey, manager: &str) -> bool {
        let now = self.shared.now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, last| now.duration_since(*last) < AGAIN);
        told.insert((key.clone(), manager.to_string()), now).is_none_or(|last| {
            // Not told now: the hour goes on.
            told.insert((key.clone(), manager.to_string()), last);
            false
        })
    }
}
