//! How many pods of each PodDisruptionBudget may be away: counted here, spent by evictions at the API server.
//!
//! A budget is looked at when it changes, when a pod that it selects changes, and when a DaemonSet beside it wants another
//! number of pods. The scheduler reads the result when it looks for victims. Kubernetes: `pkg/controller/disruption`.

mod count;

use crate::caches::{Change, Pod, Watched};
use crate::events::{self, Recorder};
use crate::reconcile::{Next, Queue, work};
use crate::{Shared, tolerate};
use count::count;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::Status;
use objects::key::ObjectKey;
use objects::selector::Selector;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Kinds that this loop reads.
pub(crate) const READS: &[Watched] = &[Watched::Budgets, Watched::Pods, Watched::DaemonSets];

/// Budgets at a time.
const WORKERS: usize = 4;
/// A rollout changes many pods of one budget.
const COALESCE: Duration = Duration::from_millis(50);

struct Loop {
    shared: Arc<Shared>,
    queue: Queue<ObjectKey>,
    recorder: Recorder,
}

/// Counts budgets, for ever.
pub(crate) async fn run(shared: Arc<Shared>) -> Infallible {
    let recorder = shared.recorder.named("controllermanager");
    let this = Arc::new(Loop { shared: shared.clone(), queue: Queue::new(COALESCE), recorder });
    this.clone().listen();
    shared.synced(READS).await;
    work(&this.queue, WORKERS, |key| this.reconcile(key)).await
}

impl Loop {
    fn listen(self: Arc<Self>) {
        let caches = &self.shared.caches;
        let this = self.clone();
        caches.budgets.listen(move |change| this.queue.add(change.key()));
        let this = self.clone();
        caches.pods.listen(move |change| this.pod_changed(change));
        let this = self.clone();
        caches.daemonsets.listen(move |change| {
            let namespace = change.key().namespace;
            let budgets = this.shared.caches.budgets.in_namespace(&namespace);
            budgets.iter().for_each(|budget| this.queue.add(ObjectKey::of(&budget.metadata)));
        });
    }

    fn pod_changed(&self, change: &Change<'_, Pod>) {
        let states: Vec<&Arc<Pod>> = change.old.into_iter().chain(change.new).collect();
        for budget in self.shared.caches.budgets.in_namespace(&change.key().namespace) {
            let Some(selector) = selector(&budget) else { continue };
            if states.iter().any(|pod| selects(&selector, pod)) {
                self.queue.add(ObjectKey::of(&budget.metadata));
            }
        }
    }

    async fn reconcile(&self, key: ObjectKey) -> Result<Next, kube::Error> {
        let Some(budget) = self.shared.caches.budgets.get(&key) else { return Ok(Next::Rest) };
        let now = self.shared.now();
        let mut pods = self.shared.caches.pods.in_namespace(&key.namespace);
        let selector = selector(&budget);
        pods.retain(|pod| selector.as_ref().is_some_and(|selector| selects(selector, pod)));
        let counted = count(&budget, &pods, |owner| self.scale(&key.namespace, owner), now);
        if let Some(trouble) = &counted.trouble {
            let text = format!("Failed to calculate the number of expected pods: {trouble}");
            let about = events::reference(budget.as_ref());
            self.recorder.warning(about, "CalculateExpectedPodCountFailed", text);
        }
        if budget.status.as_ref() != Some(&counted.status) {
            self.write(&key, &budget, &counted.status).await?;
        }
        let wait = |at: jiff::Timestamp| Duration::try_from(at.duration_since(now)).unwrap_or_default();
        Ok(counted.wake_at.map_or(Next::Rest, |at| Next::After(wait(at))))
    }

    /// How many pods a DaemonSet wants; nothing else is known here.
    fn scale(&self, namespace: &str, owner: &OwnerReference) -> Option<i32> {
        if owner.kind != "DaemonSet" {
            return None;
        }
        let seen = self.shared.caches.daemonsets.get(&ObjectKey::new(namespace, &owner.name))?;
        if seen.object.metadata.uid.as_deref() != Some(&owner.uid) {
            return None;
        }
        Some(seen.object.status.as_ref().map_or(0, |status| status.desired_number_scheduled))
    }

    /// Refused when an eviction was let through meanwhile: then the run is repeated with the newer status.
    async fn write(
        &self,
        key: &ObjectKey,
        budget: &PodDisruptionBudget,
        status: &PodDisruptionBudgetStatus,
    ) -> kube::Result<()> {
        let api = Api::<PodDisruptionBudget>::namespaced(self.shared.client.clone(), &key.namespace);
        let revision = &budget.metadata.resource_version;
        let body = json!({"metadata": {"resourceVersion": revision}, "status": merged(budget, status)});
        let outcome = api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(body)).await;
        tolerate(outcome, Status::is_not_found).map(|_| ())
    }
}

/// The status as a merge patch: evictions that are forgotten are taken away.
fn merged(budget: &PodDisruptionBudget, status: &PodDisruptionBudgetStatus) -> Value {
    let mut patch = json!(status);
    let before = budget.status.as_ref().and_then(|status| status.disrupted_pods.as_ref());
    let kept = status.disrupted_pods.clone().unwrap_or_default();
    let gone = before.into_iter().flat_map(BTreeMap::keys).filter(|name| !kept.contains_key(*name));
    for name in gone {
        patch["disruptedPods"][name] = Value::Null;
    }
    patch
}

/// None selects nothing; an empty selector selects all pods of the namespace.
fn selector(budget: &PodDisruptionBudget) -> Option<Selector> {
    let selector = budget.spec.as_ref()?.selector.as_ref()?;
    Selector::from_label_selector(selector).ok()
}

fn selects(selector: &Selector, pod: &Pod) -> bool {
    let none = BTreeMap::new();
    selector.matches(pod.metadata.labels.as_ref().unwrap_or(&none))
}
