//! PURE. One pod's spec × what is observed of it → what to do next.
//!
//! The plan is made anew from everything that is known, after every change; it never continues an older plan. It says
//! what to do ([`Action`]), why a container does not run ([`Waiting`]), and when to look again.
//!
//! 1. Nothing that runs as it should is touched.
//! 2. A container starts only in the newest, ready sandbox, after the volumes and the init containers before it.
//! 3. What ends, ends in order: main containers, then sidecars from the last to the first, then the sandbox.
//! 4. A pod that has ended ([`Stage::Ended`]) never runs again.
//!
//! Kubernetes: kuberuntime_manager.go `computePodActions`, kuberuntime_container.go `computeInitContainerActions`.

mod ending;
mod start;
#[cfg(test)]
mod tests;

pub use ending::full_name;

use crate::probe::Health;
use crate::restart::{CrashLoop, Policy};
use crate::runtime::{Container, Sandbox, State};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as Spec, Pod, PodSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Everything a decision about one pod may know.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The pod as the server told it last.
    pub pod: &'a Pod,
    /// Whether the server still has it.
    pub bound: Bound,
    /// Its sandboxes, newest first.
    pub sandboxes: &'a [Sandbox],
    /// Its containers, newest first.
    pub containers: &'a [Container],
    /// What the worker remembers.
    pub memory: &'a Memory,
}

/// Whether the pod is still to be found on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// It is.
    Here,
    /// Its object is gone; what runs must go too.
    Gone,
}

/// What a worker remembers between two plans. A new agent begins with none of it and restarts nothing for that.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Why this node does not take the pod.
    pub rejected: Option<Rejection>,
    /// Why this node sends the pod away though it had taken it.
    pub evicted: Option<Rejection>,
    /// Whether the volumes are there.
    pub volumes: Volumes,
    /// Why there is no sandbox.
    pub sandbox: Option<Trouble>,
    /// Containers that keep ending, by name.
    pub crash_loops: BTreeMap<String, CrashLoop>,
    /// Containers that could not start, by name.
    pub troubles: BTreeMap<String, Trouble>,
    /// Verdicts of the probes, by container id.
    pub health: BTreeMap<String, Health>,
    /// Termination messages, by container id.
    pub messages: BTreeMap<String, String>,
    /// What is being done right now.
    pub busy: BTreeSet<Work>,
    /// Whether sandboxes, logs and folders of an ended pod are gone.
    pub cleaned: bool,
}

/// Why a pod is refused: `status.reason` and `status.message` of a Failed pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// For example `OutOfcpu`.
    pub reason: String,
    /// The sentence.
    pub message: String,
}

/// Whether a pod's volumes are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Volumes {
    /// Nobody looked yet.
    #[default]
    Unprepared,
    /// They are.
    Ready,
    /// They could not be made.
    Failed {
        /// The next attempt.
        retry_at: Timestamp,
    },
}

/// Why something did not start, and when it is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The waiting reason now, for example `ErrImagePull`.
    pub reason: String,
    /// The sentence.
    pub message: String,
    /// From `at` on the reason is this one, for example `ImagePullBackOff`.
    pub then: Option<Then>,
    /// The next attempt.
    pub retry_at: Timestamp,
    /// The delay before it; the next one is twice as long.
    pub delay: Duration,
}

/// How a trouble goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Then {
    /// From when.
    pub at: Timestamp,
    /// The waiting reason.
    pub reason: String,
    /// The sentence.
    pub message: String,
}

/// Something under way. One thing is done once at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Volumes are being made.
    Volumes,
    /// A sandbox is being made.
    Sandbox,
    /// The container of this name is being started.
    Start(String),
    /// The container with this id is being stopped.
    Stop(String),
    /// The sandbox with this id is being stopped.
    StopSandbox(String),
    /// The container with this id is being removed.
    Remove(String),
    /// What an ended pod leaves is being removed.
    CleanUp,
    /// The object is being deleted.
    Delete,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the volumes.
    PrepareVolumes,
    /// Make a sandbox, after stopping those before it.
    CreateSandbox {
        /// Counts from 0.
        attempt: u32,
        /// Older sandboxes.
        stop: Vec<String>,
    },
    /// Fetch the image, make the container and start it.
    Start {
        /// Name in the spec.
        container: String,
        /// Counts from 0: `restartCount`.
        attempt: u32,
        /// The sandbox it goes into.
        sandbox_id: String,
        /// What to remember if this is a restart.
        crash_loop: Option<CrashLoop>,
    },
    /// End a container.
    Stop {
        /// Its id.
        id: String,
        /// Its name.
        container: String,
        /// For its preStop hook and its own end.
        grace: Duration,
        /// The event's message.
        message: String,
    },
    /// Stop a sandbox.
    StopSandbox {
        /// Its id.
        id: String,
    },
    /// Remove an ended container that nobody asks for any more.
    Remove {
        /// Its id.
        id: String,
    },
    /// Remove sandboxes, containers, logs, volumes and cgroup of an ended pod.
    CleanUp,
    /// Delete the object: nothing of it is left here.
    Delete,
}

impl Action {
    /// The work this action is while it is carried out.
    #[must_use]
    pub fn work(&self) -> Work {
        match self {
            Self::PrepareVolumes => Work::Volumes,
            Self::CreateSandbox { .. } => Work::Sandbox,
            Self::Start { container, .. } => Work::Start(container.clone()),
            Self::Stop { id, .. } => Work::Stop(id.clone()),
            Self::StopSandbox { id } => Work::StopSandbox(id.clone()),
            Self::Remove { id } => Work::Remove(id.clone()),
            Self::CleanUp => Work::CleanUp,
            Self::Delete => Work::Delete,
        }
    }
}

/// Why a container does not run: its `state.waiting`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// For example `CrashLoopBackOff`.
    pub reason: String,
    /// The sentence; may be empty.
    pub message: String,
}

/// Where the pod is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It runs, or is on its way.
    #[default]
    Alive,
    /// It is being stopped.
    Ending,
    /// Nothing of it runs any more, and it will not run again.
    Ended,
    /// Nothing is left of it on this node.
    Gone,
}

/// What to do about one pod, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To begin now, in this order.
    pub actions: Vec<Action>,
    /// Containers that wait, by name.
    pub waiting: BTreeMap<String, Waiting>,
    /// Where the pod is in its life.
    pub stage: Stage,
    /// Why the pod as a whole ends or was refused: `status.reason` and `status.message`.
    pub verdict: Option<Rejection>,
    /// Look again then, even if nothing changes.
    pub wake_at: Option<Timestamp>,
}

/// Decides what to do about one pod.
#[must_use]
pub fn plan(seen: &Seen<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let empty = PodSpec::default();
    let spec = seen.pod.spec.as_ref().unwrap_or(&empty);
    match ending::reason(seen, spec, now, &mut plan) {
        Some(ending) => ending::wind_down(seen, spec, ending, &mut plan),
        None => start::keep_up(seen, spec, now, &mut plan),
    }
    forget_old(seen, &mut plan);
    plan.actions.retain(|action| !seen.memory.busy.contains(&action.work()));
    plan
}

impl Plan {
    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    fn wait(&mut self, container: &str, reason: &str, message: &str) {
        let waiting = Waiting { reason: reason.into(), message: message.into() };
        self.waiting.insert(container.into(), waiting);
    }
}

impl<'a> Seen<'a> {
    /// The newest container of this name.
    #[must_use]
    pub fn newest(&self, name: &str) -> Option<&'a Container> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// The newest container of this name in this sandbox.
    #[must_use]
    pub fn newest_in(&self, sandbox: &Sandbox, name: &str) -> Option<&'a Container> {
        self.newest(name).filter(|container| container.sandbox_id == sandbox.id)
    }

    /// The sandbox in which things may run.
    #[must_use]
    pub fn sandbox(&self) -> Option<&'a Sandbox> {
        self.sandboxes.first().filter(|sandbox| sandbox.ready)
    }

    /// What the probes said of a container.
    #[must_use]
    pub fn health(&self, id: &str) -> Health {
        self.memory.health.get(id).cloned().unwrap_or_default()
    }

    /// How often the server was told that this container restarted, and whether it ever ran.
    fn recorded_attempt(&self, name: &str) -> Option<u32> {
        let status = self.pod.status.as_ref()?;
        let lists = [&status.container_statuses, &status.init_container_statuses];
        let entry = lists.into_iter().flatten().flatten().find(|entry| entry.name == name)?;
        entry.container_id.as_ref()?;
        u32::try_from(entry.restart_count).ok()
    }

    /// The number of the next container of this name: it also counts those the runtime has forgotten.
    fn next_attempt(&self, name: &str) -> u32 {
        let known = self.containers.iter().filter(|c| c.name == name).map(|c| c.attempt).max();
        known.max(self.recorded_attempt(name)).map_or(0, |attempt| attempt.saturating_add(1))
    }
}

/// Whether an init container goes on beside the main ones (`restartPolicy: Always`).
#[must_use]
pub fn is_sidecar(init: &Spec) -> bool {
    init.restart_policy.as_deref() == Some("Always")
}

/// The pod's restart policy.
#[must_use]
pub fn policy(spec: &PodSpec) -> Policy {
    Policy::parse(spec.restart_policy.as_deref())
}

/// The part of a container's spec whose change asks for a new container. Kubernetes: `HashContainer`.
#[must_use]
pub fn definition(container: &Spec) -> String {
    let text = format!("{}\n{}", container.name, container.image.as_deref().unwrap_or_default());
    // FNV-1a: a fixed function, since the value outlives the process.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:x}")
}

/// Of each name the newest two stay: the last run and, for `logs --previous`, the one before.
fn forget_old(seen: &Seen<'_>, plan: &mut Plan) {
    let mut kept: BTreeMap<&str, u32> = BTreeMap::new();
    for container in seen.containers {
        let count = kept.entry(&container.name).or_default();
        *count += 1;
        if *count > 2 && !matches!(container.state, State::Running { .. }) {
            plan.actions.push(Action::Remove { id: container.id.clone() });
        }
    }
}
