//! The pods bound to this node: one worker each.
//!
//! 1. The watch tells which pods there are; until its first list is complete nothing in the runtime is touched.
//! 2. Sandboxes of pods that the server does not know (deleted while the agent was away) get a worker too, which
//!    stops them.
//! 3. A pod is admitted once, when it is new to this node and to the runtime, in the order of arrival.
//! 4. A node that is short of something sends pods away ([`relief`]).
//! 5. Static pods ([`crate::static_pods`]) need neither watch nor registration; their mirrors get no worker.
//!
//! Kubernetes: pkg/kubelet/config, pod_workers.go, kubelet_pods.go `HandlePodCleanups`.

mod of_files;
mod relief;

use crate::act::Shared;
use crate::admit::{self, preempt};
use crate::events::Kind;
use crate::plan::{Bound, Rejection};
use crate::relist::Listing;
use crate::runtime::PodKey;
use crate::static_pods::mirror;
use crate::static_pods::set::StaticPods;
use crate::worker::{Order, Origin, Window, Worker};
use crate::{Shutdown, sandbox};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, ObjectMeta};
use kube::runtime::{WatchStreamExt as _, watcher};
use of_files::OfFiles;
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

/// What the workers are told by others.
pub struct Inputs {
    /// What the runtime has; none: it has not answered yet.
    pub listing: watch::Receiver<Option<Arc<Listing>>>,
    /// What the manifests say; none: nobody has read them yet.
    pub manifests: watch::Receiver<Option<Arc<StaticPods>>>,
}

/// Runs the workers until `shutdown`.
pub async fn run(shared: Arc<Shared>, directory: Directory, mut inputs: Inputs, shutdown: Shutdown) {
    let mut pods = Pods::new(shared, directory);
    // Nothing is started before the runtime has said what runs already.
    let known = async {
        let _ = inputs.listing.wait_for(Option::is_some).await;
        let _ = inputs.manifests.wait_for(Option::is_some).await;
    };
    if shutdown.run_until_cancelled(known).await.is_none() {
        return;
    }
    pods.seen(&inputs.listing.borrow_and_update().clone().unwrap_or_default());
    pods.of_files.say(&inputs.manifests.borrow_and_update().clone().unwrap_or_default());
    pods.follow_files(&shutdown);
    pods.work(inputs, &shutdown).await;
    while pods.tasks.join_next().await.is_some() {}
}

struct Pods {
    shared: Arc<Shared>,
    directory: Directory,
    /// By uid.
    workers: BTreeMap<String, Handle>,
    tasks: JoinSet<String>,
    listed: Option<Arc<Listing>>,
    of_files: OfFiles,
    /// Uids in the list that the watch is giving.
    fresh: BTreeSet<String>,
    /// Whether the first list is complete.
    synced: bool,
}

struct Handle {
    key: PodKey,
    orders: watch::Sender<Order>,
    window: Arc<Window>,
}

impl Pods {
    fn new(shared: Arc<Shared>, directory: Directory) -> Self {
        Self {
            of_files: OfFiles::new(shared.config.client.clone()),
            shared,
            directory,
            workers: BTreeMap::new(),
            tasks: JoinSet::new(),
            listed: None,
            fresh: BTreeSet::new(),
            synced: false,
        }
    }

    async fn work(&mut self, mut inputs: Inputs, shutdown: &Shutdown) {
        let api: Api<Pod> = Api::all(self.shared.config.client.clone());
        let config =
            watcher::Config::default().fields(&format!("spec.nodeName={}", self.shared.config.node_name));
        // Whose each field is is as long as the pod itself, and nobody here asks.
        let events = watcher(api, config).default_backoff().modify(|pod| pod.metadata.managed_fields = None);
        tokio::pin!(events);
        let mut node = self.shared.node.clone();
        let mut registered = false;
        let mut looks = tokio::time::interval(relief::PERIOD);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = is_some(&mut node), if !registered => registered = true,
                // No pod of the server is admitted before the node's own labels and taints are known.
                Some(event) = events.next(), if registered => match event {
                    Ok(event) => self.told(event, shutdown),
                    Err(error) => tracing::debug!(%error, "watch of pods interrupted"),
                },
                Ok(()) = inputs.listing.changed() => {
                    self.seen(&inputs.listing.borrow_and_update().clone().unwrap_or_default());
                    if self.synced {
                        self.orphans(shutdown);
                    }
                }
                Ok(()) = inputs.manifests.changed() => {
                    self.of_files.say(&inputs.manifests.borrow_and_update().clone().unwrap_or_default());
                    self.follow_files(shutdown);
                }
                _ = looks.tick() => self.relieve(),
                () = self.of_files.writer.settled() => self.follow_files(shutdown),
                Some(ended) = self.tasks.join_next() => {
                    self.ended(ended);
                    self.follow_files(shutdown);
                }
            }
        }
    }

    fn told(&mut self, event: watcher::Event<Pod>, shutdown: &Shutdown) {
        match event {
            watcher::Event::Init => {
                self.fresh.clear();
                self.of_files.listing_begins();
            }
            watcher::Event::InitApply(pod) if mirror::is_mirror(&pod) => self.of_files.listed(pod),
            watcher::Event::InitApply(pod) => {
                self.fresh.insert(sandbox::key(&pod).uid);
                self.applied(pod, shutdown);
            }
            watcher::Event::InitDone => {
                let fresh = std::mem::take(&mut self.fresh);
                self.only(&fresh);
                self.synced = true;
                self.of_files.listing_ends();
                self.follow_files(shutdown);
                self.orphans(shutdown);
            }
            watcher::Event::Apply(pod) if mirror::is_mirror(&pod) => {
                self.of_files.shown(pod);
                self.follow_files(shutdown);
            }
            watcher::Event::Apply(pod) => self.applied(pod, shutdown),
            watcher::Event::Delete(pod) if mirror::is_mirror(&pod) => {
                self.of_files.hidden(&pod);
                self.follow_files(shutdown);
            }
            watcher::Event::Delete(pod) => self.gone(&sandbox::key(&pod).uid),
        }
    }

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
        self.employ(
            Order { pod, origin: Origin::Server, bound: Bound::Here, rejected, evicted: None },
            shutdown,
        );
    }

    /// A pod that has started here before, or runs, is not asked again.
    fn admit(&self, pod: &Pod) -> Option<Rejection> {
        let uid = sandbox::key(pod).uid;
        let runs = self.listed.as_ref().is_some_and(|listed| listed.contains_key(&uid));
        let began = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
        if runs || began || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let node = self.shared.node_or_own();
        let others: Vec<Arc<Pod>> = self.workers.values().filter_map(Handle::active).collect();
        match admit::check(pod, &node, &others) {
            Ok(victims) => {
                victims.iter().for_each(|victim| self.push_aside(victim));
                None
            }
            Err(rejection) => {
                self.shared.recorder.pod(pod, None, Kind::Warning, &rejection.reason, &rejection.message);
                Some(rejection)
            }
        }
    }

    /// A pod makes room for a critical one: it ends with its grace period, and stays Failed. `Differs:` kubelet waits for
    /// its end before the critical pod begins; here that one pulls its images meanwhile.
    fn push_aside(&self, pod: &Pod) {
        let Some(handle) = self.workers.get(&sandbox::key(pod).uid) else { return };
        let (reason, message) = (preempt::REASON.to_string(), preempt::MESSAGE.to_string());
        self.shared.recorder.pod(pod, None, Kind::Warning, &reason, &message);
        handle.orders.send_modify(|order| order.rejected = Some(Rejection { reason, message }));
    }

    fn employ(&mut self, order: Order, shutdown: &Shutdown) {
        let key = sandbox::key(&order.pod);
        let shown = match &order.origin {
            Origin::File { mirror: Some(mirror) } => &mirror.status,
            _ => &order.pod.status,
        };
        let status = watch::Sender::new(shown.clone().unwrap_or_default());
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
        let of_server = |handle: &Handle| handle.orders.borrow().origin == Origin::Server;
        let lost = self.workers.iter().filter(|(uid, handle)| of_server(handle) && !fresh.contains(*uid));
        let lost: Vec<String> = lost.map(|(uid, _)| uid.clone()).collect();
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
            tracing::info!(pod = %found.key.name, uid, "stops a pod that the server does not know");
            self.clear(&found.key, shutdown);
        }
    }

    /// Stops a pod of which only the runtime knows.
    fn clear(&mut self, key: &PodKey, shutdown: &Shutdown) {
        let metadata = ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            uid: Some(key.uid.clone()),
            ..ObjectMeta::default()
        };
        let pod = Arc::new(Pod { metadata, ..Pod::default() });
        self.employ(
            Order { pod, origin: Origin::Server, bound: Bound::Gone, rejected: None, evicted: None },
            shutdown,
        );
    }

    fn ended(&mut self, ended: Result<String, tokio::task::JoinError>) {
        match ended {
            Ok(uid) => {
                self.workers.remove(&uid);
                // The last list may be older than its end.
                if let Some(listed) = &mut self.listed {
                    Arc::make_mut(listed).remove(&uid);
                }
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
        let is_end = |status: &PodStatus| matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        // What the server knows of a static pod does not come back with it.
        let ended = order.pod.status.as_ref().is_some_and(is_end) || is_end(&self.window.status.borrow());
        (!ended && order.rejected.is_none() && order.bound == Bound::Here).then(|| order.pod.clone())
    }
}

async fn is_some<T>(value: &mut watch::Receiver<Option<T>>) {
    // Its sender lives as long as the agent.
    let _ = value.wait_for(Option::is_some).await;
}
