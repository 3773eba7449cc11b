//! May this pod be evicted now? PodDisruptionBudgets decide (NP-16, wire 2.8).
//!
//! 1. A pod that has ended, ends, or never ran is in nobody's budget.
//! 2. A pod that is not ready goes if its budget holds without it, or always if the budget says so.
//! 3. Any other eviction is paid from `disruptionsAllowed`, in one compare-and-swap, before the pod is deleted; the pod is
//!    noted in `disruptedPods`, so that the counting loop does not give the same permission twice.
//!
//! Kubernetes: `registry/core/pod/storage/eviction.go`.

use super::update::{Write, rewrite};
use super::{Call, create, metadata};
use crate::error::ApiError;
use crate::request::Target;
use crate::resources::fields::{int, text};
use crate::resources::{labels, poddisruptionbudgets};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Evictions that the counting loop has not confirmed. Kubernetes: `MaxDisruptedPodSize`.
const UNCONFIRMED_MAX: usize = 2000;
/// Seconds until an uncounted budget may have been counted.
const COUNTING_SECONDS: u32 = 10;
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// Pays for the eviction of a pod, or says why it has to wait.
pub async fn permit(call: &Call<'_>, pod: &Value, dry_run: bool) -> Result<(), ApiError> {
    if is_nobodys(pod) {
        return Ok(());
    }
    call.server.consistent().await?;
    let mut budgets = call.server.cached(&poddisruptionbudgets::KIND);
    budgets.retain(|budget| selects(budget, pod));
    let budget = match budgets.as_slice() {
        [] => return Ok(()),
        [budget] => budget,
        _ => return Err(too_many_budgets()),
    };
    if !is_ready(pod) && lets_unready_go(budget) {
        return Ok(());
    }
    let target = Target {
        namespace: call.target.namespace.clone(),
        name: metadata::text(budget, "name").to_string(),
        ..Target::default()
    };
    let paying = Call { kind: &poddisruptionbudgets::KIND, target: &target, upgrade: None, ..*call };
    let write = Write::own(dry_run);
    let (name, now) = (metadata::text(pod, "name"), call.server.now());
    rewrite(&paying, write, |budget| Ok((spent(budget, name, now)?, Vec::new()))).await.map(drop)
}

fn is_nobodys(pod: &Value) -> bool {
    metadata::is_terminating(pod)
        || matches!(text(&pod["status"], "phase"), "Succeeded" | "Failed" | "Pending")
}

fn selects(budget: &Value, pod: &Value) -> bool {
    let selector = &budget["spec"]["selector"];
    let selected = || {
        labels::parse_selector(selector).is_some_and(|s| s.matches(&labels::map(&pod["metadata"], "labels")))
    };
    metadata::text(budget, "namespace") == metadata::text(pod, "namespace")
        && !selector.is_null()
        && selected()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn lets_unready_go(budget: &Value) -> bool {
    let count = |field: &str| int(&budget["status"], field).unwrap_or_default();
    let (healthy, wanted) = (count("currentHealthy"), count("desiredHealthy"));
    text(&budget["spec"], "unhealthyPodEvictionPolicy") == "AlwaysAllow" || wanted > 0 && healthy >= wanted
}

/// The budget after one more absence.
fn spent(budget: &Value, pod: &str, now: Timestamp) -> Result<Value, ApiError> {
    let (name, status) = (metadata::text(budget, "name"), &budget["status"]);
    let count = |field: &str| int(status, field).unwrap_or_default();
    let generation = int(&budget["metadata"], "generation").unwrap_or_default();
    if count("observedGeneration") < generation {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(ApiError { retry_after: Some(COUNTING_SECONDS), ..refused(&why) });
    }
    let allowed = count("disruptionsAllowed");
    if allowed < 0 {
        return Err(forbidden(name, "pdb disruptions allowed is negative"));
    }
    if status["disruptedPods"].as_object().is_some_and(|pods| pods.len() > UNCONFIRMED_MAX) {
        return Err(forbidden(
            name,
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ));
    }
    if allowed == 0 {
        let (wanted, healthy) = (count("desiredHealthy"), count("currentHealthy"));
        let why =
            format!("The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently");
        return Err(refused(&why));
    }
    let mut paid = budget.clone();
    paid["status"]["disruptionsAllowed"] = (allowed - 1).into();
    paid["status"]["disruptedPods"][pod] = create::seconds(now).into();
    Ok(paid)
}

fn refused(why: &str) -> ApiError {
    let details = json!({"causes": [{"reason": "DisruptionBudget", "message": why}]});
    ApiError { details, ..ApiError::plain(429, "TooManyRequests", REFUSED) }
}

fn forbidden(name: &str, why: &str) -> ApiError {
    ApiError::forbidden(crate::admission::resource(&poddisruptionbudgets::KIND), name, why)
}

fn too_many_budgets() -> ApiError {
    let text =
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
    ApiError::plain(500, "InternalError", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absence_is_paid_once_and_noted() {
        // NP-16.
        let check = |status: Value, expected: Result<Value, (u16, &str)>| {
            let budget = json!({"metadata": {"name": "b", "generation": 2}, "status": status});
            let found = spent(&budget, "p", Timestamp::UNIX_EPOCH);
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found["status"], expected),
                (Err(error), Err((code, text))) => {
                    let cause =
                        error.details["causes"][0]["message"].as_str().unwrap_or(&error.message).to_string();
                    assert_eq!((error.code, cause.as_str()), (code, text), "{status}");
                }
                (found, expected) => panic!("{status}: {found:?} {expected:?}"),
            }
        };
        let now = "1970-01-01T00:00:00Z";
        check(
            json!({"observedGeneration": 2, "disruptionsAllowed": 2, "disruptedPods": {"q": "t"}}),
            Ok(
                json!({"observedGeneration": 2, "disruptionsAllowed": 1, "disruptedPods": {"q": "t", "p": now}}),
            ),
        );
        check(
            json!({"observedGeneration": 2, "disruptionsAllowed": 0, "desiredHealthy": 3, "currentHealthy": 2}),
            Err((429, "The disruption budget b needs 3 healthy pods and has 2 currently")),
        );
        check(
            json!({"observedGeneration": 1, "disruptionsAllowed": 5}),
            Err((429, "The disruption budget b is still being processed by the server.")),
        );
        let negative = "poddisruptionbudgets.policy \"b\" is forbidden: pdb disruptions allowed is negative";
        check(json!({"observedGeneration": 2, "disruptionsAllowed": -1}), Err((403, negative)));
    }
}
