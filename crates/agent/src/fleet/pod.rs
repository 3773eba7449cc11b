//! PURE. One simulated pod: the agent's own plan, carried out in memory.
//!
//! [`SimulatedPod::settle`] plans and acts until the plan has nothing more to do, and then says what is to be written:
//! one status for all steps that were taken.

use super::write::Written;
use crate::events::{Kind, Recorder};
use crate::images::{self, Failure};
use crate::plan::{self, Action, Bound, Memory, Plan, Seen, Stage, Volumes};
use crate::probe::{self, Health, Verdict};
use crate::runtime::simulated::{Behaviour, Stages, behaviour, missing_image};
use crate::runtime::{Container, Exit, PodKey, Sandbox, State};
use crate::sandbox;
use crate::status::{self, Place};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::Value;
use std::collections::BTreeMap;

/// A plan that is not done after so many rounds is wrong; the next event tries again. A container takes two rounds.
const MAX_ROUNDS: usize = 1000;
/// After a write that failed.
const RETRY: SignedDuration = SignedDuration::from_secs(2);

/// A pod on a simulated node.
pub(super) struct SimulatedPod {
    pod: Pod,
    ip: String,
    stages: Stages,
    /// Nothing starts before this.
    starts_at: Timestamp,
    /// Nothing ends before this, once it is to end.
    ends_at: Option<Timestamp>,
    sandboxes: Vec<Sandbox>,
    containers: Vec<Container>,
    memory: Memory,
    writing: bool,
    retry_at: Option<Timestamp>,
    /// The revision of our last write: older news of the watch say nothing about the status.
    revision: Option<u64>,
    pending: Option<PodStatus>,
    told: BTreeMap<String, String>,
}

/// What is to be written.
pub(super) enum Next {
    /// This merge patch of the status.
    Status(Value),
    /// Nothing is left: the object goes.
    Delete,
}

/// What came of settling.
#[derive(Default)]
pub(super) struct Settled {
    pub(super) next: Option<Next>,
    pub(super) wake_at: Option<Timestamp>,
    pub(super) news: Vec<News>,
}

/// Something an event tells: container, kind, reason, message.
pub(super) type News = (String, Kind, &'static str, String);

impl SimulatedPod {
    pub(super) fn new(pod: Pod, ip: String, stages: Stages, now: Timestamp) -> Self {
        let delay = stages.sandbox + stages.pull + stages.start;
        let mut new = Self {
            ip,
            stages,
            starts_at: now.saturating_add(delay).unwrap_or(now),
            ends_at: None,
            sandboxes: Vec::new(),
            containers: Vec::new(),
            memory: Memory { volumes: Volumes::Ready, ..Memory::default() },
            writing: false,
            retry_at: None,
            revision: None,
            pending: None,
            told: BTreeMap::new(),
            pod,
        };
        new.remember();
        new
    }

    /// A fleet that starts again finds its pods as it left them: what ran by the server's account runs on.
    fn remember(&mut self) {
        let Some(old) = self.pod.status.clone() else { return };
        if let Some(ip) = old.pod_ip {
            self.ip = ip;
        }
        let statuses = old.container_statuses.into_iter().flatten();
        for status in statuses.chain(old.init_container_statuses.into_iter().flatten()) {
            let state = status.state.unwrap_or_default();
            let attempt = u32::try_from(status.restart_count).unwrap_or(0);
            let time = |time: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| time.map(|t| t.0);
            let state = if let Some(running) = state.running {
                State::Running { started_at: time(running.started_at).unwrap_or(self.starts_at) }
            } else if let Some(ended) = state.terminated {
                State::Exited(Exit {
                    started_at: time(ended.started_at),
                    finished_at: time(ended.finished_at).unwrap_or(self.starts_at),
                    code: ended.exit_code,
                    reason: ended.reason.unwrap_or_default(),
                    message: String::new(),
                })
            } else {
                continue;
            };
            if self.sandboxes.is_empty() {
                self.sandboxes.push(self.sandbox(0, self.starts_at));
            }
            let container = self.container(&status.name, &status.image, attempt, state, self.starts_at);
            self.pass_probes(&container.id);
            self.containers.push(container);
        }
    }

    pub(super) fn key(&self) -> PodKey {
        sandbox::key(&self.pod)
    }

    pub(super) fn node_name(&self) -> Option<String> {
        self.pod.spec.as_ref()?.node_name.clone()
    }

    pub(super) fn is_writing(&self) -> bool {
        self.writing
    }

    pub(super) fn writes(&mut self) {
        self.writing = true;
    }

    /// The watch tells the pod anew.
    pub(super) fn told(&mut self, pod: Pod) {
        let is_old = revision(&pod).is_some_and(|seen| self.revision.is_some_and(|own| seen < own));
        let status = self.pod.status.take();
        self.pod = pod;
        if is_old {
            self.pod.status = status;
        }
    }

    /// A write has ended; when to try again if it failed.
    pub(super) fn wrote(&mut self, written: Written, now: Timestamp) -> Option<Timestamp> {
        self.writing = false;
        match written {
            Written::Status { revision } => {
                self.revision = revision.or(self.revision);
                if let Some(status) = self.pending.take() {
                    self.pod.status = Some(status);
                }
                self.retry_at = None;
                None
            }
            Written::Gone => {
                // The watch will say so; until then nothing is to be done.
                self.retry_at = now.checked_add(RETRY).ok();
                None
            }
            Written::Failed => {
                self.retry_at = now.checked_add(RETRY).ok();
                self.retry_at
            }
        }
    }

    /// Plans and acts until nothing more is to be done now.
    pub(super) fn settle(&mut self, host_ip: &str, now: Timestamp) -> Settled {
        let mut settled = Settled::default();
        if let Some(at) = self.retry_at.filter(|at| now < *at) {
            settled.wake_at = Some(at);
            return settled;
        }
        if now < self.starts_at && self.pod.metadata.deletion_timestamp.is_none() {
            settled.wake_at = Some(self.starts_at);
            return settled;
        }
        for _ in 0..MAX_ROUNDS {
            let plan = self.plan(now);
            if plan.stage >= Stage::Ending && self.waits_to_end(now, &mut settled) {
                return settled;
            }
            if plan.actions.contains(&Action::Delete) {
                settled.next = Some(Next::Delete);
                return settled;
            }
            if plan.actions.is_empty() {
                settled.wake_at = plan.wake_at;
                settled.next = self.status(&plan, host_ip, now);
                self.waits_are_news(&plan, &mut settled.news);
                return settled;
            }
            for action in plan.actions {
                self.act(action, now, &mut settled.news);
            }
        }
        settled
    }

    fn waits_to_end(&mut self, now: Timestamp, settled: &mut Settled) -> bool {
        let delay = self.stages.stop;
        let at = *self.ends_at.get_or_insert_with(|| now.saturating_add(delay).unwrap_or(now));
        settled.wake_at = (now < at).then_some(at);
        now < at
    }

    fn seen(&self) -> Seen<'_> {
        Seen {
            pod: &self.pod,
            bound: Bound::Here,
            sandboxes: &self.sandboxes,
            containers: &self.containers,
            memory: &self.memory,
        }
    }

    fn plan(&self, now: Timestamp) -> Plan {
        plan::plan(&self.seen(), now)
    }

    fn status(&mut self, plan: &Plan, host_ip: &str, now: Timestamp) -> Option<Next> {
        let place = Place { host_ip, runtime: "simulated" };
        let status = status::pod_status(&self.seen(), plan, place, now);
        let value = |status: &PodStatus| serde_json::to_value(status).unwrap_or_default();
        let old = self.pod.status.as_ref().map(value).unwrap_or_default();
        let patch = status::difference(&old, &value(&status));
        if patch.as_object().is_none_or(serde_json::Map::is_empty) {
            return None;
        }
        self.pending = Some(status);
        Some(Next::Status(patch))
    }

    fn act(&mut self, action: Action, now: Timestamp, news: &mut Vec<News>) {
        match action {
            Action::CreateSandbox { attempt, .. } => self.sandboxes.insert(0, self.sandbox(attempt, now)),
            Action::Start { container, attempt, crash_loop, .. } => {
                if self.start(&container, attempt, now, news) {
                    self.memory.crash_loops.extend(crash_loop.map(|next| (container, next)));
                }
            }
            Action::Stop { id, container, message, .. } => {
                news.push((container, Kind::Normal, "Killing", message));
                if let Some(container) = self.containers.iter_mut().find(|container| container.id == id) {
                    container.state = ended(&container.state, 0, now);
                }
            }
            Action::StopSandbox { id } => {
                self.sandboxes.iter_mut().filter(|s| s.id == id).for_each(|s| s.ready = false);
            }
            Action::Remove { id } => self.containers.retain(|container| container.id != id),
            Action::CleanUp => {
                self.sandboxes.clear();
                self.containers.clear();
                self.memory.cleaned = true;
            }
            Action::PrepareVolumes | Action::Delete => {}
        }
    }

    fn start(&mut self, name: &str, attempt: u32, now: Timestamp, news: &mut Vec<News>) -> bool {
        let spec = self.pod.spec.clone().unwrap_or_default();
        let of_spec = sandbox::containers(&spec).find(|container| container.name == name);
        let image = of_spec.and_then(|container| container.image.clone()).unwrap_or_default();
        let mut tell = |kind, reason, message: String| news.push((name.to_string(), kind, reason, message));
        if behaviour(&image) == Behaviour::Missing {
            let text = format!("rpc error: code = NotFound desc = {}", missing_image(&image));
            tell(Kind::Warning, "Failed", format!("Failed to pull image {image:?}: {text}"));
            let failure = Failure { reason: "ErrImagePull".into(), message: text, is_pull: true };
            let before = self.memory.troubles.get(name);
            let trouble = images::trouble(&failure, &image, before, now);
            self.memory.troubles.insert(name.into(), trouble);
            return false;
        }
        self.memory.troubles.remove(name);
        tell(Kind::Normal, "Pulled", format!("Container image {image:?} already present on machine"));
        tell(Kind::Normal, "Created", format!("Created container: {name}"));
        tell(Kind::Normal, "Started", format!("Started container {name}"));
        let running = State::Running { started_at: now };
        let state = if behaviour(&image) == Behaviour::Crashes { ended(&running, 1, now) } else { running };
        let container = self.container(name, &image, attempt, state, now);
        self.pass_probes(&container.id);
        self.containers.insert(0, container);
        true
    }

    /// A simulated container is well: its probes pass at once.
    fn pass_probes(&mut self, id: &str) {
        let mut health = Health::default();
        for kind in [probe::Kind::Startup, probe::Kind::Readiness] {
            health.keep(kind, Verdict::Passing);
        }
        self.memory.health.insert(id.into(), health);
    }

    fn sandbox(&self, attempt: u32, now: Timestamp) -> Sandbox {
        let key = self.key();
        let id = format!("{}-{attempt}", key.uid);
        Sandbox { id, pod: key, attempt, ready: true, created_at: now, ips: vec![self.ip.clone()] }
    }

    fn container(&self, name: &str, image: &str, attempt: u32, state: State, now: Timestamp) -> Container {
        let uid = self.key().uid;
        Container {
            id: format!("{uid}-{name}-{attempt}"),
            sandbox_id: self.sandboxes.first().map(|sandbox| sandbox.id.clone()).unwrap_or_default(),
            pod_uid: uid,
            name: name.into(),
            attempt,
            state,
            created_at: now,
            image: image.into(),
            image_ref: format!("{image}@simulated"),
            annotations: BTreeMap::new(),
            log_path: String::new(),
        }
    }

    fn waits_are_news(&mut self, plan: &Plan, news: &mut Vec<News>) {
        for (name, waiting) in &plan.waiting {
            if self.told.insert(name.clone(), waiting.reason.clone()).as_ref() == Some(&waiting.reason) {
                continue;
            }
            if waiting.reason == "CrashLoopBackOff" {
                let text = format!(
                    "Back-off restarting failed container {name} in pod {}",
                    plan::full_name(&self.pod)
                );
                news.push((name.clone(), Kind::Warning, "BackOff", text));
            }
        }
    }

    pub(super) fn tell(&self, recorder: &Recorder, news: &[News]) {
        for (container, kind, reason, message) in news {
            recorder.pod(&self.pod, Some(container), *kind, reason, message);
        }
    }
}

fn ended(state: &State, code: i32, now: Timestamp) -> State {
    let started_at = match state {
        State::Running { started_at } => Some(*started_at),
        _ => None,
    };
    let reason = if code == 0 { "Completed" } else { "Error" };
    State::Exited(Exit { started_at, finished_at: now, code, reason: reason.into(), message: String::new() })
}

fn revision(pod: &Pod) -> Option<u64> {
    pod.metadata.resource_version.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simulated(image: &str) -> SimulatedPod {
        let text = format!(
            r#"{{"metadata":{{"name":"p","namespace":"n","uid":"u"}},
                "spec":{{"nodeName":"n1","containers":[{{"name":"a","image":"{image}","readinessProbe":{{}}}}]}}}}"#
        );
        let pod = serde_json::from_str(&text).unwrap();
        SimulatedPod::new(pod, "10.0.0.2".into(), Stages::INSTANT, Timestamp::UNIX_EPOCH)
    }

    fn reason(settled: &Settled) -> String {
        let Some(Next::Status(patch)) = &settled.next else { return "nothing".into() };
        let waiting = patch.pointer("/containerStatuses/0/state/waiting/reason");
        let waiting = waiting.and_then(Value::as_str).unwrap_or("runs");
        format!("{} {waiting}", patch.pointer("/phase").and_then(Value::as_str).unwrap_or("-"))
    }

    #[test]
    fn one_write_takes_a_pod_from_bound_to_ready_and_one_takes_it_away() {
        let mut pod = simulated("hello:1");
        let settled = pod.settle("192.0.2.1", Timestamp::UNIX_EPOCH);
        assert_eq!(reason(&settled), "Running runs");
        pod.writes();
        pod.wrote(Written::Status { revision: Some(2) }, Timestamp::UNIX_EPOCH);
        assert_eq!(reason(&pod.settle("192.0.2.1", Timestamp::UNIX_EPOCH)), "nothing");
        let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH);
        pod.pod.metadata.deletion_timestamp = Some(time);
        let settled = pod.settle("192.0.2.1", Timestamp::UNIX_EPOCH);
        assert!(matches!(settled.next, Some(Next::Delete)));
    }

    #[test]
    fn a_broken_image_crashes_and_a_missing_one_cannot_be_pulled() {
        let settled = simulated("hello:broken").settle("192.0.2.1", Timestamp::UNIX_EPOCH);
        assert_eq!(reason(&settled), "Running CrashLoopBackOff");
        assert_eq!(settled.wake_at, Some(Timestamp::from_second(10).unwrap()));
        let settled = simulated("no.invalid/hello:1").settle("192.0.2.1", Timestamp::UNIX_EPOCH);
        assert_eq!(reason(&settled), "Pending ErrImagePull");
    }

    #[test]
    fn a_fleet_that_starts_again_restarts_nothing() {
        let mut pod = simulated("hello:1");
        pod.settle("192.0.2.1", Timestamp::UNIX_EPOCH);
        pod.wrote(Written::Status { revision: None }, Timestamp::UNIX_EPOCH);
        let mut again = SimulatedPod::new(pod.pod, "10.0.0.9".into(), Stages::INSTANT, Timestamp::UNIX_EPOCH);
        let settled = again.settle("192.0.2.1", Timestamp::from_second(60).unwrap());
        assert_eq!(reason(&settled), "nothing");
    }
}
