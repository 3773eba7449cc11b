//! Many simulated nodes in one process: a product mode for trials, demonstrations and measurements.
//!
//! 1. One watch of pods for all nodes; a pod is a small value ([`pod::SimulatedPod`]), not a task.
//! 2. The same pure plan and status as a real agent's; acting is done in memory at once, so that a pod goes from bound
//!    to Ready with one write.
//! 3. Leases are renewed by one timer, spread evenly over their period.
//! 4. Writes run beside the loop, a bounded number at a time, one for each pod.
//!
//! Differs from an agent: no admission, no volumes, no logs; a lease is renewed every 20 seconds of its 40.

mod nodes;
mod pod;
mod write;

use crate::Shutdown;
use crate::events::{self, Recorder};
use crate::runtime::simulated::Stages;
use crate::sandbox;
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Taint};
use kube::api::Api;
use kube::runtime::watcher;
use objects::parts::Parts::{self, AllBut, Nothing};
use objects::parts::{Selection, Shown};
use pod::{Next, SimulatedPod};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use write::{Written, write};

/// More writes at once make a server no faster.
const WRITES_AT_ONCE: usize = 64;
/// With more nodes than this events would cost more than the pods.
const NODES_WITH_EVENTS: u32 = 20;

/// Between two attempts at the watch of pods.
const WATCH_RETRY: Duration = Duration::from_secs(1);

/// Which nodes to simulate.
#[derive(Clone)]
pub struct Config {
    /// The API server, as a user who may write nodes and pods.
    pub client: kube::Client,
    /// How many nodes.
    pub nodes: u32,
    /// Names are this and a number from [`Config::first`] on.
    pub prefix: String,
    /// The first number.
    pub first: u32,
    /// Labels of every node.
    pub labels: BTreeMap<String, String>,
    /// Taints of every new node.
    pub taints: Vec<Taint>,
    /// How long each node's Lease is good; see [`crate::Config::lease`]. It is renewed twice as often.
    pub lease: Duration,
    /// How long the steps of a pod take.
    pub stages: Stages,
    /// Addresses of nodes come from this /16, those of pods from the one after it.
    pub network: Ipv4Addr,
    /// What time it is; [`Timestamp::now`], but for a simulation.
    pub now: fn() -> Timestamp,
    /// The numbers of the nodes that are there, where nodes come and go; None: all are. One that goes falls silent: its lease
    /// is not renewed, and its pods answer nobody. When it is back it registers again, with its pods as they were.
    pub present: Option<watch::Receiver<BTreeSet<u32>>>,
}

impl Config {
    /// `nodes` nodes called `n1`, `n2`, …, whose pods start at once.
    #[must_use]
    pub fn new(client: kube::Client, nodes: u32) -> Self {
        Self {
            client,
            nodes,
            prefix: "n".into(),
            first: 1,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            lease: crate::heartbeat::LEASE,
            stages: Stages::INSTANT,
            network: Ipv4Addr::new(10, 200, 0, 0),
            now: Timestamp::now,
            present: None,
        }
    }

    /// Whether the node of this number is there now.
    fn has(&self, number: u32) -> bool {
        self.present.as_ref().is_none_or(|present| present.borrow().contains(&number))
    }

    /// The names of the nodes, in order.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let numbers = self.first..self.first.saturating_add(self.nodes);
        numbers.map(|number| format!("{}{number}", self.prefix))
    }
}

/// Why a fleet ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A task ended that runs as long as the fleet.
    #[error("fleet: the task {task:?} ended")]
    Ended {
        /// Its name.
        task: &'static str,
    },
}

/// Is all these nodes until `shutdown`. Waits for a server that is not there, and goes on after one that was away.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), FleetError> {
    let mut tasks = JoinSet::new();
    let (recorder, writer) = events::recorder(config.client.clone(), "simulated", config.now);
    let recorder = (config.nodes <= NODES_WITH_EVENTS).then_some(recorder);
    let (for_events, for_nodes, for_pods) = (shutdown.clone(), shutdown.clone(), shutdown.clone());
    tasks.spawn(async move {
        writer.run(for_events.clone()).await;
        // Without a recorder the writer has nothing to wait for.
        for_events.cancelled().await;
        "events"
    });
    let of_nodes = nodes::Nodes::new(&config);
    tasks.spawn(async move {
        for_nodes.run_until_cancelled(of_nodes.run()).await;
        "nodes"
    });
    tasks.spawn(async move {
        for_pods.run_until_cancelled(Pods::new(config, recorder).run()).await;
        "pods"
    });
    let first = tasks.join_next().await;
    let asked = shutdown.is_cancelled();
    shutdown.cancel();
    while tasks.join_next().await.is_some() {}
    match first {
        _ if asked => Ok(()),
        Some(Ok(task)) => Err(FleetError::Ended { task }),
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        _ => Err(FleetError::Ended { task: "unknown" }),
    }
}

/// A watch that failed goes on after a while; without chance, so that a simulation can repeat it.
async fn after_a_pause<T, E>(event: Result<T, E>) -> Result<T, E> {
    if event.is_err() {
        tokio::time::sleep(WATCH_RETRY).await;
    }
    event
}

/// Ready when other nodes are there than before; never, if nobody says so any more.
async fn changed(present: &mut Option<watch::Receiver<BTreeSet<u32>>>) {
    let told = match present {
        Some(present) => present.changed().await.is_ok(),
        None => false,
    };
    if !told {
        std::future::pending().await
    }
}

/// What of a pod is played. Whose each field is is as long as the pod itself, and nothing is mounted or placed here.
struct Played;

impl Selection for Played {
    const PARTS: Parts = {
        const CONTAINER: Parts = AllBut(&[("env", Nothing), ("envFrom", Nothing), ("volumeMounts", Nothing)]);
        const SPEC: Parts = AllBut(&[
            ("affinity", Nothing),
            ("tolerations", Nothing),
            ("volumes", Nothing),
            ("containers", CONTAINER),
            ("initContainers", CONTAINER),
        ]);
        AllBut(&[("metadata", AllBut(&[("managedFields", Nothing)])), ("spec", SPEC)])
    };
}

/// Every pod of every simulated node.
struct Pods {
    config: Config,
    /// Numbers of nodes by their names.
    names: BTreeMap<String, u32>,
    recorder: Option<Recorder>,
    /// By uid.
    pods: BTreeMap<String, SimulatedPod>,
    /// When to look at which pod again.
    clock: BTreeSet<(Timestamp, String)>,
    writes: JoinSet<(String, Written)>,
    /// Pods that want to write and find no place.
    queue: BTreeSet<String>,
    made: u64,
}

impl Pods {
    fn new(config: Config, recorder: Option<Recorder>) -> Self {
        Self {
            names: config.names().zip(config.first..).collect(),
            config,
            recorder,
            pods: BTreeMap::new(),
            clock: BTreeSet::new(),
            writes: JoinSet::new(),
            queue: BTreeSet::new(),
            made: 0,
        }
    }

    async fn run(mut self) {
        let api: Api<Shown<Pod, Played>> = Api::all(self.config.client.clone());
        let events = watcher(api, self.selection()).then(after_a_pause);
        tokio::pin!(events);
        let mut fresh = BTreeSet::new();
        let mut present = self.config.present.clone();
        loop {
            let wait = self.until_next(self.now());
            tokio::select! {
                biased;
                Some(ended) = self.writes.join_next() => self.written(ended),
                Some(event) = events.next() => match event {
                    Ok(watcher::Event::Init) => fresh.clear(),
                    Ok(watcher::Event::InitApply(pod)) => {
                        fresh.insert(sandbox::key(&pod.object).uid);
                        self.applied(pod.object);
                    }
                    Ok(watcher::Event::InitDone) => self.pods.retain(|uid, _| fresh.contains(uid)),
                    Ok(watcher::Event::Apply(pod)) => self.applied(pod.object),
                    Ok(watcher::Event::Delete(pod)) => {
                        self.pods.remove(&sandbox::key(&pod.object).uid);
                    }
                    Err(error) => tracing::debug!(%error, "watch of pods interrupted"),
                },
                () = tokio::time::sleep(wait) => self.wake(self.now()),
                () = changed(&mut present) => self.look_at_all(),
            }
        }
    }

    /// A node alone asks for its own pods, as any agent does; many hear of all.
    fn selection(&self) -> watcher::Config {
        match (self.names.keys().next(), self.names.len()) {
            (Some(name), 1) => watcher::Config::default().fields(&format!("spec.nodeName={name}")),
            _ => watcher::Config::default(),
        }
    }

    fn now(&self) -> Timestamp {
        (self.config.now)()
    }

    fn until_next(&self, now: Timestamp) -> Duration {
        // Nothing to wait for: a long time, since something else will end the wait.
        let Some((at, _)) = self.clock.first() else { return Duration::from_secs(3600) };
        Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
    }

    fn wake(&mut self, now: Timestamp) {
        while self.clock.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, uid)) = self.clock.pop_first() {
                self.look(&uid);
            }
        }
    }

    fn applied(&mut self, pod: Pod) {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
        if node.is_none_or(|node| !self.names.contains_key(node)) {
            return;
        }
        let uid = sandbox::key(&pod).uid;
        match self.pods.get_mut(&uid) {
            Some(known) => known.told(pod),
            None => {
                self.made += 1;
                let ip = nodes::address(self.config.network, 1, self.made);
                let new = SimulatedPod::new(pod, ip, self.config.stages, (self.config.now)());
                self.pods.insert(uid.clone(), new);
            }
        }
        self.look(&uid);
    }

    /// Nodes that are back look after their pods.
    fn look_at_all(&mut self) {
        let all: Vec<String> = self.pods.keys().cloned().collect();
        all.iter().for_each(|uid| self.look(uid));
    }

    fn look(&mut self, uid: &str) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        let node = pod.node_name().and_then(|name| self.names.get(&name));
        if pod.is_writing() || !node.is_some_and(|number| self.config.has(*number)) {
            return;
        }
        if self.writes.len() >= WRITES_AT_ONCE {
            self.queue.insert(uid.to_string());
            return;
        }
        let host_ip = pod.node_name().map_or_else(String::new, |name| self.host_ip(&name));
        let Some(pod) = self.pods.get_mut(uid) else { return };
        let settled = pod.settle(&host_ip, (self.config.now)());
        if let Some(recorder) = &self.recorder {
            pod.tell(recorder, &settled.news);
        }
        if let Some(at) = settled.wake_at {
            self.clock.insert((at, uid.to_string()));
        }
        if let Some(next) = settled.next {
            self.begin(uid, next);
        }
    }

    fn begin(&mut self, uid: &str, next: Next) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        pod.writes();
        let (client, uid, key) = (self.config.client.clone(), uid.to_string(), pod.key());
        self.writes.spawn(async move {
            let written = write(&client, &key, next).await;
            (uid, written)
        });
    }

    fn written(&mut self, ended: Result<(String, Written), tokio::task::JoinError>) {
        let (uid, written) = match ended {
            Ok(ended) => ended,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return,
        };
        if let Some(pod) = self.pods.get_mut(&uid) {
            if let Some(again_at) = pod.wrote(written, (self.config.now)()) {
                self.clock.insert((again_at, uid.clone()));
            }
            self.look(&uid);
        }
        // One that waited may have nothing to write any more: then the place is the next one's.
        while self.writes.len() < WRITES_AT_ONCE {
            let Some(waiting) = self.queue.pop_first() else { break };
            self.look(&waiting);
        }
    }

    fn host_ip(&self, node: &str) -> String {
        let number = node.strip_prefix(&self.config.prefix).and_then(|number| number.parse().ok());
        nodes::address(self.config.network, 0, number.unwrap_or(0))
    }
}
