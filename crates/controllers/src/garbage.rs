//! Objects whose owners are gone go too; deletions in the foreground and with orphans are brought to their end.
//!
//! Every served kind that can be listed, watched and deleted takes part, events excepted. Kinds that other loops watch
//! are read from the shared caches, the others as metadata only. Kinds that appear later are found by asking discovery
//! again. What follows for one object is decided in [`graph`]; wire calls are those of 2.7.5.
//!
//! Kubernetes: `garbagecollector/garbagecollector.go`.

mod graph;
#[cfg(test)]
mod tests;

use crate::act::{PARALLEL_CALLS, in_parallel};
use crate::caches::mirror::Kept;
use crate::caches::{Change, Mirror, Watched, metadata_feed};
use crate::reconcile::{Next, Queue, work};
use crate::served::{self, Served};
use crate::{Shared, tolerate};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use graph::{Entry, Graph, KindName, Policy, Step};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::{PartialObjectMeta, Status};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Kinds of which this loop shares the watch.
pub(crate) const READS: &[Watched] = &[
    Watched::Nodes,
    Watched::Pods,
    Watched::DaemonSets,
    Watched::Revisions,
    Watched::Leases,
    Watched::Namespaces,
    Watched::ServiceAccounts,
    Watched::Requests,
];

/// Objects at a time. Kubernetes: `--concurrent-gc-syncs` is 20; a DaemonSet of 1,000 pods should be gone in seconds.
const WORKERS: usize = PARALLEL_CALLS;
/// So long an object waits before it is judged: owner and dependents come through different watches.
const COALESCE: Duration = Duration::from_millis(50);
/// How often discovery is asked for new kinds. Kubernetes: 30 s.
const DISCOVERY_PERIOD: Duration = Duration::from_secs(30);
/// How soon after a failure.
const DISCOVERY_RETRY: Duration = Duration::from_secs(1);

struct Loop {
    shared: Arc<Shared>,
    queue: Queue<String>,
    graph: Mutex<Graph>,
    kinds: Mutex<BTreeMap<KindName, Served>>,
}

type OwnMirror = Arc<Mirror<PartialObjectMeta>>;

/// Collects garbage, for ever.
pub(crate) async fn run(shared: Arc<Shared>) -> Infallible {
    let (queue, graph, kinds) = (Queue::new(COALESCE), Mutex::default(), Mutex::default());
    let this = Arc::new(Loop { shared: shared.clone(), queue, graph, kinds });
    this.share_watches();
    let mut feeds = FuturesUnordered::new();
    let mut new = this.discover(&mut feeds).await;
    shared.synced(READS).await;
    // The own watches need to be driven while they are waited for.
    while let Some(mirror) = new.pop() {
        tokio::select! { biased; () = mirror.synced() => {}, never = first(&mut feeds) => match never {} }
    }
    let mut discovering = Box::pin(this.clone().keep_discovering(feeds));
    tokio::select! {
        biased;
        never = work(&this.queue, WORKERS, |uid| this.reconcile(uid)) => never,
        never = &mut discovering => never,
    }
}

type Feeds = FuturesUnordered<BoxFuture<'static, Infallible>>;

/// Drives the feeds; without any, waits for ever.
async fn first(feeds: &mut Feeds) -> Infallible {
    match feeds.next().await {
        Some(never) => never,
        None => std::future::pending().await,
    }
}

impl Loop {
    fn share_watches(self: &Arc<Self>) {
        let caches = &self.shared.caches;
        self.hook("", "Node", &caches.nodes);
        self.hook("", "Pod", &caches.pods);
        self.hook("apps", "DaemonSet", &caches.daemonsets);
        self.hook("apps", "ControllerRevision", &caches.revisions);
        self.hook("coordination.k8s.io", "Lease", &caches.leases);
        self.hook("", "Namespace", &caches.namespaces);
        self.hook("", "ServiceAccount", &caches.service_accounts);
        self.hook("certificates.k8s.io", "CertificateSigningRequest", &caches.requests);
    }

    fn hook<T: Kept>(self: &Arc<Self>, group: &str, kind: &str, mirror: &Mirror<T>) {
        let kind = Arc::new(KindName { group: group.to_string(), kind: kind.to_string() });
        let this = self.clone();
        mirror.listen(move |change| this.hear(&kind, change));
    }

    fn hear<T: Kept>(&self, kind: &Arc<KindName>, change: &Change<'_, T>) {
        let touched = match (change.new, change.old) {
            (Some(new), _) => self.graph().apply(Entry::of(kind, new.meta())),
            (None, Some(old)) => self.graph().remove(old.meta().uid.as_deref().unwrap_or_default()),
            (None, None) => Vec::new(),
        };
        touched.into_iter().for_each(|uid| self.queue.add(uid));
    }

    /// Asks until there is an answer; starts watches of new kinds and gives their mirrors.
    async fn discover(self: &Arc<Self>, feeds: &mut Feeds) -> Vec<OwnMirror> {
        loop {
            match served::ask(&self.shared.client).await {
                Ok(served) => return self.watch_new(served, feeds),
                Err(error) => tracing::warn!(%error, "the served kinds are not known yet"),
            }
            tokio::time::sleep(DISCOVERY_RETRY).await;
        }
    }

    async fn keep_discovering(self: Arc<Self>, mut feeds: Feeds) -> Infallible {
        loop {
            let asked = async {
                tokio::time::sleep(DISCOVERY_PERIOD).await;
                served::ask(&self.shared.client).await
            };
            let served = tokio::select! { biased; served = asked => served, never = first(&mut feeds) => match never {} };
            match served {
                Ok(served) => {
                    self.watch_new(served, &mut feeds);
                }
                Err(error) => tracing::debug!(%error, "the served kinds could not be asked for"),
            }
        }
    }

    fn watch_new(self: &Arc<Self>, served: Vec<Served>, feeds: &mut Feeds) -> Vec<OwnMirror> {
        let mut mirrors = Vec::new();
        for served in served {
            let (group, kind) = (served.resource.group.clone(), served.resource.kind.clone());
            let name = KindName { group: group.clone(), kind: kind.clone() };
            let is_known = self.kinds().insert(name, served.clone()).is_some();
            if is_known || is_shared(&group, &kind) || !takes_part(&served) {
                continue;
            }
            let mirror: OwnMirror = Arc::new(Mirror::new(&[]));
            self.hook(&group, &kind, &mirror);
            let api = Api::all_with(self.shared.unhurried.clone(), &served.resource);
            feeds.push(metadata_feed(api, mirror.clone()));
            mirrors.push(mirror);
        }
        mirrors
    }

    async fn reconcile(&self, uid: String) -> Result<Next, kube::Error> {
        let mut confirmed = BTreeSet::new();
        loop {
            let (step, entry) = {
                let graph = self.graph();
                let step = graph.plan(&uid, |kind| self.is_namespaced(kind), &confirmed);
                (step, graph.entry(&uid).cloned())
            };
            let Some(entry) = entry else { return Ok(Next::Rest) };
            match step {
                Step::Nothing => return Ok(Next::Rest),
                Step::Ask(owners) => {
                    for owner in owners {
                        if self.exists(&entry.key.namespace, &owner).await? {
                            confirmed.insert(owner.uid);
                        } else {
                            self.graph().note_absent(&owner.uid);
                        }
                    }
                    continue;
                }
                Step::Release { owners } => self.release(&entry, &owners).await?,
                Step::Delete(policy) => self.delete(&entry, policy).await?,
                Step::Wake(dependents) => dependents.into_iter().for_each(|uid| self.queue.add(uid)),
                Step::Orphan { dependents } => self.orphan(&entry, dependents).await?,
                Step::Finalize { finalizer } => self.finalize(&entry, finalizer).await?,
            }
            return Ok(Next::Rest);
        }
    }

    /// Whether the server has the object that a reference in this namespace names.
    async fn exists(&self, namespace: &str, owner: &OwnerReference) -> kube::Result<bool> {
        // The plan never asks for a kind that is not served.
        let Some(api) = self.api(&KindName::of_owner(owner), namespace) else { return Ok(true) };
        let live = api.get_opt(&owner.name).await?;
        Ok(live.is_some_and(|live| live.metadata.uid.as_deref() == Some(owner.uid.as_str())))
    }

    async fn delete(&self, entry: &Entry, policy: Policy) -> kube::Result<()> {
        let Some(api) = self.api(&entry.kind, &entry.key.namespace) else { return Ok(()) };
        let policy = match policy {
            Policy::Background => PropagationPolicy::Background,
            Policy::Foreground => PropagationPolicy::Foreground,
            Policy::Orphan => PropagationPolicy::Orphan,
        };
        // With the version, so that what was judged is what goes: an adoption in between makes it fail.
        let preconditions = Preconditions {
            uid: Some(entry.uid.to_string()),
            resource_version: Some(entry.resource_version.to_string()),
        };
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        tracing::debug!(kind = entry.kind.kind, object = %entry.key, "deleting garbage");
        match api.delete(&entry.key.name, &params).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            // Changed meanwhile: if it still is garbage when the watch shows the change, it will be judged again then.
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                self.queue.add_after(entry.uid.to_string(), COALESCE * 4);
                Ok(())
            }
            outcome => outcome.map(|_| ()),
        }
    }

    async fn orphan(&self, entry: &Entry, dependents: Vec<Entry>) -> kube::Result<()> {
        let owner = [entry.uid.to_string()];
        let calls = dependents.iter().map(|dependent| self.release(dependent, &owner).boxed()).collect();
        in_parallel(calls).await.into_iter().collect::<kube::Result<()>>()?;
        self.finalize(entry, graph::ORPHAN).await
    }

    /// Takes owners off an object. One that is gone or has been replaced needs it no more.
    async fn release(&self, entry: &Entry, owners: &[String]) -> kube::Result<()> {
        let Some(api) = self.api(&entry.kind, &entry.key.namespace) else { return Ok(()) };
        let name = &entry.key.name;
        let references: Vec<_> = owners.iter().map(|uid| json!({"$patch": "delete", "uid": uid})).collect();
        let patch = json!({"metadata": {"ownerReferences": references, "uid": &*entry.uid}});
        let outcome = match api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Err(kube::Error::Api(status)) if status.code == 415 => {
                let left: Vec<_> = entry.owners.iter().filter(|owner| !owners.contains(&owner.uid)).collect();
                let version = &entry.resource_version;
                let patch = json!({"metadata": {"ownerReferences": left, "uid": &*entry.uid, "resourceVersion": version}});
                api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
            }
            outcome => outcome,
        };
        tolerate(outcome, |status| status.is_not_found() || status.code == 422).map(|_| ())
    }

    /// Takes our finalizer off the live object.
    async fn finalize(&self, entry: &Entry, finalizer: &str) -> kube::Result<()> {
        let Some(api) = self.api(&entry.kind, &entry.key.namespace) else { return Ok(()) };
        let Some(live) = api.get_opt(&entry.key.name).await? else { return Ok(()) };
        let meta = live.metadata;
        let has = |list: &[String]| list.iter().any(|is| is == finalizer);
        if meta.uid.as_deref() != Some(&*entry.uid) || !has(meta.finalizers.as_deref().unwrap_or_default()) {
            return Ok(());
        }
        let left: Vec<String> = meta.finalizers.into_iter().flatten().filter(|is| is != finalizer).collect();
        let patch = json!({"metadata": {"resourceVersion": meta.resource_version, "finalizers": left}});
        let outcome = api.patch(&entry.key.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        tolerate(outcome, Status::is_not_found).map(|_| ())
    }

    fn api(&self, kind: &KindName, namespace: &str) -> Option<Api<PartialObjectMeta>> {
        let kinds = self.kinds();
        let served = kinds.get(kind)?;
        let client = self.shared.client.clone();
        Some(match served.is_namespaced {
            true => Api::namespaced_with(client, namespace, &served.resource),
            false => Api::all_with(client, &served.resource),
        })
    }

    fn is_namespaced(&self, kind: &KindName) -> Option<bool> {
        self.kinds().get(kind).map(|served| served.is_namespaced)
    }

    fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kinds(&self) -> MutexGuard<'_, BTreeMap<KindName, Served>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_shared(group: &str, kind: &str) -> bool {
    matches!(
        (group, kind),
        ("", "Node" | "Pod" | "Namespace" | "ServiceAccount")
            | ("apps", "DaemonSet" | "ControllerRevision")
            | ("coordination.k8s.io", "Lease")
            | ("certificates.k8s.io", "CertificateSigningRequest")
    )
}

/// Events own nothing, are owned by nothing, and are many (as upstream).
fn takes_part(served: &Served) -> bool {
    served.can(&["list", "watch", "delete"]) && served.resource.kind != "Event"
}
