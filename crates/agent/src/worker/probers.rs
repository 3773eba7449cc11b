//! The probes of one pod's running containers: one task each, started and ended with the container's run.

use crate::act::{Scene, Shared};
use crate::events::Kind as EventKind;
use crate::plan::Memory;
use crate::probe::{self, Health, Kind, Verdict};
use crate::probing::{self, Target};
use crate::runtime::State;
use crate::sandbox;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Verdicts are small and soon heard.
const QUEUE: usize = 16;

/// A verdict, and whose.
pub(super) struct Said {
    pod: Arc<Pod>,
    container_id: String,
    container: String,
    kind: Kind,
    verdict: Verdict,
}

/// The running probes, by container id and kind.
pub(super) struct Probers {
    say: mpsc::Sender<Said>,
    running: BTreeMap<(String, Kind), AbortOnDropHandle<()>>,
}

impl Probers {
    pub(super) fn new() -> (Self, mpsc::Receiver<Said>) {
        let (say, verdicts) = mpsc::channel(QUEUE);
        (Self { say, running: BTreeMap::new() }, verdicts)
    }

    /// Starts the probes of what runs and ends the others. Liveness and readiness wait for the startup probe.
    pub(super) fn follow(&mut self, scene: &Scene, memory: &mut Memory, alive: bool) {
        let spec = scene.spec();
        let mut wanted = BTreeMap::new();
        for container in sandbox::containers(&spec).filter(|_| alive) {
            let newest = scene.containers.iter().find(|candidate| candidate.name == container.name);
            let Some((newest, State::Running { started_at })) = newest.map(|newest| (newest, &newest.state))
            else {
                continue;
            };
            let health = memory.health.get(&newest.id).cloned().unwrap_or_default();
            for kind in kinds(&health, container) {
                wanted.insert((newest.id.clone(), kind), (container.clone(), *started_at));
            }
        }
        self.running.retain(|key, _| wanted.contains_key(key));
        for ((id, kind), (container, started_at)) in wanted {
            if self.running.get(&(id.clone(), kind)).is_some_and(|handle| !handle.is_finished()) {
                continue;
            }
            let Some(probe) = probe::of(&container, kind).cloned() else { continue };
            let say = self.say.clone();
            let (pod, name, container_id) = (scene.pod.clone(), container.name.clone(), id.clone());
            let tell = move |verdict| {
                let said = Said {
                    pod: pod.clone(),
                    container_id: container_id.clone(),
                    container: name.clone(),
                    kind,
                    verdict,
                };
                // A full queue means that the worker is about to look anyway; the next verdict is near.
                !matches!(say.try_send(said), Err(mpsc::error::TrySendError::Closed(_)))
            };
            let ip = scene.pod_ips().first().cloned().unwrap_or_default();
            let runtime = scene.shared.config.runtime.clone();
            let target = Target { runtime, container_id: id.clone(), container, ip };
            let age = Duration::try_from(Timestamp::now().duration_since(started_at)).unwrap_or_default();
            let task = tokio::spawn(probing::ask(target, kind, probe, age, tell));
            self.running.insert((id, kind), AbortOnDropHandle::new(task));
        }
    }

    /// Keeps a verdict and tells the world if it is bad.
    pub(super) fn hear(&mut self, said: Said, shared: &Shared, memory: &mut Memory) {
        if let Verdict::Failing(text) = &said.verdict {
            let message = format!("{} probe failed: {text}", said.kind.word());
            shared.recorder.pod(&said.pod, Some(&said.container), EventKind::Warning, "Unhealthy", &message);
        }
        memory.health.entry(said.container_id).or_default().keep(said.kind, said.verdict);
    }
}

fn kinds(health: &Health, container: &k8s_openapi::api::core::v1::Container) -> Vec<Kind> {
    let all = if health.is_started(container) {
        vec![Kind::Liveness, Kind::Readiness]
    } else {
        vec![Kind::Startup]
    };
    all.into_iter().filter(|kind| probe::of(container, *kind).is_some()).collect()
}
