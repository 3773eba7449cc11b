//! Looks after one pod: observe → plan → act, until nothing of it is left here.
//!
//! ```text
//!            volumes, sandbox, containers            deleted, finished, refused
//!   bound ───────────────────────────────▶ Alive ───────────────────────────────▶ Ending
//!                                           ▲  │ a container ended: restart          │ containers, then
//!                                           └──┘ (crash-loop delay)                  ▼ the sandbox stopped
//!   Gone ◀── object deleted ── cleaned up ◀──────────── deleted ─────────────────── Ended
//! ```
//!
//! 1. It wakes when the pod changes, when the runtime's list of it changes, when a probe has a verdict, when an action
//!    ends, and at the time the plan named; what woke it does not matter, it looks at everything again.
//! 2. Actions run beside it, each [`Work`] once at a time; the worker itself never waits for the server.
//! 3. What it remembers is a convenience: without it (a new agent) it comes to the same plan for what runs.
//!
//! Kubernetes: pkg/kubelet/pod_workers.go, kubelet.go `SyncPod`.

mod observe;
mod probers;
mod report;

use crate::Shutdown;
use crate::act::{Done, Scene, Shared, act, prepare_volumes};
use crate::events::Kind;
use crate::images;
use crate::plan::{self, Action, Bound, Memory, Plan, Rejection, Seen, Stage, Trouble, Volumes, Work};
use crate::sandbox;
use crate::status::{self, Place};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use observe::Observer;
use probers::Probers;
use report::Reporter;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

/// A runtime that does not answer is asked again after this.
const RUNTIME_RETRY: Duration = Duration::from_secs(1);
/// What failed without a delay of its own is tried again after this.
const AGAIN: Duration = Duration::from_secs(2);
/// How often ConfigMap, Secret, projected and downward volumes are looked at. Kubernetes: `syncFrequency`.
const VOLUME_REFRESH: Duration = Duration::from_secs(60);

/// What a worker is told about its pod.
#[derive(Clone)]
pub struct Order {
    /// The pod as its origin has it.
    pub pod: Arc<Pod>,
    /// Who describes it.
    pub origin: Origin,
    /// Whether its origin still has it.
    pub bound: Bound,
    /// Why this node does not take it.
    pub rejected: Option<Rejection>,
    /// Why this node, which had taken it, sends it away.
    pub evicted: Option<Rejection>,
}

/// Who describes a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// The server.
    Server,
    /// A file on this node.
    File {
        /// What the server shows of it.
        mirror: Option<Arc<Pod>>,
    },
}

/// The other side's view of a worker.
pub struct Window {
    /// The status the worker would write now; the log server reads it.
    pub status: watch::Sender<PodStatus>,
    /// Wakes the worker: its pod changed in the runtime.
    pub wake: Arc<Notify>,
}

/// One pod's worker.
pub struct Worker {
    shared: Arc<Shared>,
    orders: watch::Receiver<Order>,
    window: Arc<Window>,
    observer: Observer,
    reporter: Reporter,
    probers: Probers,
    verdicts: mpsc::Receiver<probers::Said>,
    memory: Memory,
    tasks: JoinSet<(Work, Done)>,
    aborts: BTreeMap<Work, AbortHandle>,
    waiting: BTreeMap<String, plan::Waiting>,
    stop_orders: BTreeMap<String, Duration>,
    refreshed: Timestamp,
    retry_at: Option<Timestamp>,
}

impl Worker {
    /// A worker for the pod of these orders.
    pub fn new(shared: Arc<Shared>, orders: watch::Receiver<Order>, window: Arc<Window>) -> Self {
        let pod = orders.borrow().pod.clone();
        let (probers, verdicts) = Probers::new();
        Self {
            observer: Observer::new(sandbox::key(&pod).uid),
            reporter: Reporter::new(shared.config.client.clone(), window.wake.clone()),
            shared,
            orders,
            window,
            probers,
            verdicts,
            memory: Memory::default(),
            tasks: JoinSet::new(),
            aborts: BTreeMap::new(),
            waiting: BTreeMap::new(),
            stop_orders: BTreeMap::new(),
            refreshed: Timestamp::now(),
            retry_at: None,
        }
    }

    /// Runs until nothing of the pod is left, or until `shutdown`, which leaves everything running.
    pub async fn run(mut self, shutdown: Shutdown) {
        let work = async { while self.turn().await == Turn::Next {} };
        shutdown.run_until_cancelled(work).await;
    }

    async fn turn(&mut self) -> Turn {
        let order = self.orders.borrow_and_update().clone();
        self.memory.rejected.clone_from(&order.rejected);
        self.memory.evicted.clone_from(&order.evicted);
        let pod = self.newest(&order);
        let runtime = self.shared.config.runtime.clone();
        if let Err(error) = self.observer.look(runtime.as_ref(), &pod, &mut self.memory).await {
            tracing::debug!(pod = plan::full_name(&pod), %error, "pod not observed");
            self.wait(Some(RUNTIME_RETRY)).await;
            return Turn::Next;
        }
        let now = Timestamp::now();
        let sandboxes = self.observer.sandboxes.clone();
        let containers = self.observer.containers.clone();
        let memory = std::mem::take(&mut self.memory);
        let seen = Seen {
            pod: &pod,
            bound: order.bound,
            sandboxes: &sandboxes,
            containers: &containers,
            memory: &memory,
        };
        let plan = plan::plan(&seen, now);
        self.publish(&order, &seen, &plan, now);
        self.memory = memory;
        let scene = Scene { shared: self.shared.clone(), pod, sandboxes, containers };
        self.tell_waiting(&scene, &plan);
        self.probers.follow(&scene, &mut self.memory, plan.stage == Stage::Alive);
        if plan.stage == Stage::Gone && order.bound == Bound::Gone && self.tasks.is_empty() {
            return Turn::Last;
        }
        self.begin(&scene, &plan);
        self.refresh_volumes(&scene, &plan, now);
        let until = [plan.wake_at, self.retry_at, self.reporter.retry_at()].into_iter().flatten().min();
        self.wait(until.map(|at| remaining(at, now))).await;
        Turn::Next
    }

    /// The pod with its newest status: the server's, and of a static pod our own.
    fn newest(&self, order: &Order) -> Arc<Pod> {
        match &order.origin {
            Origin::Server => self.reporter.newest(&order.pod),
            Origin::File { mirror } => {
                let mut status = self.window.status.borrow().clone();
                // An agent that returns finds in the mirror since when the pod is here.
                let began = mirror.as_ref().and_then(|mirror| mirror.status.as_ref()?.start_time.clone());
                status.start_time = began.into_iter().chain(status.start_time.take()).min();
                Arc::new(Pod { status: Some(status), ..(*order.pod).clone() })
            }
        }
    }

    /// Once an ended pod is cleaned up, nothing is left to observe: its last status stands.
    fn publish(&mut self, order: &Order, seen: &Seen<'_>, plan: &Plan, now: Timestamp) {
        if seen.memory.cleaned || seen.bound == Bound::Gone {
            return;
        }
        let old = seen.pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let ended = matches!(old, Some("Succeeded" | "Failed"));
        if !ended {
            let host_ip = self.shared.config.address.to_string();
            let place = Place { host_ip: &host_ip, runtime: &self.shared.runtime_name };
            self.window.status.send_replace(status::pod_status(seen, plan, place, now));
        }
        let status = self.window.status.borrow().clone();
        match &order.origin {
            Origin::Server if !ended => self.reporter.report(seen.pod, status),
            // A mirror may come, or come again, when everything has been said.
            Origin::File { mirror: Some(mirror) } => {
                let mirror = self.reporter.newest(mirror);
                self.reporter.report(&mirror, status);
            }
            Origin::Server | Origin::File { mirror: None } => {}
        }
    }

    /// Events for waits that begin.
    fn tell_waiting(&mut self, scene: &Scene, plan: &Plan) {
        for (name, waiting) in &plan.waiting {
            if self.waiting.get(name).is_some_and(|before| before.reason == waiting.reason) {
                continue;
            }
            let tell = |kind, reason: &str, message: &str| {
                self.shared.recorder.pod(&scene.pod, Some(name), kind, reason, message);
            };
            match waiting.reason.as_str() {
                "CrashLoopBackOff" => {
                    let pod = plan::full_name(&scene.pod);
                    let text = format!("Back-off restarting failed container {name} in pod {pod}");
                    tell(Kind::Warning, "BackOff", &text);
                }
                "ImagePullBackOff" => {
                    let spec = scene.spec();
                    let container = sandbox::every_container(&spec).find(|container| container.name == *name);
                    let image = container.and_then(|container| container.image.clone()).unwrap_or_default();
                    tell(Kind::Normal, "BackOff", &format!("Back-off pulling image {image:?}"));
                    tell(Kind::Warning, "Failed", "Error: ImagePullBackOff");
                }
                _ => {}
            }
        }
        self.waiting.clone_from(&plan.waiting);
    }

    fn begin(&mut self, scene: &Scene, plan: &Plan) {
        if plan.stage >= Stage::Ending {
            // What is being started belongs to the past.
            let starts =
                self.aborts.iter().filter(|(work, _)| matches!(work, Work::Start(_) | Work::Sandbox));
            starts.for_each(|(_, handle)| handle.abort());
        }
        let later = self.retry_at.is_some_and(|at| Timestamp::now() < at);
        for action in &plan.actions {
            let patient = matches!(action, Action::Delete | Action::CleanUp) && self.reporter.is_busy();
            if later || patient {
                continue;
            }
            self.spawn(scene, action.clone());
        }
        self.hurry(scene);
    }

    fn spawn(&mut self, scene: &Scene, action: Action) {
        let work = action.work();
        if let Action::Stop { id, grace, .. } = &action {
            self.stop_orders.insert(id.clone(), *grace);
        }
        self.memory.busy.insert(work.clone());
        let (scene, name) = (scene.clone(), work.clone());
        let handle = self.tasks.spawn(async move { (name, act(scene, action).await) });
        self.aborts.insert(work, handle);
    }

    /// A second deletion with a shorter grace period does not wait for the first.
    fn hurry(&mut self, scene: &Scene) {
        let Some(seconds) = scene.pod.metadata.deletion_grace_period_seconds else { return };
        let grace = Duration::from_secs(u64::try_from(seconds.max(2)).unwrap_or_default());
        for (id, before) in &mut self.stop_orders {
            if *before > grace {
                *before = grace;
                let (scene, id) = (scene.clone(), id.clone());
                let work = Work::Stop(format!("{id} sooner"));
                self.tasks.spawn(async move {
                    let _ = scene.runtime().stop_container(&id, grace).await;
                    (work, Done::Well)
                });
            }
        }
    }

    fn refresh_volumes(&mut self, scene: &Scene, plan: &Plan, now: Timestamp) {
        let age = now.duration_since(self.refreshed).unsigned_abs();
        let ready = self.memory.volumes == Volumes::Ready && plan.stage == Stage::Alive;
        if !ready || age < VOLUME_REFRESH || self.memory.busy.contains(&Work::Volumes) {
            return;
        }
        self.refreshed = now;
        self.memory.busy.insert(Work::Volumes);
        let scene = scene.clone();
        self.tasks.spawn(async move {
            let done = match prepare_volumes(&scene).await {
                // The old content stays: a running pod does not lose its volumes.
                Done::NoVolumes(text) => Done::Again(text),
                done => done,
            };
            (Work::Volumes, done)
        });
    }

    /// Waits for anything that may change the plan, but not longer than `limit`.
    async fn wait(&mut self, limit: Option<Duration>) {
        let limit = limit.unwrap_or(VOLUME_REFRESH).min(VOLUME_REFRESH);
        tokio::select! {
            changed = self.orders.changed() => if changed.is_err() {
                // Nobody gives orders any more: the agent ends.
                std::future::pending::<()>().await;
            },
            () = self.window.wake.notified() => {}
            Some(said) = self.verdicts.recv() => self.probers.hear(said, &self.shared, &mut self.memory),
            Some(ended) = self.tasks.join_next() => self.finish(ended),
            () = tokio::time::sleep(limit) => {}
        }
    }

    fn finish(&mut self, ended: Result<(Work, Done), tokio::task::JoinError>) {
        let (work, done) = match ended {
            Ok(ended) => ended,
            Err(error) => return self.forget_aborted(&error),
        };
        self.memory.busy.remove(&work);
        self.aborts.remove(&work);
        if let Work::Stop(id) = &work {
            self.stop_orders.remove(id);
        }
        let now = Timestamp::now();
        let later = |delay: Duration| now.saturating_add(delay).unwrap_or(Timestamp::MAX);
        match done {
            Done::Well if work == Work::Volumes => self.memory.volumes = Volumes::Ready,
            Done::Well if work == Work::Sandbox => self.memory.sandbox = None,
            Done::Well => {}
            Done::NoVolumes(_) => self.memory.volumes = Volumes::Failed { retry_at: later(AGAIN * 2) },
            Done::NoSandbox(message) => {
                self.memory.sandbox = Some(Trouble {
                    reason: "FailedCreatePodSandBox".into(),
                    message,
                    then: None,
                    retry_at: later(AGAIN * 2),
                    delay: AGAIN,
                });
            }
            Done::Started { container, crash_loop } => {
                self.memory.troubles.remove(&container);
                self.memory.crash_loops.extend(crash_loop.map(|next| (container, next)));
            }
            Done::NotStarted { container, failure } => self.remember(container, &failure, now),
            Done::Cleaned => self.memory.cleaned = true,
            Done::Again(text) => {
                tracing::debug!(?work, text, "tried again later");
                self.retry_at = Some(later(AGAIN));
            }
        }
    }

    fn remember(&mut self, container: String, failure: &images::Failure, now: Timestamp) {
        let pod = self.orders.borrow().pod.clone();
        let spec = pod.spec.clone().unwrap_or_default();
        let image =
            sandbox::every_container(&spec).find(|c| c.name == container).and_then(|c| c.image.clone());
        let before = self.memory.troubles.get(&container);
        let trouble = images::trouble(failure, &image.unwrap_or_default(), before, now);
        self.memory.troubles.insert(container, trouble);
    }

    /// An aborted start ends without a name: what is still known to run stays busy.
    fn forget_aborted(&mut self, error: &tokio::task::JoinError) {
        if error.is_panic() {
            tracing::error!(%error, "an action on a pod ended badly");
        }
        self.aborts.retain(|_, handle| !handle.is_finished());
        let alive = &self.aborts;
        self.memory.busy.retain(|work| alive.contains_key(work) || matches!(work, Work::Volumes));
    }
}

#[derive(PartialEq, Eq)]
enum Turn {
    Next,
    Last,
}

fn remaining(at: Timestamp, now: Timestamp) -> Duration {
    at.duration_since(now).try_into().unwrap_or(Duration::ZERO).max(Duration::from_millis(10))
}
