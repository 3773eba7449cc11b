//! A cluster in one process: API server on a memory store, all loops, and simulated nodes.
//!
//! Nothing is a mock: the parts are those of the product, without sockets. A test waits for a state, with a limit.

use agent::fleet;
use apiserver::{ApiServer, User};
use controllers::leader::Election;
use controllers::{Config, Loop, Loops, Signer};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::Either;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use serde_json::{Value, json};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use store::memory::MemoryStore;
use tokio::task::JoinHandle;
use tower::Service as _;

/// Long enough for a busy machine, short enough to notice a state that never comes.
const LIMIT: Duration = Duration::from_secs(30);
/// How often a state is looked at.
const LOOK: Duration = Duration::from_millis(20);

pub struct World {
    pub client: Client,
    pub server: ApiServer,
    pub authority: Authority,
    config: Config,
    refuse: Refuse,
    loops: Vec<JoinHandle<Result<(), controllers::LoopError>>>,
    first: agent::Shutdown,
    stop: agent::Shutdown,
}

/// Status code and Status object of a refused request.
pub type Refusal = (u16, Value);
type Refuse = Arc<dyn Fn(&Parts) -> Option<Refusal> + Send + Sync>;

fn master(name: &str) -> User {
    User::authenticated(name, ["system:masters".to_string()])
}

/// A client between whom and the server some requests are refused.
fn faults(service: apiserver::UserService, refuse: Refuse) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let (parts, body) = request.into_parts();
        let refused = refuse(&parts);
        let mut service = service.clone();
        async move {
            let Some((code, status)) = refused else {
                let reply = service.call(Request::from_parts(parts, body)).await?;
                return Ok::<_, std::convert::Infallible>(reply.map(Either::Left));
            };
            Ok(Response::builder()
                .status(code)
                .body(Either::Right(Body::from(status.to_string().into_bytes())))
                .unwrap())
        }
    });
    Client::new(service, "default")
}

pub struct Authority {
    pub certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// Simulated nodes that can be ended.
pub struct Fleet(agent::Shutdown);

impl Fleet {
    /// Their agents end; their Node objects stay.
    pub fn end(&self) {
        self.0.cancel();
    }
}

impl World {
    /// A world with `nodes` simulated nodes `n1`, `n2`, …
    pub async fn with_nodes(nodes: u32) -> Self {
        let world = Self::with_config(Config::default()).await;
        world.add_nodes(1, nodes);
        world.eventually("all nodes ready", || world.ready_nodes(), |ready| *ready == nodes as usize).await;
        world
    }

    /// A world without nodes.
    pub async fn with_config(config: Config) -> Self {
        Self::with_faults(config, |_| None).await
    }

    /// A world whose loops are refused some requests.
    pub async fn with_faults(
        config: Config,
        refuse: impl Fn(&Parts) -> Option<Refusal> + Send + Sync + 'static,
    ) -> Self {
        let authority = Authority::new();
        let server_config = apiserver::Config {
            advertise: ([127, 0, 0, 1], 6443).into(),
            token_user: Arc::new(|_| None),
            agent_tls: None,
            ca_pem: authority.certificate.clone(),
            issuer: None,
            audit: None,
            tracer: None,
            sources: Default::default(),
        };
        let server = ApiServer::open(Arc::new(MemoryStore::new()), server_config).await.unwrap();
        let client = Client::new(server.as_user(master("admin")), "default");
        let config = Config {
            ca_pem: Some(authority.certificate.clone()),
            signer: Some(Signer::from_pem(&authority.certificate, &authority.key).unwrap()),
            ..config
        };
        let (refuse, stop): (Refuse, _) = (Arc::new(refuse), agent::Shutdown::new());
        let first = stop.clone();
        let mut world = Self { client, server, authority, config, refuse, loops: Vec::new(), first, stop };
        world.first = world.start_loops(world.config.clone());
        world
    }

    /// The loops that were there first end in good order.
    pub fn end_first_loops(&self) {
        self.first.cancel();
    }

    /// Another process with all loops; the handle ends it in good order.
    pub fn start_loops(&mut self, config: Config) -> agent::Shutdown {
        let client = faults(self.server.as_user(master("system:everynode:controllers")), self.refuse.clone());
        let stop = self.stop.child_token();
        let run = controllers::run(client, Loops::all(), config, stop.clone().cancelled_owned());
        self.loops.push(tokio::spawn(run));
        stop
    }

    /// All loops end and start anew, with nothing in their memory.
    pub fn restart_loops(&mut self) {
        self.loops.drain(..).for_each(|task| task.abort());
        self.start_loops(self.config.clone());
    }

    /// All loops end, as when their process dies; waits until nothing holds their client any more.
    pub async fn end_loops(&mut self) {
        self.loops.drain(..).for_each(|task| task.abort());
        let end = tokio::time::Instant::now() + LIMIT;
        while Arc::strong_count(&self.refuse) > 1 {
            assert!(tokio::time::Instant::now() < end, "something of the loops is left in memory");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// All loops end; that of DaemonSets starts anew as this user, once it leads, and the others as before.
    pub fn give_daemonsets_to(&mut self, user: &str, group: &str, election: Election) {
        self.loops.drain(..).for_each(|task| task.abort());
        let rest = Loop::ALL.into_iter().filter(|which| *which != Loop::DaemonSets);
        let masters =
            faults(self.server.as_user(master("system:everynode:controllers")), self.refuse.clone());
        let elected = Config { election: Some(election), ..self.config.clone() };
        for (client, which, config) in [
            (masters, Loops::of(rest), self.config.clone()),
            (self.client_of(user, group), Loops::of([Loop::DaemonSets]), elected),
        ] {
            let end = self.stop.child_token().cancelled_owned();
            self.loops.push(tokio::spawn(controllers::run(client, which, config, end)));
        }
    }

    /// More nodes: `n<first>` and so on.
    pub fn add_nodes(&self, first: u32, nodes: u32) -> Fleet {
        let (client, stop) = (self.client.clone(), self.stop.child_token());
        let config = fleet::Config { first, ..fleet::Config::new(client, nodes) };
        tokio::spawn(fleet::run(config, stop.clone()));
        Fleet(stop)
    }

    /// The same server as another user.
    pub fn client_of(&self, name: &str, group: &str) -> Client {
        Client::new(self.server.as_user(User::authenticated(name, [group.to_string()])), "default")
    }

    pub fn daemonsets(&self) -> Api<DaemonSet> {
        Api::namespaced(self.client.clone(), "default")
    }

    pub fn pods_api(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    pub fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    pub async fn create(&self, daemonset: &Value) -> DaemonSet {
        let typed = serde_json::from_value(daemonset.clone()).unwrap();
        self.daemonsets().create(&PostParams::default(), &typed).await.unwrap()
    }

    pub async fn patch(&self, name: &str, patch: Value) {
        self.daemonsets().patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    }

    pub async fn patch_node(&self, name: &str, patch: Value) {
        self.nodes().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub async fn delete(&self, name: &str, params: &DeleteParams) {
        self.daemonsets().delete(name, params).await.unwrap();
    }

    /// All pods of the namespace.
    pub async fn pods(&self) -> Vec<Pod> {
        self.pods_api().list(&ListParams::default()).await.unwrap().items
    }

    /// `node phase-or-Ready` of all living pods, sorted.
    pub async fn living(&self) -> Vec<String> {
        let pods = self.pods().await.into_iter().filter(|pod| !objects::pod::is_terminating(pod));
        let mut lines: Vec<String> = pods
            .map(|pod| {
                let state = if objects::pod::is_ready(&pod) { "Ready" } else { objects::pod::phase(&pod) };
                format!("{} {state}", objects::pod::node_name(&pod).unwrap_or("-"))
            })
            .collect();
        lines.sort();
        lines
    }

    /// Waits until the living pods are these, for instance `["n1 Ready"]`.
    pub async fn until_living(&self, expected: &[&str]) {
        self.eventually(&format!("pods {expected:?}"), || self.living(), |living| living == expected).await;
    }

    pub async fn revisions(&self) -> Vec<ControllerRevision> {
        let api = Api::<ControllerRevision>::namespaced(self.client.clone(), "default");
        let mut items = api.list(&ListParams::default()).await.unwrap().items;
        items.sort_by_key(|revision| revision.revision);
        items
    }

    /// `Reason message` of all events about objects of this name, with their component.
    pub async fn events(&self, namespace: &str, name: &str) -> Vec<String> {
        let api = Api::<k8s_openapi::api::core::v1::Event>::namespaced(self.client.clone(), namespace);
        let events = api.list(&ListParams::default()).await.unwrap().items.into_iter();
        let about = events.filter(|event| event.involved_object.name.as_deref() == Some(name));
        let text = |field: Option<String>| field.unwrap_or_default();
        let mut lines: Vec<String> = about
            .map(|event| {
                let component = text(event.source.and_then(|source| source.component));
                format!("{component} {} {}", text(event.reason), text(event.message))
            })
            .collect();
        lines.sort();
        lines
    }

    /// Nodes that are ready and have no taint.
    pub async fn ready_nodes(&self) -> usize {
        let nodes = self.nodes().list(&ListParams::default()).await.unwrap().items;
        let is_free = |node: &Node| node.spec.as_ref().is_none_or(|spec| spec.taints.is_none());
        nodes.iter().filter(|node| objects::node::is_ready(node) && is_free(node)).count()
    }

    /// Looks until the state is right, and fails with the last one seen when it never is.
    pub async fn eventually<T, F>(&self, what: &str, look: impl Fn() -> F, is_right: impl Fn(&T) -> bool) -> T
    where
        T: std::fmt::Debug,
        F: Future<Output = T>,
    {
        let end = tokio::time::Instant::now() + LIMIT;
        loop {
            let seen = look().await;
            if is_right(&seen) {
                return seen;
            }
            assert!(tokio::time::Instant::now() < end, "{what} did not come; last seen: {seen:#?}");
            let is_alive = self.loops.iter().any(|task| !task.is_finished());
            assert!(is_alive, "the loops have ended while waiting for {what}");
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
        self.loops.iter().for_each(JoinHandle::abort);
        self.server.close();
    }
}

/// A DaemonSet `d` of this image.
pub fn daemonset(image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "d", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "d"}},
            "template": {
                "metadata": {"labels": {"app": "d"}},
                "spec": {"containers": [{"name": "c", "image": image}]}
            }
        }
    })
}

/// The patch that sets the image.
pub fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}
