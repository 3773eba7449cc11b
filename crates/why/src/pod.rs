//! What holds a pod back, from the outside in: its end, its failure, the scheduler, the node, its containers, its gates.
//!
//! The outermost trouble speaks, because what lies within it is stale or follows from it: what a dead node said of its
//! containers helps nobody. Ready is the condition and nothing else, as for the controller (RU-3).

use crate::container::{self, one_line};
use crate::happened::{Happened, message, reason, since};
use crate::reason::{Finding, Reason};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use objects::pod::{self, Availability, condition};
use objects::{human, node};

/// Whether a pod serves.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Standing {
    /// It is ready.
    Ready(Finding),
    /// It is not, or not for long.
    HeldBack(Finding),
}

/// How a pod stands on its node; `node` is `None` where that does not exist.
pub(crate) fn standing(
    pod: &Pod,
    node: Option<&Node>,
    min_ready_seconds: i32,
    happened: &Happened<'_>,
) -> Standing {
    let now = happened.now();
    if let Some(finding) = ending(pod, node, now).or_else(|| ended(pod)) {
        return Standing::HeldBack(finding);
    }
    if pod::is_ready(pod) {
        return Standing::Ready(ready(pod, min_ready_seconds, now));
    }
    let finding = unbound(pod, happened)
        .or_else(|| node_trouble(node?, now))
        .or_else(|| container::finding(pod, happened))
        .or_else(|| gate(pod))
        .unwrap_or_else(|| silent(pod, happened));
    Standing::HeldBack(finding)
}

/// Since when the pod has been ready.
pub(crate) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    condition(pod, "Ready")
        .filter(|ready| ready.status == "True")?
        .last_transition_time
        .as_ref()
        .map(|time| time.0)
}

/// What a node says against itself.
pub(crate) fn node_trouble(node: &Node, now: Timestamp) -> Option<Finding> {
    let Some(ready) = node::condition(node, "Ready") else {
        return Some(Finding::new(Reason::NodeUnreachable, "the node has never said that it is ready"));
    };
    let (reason, what) = match ready.status.as_str() {
        "True" => return None,
        "False" => (Reason::NodeNotReady, "the node is not ready"),
        _ => (Reason::NodeUnreachable, "the node is unreachable"),
    };
    let then = ready.last_transition_time.as_ref().map(|time| time.0);
    let said = [ready.reason.as_deref(), ready.message.as_deref()].into_iter().flatten();
    let said: Vec<String> = said.filter(|text| !text.is_empty()).map(one_line).collect();
    let said = if said.is_empty() { String::new() } else { format!(": {}", said.join(": ")) };
    Some(Finding::new(reason, format!("{what} for {}{said}", since(then, now))))
}

fn ready(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Finding {
    let text = format!("ready for {}", since(ready_since(pod), now));
    match pod::is_available(pod, min_ready_seconds, now) {
        Availability::Yes => Finding::new(Reason::Available, text),
        Availability::After(end) => {
            let rest = human::duration(end.duration_since(now).as_secs().max(0));
            let text = format!("{text}, available in {rest} (minReadySeconds {min_ready_seconds})");
            Finding::new(Reason::WaitingForAvailability, text)
        }
        Availability::No => {
            Finding::new(Reason::WaitingForAvailability, format!("{text}, not yet available"))
        }
    }
}

/// `deletionTimestamp` is when the grace period ends, not when the pod was deleted.
fn ending(pod: &Pod, node: Option<&Node>, now: Timestamp) -> Option<Finding> {
    let end = pod.metadata.deletion_timestamp.as_ref()?.0;
    let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or_default());
    let told = since(end.checked_sub(grace).ok(), now);
    let mut text = match end > now {
        true => format!("terminating for {told}, killed in {} at the latest", since(Some(now), end)),
        false if pod::node_name(pod).is_some() => {
            format!("terminating for {told}, overdue by {}", since(Some(end), now))
        }
        false => format!("terminating for {told}"),
    };
    let finalizers = pod.metadata.finalizers.as_deref().unwrap_or_default();
    if !finalizers.is_empty() {
        text.push_str(&format!(", held by finalizers {}", finalizers.join(", ")));
    }
    if let Some(trouble) = node.and_then(|node| node_trouble(node, now)) {
        text.push_str(&format!("; only its node can confirm the end, and {}", trouble.message));
    }
    Some(Finding::new(Reason::Terminating, text))
}

fn ended(pod: &Pod) -> Option<Finding> {
    let (reason, what) = match pod::phase(pod) {
        "Failed" => (Reason::Failed, "the pod has failed"),
        "Succeeded" => (Reason::Succeeded, "the pod has ended by itself"),
        _ => return None,
    };
    let status = pod.status.as_ref()?;
    let said = [status.reason.as_deref(), status.message.as_deref()].into_iter().flatten();
    let said: Vec<String> = said.filter(|text| !text.is_empty()).map(one_line).collect();
    let said = if said.is_empty() { String::new() } else { format!(": {}", said.join(": ")) };
    Some(Finding::new(reason, format!("{what}{said}")))
}

fn unbound(pod: &Pod, happened: &Happened<'_>) -> Option<Finding> {
    if pod::node_name(pod).is_some() {
        return None;
    }
    let scheduled = condition(pod, "PodScheduled").filter(|condition| condition.status == "False");
    let said = scheduled.and_then(|condition| condition.message.as_deref()).filter(|text| !text.is_empty());
    if scheduled.and_then(|condition| condition.reason.as_deref()) == Some("SchedulingGated") {
        let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref()).into_iter().flatten();
        let gates: Vec<&str> = gates.map(|gate| gate.name.as_str()).collect();
        return Some(Finding::new(
            Reason::Unscheduled,
            format!("held by scheduling gates {}", gates.join(", ")),
        ));
    }
    if let Some(said) = said {
        return Some(Finding::new(Reason::Unschedulable, format!("FailedScheduling: {}", one_line(said))));
    }
    let failed = happened.newest(pod.metadata.uid.as_deref(), |event| reason(event, "FailedScheduling"));
    if let Some((event, ago)) = failed {
        let text = format!("FailedScheduling: {} ({ago})", one_line(message(event)));
        return Some(Finding::new(Reason::Unschedulable, text));
    }
    let scheduler =
        pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or("default-scheduler");
    let age = since(created(pod), happened.now());
    Some(Finding::new(Reason::Unscheduled, format!("pending for {age}: {scheduler} has not bound it yet")))
}

/// Kubernetes: pod readiness gates (KEP-580).
fn gate(pod: &Pod) -> Option<Finding> {
    let gates = pod.spec.as_ref()?.readiness_gates.as_ref()?;
    let unmet = |kind: &str| condition(pod, kind).is_none_or(|condition| condition.status != "True");
    let gate = gates.iter().map(|gate| gate.condition_type.as_str()).find(|kind| unmet(kind))?;
    let said = condition(pod, gate)
        .and_then(|condition| condition.message.as_deref().or(condition.reason.as_deref()));
    let said = said.map_or_else(|| "nobody has set it".to_string(), one_line);
    Some(Finding::new(Reason::ReadinessGate, format!("readiness gate {gate} is not True: {said}")))
}

/// Bound, and its containers say nothing.
fn silent(pod: &Pod, happened: &Happened<'_>) -> Finding {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    if statuses.is_some_and(|statuses| !statuses.is_empty()) {
        let said = condition(pod, "Ready").and_then(|ready| ready.message.as_deref());
        let said = said.map_or_else(|| "its node has not reported it ready yet".to_string(), one_line);
        return Finding::new(Reason::Starting, said);
    }
    match container::creating("", pod.metadata.uid.as_deref(), happened) {
        Finding { reason: Reason::Waiting(word), .. } if word == "ContainerCreating" => {
            let age = since(created(pod), happened.now());
            Finding::new(
                Reason::Starting,
                format!("bound to the node {age} ago, which has not said that it starts"),
            )
        }
        finding => finding,
    }
}

pub(crate) fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}
