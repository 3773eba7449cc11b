//! Who holds up a rollout: an old pod that waits for its turn is told which nodes use up the budget.
//!
//! A node counts against the budget while it wants an available pod and has none (RU-7), or, with surge, while its old
//! and new pods stand side by side (RU-15).

use crate::reason::Reason;
use crate::report::{Line, State};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Nodes that are named; the rest is counted.
const NAMED: usize = 3;

/// Completes the sentences of all that wait for their turn.
pub(crate) fn explain(lines: &mut [Line], daemon_set: &DaemonSet) {
    let limit = limit(daemon_set);
    let text = match holders(lines).as_slice() {
        [] => format!(" ({limit})"),
        holders => format!(": {limit} is used up by {}", names(holders)),
    };
    for line in lines.iter_mut().filter(|line| line.reason == Reason::WaitingForTurn) {
        line.message.push_str(&text);
    }
}

fn holders(lines: &[Line]) -> Vec<String> {
    let holds = |line: &&Line| match line.state {
        State::Runs => {
            matches!(
                line.reason,
                Reason::WaitingForAvailability | Reason::WaitingForReplacement | Reason::Outdated
            )
        }
        State::ShouldRun => true,
        State::LeftOut => false,
    };
    lines.iter().filter(holds).map(|line| line.node.clone()).collect()
}

fn names(holders: &[String]) -> String {
    let named = holders.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match holders.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// `maxUnavailable 1` or `maxSurge 10%`.
fn limit(daemon_set: &DaemonSet) -> String {
    let strategy = daemon_set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.clone()).unwrap_or_default();
    let text = |value: &IntOrString| match value {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text.clone(),
    };
    let surge = rolling.max_surge.as_ref().map(text).filter(|surge| surge != "0" && surge != "0%");
    match surge {
        Some(surge) => format!("maxSurge {surge}"),
        None => format!("maxUnavailable {}", rolling.max_unavailable.as_ref().map_or("1".to_string(), text)),
    }
}
