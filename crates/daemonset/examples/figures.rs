//! What does a plan cost on a large cluster? Prints rows of the table in docs/performance.md.
//!
//! `cargo run --release -p daemonset --example figures -- 10000 100`: nodes and DaemonSets. Each DaemonSet has a pod on
//! every node, and its ledger; a node event is one node's taint, told to all ledgers. Memory is the growth of `VmRSS`.

use daemonset::ledger::{Touched, Update};
use daemonset::{Backoff, Ledger, Plan, Snapshot, Unseen, revision};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Events that are measured; the median is shown.
const EVENTS: usize = 200;
/// Full passes that are measured.
const PASSES: usize = 15;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1).map(|number| number.parse::<usize>());
    let nodes = arguments.next().transpose()?.unwrap_or(10_000);
    let sets = arguments.next().transpose()?.unwrap_or(100);
    let fleet = Fleet::new(nodes)?;
    let pods = fleet.pods(0)?;
    let set = Set::new(0)?;
    let passes: Vec<Duration> = (0..PASSES).map(|_| timed(|| fleet.open(&set, &pods)).1).collect();
    row(&format!("full pass of one DaemonSet over {nodes} nodes (median of {PASSES})"), &ms(passes), "20 ms");

    let before = memory()?;
    let mut watched = (0..sets).map(|index| fleet.follow(index)).collect::<Outcome<Vec<_>>>()?;
    let held = memory()?.saturating_sub(before) / (nodes * sets);
    row("memory of a ledger for a node with its pod", &format!("{held} B"), "-");

    let events: Vec<Duration> = (0..EVENTS).map(|event| fleet.event(event, &mut watched)).collect();
    let what = format!("one node event at {nodes} nodes x {sets} DaemonSets: all plans (median of {EVENTS})");
    row(&what, &ms(events), "1 ms");
    let pods: Vec<Duration> = (0..EVENTS).map(|event| fleet.pod_event(event, &mut watched[0])).collect();
    row("one pod event: its DaemonSet's plan (median)", &ms(pods), "-");
    row("memory of a pod in the caches", &cached(&fleet)?, "-");
    Ok(())
}

fn row(measure: &str, value: &str, aim: &str) {
    println!("| {measure} | {value} | {aim} | - |");
}

fn ms(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |index: usize| times.get(index).copied().unwrap_or_default().as_secs_f64() * 1000.0;
    format!("{:.2} ms (best {:.2})", at(times.len() / 2), at(0))
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let done = work();
    (done, start.elapsed())
}

/// `VmRSS` in bytes.
fn memory() -> Outcome<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? * 1024)
}

fn cached(fleet: &Fleet) -> Outcome<String> {
    let before = memory()?;
    let held: Vec<Arc<Pod>> = fleet.pods(0)?.into_iter().map(Arc::new).collect();
    let grown = memory()?.saturating_sub(before);
    Ok(format!("{} B", grown / held.len().max(1)))
}

/// A DaemonSet that is at rest, and its history.
struct Set {
    object: DaemonSet,
    raw: Value,
    revision: ControllerRevision,
}

impl Set {
    fn new(index: usize) -> Outcome<Self> {
        let app = format!("d{index}");
        let template = json!({
            "metadata": {"labels": {"app": app}},
            "spec": {"containers": [{"name": "c", "image": "registry.example.com/daemons/agent:1.2.3", "resources": {}}],
                "tolerations": [{"key": "a", "operator": "Exists"}], "nodeSelector": {"kubernetes.io/os": "linux"}},
        });
        let raw = json!({
            "metadata": {"name": app, "namespace": "ns", "uid": uid(&app), "generation": 1,
                "annotations": {"deprecated.daemonset.template.generation": "1"}},
            "spec": {"selector": {"matchLabels": {"app": app}}, "template": template, "updateStrategy":
                {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}},
        });
        let owner = json!([objects::owner::controller_reference("apps/v1", "DaemonSet", &app, &uid(&app))]);
        let revision = json!({
            "metadata": {"name": format!("{app}-6b8f9d7c5"), "namespace": "ns", "uid": "r", "ownerReferences": owner,
                "labels": {"app": app, "controller-revision-hash": "6b8f9d7c5"}},
            "data": revision::data(&raw["spec"]["template"]), "revision": 1,
        });
        Ok(Self {
            object: serde_json::from_value(raw.clone())?,
            raw,
            revision: serde_json::from_value(revision)?,
        })
    }
}

fn uid(name: &str) -> String {
    format!("{name:0>8}-1111-2222-3333-444455556666")
}

/// A DaemonSet with its ledger.
struct Watched {
    set: Set,
    ledger: Option<Ledger>,
}

struct Fleet {
    nodes: Vec<Node>,
    now: Timestamp,
    backoff: Backoff,
    unseen: Unseen,
}

impl Fleet {
    fn new(count: usize) -> Outcome<Self> {
        let nodes = (0..count).map(|index| node(index, false)).collect::<Outcome<Vec<_>>>()?;
        let now = "2026-01-01T12:00:00Z".parse()?;
        Ok(Self { nodes, now, backoff: Backoff::default(), unseen: Unseen::default() })
    }

    /// The pods of one DaemonSet as a cache holds them.
    fn pods(&self, set: usize) -> Outcome<Vec<Pod>> {
        let app = format!("d{set}");
        (0..self.nodes.len()).map(|index| pod(&app, index, true)).collect()
    }

    fn open(&self, set: &Set, pods: &[Pod]) -> (Plan, Option<Ledger>) {
        let snapshot = Snapshot {
            daemon_set: &set.object,
            raw: &set.raw,
            nodes: self.nodes.iter().collect(),
            pods: pods.iter().collect(),
            revisions: vec![&set.revision],
            backoff: &self.backoff,
            unseen: &self.unseen,
        };
        Ledger::open(&snapshot, self.now)
    }

    fn follow(&self, index: usize) -> Outcome<Watched> {
        let (mut set, pods) = (Set::new(index)?, self.pods(index)?);
        let (plan, ledger) = self.open(&set, &pods);
        set.object.status = Some(plan.status);
        Ok(Watched { set, ledger })
    }

    /// A node gets a taint, or loses it: how long all plans take together.
    fn event(&self, event: usize, watched: &mut [Watched]) -> Duration {
        let index = (event / 2 * 37) % self.nodes.len();
        let changed = node(index, event.is_multiple_of(2)).map(Arc::new).ok();
        let touched = Touched { nodes: [name(index)].into(), ..Touched::default() };
        timed(|| watched.iter_mut().for_each(|one| self.update(one, &touched, &changed, &None))).1
    }

    fn pod_event(&self, event: usize, watched: &mut Watched) -> Duration {
        let index = (event * 37) % self.nodes.len();
        let changed = pod("d0", index, event.is_multiple_of(2)).map(Arc::new).ok();
        let name = changed.as_ref().and_then(|pod| pod.metadata.name.clone()).unwrap_or_default();
        let touched = Touched { pods: [name].into(), ..Touched::default() };
        let node = node(index, false).map(Arc::new).ok();
        timed(|| self.update(watched, &touched, &node, &changed)).1
    }

    fn update(
        &self,
        watched: &mut Watched,
        touched: &Touched,
        node: &Option<Arc<Node>>,
        pod: &Option<Arc<Pod>>,
    ) {
        let update = Update {
            daemon_set: &watched.set.object,
            raw: &watched.set.raw,
            touched,
            node: &|_| node.clone(),
            pod: &|_| pod.clone(),
            backoff: &self.backoff,
            unseen: &self.unseen,
        };
        let updated = watched.ledger.take().and_then(|ledger| ledger.update(&update, self.now));
        let (plan, ledger) = updated.map_or((Plan::default(), None), |(plan, ledger)| (plan, Some(ledger)));
        assert!(ledger.is_some() && !plan.nodes.is_empty(), "it was an update");
        watched.set.object.status = Some(plan.status);
        watched.ledger = ledger;
    }
}

fn name(index: usize) -> String {
    format!("node-{index:05}.example.com")
}

fn node(index: usize, tainted: bool) -> Outcome<Node> {
    let taints = if tainted { json!([{"key": "k", "effect": "NoSchedule"}]) } else { Value::Null };
    let labels = json!({"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": name(index),
        "topology.kubernetes.io/zone": format!("z{}", index % 3)});
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name(index), "labels": labels}, "spec": {"taints": taints},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }))?)
}

fn pod(app: &str, index: usize, ready: bool) -> Outcome<Pod> {
    let owner = objects::owner::controller_reference("apps/v1", "DaemonSet", app, &uid(app));
    let (letters, since) = (format!("{index:05}"), "2026-01-01T11:00:00Z");
    let pin = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name(index)]}]}]}}});
    Ok(serde_json::from_value(json!({
        "metadata": {"name": format!("{app}-{letters}"), "namespace": "ns", "uid": uid(&format!("{app}{letters}")),
            "resourceVersion": "1234567", "creationTimestamp": since, "ownerReferences": [owner],
            "labels": {"app": app, "controller-revision-hash": "6b8f9d7c5", "pod-template-generation": "1"}},
        "spec": {"nodeName": name(index), "affinity": pin, "containers": [{"name": "c", "image": "agent:1"}]},
        "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": since}]},
    }))?)
}
