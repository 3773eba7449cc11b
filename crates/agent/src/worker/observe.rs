//! What the runtime says of one pod, now.
//!
//! Lists are asked every time; what cannot change any more (the end of a container, an address) is kept.

use crate::plan::Memory;
use crate::runtime::{Container, Exit, Runtime, RuntimeError, Sandbox, State, annotation};
use crate::sandbox;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;

/// Longer termination messages are cut. Kubernetes: `MaxContainerTerminationMessageLength`.
const MESSAGE_LIMIT: u64 = 4096;
/// From the end of the log, if the message file is empty. Kubernetes: `MaxContainerTerminationMessageLogLength`.
const LOG_LIMIT: u64 = 2048;

/// The last observation.
pub(super) struct Observer {
    uid: String,
    /// Newest first.
    pub(super) sandboxes: Arc<Vec<Sandbox>>,
    /// Newest first.
    pub(super) containers: Arc<Vec<Container>>,
}

impl Observer {
    pub(super) fn new(uid: String) -> Self {
        Self { uid, sandboxes: Arc::default(), containers: Arc::default() }
    }

    /// Looks again.
    pub(super) async fn look(
        &mut self,
        runtime: &dyn Runtime,
        pod: &Pod,
        memory: &mut Memory,
    ) -> Result<(), RuntimeError> {
        let sandboxes = self.look_at_sandboxes(runtime).await?;
        let containers = self.look_at_containers(runtime).await?;
        memory.health.retain(|id, _| containers.iter().any(|container| container.id == *id));
        memory.messages.retain(|id, _| containers.iter().any(|container| container.id == *id));
        for container in &containers {
            if let State::Exited(exit) = &container.state
                && !memory.messages.contains_key(&container.id)
            {
                memory.messages.insert(container.id.clone(), last_words(pod, container, exit));
            }
        }
        self.sandboxes = Arc::new(sandboxes);
        self.containers = Arc::new(containers);
        Ok(())
    }

    async fn look_at_sandboxes(&self, runtime: &dyn Runtime) -> Result<Vec<Sandbox>, RuntimeError> {
        let mut sandboxes = runtime.list_pod_sandbox(Some(&self.uid)).await?;
        for sandbox in sandboxes.iter_mut().filter(|sandbox| sandbox.ready) {
            let known = self.sandboxes.iter().find(|known| known.id == sandbox.id && !known.ips.is_empty());
            sandbox.ips = match known {
                Some(known) => known.ips.clone(),
                None => runtime.pod_sandbox_status(&sandbox.id).await?.ips,
            };
        }
        Ok(sandboxes)
    }

    async fn look_at_containers(&self, runtime: &dyn Runtime) -> Result<Vec<Container>, RuntimeError> {
        let known: BTreeMap<&str, &Container> =
            self.containers.iter().map(|container| (container.id.as_str(), container)).collect();
        let mut containers = Vec::new();
        for listed in runtime.list_containers(Some(&self.uid)).await? {
            let before = known.get(listed.id.as_str());
            let same =
                before.filter(|before| is_final(&before.state) || runs_on(&before.state, &listed.state));
            match same {
                Some(before) => containers.push((*before).clone()),
                None => match runtime.container_status(&listed.id).await {
                    Ok(status) => containers.push(Container { sandbox_id: listed.sandbox_id, ..status }),
                    // Removed in between.
                    Err(RuntimeError::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(containers)
    }
}

fn is_final(state: &State) -> bool {
    matches!(state, State::Exited(_))
}

fn runs_on(before: &State, listed: &State) -> bool {
    matches!((before, listed), (State::Running { .. }, State::Running { .. }))
}

/// What a container left in its message file, or at the end of its log if it may.
fn last_words(pod: &Pod, container: &Container, exit: &Exit) -> String {
    let file = container.annotations.get(annotation::MESSAGE_FILE);
    let message = file.map(|file| head(Path::new(file))).unwrap_or_default();
    let spec = pod.spec.clone().unwrap_or_default();
    let of_spec = sandbox::every_container(&spec).find(|candidate| candidate.name == container.name);
    let policy = of_spec.and_then(|spec| spec.termination_message_policy.clone());
    if message.is_empty() && exit.code != 0 && policy.as_deref() == Some("FallbackToLogsOnError") {
        return tail(Path::new(&container.log_path));
    }
    message
}

/// A file that cannot be read says nothing.
fn head(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MESSAGE_LIMIT).read_to_end(&mut bytes));
    if read.is_ok() { String::from_utf8_lossy(&bytes).into_owned() } else { String::new() }
}

fn tail(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(2 * LOG_LIMIT)))?;
        file.take(2 * LOG_LIMIT).read_to_end(&mut bytes)
    });
    if read.is_err() {
        return String::new();
    }
    let mut text = Vec::new();
    let mut printer = crate::logs::Printer::new(crate::logs::Options::default());
    printer.take(&bytes, &mut text);
    let start = text.len().saturating_sub(usize::try_from(LOG_LIMIT).unwrap_or(usize::MAX));
    String::from_utf8_lossy(text.get(start..).unwrap_or_default()).into_owned()
}
