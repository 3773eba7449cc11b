//! What do the loops hold of a node and of a pod that is at rest? Bytes on the heap, the same on any machine.
//!
//! The loops stand before a server that knows nothing but lists: nodes with their leases, and a daemon's pod on each, as a
//! real one sent them (`cluster.json`). What is held by each set of loops is the difference of two such clusters. The ceilings
//! are what it was when somebody last looked, and a little more: see docs/performance.md.

use cap::Cap;
use controllers::{Config, Loop, Loops};
use futures::StreamExt as _;
use futures::stream;
use futures::stream::BoxStream;
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::alloc::System;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// Enough for the trees to be as full as those of a large cluster.
const NODES: usize = 200;

/// As long as the first lists and what follows from them; the clock is the runtime's, and stands while anybody works.
const SETTLED: Duration = Duration::from_secs(5);

/// What a pod in a streaming list ends with, in the API's words.
const END_OF_LIST: &str = "k8s.io/initial-events-end";

/// How many objects of each kind there are.
#[derive(Clone, Copy)]
struct Cluster {
    nodes: usize,
    pods: usize,
}

type Answer = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// A server of lists. It agrees to whatever is written, and does not do it.
struct Server {
    models: BTreeMap<String, Value>,
    cluster: Cluster,
}

impl Server {
    fn new(cluster: Cluster) -> Self {
        let mut models: BTreeMap<String, Value> = serde_json::from_str(include_str!("cluster.json")).unwrap();
        let status = &mut models.get_mut("daemonsets").unwrap()["status"];
        for counter in [
            "currentNumberScheduled",
            "desiredNumberScheduled",
            "numberAvailable",
            "numberReady",
            "updatedNumberScheduled",
        ] {
            status[counter] = cluster.pods.into();
        }
        Self { models, cluster }
    }

    fn count(&self, kind: &str) -> usize {
        match kind {
            "nodes" | "leases" => self.cluster.nodes,
            "pods" => self.cluster.pods,
            _ => usize::from(self.models.contains_key(kind)),
        }
    }

    fn object(&self, kind: &str, index: usize) -> String {
        let number = match kind {
            "nodes" => 1,
            "leases" => 2,
            _ => 3,
        };
        let uid = |number: usize| format!("{index:08x}-{number:04}-4735-a3bf-0d12ace3fbda");
        let text = self.models[kind].to_string();
        let text = text.replace("NODEUID", &uid(1)).replace("UID", &uid(number));
        text.replace("NODE", &format!("everynode-bench-{index}")).replace("POD", &format!("{index:05x}"))
    }

    fn answer(self: &Arc<Self>, request: &Request<Body>) -> Answer {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let kind = path.rsplit('/').next().unwrap_or_default().to_string();
        if path == "/api" || path == "/apis" {
            return text(
                json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": []}),
            );
        }
        if request.method() != http::Method::GET || !query.contains("watch=true") {
            return text(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "items": []}));
        }
        if !query.contains("sendInitialEvents=true") {
            return StreamBody::new(stream::pending().boxed());
        }
        let (server, count) = (self.clone(), self.count(&kind));
        let bookmark = json!({"type": "BOOKMARK", "object": {"kind": "X", "apiVersion": "v1", "metadata": {"resourceVersion": "1", "annotations": {END_OF_LIST: "true"}}}});
        let line = move |index: usize| match index < count {
            true => format!("{{\"type\":\"ADDED\",\"object\":{}}}\n", server.object(&kind, index)),
            false => format!("{bookmark}\n"),
        };
        let lines =
            stream::iter(0..=count).map(move |index| Ok::<_, Infallible>(Frame::data(line(index).into())));
        StreamBody::new(lines.chain(stream::pending()).boxed())
    }
}

fn text(value: Value) -> Answer {
    let frame = Frame::data(Bytes::from(value.to_string()));
    StreamBody::new(stream::once(async { Ok(frame) }).boxed())
}

/// What these loops hold once they are at rest.
fn held(loops: &Loops, cluster: Cluster) -> usize {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let before = MEMORY.allocated();
    let server = Arc::new(Server::new(cluster));
    let serve = tower::service_fn(move |request: Request<Body>| {
        let answer = server.answer(&request);
        async move { Ok::<_, Infallible>(Response::new(answer)) }
    });
    let now = || "2026-11-22T01:14:30Z".parse::<Timestamp>().unwrap();
    let config = Config { now, ..Config::default() };
    let mut held = 0;
    let _entered = runtime.enter();
    let look = async {
        tokio::time::sleep(SETTLED).await;
        held = MEMORY.allocated() - before;
    };
    runtime.block_on(controllers::run(Client::new(serve, "default"), loops.clone(), config, look)).unwrap();
    held
}

#[test]
fn a_node_and_a_pod_at_rest_take_no_more_than_they_did() {
    let check = |name: &str, loops: Loops, node_ceiling: usize, pod_ceiling: usize| {
        let of = |nodes, pods| held(&loops, Cluster { nodes, pods });
        // The first of all makes what is made once.
        let (_, empty, nodes, all) = (of(1, 1), of(1, 0), of(NODES, 0), of(NODES, NODES));
        let (node, pod) = (nodes.saturating_sub(empty) / NODES, all.saturating_sub(nodes) / NODES);
        println!("| {name} | {node} | {pod} |");
        assert!(node <= node_ceiling, "{name}: {node} B of a node");
        assert!(pod <= pod_ceiling, "{name}: {pod} B of a pod");
    };
    let one = |which| Loops::of([which]);
    check("pod_gc: nodes and pods, and little else", one(Loop::PodGc), 4_400, 4_200);
    check("daemonsets", one(Loop::DaemonSets), 3_600, 4_200);
    check("scheduling", one(Loop::Scheduling), 4_900, 4_900);
    check("garbage", one(Loop::Garbage), 6_900, 4_400);
    check("node_lifecycle", one(Loop::NodeLifecycle), 6_800, 4_200);
    check("all", Loops::all(), 9_000, 5_200);
}
