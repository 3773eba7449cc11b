//! The pods bound to this node: one worker each.
//!
//! 1. The watch tells which pods there are; until its first list is complete nothing in the runtime is touched.
//! 2. Sandboxes of pods that the server does not know (deleted while the agent was away) get a worker too, which
//!    stops them.
//! 3. A pod is admitted once, when it is new to this node and to the runtime, in the order of arrival.
//!
//! Kubernetes: pkg/kubelet/config, pod_workers.go, kubelet_pods.go `HandlePodCleanups`.

use crate::act::Shared;
use crate::admit;
use crate::events::Kind;
use crate::plan::{Bound, Rejection};
use crate::relist::Listing;
use crate::runtime::PodKey;
use crate::worker::{Order, Window, Worker};
use crate::{Shutdown, sandbox};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, ObjectMeta};
use kube::runtime::{WatchStreamExt as _, watcher};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// What the log server may know of the pods here.
#[derive(Clone, Default)]
pub struct Directory(Arc<Mutex<BTreeMap<(String, String), Entry>>>);

/// One pod, with the status its worker sees.
#[derive(Clone)]
pub struct Entry {
    /// The pod as the server has it.
    pub pod: Arc<Pod>,
    /// The newest status.
    pub status: watch::Receiver<PodStatus>,
}

impl Directory {
    /// The pod of this namespace and name.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Entry> {
        self.entries().get(&(namespace.to_string(), name.to_string())).cloned()
    }

    /// All of them, in order.
    pub fn all(&self) -> Vec<Entry> {
        self.entries().values().cloned().collect()
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, String), Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the workers until `shutdown`.
pub async fn run(
    shared: Arc<Shared>,
    directory: Directory,
    mut listing: watch::Receiver<Option<Arc<Listing>>>,
    shutdown: Shutdown,
) {
    let api: Api<Pod> = Api::all(shared.config.client.clone());
    let config = watcher::Config::default().fields(&format!("spec.nodeName={}", shared.config.node_name));
    let events = watcher(api, config).default_backoff();
    tokio::pin!(events);
    let mut pods = Pods { shared, directory, workers: BTreeMap::new(), tasks: JoinSet::new(), listed: None };
    // Nothing is admitted before the node's own labels and taints are known, and nothing is started before the
    // runtime has said what runs already.
    let mut node = pods.shared.node.clone();
    let known = async {
        let _ = node.wait_for(Option::is_some).await;
        let _ = listing.wait_for(Option::is_some).await;
    };
    if shutdown.run_until_cancelled(known).await.is_none() {
        return;
    }
    pods.seen(&listing.borrow_and_update().clone().unwrap_or_default());
    let mut fresh = BTreeSet::new();
    let mut synced = false;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(event) = events.next() => match event {
                Ok(watcher::Event::Init) => fresh.clear(),
                Ok(watcher::Event::InitApply(pod)) => {
                    fresh.insert(sandbox::key(&pod).uid);
                    pods.applied(pod, &shutdown);
                }
                Ok(watcher::Event::InitDone) => {
                    pods.only(&fresh);
                    synced = true;
                    pods.orphans(&shutdown);
                }
                Ok(watcher::Event::Apply(pod)) => pods.applied(pod, &shutdown),
                Ok(watcher::Event::Delete(pod)) => pods.gone(&sandbox::key(&pod).uid),
                Err(error) => tracing::debug!(%error, "watch of pods interrupted"),
            },
            Ok(()) = listing.changed() => {
                pods.seen(&listing.borrow_and_update().clone().unwrap_or_default());
                if synced {
                    pods.orphans(&shutdown);
                }
            }
            Some(ended) = pods.tasks.join_next() => pods.ended(ended),
        }
    }
    while pods.tasks.join_next().await.is_some() {}
}

struct Pods {
    shared: Arc<Shared>,
    directory: Directory,
    /// By uid.
    workers: BTreeMap<String, Handle>,
    tasks: JoinSet<String>,
    listed: Option<Arc<Listing>>,
}

struct Handle {
    key: PodKey,
    orders: watch::Sender<Order>,
    window: Arc<Window>,
}

impl Pods {
    fn applied(&mut self, pod: Pod, shutdown: &Shutdown) {
        let key = sandbox::key(&pod);
        let pod = Arc::new(pod);
        if let Some(handle) = self.workers.get(&key.uid) {
            handle.orders.send_modify(|order| {
                order.pod = pod.clone();
                order.bound = Bound::Here;
            });
            let entry = Entry { pod, status: handle.window.status.subscribe() };
            self.directory.entries().insert((key.namespace, key.name), entry);
            return;
        }
        let rejected = self.admit(&pod);
        self.employ(Order { pod, bound: Bound::Here, rejected }, shutdown);
    }

    /// A pod that has started here before, or runs, is not asked again.
    fn admit(&self, pod: &Pod) -> Option<Rejection> {
        let uid = sandbox::key(pod).uid;
        let runs = self.listed.as_ref().is_some_and(|listed| listed.contains_key(&uid));
        let began = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
        if runs || began || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let node = self.shared.node.borrow().clone()?;
        let others: Vec<Arc<Pod>> = self.workers.values().filter_map(Handle::active).collect();
        let rejection = admit::check(pod, &node, &others).err()?;
        self.shared.recorder.pod(pod, None, Kind::Warning, &rejection.reason, &rejection.message);
        Some(rejection)
    }

    fn employ(&mut self, order: Order, shutdown: &Shutdown) {
        let key = sandbox::key(&order.pod);
        let status = watch::Sender::new(order.pod.status.clone().unwrap_or_default());
        let window = Arc::new(Window { status, wake: Arc::new(Notify::new()) });
        if order.bound == Bound::Here {
            let entry = Entry { pod: order.pod.clone(), status: window.status.subscribe() };
            self.directory.entries().insert((key.namespace.clone(), key.name.clone()), entry);
        }
        let orders = watch::Sender::new(order);
        let worker = Worker::new(self.shared.clone(), orders.subscribe(), window.clone());
        let (shutdown, uid) = (shutdown.clone(), key.uid.clone());
        self.tasks.spawn(async move {
            worker.run(shutdown).await;
            uid
        });
        self.workers.insert(key.uid.clone(), Handle { key, orders, window });
    }

    fn gone(&mut self, uid: &str) {
        let Some(handle) = self.workers.get(uid) else { return };
        handle.orders.send_modify(|order| order.bound = Bound::Gone);
        let name = (handle.key.namespace.clone(), handle.key.name.clone());
        let mut entries = self.directory.entries();
        // A new pod may have the name already.
        if entries.get(&name).is_some_and(|entry| entry.pod.metadata.uid.as_deref() == Some(uid)) {
            entries.remove(&name);
        }
    }

    fn only(&mut self, fresh: &BTreeSet<String>) {
        let lost: Vec<String> = self.workers.keys().filter(|uid| !fresh.contains(*uid)).cloned().collect();
        lost.iter().for_each(|uid| self.gone(uid));
    }

    /// Wakes the workers whose pods look different in the runtime.
    fn seen(&mut self, listing: &Arc<Listing>) {
        let before = self.listed.replace(listing.clone()).unwrap_or_default();
        for (uid, handle) in &self.workers {
            if before.get(uid) != listing.get(uid) {
                handle.window.wake.notify_one();
            }
        }
    }

    /// What the runtime has and the server has not.
    fn orphans(&mut self, shutdown: &Shutdown) {
        let Some(listed) = self.listed.clone() else { return };
        for (uid, found) in listed.iter() {
            if self.workers.contains_key(uid) {
                continue;
            }
            let metadata = ObjectMeta {
                name: Some(found.key.name.clone()),
                namespace: Some(found.key.namespace.clone()),
                uid: Some(uid.clone()),
                ..ObjectMeta::default()
            };
            let pod = Arc::new(Pod { metadata, ..Pod::default() });
            tracing::info!(pod = crate::plan::full_name(&pod), "stops a pod that the server does not know");
            self.employ(Order { pod, bound: Bound::Gone, rejected: None }, shutdown);
        }
    }

    fn ended(&mut self, ended: Result<String, tokio::task::JoinError>) {
        match ended {
            Ok(uid) => {
                self.workers.remove(&uid);
            }
            // A worker that panics is a broken invariant: the agent must not go on without it.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {}
        }
    }
}

impl Handle {
    /// The pod, if it uses something of the node.
    fn active(&self) -> Option<Arc<Pod>> {
        let order = self.orders.borrow();
        let phase = order.pod.status.as_ref().and_then(|status| status.phase.clone());
        let ended = matches!(phase.as_deref(), Some("Succeeded" | "Failed"));
        (!ended && order.rejected.is_none() && order.bound == Bound::Here).then(|| order.pod.clone())
    }
}
