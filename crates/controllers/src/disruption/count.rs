//! PURE. How many pods of a budget may be away now?
//!
//! 1. Healthy is who is ready and neither ends nor was just evicted; allowed is what is healthy beyond what must be.
//! 2. An eviction that the API server has let through counts as an absence until the pod is seen to end, or for
//!    [`EVICTION_TIMEOUT`].
//! 3. What cannot be counted allows nothing.
//!
//! Kubernetes: `pkg/controller/disruption/disruption.go`. Differs: the pods of a DaemonSet are as many as nodes want one;
//! upstream finds no scale for DaemonSets, so that their percentages and `maxUnavailable` allow nothing there.

use crate::caches::Pod;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use objects::int_or_percent::{ScaleError, scaled};
use objects::owner::controller_of;
use objects::pod;
use std::collections::BTreeMap;
use std::sync::Arc;

/// After this an evicted pod that does not end counts again. Kubernetes: `DeletionTimeout`.
const EVICTION_TIMEOUT: SignedDuration = SignedDuration::from_secs(120);
const ALLOWED: &str = "DisruptionAllowed";

/// What a budget's status should be.
#[derive(Debug, PartialEq)]
pub(super) struct Count {
    /// The whole status.
    pub(super) status: PodDisruptionBudgetStatus,
    /// When an eviction is forgotten.
    pub(super) wake_at: Option<Timestamp>,
    /// Why nothing could be counted.
    pub(super) trouble: Option<Trouble>,
}

/// Why a budget cannot be counted.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum Trouble {
    #[error("found no controllers for pod {pod:?}")]
    NoScale { pod: String },
    #[error(transparent)]
    Bound(#[from] ScaleError),
}

/// Counts a budget's pods. `scale` says how many pods a controller wants, if it is known.
pub(super) fn count(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    scale: impl Fn(&OwnerReference) -> Option<i32>,
    now: Timestamp,
) -> Count {
    let old = budget.status.clone().unwrap_or_default();
    let generation = budget.metadata.generation;
    let wanted = match wanted(budget, pods, scale) {
        Ok(wanted) => wanted,
        Err(trouble) => {
            let verdict = ("False", "SyncFailed", trouble.to_string());
            let conditions = Some(conditions(&old, verdict, generation, now));
            let status = PodDisruptionBudgetStatus { disruptions_allowed: 0, conditions, ..old };
            return Count { status, wake_at: None, trouble: Some(trouble) };
        }
    };
    let evicted = evicted(&old, pods, now);
    let healthy = pods.iter().filter(|pod| is_healthy(pod, &evicted)).count();
    let current = i32::try_from(healthy).unwrap_or(i32::MAX);
    let allowed = if wanted.expected > 0 { current.saturating_sub(wanted.healthy).max(0) } else { 0 };
    let verdict = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let conditions = conditions(&old, (verdict.0, verdict.1, String::new()), generation, now);
    let wake_at = evicted.values().min().and_then(|time| time.0.checked_add(EVICTION_TIMEOUT).ok());
    let status = PodDisruptionBudgetStatus {
        conditions: Some(conditions),
        current_healthy: current,
        desired_healthy: wanted.healthy,
        disrupted_pods: (!evicted.is_empty()).then_some(evicted),
        disruptions_allowed: allowed,
        expected_pods: wanted.expected,
        observed_generation: generation,
    };
    Count { status, wake_at, trouble: None }
}

struct Wanted {
    expected: i32,
    healthy: i32,
}

fn wanted(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    scale: impl Fn(&OwnerReference) -> Option<i32>,
) -> Result<Wanted, Trouble> {
    let Some(spec) = &budget.spec else { return Ok(Wanted { expected: 0, healthy: 0 }) };
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => {
            let expected = expected(pods, scale)?;
            let healthy = expected.saturating_sub(scaled(most, expected, true)?).max(0);
            Ok(Wanted { expected, healthy })
        }
        (None, Some(IntOrString::Int(least))) => {
            Ok(Wanted { expected: i32::try_from(pods.len()).unwrap_or(i32::MAX), healthy: *least })
        }
        (None, Some(least)) => {
            let expected = expected(pods, scale)?;
            Ok(Wanted { expected, healthy: scaled(least, expected, true)? })
        }
        (None, None) => Ok(Wanted { expected: 0, healthy: 0 }),
    }
}

/// What the controllers of these pods want together; pods that nobody controls count for nothing.
fn expected(pods: &[Arc<Pod>], scale: impl Fn(&OwnerReference) -> Option<i32>) -> Result<i32, Trouble> {
    let mut scales = BTreeMap::new();
    for pod in pods {
        let Some(owner) = controller_of(&pod.metadata) else { continue };
        let name = || pod.metadata.name.clone().unwrap_or_default();
        let wanted = scale(owner).ok_or_else(|| Trouble::NoScale { pod: name() })?;
        scales.insert(owner.uid.as_str(), wanted);
    }
    Ok(scales.values().fold(0, |sum: i32, wanted| sum.saturating_add(*wanted)))
}

/// Evictions that are not seen yet: of pods that are there, do not end, and were evicted not long ago.
fn evicted(old: &PodDisruptionBudgetStatus, pods: &[Arc<Pod>], now: Timestamp) -> BTreeMap<String, Time> {
    let Some(before) = &old.disrupted_pods else { return BTreeMap::new() };
    let unseen = pods.iter().filter(|pod| !pod::is_terminating(pod)).filter_map(|pod| {
        let (name, time) = before.get_key_value(pod.metadata.name.as_deref()?)?;
        let is_fresh = time.0.checked_add(EVICTION_TIMEOUT).is_ok_and(|end| end > now);
        is_fresh.then(|| (name.clone(), time.clone()))
    });
    unseen.collect()
}

fn is_healthy(pod: &Pod, evicted: &BTreeMap<String, Time>) -> bool {
    let is_evicted = pod.metadata.name.as_ref().is_some_and(|name| evicted.contains_key(name));
    !pod::is_terminating(pod) && !is_evicted && pod::is_ready(pod)
}

/// The old conditions with ours among them; its time moves only with its status.
fn conditions(
    old: &PodDisruptionBudgetStatus,
    (status, reason, message): (&str, &str, String),
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let mut conditions = old.conditions.clone().unwrap_or_default();
    let before = conditions.iter().find(|condition| condition.type_ == ALLOWED && condition.status == status);
    let since = before.map_or(Time(now), |before| before.last_transition_time.clone());
    let new = Condition {
        type_: ALLOWED.into(),
        status: status.into(),
        reason: reason.into(),
        message,
        observed_generation: generation,
        last_transition_time: since,
    };
    match conditions.iter_mut().find(|condition| condition.type_ == ALLOWED) {
        Some(ours) => *ours = new,
        None => conditions.push(new),
    }
    conditions
}

#[cfg(test)]
mod tests;
