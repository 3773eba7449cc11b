//! PURE. Why a pod ends, and how what runs of it is brought down.

use super::{Action, Bound, Plan, Rejection, Seen, Stage, is_sidecar, policy};
use crate::restart::{self, Policy, Restart};
use crate::runtime::{Container, State};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use std::time::Duration;

/// `spec.terminationGracePeriodSeconds` when it is not set.
const DEFAULT_GRACE: i64 = 30;
/// Every container gets this moment, also when it is deleted with grace 0.
/// Kubernetes: `minimumGracePeriodInSeconds`.
const MINIMUM_GRACE: i64 = 2;

/// Why a pod ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Its object is deleted, or gone already.
    Deleted,
    /// It has done its work, was refused, or took too long: the object stays.
    Finished,
}

/// Whether this pod ends, and why.
pub(super) fn reason(seen: &Seen<'_>, spec: &PodSpec, now: Timestamp, plan: &mut Plan) -> Option<Ending> {
    if seen.bound == Bound::Gone || seen.pod.metadata.deletion_timestamp.is_some() {
        return Some(Ending::Deleted);
    }
    if let Some(rejection) = seen.memory.rejected.as_ref().or(seen.memory.evicted.as_ref()) {
        plan.verdict = Some(rejection.clone());
        return Some(Ending::Finished);
    }
    if deadline(seen.pod, spec, now, plan) {
        plan.verdict = Some(Rejection {
            reason: "DeadlineExceeded".into(),
            message: "Pod was active on the node longer than the specified deadline".into(),
        });
        return Some(Ending::Finished);
    }
    (is_terminal(seen.pod) || is_finished(seen, spec, now)).then_some(Ending::Finished)
}

/// What is to be stopped next, and what is left to do when nothing runs.
pub(super) fn wind_down(seen: &Seen<'_>, spec: &PodSpec, ending: Ending, plan: &mut Plan) {
    plan.stage = Stage::Ending;
    let running: Vec<&Container> = seen.containers.iter().filter(|c| may_run(c)).collect();
    if !running.is_empty() {
        stop_next(seen, spec, &running, plan);
        return;
    }
    let ready: Vec<_> = seen.sandboxes.iter().filter(|sandbox| sandbox.ready).collect();
    if !ready.is_empty() {
        plan.actions.extend(ready.iter().map(|sandbox| Action::StopSandbox { id: sandbox.id.clone() }));
        return;
    }
    plan.stage = Stage::Ended;
    if ending == Ending::Finished {
        return;
    }
    if !seen.memory.cleaned {
        plan.actions.push(Action::CleanUp);
        return;
    }
    plan.stage = Stage::Gone;
    if seen.bound == Bound::Here {
        plan.actions.push(Action::Delete);
    }
}

/// Main and init containers at once; sidecars after them, the last first.
fn stop_next(seen: &Seen<'_>, spec: &PodSpec, running: &[&Container], plan: &mut Plan) {
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let place =
        |container: &Container| inits.iter().position(|init| is_sidecar(init) && init.name == container.name);
    let first: Vec<&&Container> = running.iter().filter(|container| place(container).is_none()).collect();
    let chosen = if first.is_empty() {
        running.iter().max_by_key(|container| place(container)).into_iter().collect()
    } else {
        first
    };
    for container in chosen {
        plan.actions.push(Action::Stop {
            id: container.id.clone(),
            container: container.name.clone(),
            grace: grace(seen, spec),
            message: format!("Stopping container {}", container.name),
        });
    }
}

fn may_run(container: &Container) -> bool {
    matches!(container.state, State::Running { .. } | State::Unknown)
}

/// A node under pressure has no time for more than the shortest.
fn grace(seen: &Seen<'_>, spec: &PodSpec) -> Duration {
    match seen.pod.metadata.deletion_grace_period_seconds {
        _ if seen.memory.evicted.is_some() => at_least_minimum(0),
        Some(seconds) => at_least_minimum(seconds),
        None => own_grace(spec),
    }
}

/// The grace period of the pod's spec.
pub(super) fn own_grace(spec: &PodSpec) -> Duration {
    at_least_minimum(spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE))
}

pub(super) fn at_least_minimum(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds.max(MINIMUM_GRACE)).unwrap_or_default())
}

/// How messages name a pod: `name_namespace(uid)`. Kubernetes: `format.Pod`.
#[must_use]
pub fn full_name(pod: &Pod) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let metadata = &pod.metadata;
    format!("{}_{}({})", text(&metadata.name), text(&metadata.namespace), text(&metadata.uid))
}

fn deadline(pod: &Pod, spec: &PodSpec, now: Timestamp, plan: &mut Plan) -> bool {
    let start = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let (Some(seconds), Some(start)) = (spec.active_deadline_seconds, start) else { return false };
    let at = start.0.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
    if now < at && !is_terminal(pod) {
        plan.wake(at);
    }
    now >= at && !is_terminal(pod)
}

fn is_terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether every main container has ended for good, or an init container has failed for good.
fn is_finished(seen: &Seen<'_>, spec: &PodSpec, now: Timestamp) -> bool {
    let ended_for_good = |name: &str, policy: Policy, wanted: fn(i32) -> bool| match seen.newest(name) {
        Some(Container { state: State::Exited(exit), .. }) => {
            let decision = restart::decide(policy, exit.code, exit.finished_at, None, now);
            decision == Restart::Never && wanted(exit.code)
        }
        _ => false,
    };
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let policy = policy(spec);
    let init_failed = policy == Policy::Never
        && inits.iter().any(|c| !is_sidecar(c) && ended_for_good(&c.name, policy, |code| code != 0));
    let all_ended = !spec.containers.is_empty()
        && spec.containers.iter().all(|c| ended_for_good(&c.name, policy, |_| true));
    init_failed || all_ended
}
