//! What does `kubectl get pods` say about a pod? READY, STATUS and RESTARTS from the states of its containers (wire 5.2).
//!
//! The first init container that is not done decides; then the first regular container with a problem; a pod that is
//! being deleted is Terminating whatever its containers do. Kubernetes: `printers/internalversion.printPod`.

use crate::encode::parts::Parts::{self, All, Only};
use crate::resources::cells::{self, AGE, NAME, NONE, column, or, seconds_between, wide};
use crate::resources::fields::{flag, int, items, text};
use crate::resources::{Column, Row};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The columns.
pub const COLUMNS: &[Column] = &[
    NAME,
    column("Ready", "How many containers are ready, out of how many."),
    column("Status", "The phase of the pod, or what keeps it from running."),
    column("Restarts", "How often containers have restarted, and when the last did."),
    AGE,
    wide("IP", "The address of the pod."),
    wide("Node", "The node that runs the pod."),
    wide("Nominated Node", "The node that is being made free for the pod."),
    wide("Readiness Gates", "How many of the pod's own readiness conditions are true."),
];

/// What of a pod its row shows.
pub const SHOWN: Parts = Only(&[
    ("metadata", Only(&[("name", All), ("creationTimestamp", All), ("deletionTimestamp", All)])),
    (
        "spec",
        Only(&[
            // Only how many there are.
            ("containers", Only(&[])),
            ("initContainers", Only(&[("name", All), ("restartPolicy", All)])),
            ("nodeName", All),
            ("readinessGates", All),
        ]),
    ),
    (
        "status",
        Only(&[
            ("phase", All),
            ("reason", All),
            ("podIPs", All),
            ("nominatedNodeName", All),
            ("conditions", Only(&[("type", All), ("status", All), ("reason", All)])),
            ("initContainerStatuses", STATUSES),
            ("containerStatuses", STATUSES),
        ]),
    ),
]);

const STATUSES: Parts = Only(&[
    ("name", All),
    ("ready", All),
    ("started", All),
    ("restartCount", All),
    ("state", All),
    ("lastState", All),
]);

/// The row of one pod.
pub fn row(pod: &Value, now: Timestamp) -> Row {
    let summary = Summary::of(pod);
    let address = items(&pod["status"], "podIPs").first().map_or("", |address| text(address, "ip"));
    let cells = vec![
        cells::name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        status(pod, &summary).into(),
        restarts(&summary, now).into(),
        cells::age(pod, now),
        or(address, NONE).into(),
        or(text(&pod["spec"], "nodeName"), NONE).into(),
        or(text(&pod["status"], "nominatedNodeName"), NONE).into(),
        gates(pod).into(),
    ];
    Row { cells, conditions: conditions(pod) }
}

/// What the containers say together.
#[derive(Default)]
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let mut summary = Self {
            reason: base_reason(pod),
            total: items(&pod["spec"], "containers").len(),
            ..Self::default()
        };
        let side_cars =
            items(&pod["spec"], "initContainers").iter().filter(|container| is_side_car(container));
        summary.total += side_cars.count();
        let mut of_side_cars = Self::default();
        let stopped = summary.read_init(pod, &mut of_side_cars);
        if !stopped || has_condition(pod, "Initialized") {
            summary.restarts = of_side_cars.restarts;
            summary.last_restart = of_side_cars.last_restart;
            summary.read_regular(pod);
        }
        summary
    }

    /// 5.2.3. Whether an init container is not done.
    fn read_init(&mut self, pod: &Value, of_side_cars: &mut Self) -> bool {
        let specs = items(&pod["spec"], "initContainers");
        for (index, status) in items(&pod["status"], "initContainerStatuses").iter().enumerate() {
            self.count_restarts(status);
            let named = specs.iter().find(|spec| text(spec, "name") == text(status, "name"));
            let side_car = named.is_some_and(is_side_car);
            if side_car {
                of_side_cars.count_restarts(status);
            }
            let state = &status["state"];
            if int(&state["terminated"], "exitCode") == Some(0) {
                continue;
            }
            if side_car && flag(status, "started") {
                self.ready += usize::from(flag(status, "ready"));
                continue;
            }
            self.reason = init_reason(state).unwrap_or_else(|| format!("Init:{index}/{}", specs.len()));
            return true;
        }
        false
    }

    /// 5.2.4, from the last to the first: the first one with a problem wins.
    fn read_regular(&mut self, pod: &Value) {
        let mut runs = false;
        for status in items(&pod["status"], "containerStatuses").iter().rev() {
            self.count_restarts(status);
            let state = &status["state"];
            if let Some(reason) = problem(state) {
                self.reason = reason;
            } else if flag(status, "ready") && state["running"].is_object() {
                runs = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && runs {
            self.reason = if has_condition(pod, "Ready") { "Running" } else { "NotReady" }.to_string();
        }
    }

    fn count_restarts(&mut self, status: &Value) {
        self.restarts = self.restarts.saturating_add(int(status, "restartCount").unwrap_or_default());
        let finished = &status["lastState"]["terminated"]["finishedAt"];
        let finished = finished.as_str().and_then(|moment| moment.parse().ok());
        self.last_restart = self.last_restart.max(finished);
    }
}

/// 5.2.1.
fn base_reason(pod: &Value) -> String {
    let gated = |condition: &Value| {
        text(condition, "type") == "PodScheduled" && text(condition, "reason") == "SchedulingGated"
    };
    match items(&pod["status"], "conditions").iter().any(gated) {
        true => "SchedulingGated".to_string(),
        false => or(text(&pod["status"], "reason"), text(&pod["status"], "phase")).to_string(),
    }
}

fn init_reason(state: &Value) -> Option<String> {
    let (terminated, waiting) = (&state["terminated"], &state["waiting"]);
    if terminated.is_object() {
        let reason = text(terminated, "reason");
        let reason = if reason.is_empty() { exit(terminated) } else { reason.to_string() };
        return Some(format!("Init:{reason}"));
    }
    match text(waiting, "reason") {
        "" | "PodInitializing" => None,
        reason => Some(format!("Init:{reason}")),
    }
}

fn problem(state: &Value) -> Option<String> {
    let (terminated, waiting) = (&state["terminated"], &state["waiting"]);
    match (text(waiting, "reason"), text(terminated, "reason")) {
        ("", "") if terminated.is_object() => Some(exit(terminated)),
        ("", "") => None,
        ("", reason) | (reason, _) => Some(reason.to_string()),
    }
}

/// How a container without a reason ended.
fn exit(terminated: &Value) -> String {
    match int(terminated, "signal").unwrap_or_default() {
        0 => format!("ExitCode:{}", int(terminated, "exitCode").unwrap_or_default()),
        signal => format!("Signal:{signal}"),
    }
}

/// 5.2.5.
fn status(pod: &Value, summary: &Summary) -> String {
    match (pod["metadata"]["deletionTimestamp"].is_null(), text(&pod["status"], "reason")) {
        (true, _) => summary.reason.clone(),
        (false, "NodeLost") => "Unknown".to_string(),
        (false, _) => "Terminating".to_string(),
    }
}

/// 5.2.6.
fn restarts(summary: &Summary, now: Timestamp) -> String {
    match summary.last_restart {
        Some(moment) if summary.restarts != 0 => {
            let ago = objects::human::duration(seconds_between(moment, now));
            format!("{} ({ago} ago)", summary.restarts)
        }
        _ => summary.restarts.to_string(),
    }
}

fn gates(pod: &Value) -> String {
    let gates = items(&pod["spec"], "readinessGates");
    if gates.is_empty() {
        return NONE.to_string();
    }
    let open = gates.iter().filter(|gate| has_condition(pod, text(gate, "conditionType")));
    format!("{}/{}", open.count(), gates.len())
}

fn has_condition(pod: &Value, kind: &str) -> bool {
    let found = items(&pod["status"], "conditions").iter().find(|condition| text(condition, "type") == kind);
    found.is_some_and(|condition| text(condition, "status") == "True")
}

fn is_side_car(container: &Value) -> bool {
    text(container, "restartPolicy") == "Always"
}

/// 5.2.8.
fn conditions(pod: &Value) -> Vec<Value> {
    let (reason, message) = match text(&pod["status"], "phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return Vec::new(),
    };
    vec![json!({"type": "Completed", "status": "True", "reason": reason, "message": message})]
}
