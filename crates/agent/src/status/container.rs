//! PURE. One container's entry in the status.

use super::Place;
use crate::plan::{Plan, Seen, is_sidecar};
use crate::runtime::{Container, Exit, State};
use k8s_openapi::api::core::v1::{
    Container as Spec, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Longer messages are cut. Kubernetes: `MaxContainerTerminationMessageLength`.
pub(super) const MESSAGE_LIMIT: usize = 4096;

/// What an entry is made from.
pub(super) struct View<'a> {
    pub(super) seen: &'a Seen<'a>,
    pub(super) plan: &'a Plan,
    pub(super) place: Place<'a>,
}

impl View<'_> {
    pub(super) fn status(&self, spec: &Spec) -> ContainerStatus {
        let mut runs = self.seen.containers.iter().filter(|container| container.name == spec.name);
        let Some(newest) = runs.next() else { return self.never_ran(spec) };
        let previous = runs.next().and_then(|container| self.terminated(container));
        let running = matches!(newest.state, State::Running { .. });
        let health = self.seen.health(&newest.id);
        let started = running && health.is_started(spec);
        let waiting = self.plan.waiting.get(&spec.name).filter(|_| !running);
        let (state, last_state) = match waiting {
            Some(waiting) => {
                let last = self.terminated(newest).or(previous);
                (self.waiting(&waiting.reason, &waiting.message), last)
            }
            None => (self.state(newest), previous),
        };
        ContainerStatus {
            name: spec.name.clone(),
            state: Some(state),
            last_state: Some(ContainerState { terminated: last_state, ..ContainerState::default() }),
            ready: self.is_ready(spec, newest, running && health.is_ready(spec)),
            started: Some(started),
            restart_count: i32::try_from(newest.attempt).unwrap_or(i32::MAX),
            image: if newest.image.is_empty() { image(spec) } else { newest.image.clone() },
            image_id: newest.image_ref.clone(),
            container_id: Some(self.id(newest)),
            resources: resources(spec),
            allocated_resources: requests(spec),
            ..ContainerStatus::default()
        }
    }

    /// Nobody waits for a debugger to be ready, and nothing says whether it has started.
    pub(super) fn debugger(&self, spec: &Spec) -> ContainerStatus {
        ContainerStatus { ready: false, started: None, ..self.status(spec) }
    }

    /// An init container is ready when it has done its work.
    fn is_ready(&self, spec: &Spec, newest: &Container, passes: bool) -> bool {
        let inits = self.seen.pod.spec.as_ref().and_then(|pod| pod.init_containers.as_deref());
        let is_init = inits.unwrap_or_default().iter().any(|init| init.name == spec.name);
        if is_init && !is_sidecar(spec) {
            return matches!(&newest.state, State::Exited(exit) if exit.code == 0);
        }
        passes
    }

    /// What the server knows of earlier runs stays, if the runtime has forgotten them.
    fn never_ran(&self, spec: &Spec) -> ContainerStatus {
        let (reason, message) = match self.plan.waiting.get(&spec.name) {
            Some(waiting) => (waiting.reason.as_str(), waiting.message.as_str()),
            None => ("ContainerCreating", ""),
        };
        let recorded = super::entries(self.seen.pod).get(spec.name.as_str()).copied();
        let known = recorded.filter(|entry| entry.container_id.is_some());
        let last_state = known.and_then(|entry| {
            let ended = |state: &Option<ContainerState>| state.as_ref()?.terminated.clone();
            ended(&entry.state).or_else(|| ended(&entry.last_state))
        });
        ContainerStatus {
            name: spec.name.clone(),
            state: Some(self.waiting(reason, message)),
            last_state: Some(ContainerState { terminated: last_state, ..ContainerState::default() }),
            started: Some(false),
            restart_count: known.map_or(0, |entry| entry.restart_count),
            image: image(spec),
            ..ContainerStatus::default()
        }
    }

    fn waiting(&self, reason: &str, message: &str) -> ContainerState {
        let waiting = ContainerStateWaiting {
            reason: Some(reason.into()),
            message: (!message.is_empty()).then(|| message.into()),
        };
        ContainerState { waiting: Some(waiting), ..ContainerState::default() }
    }

    fn state(&self, container: &Container) -> ContainerState {
        match &container.state {
            State::Running { started_at } => {
                let running = ContainerStateRunning { started_at: Some(Time(*started_at)) };
                ContainerState { running: Some(running), ..ContainerState::default() }
            }
            State::Exited(_) => {
                ContainerState { terminated: self.terminated(container), ..ContainerState::default() }
            }
            State::Created | State::Unknown => self.waiting("ContainerCreating", ""),
        }
    }

    fn terminated(&self, container: &Container) -> Option<ContainerStateTerminated> {
        let State::Exited(exit) = &container.state else { return None };
        let message = self.seen.memory.messages.get(&container.id).cloned().unwrap_or_default();
        let message = if message.is_empty() { exit.message.clone() } else { message };
        Some(ContainerStateTerminated {
            exit_code: exit.code,
            reason: Some(reason(exit)),
            message: (!message.is_empty()).then(|| cut(message)),
            started_at: exit.started_at.map(Time),
            finished_at: Some(Time(exit.finished_at)),
            container_id: Some(self.id(container)),
            signal: None,
        })
    }

    fn id(&self, container: &Container) -> String {
        format!("{}://{}", self.place.runtime, container.id)
    }
}

fn reason(exit: &Exit) -> String {
    match (exit.reason.as_str(), exit.code) {
        ("", 0) => "Completed".into(),
        ("", _) => "Error".into(),
        (given, _) => given.into(),
    }
}

fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_LIMIT {
        let end = (0..=MESSAGE_LIMIT).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        message.truncate(end);
    }
    message
}

fn image(spec: &Spec) -> String {
    spec.image.clone().unwrap_or_default()
}

fn resources(spec: &Spec) -> Option<ResourceRequirements> {
    let asked = spec.resources.clone()?;
    let says_something = asked.limits.is_some() || asked.requests.is_some();
    says_something.then_some(ResourceRequirements { claims: None, ..asked })
}

fn requests(
    spec: &Spec,
) -> Option<std::collections::BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>> {
    spec.resources.as_ref()?.requests.clone()
}
