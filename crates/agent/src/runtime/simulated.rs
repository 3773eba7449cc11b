//! A runtime that runs nothing: its containers are entries in a table, moved on by the tokio clock.
//!
//! A product mode: for nodes without root or containerd, and for a thousand nodes in one process
//! ([`crate::fleet`]). Delays are data ([`Stages`]); what an image does is read from its name ([`behaviour`]):
//! a tag `broken` exits at once with code 1, a host `*.invalid` or a tag `missing` cannot be pulled.
//!
//! 1. Verbs behave as CRI asks: stopping and removing succeed when the thing is gone.
//! 2. Nothing ends by itself except what the image's name says.

use super::cri::messages::{AuthConfig, ContainerConfig, PodSandboxConfig};
use super::{
    Answer, Container, ExecResult, Exit, Image, PodKey, Readiness, Runtime, RuntimeError, RuntimeStatus,
    Sandbox, State, Streaming, Version, label,
};
use futures::FutureExt as _;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What makes an image's name its id.
const ID_SUFFIX: &str = "@simulated";

/// How long the steps take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stages {
    /// Making a sandbox.
    pub sandbox: Duration,
    /// Pulling an image.
    pub pull: Duration,
    /// Starting a container.
    pub start: Duration,
    /// From the request to stop until a container has ended.
    pub stop: Duration,
}

impl Stages {
    /// Everything at once.
    pub const INSTANT: Self =
        Self { sandbox: Duration::ZERO, pull: Duration::ZERO, start: Duration::ZERO, stop: Duration::ZERO };

    /// Like a small container on a real machine (measured with containerd 1.6: 48 ms and 40 ms).
    pub const REAL: Self = Self {
        sandbox: Duration::from_millis(50),
        pull: Duration::from_millis(300),
        start: Duration::from_millis(40),
        stop: Duration::from_millis(100),
    };
}

/// What a simulated image does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Runs until it is stopped.
    Runs,
    /// Exits at once with code 1.
    Crashes,
    /// Cannot be pulled.
    Missing,
}

/// What an image does, by its name.
#[must_use]
pub fn behaviour(image: &str) -> Behaviour {
    let (name, tag) = split_tag(image);
    let host = name.split('/').next().unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default();
    match tag {
        _ if host.ends_with(".invalid") => Behaviour::Missing,
        "missing" => Behaviour::Missing,
        "broken" => Behaviour::Crashes,
        _ => Behaviour::Runs,
    }
}

fn split_tag(image: &str) -> (&str, &str) {
    let image = image.split('@').next().unwrap_or_default();
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

/// The runtime's text for an image that is not there, as containerd words it.
#[must_use]
pub fn missing_image(image: &str) -> String {
    format!(
        "failed to pull and unpack image {image:?}: failed to resolve reference {image:?}: {image}: not found"
    )
}

/// A runtime in memory.
pub struct Simulated {
    stages: Stages,
    network: Ipv4Addr,
    world: Mutex<World>,
}

#[derive(Default)]
struct World {
    made: u64,
    sandboxes: BTreeMap<String, Sandbox>,
    containers: BTreeMap<String, Container>,
    images: BTreeSet<String>,
}

impl Simulated {
    /// A runtime whose pods get addresses in the /16 of `network`.
    #[must_use]
    pub fn new(stages: Stages, network: Ipv4Addr) -> Self {
        Self { stages, network, world: Mutex::default() }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop_now(&self, id: &str, code: i32) {
        if let Some(container) = self.world().containers.get_mut(id) {
            end(container, code);
        }
    }
}

impl World {
    fn id(&mut self) -> String {
        self.made += 1;
        format!("{:064x}", self.made)
    }

    fn container(&mut self, id: &str) -> Result<&mut Container, RuntimeError> {
        let missing = || RuntimeError::NotFound { message: format!("container {id:?} in task: not found") };
        self.containers.get_mut(id).ok_or_else(missing)
    }

    fn sandbox(&mut self, id: &str) -> Result<&mut Sandbox, RuntimeError> {
        let missing = || RuntimeError::NotFound { message: format!("sandbox {id:?}: not found") };
        self.sandboxes.get_mut(id).ok_or_else(missing)
    }
}

fn end(container: &mut Container, code: i32) {
    let State::Running { started_at } = container.state else { return };
    let reason = if code == 0 { "Completed" } else { "Error" };
    container.state = State::Exited(Exit {
        started_at: Some(started_at),
        finished_at: Timestamp::now(),
        code,
        reason: reason.into(),
        message: String::new(),
    });
}

/// One line in the container's log, so that `kubectl logs` shows something here too. Without a disk there is none.
fn log(container: &Container, text: &str) {
    let path = std::path::Path::new(&container.log_path);
    let line = format!("{} stdout F {text}\n", Timestamp::now());
    let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        std::io::Write::write_all(&mut file, line.as_bytes())
    });
    if let Err(error) = written {
        tracing::debug!(path = container.log_path, %error, "no log");
    }
}

/// A delay of zero must not even yield: a fleet starts thousands of these.
async fn pass(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

fn newest_first<T>(mut items: Vec<T>, key: impl Fn(&T) -> (Timestamp, String)) -> Vec<T> {
    items.sort_by_key(|item| std::cmp::Reverse(key(item)));
    items
}

fn address(network: Ipv4Addr, number: u64) -> String {
    let [a, b, ..] = network.octets();
    // 65,000 addresses, then from the beginning: simulated pods do not talk to each other.
    let low = u16::try_from(number % 65_000).unwrap_or_default().saturating_add(2);
    let [c, d] = low.to_be_bytes();
    Ipv4Addr::new(a, b, c, d).to_string()
}

impl Runtime for Simulated {
    fn version(&self) -> Answer<'_, Version> {
        async { Ok(Version { name: "simulated".into(), version: env!("CARGO_PKG_VERSION").into() }) }.boxed()
    }

    fn status(&self) -> Answer<'_, RuntimeStatus> {
        async { Ok(RuntimeStatus { runtime: Some(Readiness::Ready), network: Some(Readiness::Ready) }) }
            .boxed()
    }

    fn run_pod_sandbox<'a>(&'a self, config: &'a PodSandboxConfig, _: &'a str) -> Answer<'a, String> {
        async move {
            pass(self.stages.sandbox).await;
            let metadata = config.metadata.clone().unwrap_or_default();
            let mut world = self.world();
            let id = world.id();
            let pod = PodKey { namespace: metadata.namespace, name: metadata.name, uid: metadata.uid };
            let sandbox = Sandbox {
                id: id.clone(),
                pod,
                attempt: metadata.attempt,
                ready: true,
                created_at: Timestamp::now(),
                ips: vec![address(self.network, world.made)],
            };
            world.sandboxes.insert(id.clone(), sandbox);
            Ok(id)
        }
        .boxed()
    }

    fn stop_pod_sandbox<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        async move {
            let mut world = self.world();
            if let Ok(sandbox) = world.sandbox(id) {
                sandbox.ready = false;
                sandbox.ips.clear();
            }
            world.containers.values_mut().filter(|c| c.sandbox_id == id).for_each(|c| end(c, 137));
            Ok(())
        }
        .boxed()
    }

    fn remove_pod_sandbox<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        async move {
            let mut world = self.world();
            world.sandboxes.remove(id);
            world.containers.retain(|_, container| container.sandbox_id != id);
            Ok(())
        }
        .boxed()
    }

    fn list_pod_sandbox<'a>(&'a self, pod_uid: Option<&'a str>) -> Answer<'a, Vec<Sandbox>> {
        async move {
            let world = self.world();
            let of_pod = world.sandboxes.values().filter(|s| pod_uid.is_none_or(|uid| s.pod.uid == uid));
            let items = of_pod.map(|sandbox| Sandbox { ips: Vec::new(), ..sandbox.clone() }).collect();
            Ok(newest_first(items, |sandbox| (sandbox.created_at, sandbox.id.clone())))
        }
        .boxed()
    }

    fn pod_sandbox_status<'a>(&'a self, id: &'a str) -> Answer<'a, Sandbox> {
        async move { self.world().sandbox(id).map(|sandbox| sandbox.clone()) }.boxed()
    }

    fn create_container<'a>(
        &'a self,
        id: &'a str,
        config: &'a ContainerConfig,
        sandbox: &'a PodSandboxConfig,
    ) -> Answer<'a, String> {
        async move {
            let mut world = self.world();
            world.sandbox(id)?;
            let id_or_name = config.image.clone().unwrap_or_default().image;
            // A container is made from an image's id; what it is called is known from that.
            let image = id_or_name.trim_end_matches(ID_SUFFIX).to_string();
            let metadata = config.metadata.clone().unwrap_or_default();
            let container_id = world.id();
            let container = Container {
                id: container_id.clone(),
                sandbox_id: id.into(),
                pod_uid: config.labels.get(label::POD_UID).cloned().unwrap_or_default(),
                name: metadata.name,
                attempt: metadata.attempt,
                state: State::Created,
                created_at: Timestamp::now(),
                image_ref: format!("{image}{ID_SUFFIX}"),
                image,
                annotations: config.annotations.clone(),
                log_path: format!("{}/{}", sandbox.log_directory, config.log_path),
            };
            world.containers.insert(container_id.clone(), container);
            Ok(container_id)
        }
        .boxed()
    }

    fn start_container<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        async move {
            pass(self.stages.start).await;
            let mut world = self.world();
            let container = world.container(id)?;
            container.state = State::Running { started_at: Timestamp::now() };
            log(container, &format!("{} runs, simulated", container.image));
            if behaviour(&container.image) == Behaviour::Crashes {
                log(container, "broken: exits with code 1");
                end(container, 1);
            }
            Ok(())
        }
        .boxed()
    }

    fn stop_container<'a>(&'a self, id: &'a str, grace: Duration) -> Answer<'a, ()> {
        async move {
            pass(self.stages.stop.min(grace)).await;
            // A process that obeys SIGTERM ends with 0; one without a moment to do so is killed.
            self.stop_now(id, if grace.is_zero() { 137 } else { 0 });
            Ok(())
        }
        .boxed()
    }

    fn remove_container<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        async move {
            self.world().containers.remove(id);
            Ok(())
        }
        .boxed()
    }

    fn list_containers<'a>(&'a self, pod_uid: Option<&'a str>) -> Answer<'a, Vec<Container>> {
        async move {
            let world = self.world();
            let of_pod = world.containers.values().filter(|c| pod_uid.is_none_or(|uid| c.pod_uid == uid));
            let items = of_pod.cloned().collect();
            Ok(newest_first(items, |container: &Container| (container.created_at, container.id.clone())))
        }
        .boxed()
    }

    fn container_status<'a>(&'a self, id: &'a str) -> Answer<'a, Container> {
        async move { self.world().container(id).map(|container| container.clone()) }.boxed()
    }

    fn exec_sync<'a>(&'a self, id: &'a str, _: &'a [String], _: Duration) -> Answer<'a, ExecResult> {
        async move {
            match self.world().container(id)?.state {
                State::Running { .. } => {
                    Ok(ExecResult { stdout: Vec::new(), stderr: Vec::new(), exit_code: 0 })
                }
                _ => Err(RuntimeError::Refused {
                    code: "Unknown".into(),
                    message: format!("container {id:?} is not running"),
                }),
            }
        }
        .boxed()
    }

    fn open_stream(&self, _: Streaming) -> Answer<'_, String> {
        async {
            let message = "this node is simulated: no process runs in its containers".into();
            Err(RuntimeError::Refused { code: "Unimplemented".into(), message })
        }
        .boxed()
    }

    fn reopen_container_log<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        async move { self.world().container(id).map(|_| ()) }.boxed()
    }

    fn image_status<'a>(&'a self, image: &'a str) -> Answer<'a, Option<Image>> {
        async move { Ok(self.world().images.get(image).map(|name| as_image(name))) }.boxed()
    }

    fn pull_image<'a>(
        &'a self,
        image: &'a str,
        _: Option<&'a AuthConfig>,
        _: &'a PodSandboxConfig,
    ) -> Answer<'a, String> {
        async move {
            pass(self.stages.pull).await;
            if behaviour(image) == Behaviour::Missing {
                return Err(RuntimeError::NotFound { message: missing_image(image) });
            }
            self.world().images.insert(image.into());
            Ok(as_image(image).id)
        }
        .boxed()
    }

    fn list_images(&self) -> Answer<'_, Vec<Image>> {
        async { Ok(self.world().images.iter().map(|name| as_image(name)).collect()) }.boxed()
    }
}

fn as_image(name: &str) -> Image {
    Image {
        id: format!("{name}{ID_SUFFIX}"),
        tags: vec![name.to_string()],
        digests: Vec::new(),
        size: 0,
        uid: None,
        username: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_does_what_its_name_says() {
        for (image, expected) in [
            ("hello:1", Behaviour::Runs),
            ("hello", Behaviour::Runs),
            ("hello:broken", Behaviour::Crashes),
            ("registry:5000/hello", Behaviour::Runs),
            ("registry:5000/hello:missing", Behaviour::Missing),
            ("registry.invalid/hello:1", Behaviour::Missing),
            ("registry.invalid:5000/hello:1", Behaviour::Missing),
            ("hello:broken@sha256:00", Behaviour::Crashes),
        ] {
            assert_eq!(behaviour(image), expected, "{image}");
        }
    }
}
