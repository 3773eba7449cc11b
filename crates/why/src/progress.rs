//! How far a rollout is, in the words of `kubectl rollout status` (RV-26), and which nodes hang.
//!
//! The status alone is believed, as by kubectl. Kubernetes: kubectl `polymorphichelpers/rollout_status.go`.

use crate::report::{Line, Report, State, is_paused, observed_generation};
use k8s_openapi::api::apps::v1::DaemonSet;

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Not there yet.
    Waiting {
        /// What is waited for.
        text: String,
        /// Whether somebody has paused it.
        paused: bool,
    },
    /// Every node that wants a pod has a new one, and it is available.
    Done(String),
}

/// Its progress cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rollout status is only available for RollingUpdate strategy type")]
pub struct NotRolling;

/// How far a DaemonSet's rollout is.
pub fn progress(daemon_set: &DaemonSet) -> Result<Progress, NotRolling> {
    let strategy = daemon_set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    if strategy.and_then(|strategy| strategy.type_.as_deref()).is_some_and(|kind| kind != "RollingUpdate") {
        return Err(NotRolling);
    }
    let name = daemon_set.metadata.name.as_deref().unwrap_or_default();
    let status = daemon_set.status.clone().unwrap_or_default();
    let wanted = status.desired_number_scheduled;
    let updated = status.updated_number_scheduled.unwrap_or_default();
    let available = status.number_available.unwrap_or_default();
    let text = if daemon_set.metadata.generation.unwrap_or_default() > observed_generation(daemon_set) {
        "Waiting for daemon set spec update to be observed...".to_string()
    } else if updated < wanted {
        format!(
            "Waiting for daemon set {name:?} rollout to finish: {updated} out of {wanted} new pods have been updated..."
        )
    } else if available < wanted {
        format!(
            "Waiting for daemon set {name:?} rollout to finish: {available} of {wanted} updated pods are available..."
        )
    } else {
        return Ok(Progress::Done(format!("daemon set {name:?} successfully rolled out")));
    };
    Ok(Progress::Waiting { text, paused: is_paused(daemon_set) })
}

/// Which lines hang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Those that will not come by themselves.
    Ordinary,
    /// All where a ready pod is wanted and not there: nothing has moved for long.
    Lost,
}

/// The nodes that hold a rollout up.
pub fn hanging(report: &Report, patience: Patience) -> impl Iterator<Item = &Line> {
    let hangs = move |line: &&Line| {
        line.state == State::ShouldRun && (patience == Patience::Lost || !line.reason.passes())
    };
    report.nodes.iter().filter(hangs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(strategy: &str, [generation, observed, wanted, updated, available]: [i32; 5], expected: Value) {
        let daemon_set: DaemonSet = serde_json::from_value(json!({
            "metadata": {
                "name": "d", "generation": generation, "annotations": {crate::PAUSED_ANNOTATION: "true"},
            },
            "spec": {"selector": {}, "template": {}, "updateStrategy": {"type": strategy}},
            "status": {
                "observedGeneration": observed, "desiredNumberScheduled": wanted, "currentNumberScheduled": 0,
                "numberMisscheduled": 0, "numberReady": 0, "updatedNumberScheduled": updated,
                "numberAvailable": available,
            },
        }))
        .unwrap();
        let found = match progress(&daemon_set) {
            Ok(Progress::Waiting { text, paused }) => json!({"waiting": text, "paused": paused}),
            Ok(Progress::Done(text)) => json!({"done": text}),
            Err(NotRolling) => Value::Null,
        };
        assert_eq!(found, expected, "RV-26");
    }

    #[test]
    fn progress_is_told_as_by_kubectl() {
        let waiting = |text: &str| json!({"waiting": text, "paused": true});
        let observed = waiting("Waiting for daemon set spec update to be observed...");
        check("RollingUpdate", [2, 1, 3, 3, 3], observed);
        let updated =
            "Waiting for daemon set \"d\" rollout to finish: 1 out of 3 new pods have been updated...";
        check("RollingUpdate", [2, 2, 3, 1, 3], waiting(updated));
        let available =
            "Waiting for daemon set \"d\" rollout to finish: 2 of 3 updated pods are available...";
        check("RollingUpdate", [2, 2, 3, 3, 2], waiting(available));
        check("RollingUpdate", [2, 2, 3, 3, 3], json!({"done": "daemon set \"d\" successfully rolled out"}));
        check("RollingUpdate", [2, 2, 0, 0, 0], json!({"done": "daemon set \"d\" successfully rolled out"}));
        check("OnDelete", [2, 2, 3, 3, 3], Value::Null);
    }
}
