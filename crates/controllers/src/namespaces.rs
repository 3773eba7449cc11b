//! A namespace that ends is emptied and then released.
//!
//! 1. Pods go first, everything else when the last one is gone: what a pod needs for its end is still there
//!    (Kubernetes 1.33: ordered namespace deletion).
//! 2. The namespace is released (finalizer `kubernetes`) only when every served kind has been asked and has nothing left.
//! 3. What is in the way is said in the namespace's conditions.
//! 4. That it ends is asked of the server before anything is deleted: a watch that is late shows the one that ended while
//!    there is a new one of its name. The one that was asked for stays until it is released here.
//!
//! Kubernetes: `namespace/deletion/namespaced_resources_deleter.go`, `status_condition_utils.go`. Differs: kinds are
//! asked anew in every round, once a second while something remains, instead of being guessed from grace periods.

mod verdict;

use crate::act::in_parallel;
use crate::caches::Watched;
use crate::reconcile::{Next, Queue, work};
use crate::served::{self, Served};
use crate::{Shared, tolerate};
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::{PartialObjectMeta, Status};
use objects::key::ObjectKey;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use verdict::{Content, Verdict};

/// Kinds that this loop reads.
pub(crate) const READS: &[Watched] = &[Watched::Namespaces];

/// Namespaces at a time. Kubernetes: `--concurrent-namespace-syncs`.
const WORKERS: usize = 10;
const COALESCE: Duration = Duration::from_millis(20);
/// How soon to look again while something remains.
const AGAIN: Duration = Duration::from_secs(1);
/// Objects per page when counting what remains.
const PAGE: u32 = 500;

/// Empties terminating namespaces, for ever.
pub(crate) async fn run(shared: Arc<Shared>) -> Infallible {
    let queue = Arc::new(Queue::new(COALESCE));
    let add = queue.clone();
    shared.caches.namespaces.listen(move |change| add.add(change.key().name));
    shared.synced(READS).await;
    work(&queue, WORKERS, |name| reconcile(&shared, name)).await
}

async fn reconcile(shared: &Shared, name: String) -> Result<Next, kube::Error> {
    let seen = shared.caches.namespaces.get(&ObjectKey::new("", &name));
    if !seen.is_some_and(|seen| is_ours(&seen)) {
        return Ok(Next::Rest);
    }
    let namespaces = Api::<Namespace>::all(shared.client.clone());
    let live = tolerate(namespaces.get(&name).await, Status::is_not_found)?;
    let Some(live) = live.filter(is_ours) else { return Ok(Next::Rest) };
    let content = empty(shared, &name).await;
    let verdict = verdict::judge(&content);
    let live = write_conditions(&namespaces, live, &verdict, shared.now()).await?;
    match verdict.is_empty {
        true => release(&namespaces, live).await.map(|()| Next::Rest),
        false => Ok(Next::After(AGAIN)),
    }
}

/// Whether it ends and still waits for us.
fn is_ours(namespace: &Namespace) -> bool {
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
    namespace.metadata.deletion_timestamp.is_some()
        && finalizers.into_iter().flatten().any(|finalizer| finalizer == verdict::FINALIZER)
}

/// Deletes what can be deleted now, and says what is left.
async fn empty(shared: &Shared, namespace: &str) -> Content {
    let served = match served::ask(&shared.client).await {
        Ok(served) => served,
        Err(error) => return Content { discovery: Some(error.to_string()), ..Content::default() },
    };
    let (pods, others): (Vec<Served>, Vec<Served>) = served
        .into_iter()
        .filter(|kind| kind.is_namespaced && kind.can(&["list", "delete"]))
        .partition(|kind| kind.name() == "pods");
    let mut content = Content::default();
    sweep(shared, namespace, &pods, &mut content).await;
    if content.left.is_empty() && content.failures.is_empty() {
        sweep(shared, namespace, &others, &mut content).await;
    }
    content
}

async fn sweep(shared: &Shared, namespace: &str, kinds: &[Served], content: &mut Content) {
    let sweeps = kinds.iter().map(|kind| sweep_kind(shared, namespace, kind).boxed()).collect();
    for (kind, end) in in_parallel(sweeps).await {
        match end {
            Ok(left) if left.is_empty() => {}
            Ok(left) => {
                content.left.insert(kind, left);
            }
            Err(error) => {
                content.failures.insert(kind, error.to_string());
            }
        }
    }
}

/// The finalizers of each object that is left.
type Left = Vec<Vec<String>>;

async fn sweep_kind(shared: &Shared, namespace: &str, kind: &Served) -> (String, kube::Result<Left>) {
    (kind.name(), delete_all(shared, namespace, kind).await)
}

/// Deletes all objects of a kind; gives the finalizers of each that is still there.
async fn delete_all(shared: &Shared, namespace: &str, kind: &Served) -> kube::Result<Left> {
    let api = Api::<PartialObjectMeta>::namespaced_with(shared.client.clone(), namespace, &kind.resource);
    let before = list(&api).await?;
    if before.is_empty() {
        return Ok(Vec::new());
    }
    if kind.can(&["deletecollection"]) {
        api.delete_collection(&DeleteParams::background(), &ListParams::default()).await?;
    } else {
        for Found { name, .. } in &before {
            tolerate(api.delete(name, &DeleteParams::background()).await, Status::is_not_found)?;
        }
    }
    let left = list(&api).await?;
    Ok(left.into_iter().map(|object| object.finalizers).collect())
}

/// What is kept of an object in a list: there may be a hundred thousand.
struct Found {
    name: String,
    finalizers: Vec<String>,
}

async fn list(api: &Api<PartialObjectMeta>) -> kube::Result<Vec<Found>> {
    let (mut all, mut params) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let page = api.list(&params).await?;
        all.extend(page.items.into_iter().map(|object| Found {
            name: object.metadata.name.unwrap_or_default(),
            finalizers: object.metadata.finalizers.unwrap_or_default(),
        }));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(all),
        }
    }
}

async fn write_conditions(
    namespaces: &Api<Namespace>,
    mut live: Namespace,
    verdict: &Verdict,
    now: jiff::Timestamp,
) -> kube::Result<Namespace> {
    let status = live.status.get_or_insert_default();
    let conditions = status.conditions.get_or_insert_default();
    if !verdict::update(conditions, verdict, now) {
        return Ok(live);
    }
    let name = live.metadata.name.clone().unwrap_or_default();
    namespaces.replace_status(&name, &PostParams::default(), &live).await
}

async fn release(namespaces: &Api<Namespace>, mut live: Namespace) -> kube::Result<()> {
    let name = live.metadata.name.clone().unwrap_or_default();
    if let Some(finalizers) = live.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
        finalizers.retain(|finalizer| finalizer != verdict::FINALIZER);
    }
    let outcome = namespaces.replace_subresource("finalize", &name, &PostParams::default(), &live).await;
    tolerate(outcome, Status::is_not_found).map(|_| ())
}
