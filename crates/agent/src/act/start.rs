//! One container: image, environment, mounts, create, start, postStart hook.
//!
//! Each step fails with its own waiting reason. Kubernetes: `startContainer`.

use super::{Scene, pull, tell};
use crate::env;
use crate::events::Kind;
use crate::images::Failure;
use crate::probing;
use crate::runtime::cri::messages as m;
use crate::runtime::{Image, State};
use crate::volumes::mounts;
use crate::{container, debugging, hosts, sandbox};
use k8s_openapi::api::core::v1::Container;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `terminationMessagePath` when it is not set.
const MESSAGE_PATH: &str = "/dev/termination-log";
/// A postStart hook may take long; after this it has failed.
const POST_START_LIMIT: Duration = Duration::from_secs(600);

/// Starts the container of this name in the sandbox.
pub(super) async fn start(scene: &Scene, name: &str, attempt: u32, sandbox_id: &str) -> Result<(), Failure> {
    let spec = scene.spec();
    let Some(container) = sandbox::every_container(&spec).find(|container| container.name == name) else {
        return Err(failure("CreateContainerConfigError", format!("no container {name:?} in the spec")));
    };
    // The runtime's list has no address; environment and hosts file need it.
    let sandbox_attempt = scene.sandboxes.first().map_or(0, |sandbox| sandbox.attempt);
    let sandbox_config = sandbox::config(&scene.shared.config, &scene.pod, sandbox_attempt);
    let image = pull::image(scene, &container, &sandbox_config).await?;
    let config = match describe(scene, &container, attempt, &image).await {
        Ok(config) => config,
        Err(message) => return Err(told(scene, name, failure("CreateContainerConfigError", message))),
    };
    let created = scene.runtime().create_container(sandbox_id, &config, &sandbox_config).await;
    let id =
        created.map_err(|error| told(scene, name, failure("CreateContainerError", error.to_string())))?;
    scene.event(Some(name), Kind::Normal, "Created", &format!("Created container: {name}"));
    if let Err(error) = scene.runtime().start_container(&id).await {
        return Err(told(scene, name, failure("RunContainerError", error.to_string())));
    }
    scene.event(Some(name), Kind::Normal, "Started", &format!("Started container {name}"));
    link_log(scene, name, &id, &Path::new(&sandbox_config.log_directory).join(&config.log_path));
    post_start(scene, name, &id).await
}

fn failure(reason: &str, message: String) -> Failure {
    Failure { reason: reason.into(), message, is_pull: false }
}

fn told(scene: &Scene, container: &str, failure: Failure) -> Failure {
    tell(scene, container, &failure.message);
    failure
}

async fn describe(
    scene: &Scene,
    container: &Container,
    attempt: u32,
    image: &Image,
) -> Result<m::ContainerConfig, String> {
    let wanted = env::wanted(container);
    let contents = scene.shared.sources.read(&scene.key().namespace, &wanted).await;
    let contents = contents.map_err(|error| error.to_string())?;
    let environment = scene.with_facts(&contents, |facts| env::environment(container, facts));
    let environment = with_own(scene, environment.map_err(|error| error.to_string())?);
    let spec = scene.spec();
    let mounts = mounts::of(&scene.pod_dir(), &spec, container, &environment);
    let mut mounts = mounts.map_err(|error| error.to_string())?;
    let message_file = message_file(scene, container, attempt).map_err(|error| error.to_string())?;
    mounts.push(bind(container.termination_message_path.as_deref().unwrap_or(MESSAGE_PATH), &message_file));
    let taken = mounts.iter().any(|mount| mount.container_path == "/etc/hosts");
    if spec.host_network != Some(true) && !taken {
        mounts.push(bind("/etc/hosts", &hosts_file(scene).map_err(|error| error.to_string())?));
    }
    let target = match debugging::target(&spec, &container.name) {
        Some(target) => Some(running(scene, target)?),
        None => None,
    };
    let found = container::Found {
        target,
        environment: &environment,
        mounts,
        image,
        node_memory: scene.shared.node_memory,
        message_file: message_file.to_string_lossy().into_owned(),
    };
    container::config(&scene.pod, container, attempt, found).map_err(|error| error.to_string())
}

/// The pod's name, which programs look for in their environment; what the pod sets itself stands.
fn with_own(scene: &Scene, mut environment: Vec<(String, String)>) -> Vec<(String, String)> {
    let spec = scene.spec();
    let of_node = std::env::var("HOSTNAME").ok();
    let hostname = if spec.host_network == Some(true) {
        of_node.unwrap_or_else(|| scene.shared.config.node_name.clone())
    } else {
        sandbox::config(&scene.shared.config, &scene.pod, 0).hostname
    };
    if environment.iter().all(|(name, _)| name != "HOSTNAME") {
        environment.push(("HOSTNAME".into(), hostname));
    }
    environment
}

/// The id of a container whose processes another one shall see.
fn running(scene: &Scene, name: &str) -> Result<String, String> {
    let found = scene.containers.iter().find(|container| container.name == name);
    let running = found.filter(|container| matches!(container.state, State::Running { .. }));
    running.map(|found| found.id.clone()).ok_or_else(|| format!("unable to find target container {name}"))
}

fn bind(container_path: &str, host_path: &Path) -> m::Mount {
    m::Mount {
        container_path: container_path.into(),
        host_path: host_path.to_string_lossy().into_owned(),
        ..m::Mount::default()
    }
}

/// An empty file that the container may write; read when it has ended.
fn message_file(scene: &Scene, container: &Container, attempt: u32) -> std::io::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = scene.pod_dir().join("containers").join(&container.name);
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{attempt}.message"));
    std::fs::write(&file, "")?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666))?;
    Ok(file)
}

fn hosts_file(scene: &Scene) -> std::io::Result<PathBuf> {
    let hostname = sandbox::config(&scene.shared.config, &scene.pod, 0).hostname;
    let path = scene.pod_dir().join("etc-hosts");
    std::fs::create_dir_all(scene.pod_dir())?;
    std::fs::write(&path, hosts::text(&scene.spec(), &scene.pod_ips(), &hostname))?;
    Ok(path)
}

async fn post_start(scene: &Scene, name: &str, id: &str) -> Result<(), Failure> {
    let Some(target) = scene.target(id, name) else { return Ok(()) };
    let lifecycle = target.container.lifecycle.clone().unwrap_or_default();
    let Some(handler) = lifecycle.post_start else { return Ok(()) };
    let hook = probing::hook(&target, &handler, POST_START_LIMIT);
    let Err(text) = hook.await else { return Ok(()) };
    let message = format!("PostStartHook failed: {text}");
    scene.event(Some(name), Kind::Warning, "FailedPostStartHook", &message);
    let killing = "FailedPostStartHook";
    scene.event(Some(name), Kind::Normal, "Killing", killing);
    if let Err(error) = scene.runtime().stop_container(id, Duration::from_secs(2)).await {
        tracing::warn!(%error, container = name, "container not stopped after its postStart hook failed");
    }
    Err(Failure { reason: "PostStartHookError".into(), message, is_pull: false })
}

/// `<log_dir>/containers/<pod>_<namespace>_<container>-<id>.log`: where log collectors look.
fn log_link(scene: &Scene, name: &str, id: &str) -> PathBuf {
    let key = scene.key();
    let file = format!("{}_{}_{name}-{id}.log", key.name, key.namespace);
    scene.shared.config.log_dir.join("containers").join(file)
}

fn link_log(scene: &Scene, name: &str, id: &str, log: &Path) {
    let link = log_link(scene, name, id);
    let made = link.parent().map_or(Ok(()), std::fs::create_dir_all);
    if let Err(error) = made.and_then(|()| std::os::unix::fs::symlink(log, &link)) {
        tracing::debug!(%error, path = %link.display(), "no link to the log");
    }
}

/// Removes the link of a container that is removed.
pub(super) fn forget_log_link(scene: &Scene, id: &str) {
    if let Some(container) = scene.containers.iter().find(|container| container.id == id) {
        // It may be missing: it was a convenience.
        let _ = std::fs::remove_file(log_link(scene, &container.name, id));
    }
}
