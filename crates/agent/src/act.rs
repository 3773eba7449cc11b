//! Carries out what a plan says, one action at a time, and tells what came of it. It decides nothing.
//!
//! Kubernetes: kuberuntime_container.go `startContainer`, `killContainer`; kuberuntime_sandbox.go.

mod pull;
mod start;

use crate::env::Facts;
use crate::events::{Kind, Recorder};
use crate::images::Failure;
use crate::plan::{Action, full_name};
use crate::probing::{self, Target};
use crate::restart::CrashLoop;
use crate::runtime::{Container, PodKey, Runtime, Sandbox};
use crate::runtime_class::RuntimeClasses;
use crate::sources::{Contents, Sources};
use crate::{ApiAddress, Config, cgroup, sandbox, volumes};
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Api, DeleteParams, Preconditions};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// After its preStop hook a container gets at least this long. Kubernetes: `minimumGracePeriodInSeconds`.
const MINIMUM_GRACE: Duration = Duration::from_secs(2);
/// A server that does not answer a deletion within this is asked again.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What all workers of a node share.
pub struct Shared {
    pub config: Config,
    pub recorder: Recorder,
    pub sources: Sources,
    pub runtime_classes: RuntimeClasses,
    /// The Node object as it was seen last; none until this node is registered.
    pub node: watch::Receiver<Option<Arc<Node>>>,
    /// The Node object that this machine would register.
    pub own_node: Arc<Node>,
    /// Bytes of memory of this node.
    pub node_memory: i64,
    /// The runtime's name, for container ids.
    pub runtime_name: String,
}

impl Shared {
    /// The Node object; before the server knows it, what this machine says of itself.
    pub fn node_or_own(&self) -> Arc<Node> {
        self.node.borrow().clone().unwrap_or_else(|| self.own_node.clone())
    }
}

/// A pod, and what was seen of it when the action was decided.
#[derive(Clone)]
pub struct Scene {
    pub shared: Arc<Shared>,
    pub pod: Arc<Pod>,
    pub sandboxes: Arc<Vec<Sandbox>>,
    pub containers: Arc<Vec<Container>>,
}

/// What came of an action.
#[derive(Debug)]
pub enum Done {
    /// It is done.
    Well,
    /// Volumes could not be made.
    NoVolumes(String),
    /// There is no sandbox.
    NoSandbox(String),
    /// A container runs.
    Started { container: String, crash_loop: Option<CrashLoop> },
    /// A container could not be started.
    NotStarted { container: String, failure: Failure },
    /// What an ended pod left is gone.
    Cleaned,
    /// It did not work; it is tried again.
    Again(String),
}

impl Scene {
    pub fn runtime(&self) -> &dyn Runtime {
        self.shared.config.runtime.as_ref()
    }

    pub fn key(&self) -> PodKey {
        sandbox::key(&self.pod)
    }

    pub fn spec(&self) -> PodSpec {
        self.pod.spec.clone().unwrap_or_default()
    }

    pub fn pod_dir(&self) -> PathBuf {
        self.shared.config.data_dir.join("pods").join(self.key().uid)
    }

    /// The pod's addresses, as far as they are known.
    pub fn pod_ips(&self) -> Vec<String> {
        if self.spec().host_network == Some(true) {
            return vec![self.shared.config.address.to_string()];
        }
        self.sandboxes.first().map(|sandbox| sandbox.ips.clone()).unwrap_or_default()
    }

    fn allocatable(&self) -> BTreeMap<String, Quantity> {
        let node = self.shared.node_or_own();
        node.status.as_ref().and_then(|status| status.allocatable.clone()).unwrap_or_default()
    }

    /// Lends the facts for environment and volumes.
    pub fn with_facts<T>(&self, contents: &Contents, use_them: impl FnOnce(&Facts<'_>) -> T) -> T {
        let (ips, allocatable) = (self.pod_ips(), self.allocatable());
        let host_ip = self.shared.config.address.to_string();
        let services = self.shared.config.api_server.as_ref().map(ApiAddress::variables).unwrap_or_default();
        use_them(&Facts {
            pod: &self.pod,
            pod_ips: &ips,
            host_ip: &host_ip,
            allocatable: &allocatable,
            contents,
            services: &services,
        })
    }

    fn event(&self, container: Option<&str>, kind: Kind, reason: &str, message: &str) {
        self.shared.recorder.pod(&self.pod, container, kind, reason, message);
    }

    fn target(&self, container_id: &str, name: &str) -> Option<Target> {
        let spec = self.spec();
        let container = sandbox::containers(&spec).find(|container| container.name == name)?.clone();
        let ip = self.pod_ips().first().cloned().unwrap_or_default();
        let runtime = self.shared.config.runtime.clone();
        Some(Target { runtime, container_id: container_id.into(), container, ip })
    }
}

/// Does it.
pub async fn act(scene: Scene, action: Action) -> Done {
    match action {
        Action::PrepareVolumes => prepare_volumes(&scene).await,
        Action::CreateSandbox { attempt, stop } => create_sandbox(&scene, attempt, &stop).await,
        Action::Start { container, attempt, sandbox_id, crash_loop } => {
            match start::start(&scene, &container, attempt, &sandbox_id).await {
                Ok(()) => Done::Started { container, crash_loop },
                Err(failure) => Done::NotStarted { container, failure },
            }
        }
        Action::Stop { id, container, grace, message } => {
            stop(&scene, &id, &container, grace, &message).await
        }
        Action::StopSandbox { id } => answer(scene.runtime().stop_pod_sandbox(&id).await),
        Action::Remove { id } => {
            start::forget_log_link(&scene, &id);
            answer(scene.runtime().remove_container(&id).await)
        }
        Action::CleanUp => clean_up(&scene).await,
        Action::Delete => delete(&scene).await,
    }
}

fn answer(result: Result<(), crate::runtime::RuntimeError>) -> Done {
    result.map_or_else(|error| Done::Again(error.to_string()), |()| Done::Well)
}

/// Also brings volumes up to date that are there already.
pub async fn prepare_volumes(scene: &Scene) -> Done {
    let wanted = volumes::wanted(&scene.pod);
    let contents = match scene.shared.sources.read(&scene.key().namespace, &wanted).await {
        Ok(contents) => contents,
        Err(error) => {
            let volume = volumes::made_from(&scene.pod, error.wanted()).unwrap_or_default();
            return no_volumes(scene, &volume, &error.to_string());
        }
    };
    let copy = scene.clone();
    // Files are written by a thread that may wait for the disk.
    let made = tokio::task::spawn_blocking(move || {
        copy.with_facts(&contents, |facts| volumes::prepare(&copy.pod_dir(), facts))
    });
    match made.await {
        Ok(Ok(())) => Done::Well,
        Ok(Err((volume, error))) => no_volumes(scene, &volume, &error.to_string()),
        Err(error) => Done::NoVolumes(error.to_string()),
    }
}

fn no_volumes(scene: &Scene, volume: &str, message: &str) -> Done {
    let message = format!("MountVolume.SetUp failed for volume {volume:?} : {message}");
    scene.event(None, Kind::Warning, "FailedMount", &message);
    Done::NoVolumes(message)
}

/// Kubelet's event for whatever kept a container from starting.
fn tell(scene: &Scene, container: &str, why: &str) {
    scene.event(Some(container), Kind::Warning, "Failed", &format!("Error: {why}"));
}

/// An error with those below it, for events: people cannot ask an event for its source.
pub fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        text = format!("{text}: {next}");
        source = next.source();
    }
    text
}

async fn create_sandbox(scene: &Scene, attempt: u32, old: &[String]) -> Done {
    if !old.is_empty() {
        let message = "Pod sandbox changed, it will be killed and re-created.";
        scene.event(None, Kind::Normal, "SandboxChanged", message);
    }
    for id in old {
        if let Err(error) = scene.runtime().stop_pod_sandbox(id).await {
            return Done::NoSandbox(error.to_string());
        }
    }
    let config = sandbox::config(&scene.shared.config, &scene.pod, attempt);
    if let Err(error) = std::fs::create_dir_all(&config.log_directory) {
        return no_sandbox(scene, &format!("{}: {error}", config.log_directory));
    }
    let class = scene.spec().runtime_class_name;
    let handler = match scene.shared.runtime_classes.handler(class.as_deref()).await {
        Ok(handler) => handler,
        Err(error) => return no_sandbox(scene, &error.to_string()),
    };
    match scene.runtime().run_pod_sandbox(&config, &handler).await {
        Ok(_) => Done::Well,
        Err(error) => no_sandbox(scene, &error.to_string()),
    }
}

fn no_sandbox(scene: &Scene, message: &str) -> Done {
    let text = format!("Failed to create pod sandbox: {message}");
    scene.event(None, Kind::Warning, "FailedCreatePodSandBox", &text);
    Done::NoSandbox(message.into())
}

/// The hook's time is part of the grace period.
async fn stop(scene: &Scene, id: &str, name: &str, grace: Duration, message: &str) -> Done {
    scene.event(Some(name), Kind::Normal, "Killing", message);
    let began = Instant::now();
    if let Some(target) = scene.target(id, name) {
        let lifecycle = target.container.lifecycle.as_ref();
        if let Some(handler) = lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref())
            && let Ok(Err(text)) = tokio::time::timeout(grace, probing::hook(&target, handler, grace)).await
        {
            scene.event(
                Some(name),
                Kind::Warning,
                "FailedPreStopHook",
                &format!("PreStopHook failed: {text}"),
            );
        }
    }
    let left = grace.saturating_sub(began.elapsed()).max(MINIMUM_GRACE.min(grace));
    answer(scene.runtime().stop_container(id, left).await)
}

/// Everything a pod had on this node; what was not there is fine.
async fn clean_up(scene: &Scene) -> Done {
    let containers: BTreeSet<&str> = scene.containers.iter().map(|container| container.id.as_str()).collect();
    for id in containers {
        start::forget_log_link(scene, id);
        if let Err(error) = scene.runtime().remove_container(id).await {
            return Done::Again(error.to_string());
        }
    }
    for sandbox in scene.sandboxes.iter() {
        if let Err(error) = scene.runtime().remove_pod_sandbox(&sandbox.id).await {
            return Done::Again(error.to_string());
        }
    }
    let key = scene.key();
    scene.shared.sources.forget_pod(&key.uid);
    let copy = scene.clone();
    let removed = tokio::task::spawn_blocking(move || {
        volumes::remove(&copy.pod_dir()).map_err(|error| error.to_string())?;
        let logs = sandbox::log_directory(&copy.shared.config, &copy.key());
        match std::fs::remove_dir_all(&logs) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("{}: {error}", logs.display()));
            }
            _ => {}
        }
        for class in ["", "/burstable", "/besteffort"] {
            let parent = copy.shared.config.cgroup_parent.trim_end_matches('/').to_string();
            cgroup::remove(&format!("{parent}{class}/pod{}", copy.key().uid));
        }
        Ok(())
    });
    match removed.await {
        Ok(Ok(())) => Done::Cleaned,
        Ok(Err(text)) => Done::Again(text),
        Err(error) => Done::Again(error.to_string()),
    }
}

/// Only this very pod: a new one of the same name must not be hit.
async fn delete(scene: &Scene) -> Done {
    let key = scene.key();
    let api: Api<Pod> = Api::namespaced(scene.shared.config.client.clone(), &key.namespace);
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: Some(key.uid.clone()), resource_version: None }),
        ..DeleteParams::default()
    };
    match tokio::time::timeout(ANSWER_LIMIT, api.delete(&key.name, &params)).await {
        Ok(Ok(_)) => Done::Well,
        // Gone already, or another pod has the name now.
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Done::Well,
        Ok(Err(error)) => Done::Again(format!("{}: {error}", full_name(&scene.pod))),
        Err(_) => Done::Again("the API server does not answer".into()),
    }
}
