//! Who stands behind each Service: its EndpointSlices, and the same in the old form, Endpoints.
//!
//! A service is looked at when it changes, when a pod that it selects changes in a way that an endpoint shows, when a node
//! with such pods is new or moves to another zone, and when somebody else writes its slices. Services without a selector are
//! their owner's. Kubernetes: `pkg/controller/endpointslice`, `pkg/controller/endpoint`. Differs: one run writes both; at a
//! start, Endpoints without a service go only if they are ours.

mod act;
mod behind;
mod fill;
mod mirror;
mod slices;
mod subsets;
mod touched;
mod trigger;
mod written;

pub(crate) use mirror::{READS as MIRROR_READS, run as run_mirror};

use crate::act::is_namespace_terminating;
use crate::caches::{BY_NODE, BY_SERVICE, Change, Pod, Watched, service_key};
use crate::reconcile::{Next, Queue, work};
use crate::{Shared, tolerate};
use k8s_openapi::api::core::v1::{Endpoints, Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Status;
use objects::key::ObjectKey;
use serde_json::json;
use slices::Zones;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use written::Written;

/// Kinds that this loop reads.
pub(crate) const READS: &[Watched] =
    &[Watched::Services, Watched::Pods, Watched::Nodes, Watched::Slices, Watched::Endpoints];

/// Services at a time.
const WORKERS: usize = 4;
/// A rollout changes many pods of one service.
const COALESCE: Duration = Duration::from_millis(50);
/// What each endpoint adds to the wait: one change of a service with a thousand rewrites hundreds of kilobytes, so that a
/// rollout tells of it once a second and not twenty times.
const COALESCE_EACH: Duration = Duration::from_millis(1);
/// Longest wait between a change and its endpoints.
const COALESCE_MAX: Duration = Duration::from_secs(2);

struct Loop {
    shared: Arc<Shared>,
    queue: Queue<ObjectKey>,
    /// Services that have been looked at.
    looks: Mutex<BTreeMap<ObjectKey, Look>>,
}

/// What is remembered of a service.
#[derive(Debug, Clone, Default)]
struct Look {
    known: Option<trigger::Known>,
    written: Written,
    pods: u32,
}

/// What is known of a service at one moment.
struct Snapshot {
    service: Arc<Service>,
    pods: Vec<Arc<Pod>>,
    zones: Zones,
    slices: Vec<Arc<EndpointSlice>>,
    endpoints: Option<Arc<Endpoints>>,
}

/// Keeps endpoints, for ever.
pub(crate) async fn run(shared: Arc<Shared>) -> Infallible {
    let this =
        Arc::new(Loop { shared: shared.clone(), queue: Queue::new(COALESCE), looks: Mutex::default() });
    this.clone().listen();
    shared.synced(READS).await;
    work(&this.queue, WORKERS, |key| this.reconcile(key)).await
}

impl Loop {
    fn listen(self: Arc<Self>) {
        let caches = &self.shared.caches;
        let this = self.clone();
        caches.services.listen(move |change| this.queue.add(change.key()));
        let this = self.clone();
        caches.pods.listen(move |change| this.pod_changed(change));
        let this = self.clone();
        caches.nodes.listen(move |change| this.node_changed(change));
        let this = self.clone();
        caches.endpoint_slices.listen(move |change| {
            let slice = change.latest().map(|slice| &slice.metadata);
            if let Some(service) = slice.and_then(|meta| service_of(meta, slices::MANAGER)) {
                this.queue.add(service);
            }
        });
        let this = self.clone();
        caches.endpoints.listen(move |change| {
            // As upstream: what is taken away comes back. What was left over by an older process is looked at once.
            let leftover = change.old.is_none() && change.new.is_some_and(|new| is_ours(&new.metadata));
            if change.new.is_none() || leftover {
                this.queue.add(change.key());
            }
        });
    }

    fn pod_changed(&self, change: &Change<'_, Pod>) {
        for service in touched::by_pod(&self.shared.caches.services, change) {
            let pods = self.looks().get(&service).map_or(0, |look| look.pods);
            self.queue.add_after(service, (COALESCE + COALESCE_EACH * pods).min(COALESCE_MAX));
        }
    }

    fn node_changed(&self, change: &Change<'_, Node>) {
        if !touched::by_node(change) {
            return;
        }
        let caches = &self.shared.caches;
        for pod in caches.pods.by(BY_NODE, &change.key().name) {
            touched::selecting(&caches.services, &pod).into_iter().for_each(|key| self.queue.add(key));
        }
    }

    async fn reconcile(&self, key: ObjectKey) -> Result<Next, kube::Error> {
        let Some(snapshot) = self.snapshot(&key) else { return self.gone(&key).await };
        let mut look = self.looks().get(&key).cloned().unwrap_or_default();
        let Snapshot { service, pods, zones, slices, endpoints } = &snapshot;
        if !behind::is_filled(service) {
            self.looks().insert(key, look);
            return Ok(Next::Rest);
        }
        let wait = look.written.wait(slices, Instant::now());
        if wait > Duration::ZERO {
            self.looks().insert(key, look);
            return Ok(Next::After(wait));
        }
        let (since, known) = trigger::news(look.known.as_ref(), service, pods);
        let plan = slices::plan(service, pods, zones, slices);
        let subsets = subsets::plan(service, pods, endpoints.as_deref());
        look.pods = u32::try_from(pods.len()).unwrap_or(u32::MAX);
        let mut outcome = Ok(());
        if service.metadata.deletion_timestamp.is_none() {
            outcome = act::slices(&self.shared, &key.namespace, plan, since, &mut look.written).await;
            if let (Ok(()), Some(new)) = (&outcome, subsets) {
                outcome = self.write(&key, endpoints.as_deref(), new, since).await;
            }
        }
        // News that could not be told are news the next time.
        if outcome.is_ok() {
            look.known = Some(known);
        }
        self.looks().insert(key, look);
        outcome.map(|()| Next::Rest)
    }

    fn snapshot(&self, key: &ObjectKey) -> Option<Snapshot> {
        let caches = &self.shared.caches;
        let service = caches.services.get(key)?;
        let mut pods = Vec::new();
        if behind::is_filled(&service) {
            pods = caches.pods.in_namespace(&key.namespace);
            pods.retain(|pod| {
                pod.metadata.labels.as_ref().is_some_and(|labels| behind::selects(&service, labels))
            });
        }
        let names = pods.iter().filter_map(|pod| objects::pod::node_name(pod));
        let zone = |name: &str| {
            let node = caches.nodes.get(&ObjectKey::new("", name))?;
            Some((name.to_string(), touched::zone(&node).cloned()))
        };
        let zones = names.filter_map(zone).collect();
        let mut slices = caches.endpoint_slices.by(BY_SERVICE, &service_key(key));
        slices.retain(|slice| service_of(&slice.metadata, slices::MANAGER).is_some());
        Some(Snapshot { service, pods, zones, slices, endpoints: caches.endpoints.get(key) })
    }

    /// Slices go with their owner; Endpoints have none.
    async fn gone(&self, key: &ObjectKey) -> Result<Next, kube::Error> {
        let was_there = self.looks().contains_key(key);
        if let Some(endpoints) = self.shared.caches.endpoints.get(key)
            && (was_there || is_ours(&endpoints.metadata))
        {
            let api = Api::<Endpoints>::namespaced(self.shared.client.clone(), &key.namespace);
            let settled = |status: &Status| status.is_not_found() || status.is_conflict();
            tolerate(api.delete(&key.name, &act::this_one(&endpoints.metadata)).await, settled)?;
        }
        self.looks().remove(key);
        Ok(Next::Rest)
    }

    async fn write(
        &self,
        key: &ObjectKey,
        seen: Option<&Endpoints>,
        mut new: Endpoints,
        since: Option<jiff::Timestamp>,
    ) -> kube::Result<()> {
        let api = Api::<Endpoints>::namespaced(self.shared.client.clone(), &key.namespace);
        let Some(seen) = seen else {
            if let Some(since) = since {
                let annotations = new.metadata.annotations.get_or_insert_default();
                annotations.insert(trigger::ANNOTATION.to_string(), since.to_string());
            }
            let outcome = api.create(&PostParams::default(), &new).await;
            return tolerate(outcome, is_namespace_terminating).map(drop);
        };
        let body =
            json!({"metadata": act::metadata(&seen.metadata, &new.metadata, since), "subsets": new.subsets});
        let outcome = api.patch(&key.name, &PatchParams::default(), &Patch::Merge(body)).await;
        tolerate(outcome, Status::is_not_found).map(drop)
    }

    fn looks(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Look>> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The service of a slice that this manager keeps.
fn service_of(slice: &ObjectMeta, manager: &str) -> Option<ObjectKey> {
    let labels = slice
        .labels
        .as_ref()
        .filter(|labels| labels.get(fill::MANAGED_BY).is_some_and(|by| by == manager))?;
    Some(ObjectKey::new(slice.namespace.as_deref()?, labels.get(fill::SERVICE)?))
}

/// Whether this loop has made these Endpoints.
fn is_ours(endpoints: &ObjectMeta) -> bool {
    let by = endpoints.labels.as_ref().and_then(|labels| labels.get(subsets::MANAGED_BY));
    by.is_some_and(|by| by == subsets::MANAGER)
}
