//! PURE. What is observed of a pod → its `PodStatus`.
//!
//! The phase, the five conditions and one entry per container, as kubelet would write them. Times of transitions are
//! kept from the status the server has, so that the same observation gives the same status: nothing is written when
//! nothing changed.
//!
//! Kubernetes: kubelet_pods.go `generateAPIPodStatus`, status/generate.go, kuberuntime/convert.

mod container;
#[cfg(test)]
mod tests;

use crate::debugging;
use crate::plan::{Plan, Seen, Stage, is_sidecar, policy};
use crate::restart::Policy;
use crate::runtime::State;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container as Spec, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;

/// What a status says beyond the pod itself.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The node's address.
    pub host_ip: &'a str,
    /// The runtime's name, for container ids: `containerd://…`.
    pub runtime: &'a str,
}

/// The status to tell the server.
#[must_use]
pub fn pod_status(seen: &Seen<'_>, plan: &Plan, place: Place<'_>, now: Timestamp) -> PodStatus {
    let empty = (PodSpec::default(), PodStatus::default());
    let spec = seen.pod.spec.as_ref().unwrap_or(&empty.0);
    let old = seen.pod.status.as_ref().unwrap_or(&empty.1);
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let view = container::View { seen, plan, place };
    let init_statuses: Vec<_> = inits.iter().map(|init| view.status(init)).collect();
    let statuses: Vec<_> = spec.containers.iter().map(|main| view.status(main)).collect();
    let debuggers: Vec<_> = debugging::containers(spec).map(|debugger| view.debugger(&debugger)).collect();
    // What has ended stays so, also when somebody else said it and its containers then stop well.
    let ended = old.phase.as_deref().filter(|phase| matches!(*phase, "Succeeded" | "Failed"));
    // And what still runs has not failed yet.
    let runs = seen.containers.iter().any(|container| matches!(container.state, State::Running { .. }));
    let verdict = plan.verdict.as_ref().filter(|_| !runs);
    let phase = match (verdict, ended) {
        (Some(_), _) => "Failed",
        (None, Some(ended)) => ended,
        (None, None) => phase(spec, plan.stage, &init_statuses, &statuses),
    };
    let told = |of_verdict: Option<String>, old: &Option<String>| of_verdict.or(ended.and(old.clone()));
    let facts = Facts { seen, spec, phase, inits: &init_statuses, mains: &statuses };
    let ips = pod_ips(seen, spec, old, place);
    let accepted = seen.memory.rejected.is_none() || !seen.containers.is_empty();
    PodStatus {
        phase: Some(phase.into()),
        conditions: Some(facts.conditions(old, now)),
        reason: told(verdict.map(|verdict| verdict.reason.clone()), &old.reason),
        message: told(verdict.map(|verdict| verdict.message.clone()), &old.message),
        host_ip: Some(place.host_ip.into()),
        host_ips: Some(vec![HostIP { ip: place.host_ip.into() }]),
        pod_ip: ips.first().cloned(),
        pod_ips: (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect()),
        start_time: Some(old.start_time.clone().unwrap_or(Time(now))),
        qos_class: Some(old.qos_class.clone().unwrap_or_else(|| qos(spec).into())),
        // A pod that was refused never had containers; one that was pushed aside had.
        init_container_statuses: (!init_statuses.is_empty() && accepted).then_some(init_statuses),
        container_statuses: accepted.then_some(statuses),
        ephemeral_container_statuses: (!debuggers.is_empty() && accepted).then_some(debuggers),
        ..old.clone()
    }
}

/// The address stays in the status when the sandbox has ended, as kubelet leaves it.
fn pod_ips(seen: &Seen<'_>, spec: &PodSpec, old: &PodStatus, place: Place<'_>) -> Vec<String> {
    if spec.host_network == Some(true) {
        return if seen.sandboxes.is_empty() { Vec::new() } else { vec![place.host_ip.into()] };
    }
    match seen.sandbox() {
        Some(sandbox) => sandbox.ips.clone(),
        None => old.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect(),
    }
}

/// Kubernetes: `getPhase`.
fn phase(spec: &PodSpec, stage: Stage, inits: &[ContainerStatus], mains: &[ContainerStatus]) -> &'static str {
    let policy = policy(spec);
    let count = Count::of(mains);
    let sidecars = spec.init_containers.as_deref().unwrap_or_default().iter().map(is_sidecar);
    let plain = inits.iter().zip(sidecars).filter(|(_, sidecar)| !sidecar).map(|(status, _)| status);
    let init_open: Vec<_> = plain.filter(|status| exit_code(status) != Some(0)).collect();
    let began = mains.iter().any(|status| status.container_id.is_some());
    if !began && !init_open.is_empty() {
        let failed = init_open.iter().any(|status| exit_code(status).is_some());
        return if failed && (policy == Policy::Never || stage >= Stage::Ended) {
            "Failed"
        } else {
            "Pending"
        };
    }
    match count {
        Count { waiting: 1.., .. } => "Pending",
        Count { running: 1.., .. } => "Running",
        Count { stopped: 1.., .. } if stage >= Stage::Ended => count.ended(),
        Count { stopped: 1.., .. } => match policy {
            Policy::Always => "Running",
            Policy::OnFailure if count.succeeded < count.stopped => "Running",
            Policy::OnFailure | Policy::Never => count.ended(),
        },
        Count { .. } => "Pending",
    }
}

/// How many containers are in which state.
#[derive(Default)]
struct Count {
    waiting: usize,
    running: usize,
    stopped: usize,
    succeeded: usize,
}

impl Count {
    fn of(statuses: &[ContainerStatus]) -> Self {
        let mut count = Self::default();
        for status in statuses {
            let state = status.state.clone().unwrap_or_default();
            if state.running.is_some() {
                count.running += 1;
            } else if state.terminated.is_some() || has_run_before(status) {
                count.stopped += 1;
                count.succeeded += usize::from(exit_code(status) == Some(0));
            } else {
                count.waiting += 1;
            }
        }
        count
    }

    fn ended(&self) -> &'static str {
        if self.succeeded == self.stopped { "Succeeded" } else { "Failed" }
    }
}

fn has_run_before(status: &ContainerStatus) -> bool {
    status.last_state.as_ref().is_some_and(|last| last.terminated.is_some())
}

/// The exit code of the last run that ended, if the container does not run.
fn exit_code(status: &ContainerStatus) -> Option<i32> {
    let state = status.state.as_ref()?;
    if let Some(ended) = &state.terminated {
        return Some(ended.exit_code);
    }
    state.waiting.as_ref()?;
    Some(status.last_state.as_ref()?.terminated.as_ref()?.exit_code)
}

/// What the conditions are made from.
struct Facts<'a> {
    seen: &'a Seen<'a>,
    spec: &'a PodSpec,
    phase: &'a str,
    inits: &'a [ContainerStatus],
    mains: &'a [ContainerStatus],
}

/// A condition's value: yes, or no with reason and message.
struct Value {
    yes: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Value {
    const YES: Self = Self { yes: true, reason: None, message: None };
}

impl Facts<'_> {
    /// Ours, in kubelet's order, and after them those that others have set.
    fn conditions(&self, old: &PodStatus, now: Timestamp) -> Vec<PodCondition> {
        let ready = self.containers_ready();
        let gates = self.gates(old);
        let ours = [
            ("PodReadyToStartContainers", self.sandbox_ready()),
            ("Initialized", self.initialized()),
            ("Ready", gates.unwrap_or_else(|| self.containers_ready())),
            ("ContainersReady", ready),
            ("PodScheduled", Value::YES),
        ];
        let disruption = self.seen.memory.evicted.as_ref().map(|eviction| {
            let message = Some(eviction.message.clone());
            ("DisruptionTarget", Value { yes: true, reason: Some("TerminationByKubelet"), message })
        });
        let ours: Vec<(&str, Value)> = ours.into_iter().chain(disruption).collect();
        let old = old.conditions.as_deref().unwrap_or_default();
        let foreign = old.iter().filter(|c| ours.iter().all(|(name, _)| c.type_ != *name)).cloned();
        ours.iter().map(|(name, value)| condition(old, name, value, now)).chain(foreign).collect()
    }

    fn sandbox_ready(&self) -> Value {
        let host_network = self.spec.host_network == Some(true);
        let yes = self.seen.sandbox().is_some_and(|sandbox| host_network || !sandbox.ips.is_empty());
        Value { yes, reason: None, message: None }
    }

    fn initialized(&self) -> Value {
        let specs = self.spec.init_containers.as_deref().unwrap_or_default();
        let began = self.mains.iter().any(|status| status.container_id.is_some());
        let open: Vec<&str> = specs
            .iter()
            .zip(self.inits)
            .filter(|(spec, status)| {
                let done = if is_sidecar(spec) {
                    status.started == Some(true)
                } else {
                    exit_code(status) == Some(0)
                };
                !done
            })
            .map(|(spec, _)| spec.name.as_str())
            .collect();
        match self.phase {
            "Succeeded" => Value { reason: Some("PodCompleted"), ..Value::YES },
            _ if open.is_empty() || began => Value::YES,
            _ => Value {
                yes: false,
                reason: Some("ContainersNotInitialized"),
                message: Some(format!("containers with incomplete status: [{}]", open.join(" "))),
            },
        }
    }

    fn containers_ready(&self) -> Value {
        let specs = self.spec.init_containers.as_deref().unwrap_or_default();
        let sidecars = specs.iter().zip(self.inits).filter(|(spec, _)| is_sidecar(spec)).map(|(_, s)| s);
        let unready: Vec<&str> =
            sidecars.chain(self.mains).filter(|status| !status.ready).map(|s| s.name.as_str()).collect();
        match self.phase {
            "Succeeded" => Value { yes: false, reason: Some("PodCompleted"), message: None },
            "Failed" => Value { yes: false, reason: Some("PodFailed"), message: None },
            _ if unready.is_empty() => Value::YES,
            _ => Value {
                yes: false,
                reason: Some("ContainersNotReady"),
                message: Some(format!("containers with unready status: [{}]", unready.join(" "))),
            },
        }
    }

    /// `None` if no readiness gate holds the pod back.
    fn gates(&self, old: &PodStatus) -> Option<Value> {
        if !self.containers_ready().yes {
            return None;
        }
        let conditions = old.conditions.as_deref().unwrap_or_default();
        let complaints: Vec<String> = self
            .spec
            .readiness_gates
            .iter()
            .flatten()
            .filter_map(|gate| {
                let name = &gate.condition_type;
                match conditions.iter().find(|condition| condition.type_ == *name) {
                    None => Some(format!(
                        "corresponding condition of pod readiness gate {name:?} does not exist."
                    )),
                    Some(condition) if condition.status != "True" => Some(format!(
                        "the status of pod readiness gate {name:?} is not \"True\", but {}",
                        condition.status
                    )),
                    Some(_) => None,
                }
            })
            .collect();
        (!complaints.is_empty()).then(|| Value {
            yes: false,
            reason: Some("ReadinessGatesNotReady"),
            message: Some(complaints.join(", ")),
        })
    }
}

fn condition(old: &[PodCondition], name: &str, value: &Value, now: Timestamp) -> PodCondition {
    let status = if value.yes { "True" } else { "False" };
    let before = old.iter().find(|condition| condition.type_ == name);
    let unchanged = before.filter(|condition| condition.status == status);
    PodCondition {
        type_: name.into(),
        status: status.into(),
        reason: value.reason.map(str::to_string),
        message: value.message.clone(),
        last_probe_time: None,
        last_transition_time: unchanged.and_then(|c| c.last_transition_time.clone()).or(Some(Time(now))),
        observed_generation: before.and_then(|condition| condition.observed_generation),
    }
}

/// Kubernetes: `GetPodQOS`.
#[must_use]
pub fn qos(spec: &PodSpec) -> &'static str {
    let containers = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    if containers().all(|container| !has_any(container)) {
        return "BestEffort";
    }
    if containers().all(is_guaranteed) { "Guaranteed" } else { "Burstable" }
}

const COMPUTE: [&str; 2] = ["cpu", "memory"];

fn has_any(container: &Spec) -> bool {
    let resources = container.resources.clone().unwrap_or_default();
    let maps = [resources.requests.unwrap_or_default(), resources.limits.unwrap_or_default()];
    maps.iter().any(|map| COMPUTE.iter().any(|name| map.contains_key(*name)))
}

fn is_guaranteed(container: &Spec) -> bool {
    let resources = container.resources.clone().unwrap_or_default();
    let (limits, requests) = (resources.limits.unwrap_or_default(), resources.requests.unwrap_or_default());
    COMPUTE.iter().all(|name| {
        limits.get(*name).is_some_and(|limit| requests.get(*name).is_none_or(|request| request == limit))
    })
}

/// The JSON merge patch that turns one status into another: only what differs, and `null` for what is gone.
/// Lists are replaced as a whole.
#[must_use]
pub fn difference(old: &serde_json::Value, new: &serde_json::Value) -> serde_json::Value {
    use serde_json::{Map, Value};
    let empty = Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            Some(before) if before == value => {}
            Some(before @ Value::Object(_)) if value.is_object() => {
                patch.insert(key.clone(), difference(before, value));
            }
            _ => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Value::Object(patch)
}

/// The entries of a status by container name.
#[must_use]
pub fn entries(pod: &Pod) -> BTreeMap<&str, &ContainerStatus> {
    let Some(status) = &pod.status else { return BTreeMap::new() };
    let lists =
        [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten().map(|entry| (entry.name.as_str(), entry)).collect()
}
