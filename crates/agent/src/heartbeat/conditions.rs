//! What the machine and the runtime say → the node's conditions, with kubelet's reasons and sentences.

use crate::register;
use crate::runtime::{Readiness, RuntimeError, RuntimeStatus};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::NodeCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::path::Path;

/// Kubernetes: `memory.available<100Mi`.
const LEAST_MEMORY_KIB: u64 = 100 * 1024;
/// Kubernetes: `nodefs.available<10%`. Differs: 5%, since a large disk has space long after its last tenth.
const LEAST_DISK_PERCENT: u64 = 5;
/// Kubernetes has no default for it; with fewer processes than this left nothing useful can start.
const LEAST_PROCESSES: u64 = 100;

/// The node is short of memory.
pub const MEMORY_PRESSURE: &str = "MemoryPressure";
/// The node is short of disk.
pub const DISK_PRESSURE: &str = "DiskPressure";
/// The node is short of process ids.
pub const PID_PRESSURE: &str = "PIDPressure";

/// What the machine is short of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Of memory.
    pub memory: bool,
    /// Of disk.
    pub disk: bool,
    /// Of process ids.
    pub processes: bool,
}

impl Pressure {
    /// The conditions that say so.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        let all =
            [(self.memory, MEMORY_PRESSURE), (self.disk, DISK_PRESSURE), (self.processes, PID_PRESSURE)];
        all.into_iter().filter(|(is_short, _)| *is_short).map(|(_, name)| name).collect()
    }

    /// Reads `/proc` and the file system below `data_dir`; what cannot be read is no pressure.
    #[must_use]
    pub fn read(data_dir: &Path) -> Self {
        let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let running = std::fs::read_to_string("/proc/loadavg")
            .ok()
            .and_then(|text| text.split_whitespace().nth(3)?.split_once('/')?.1.parse::<u64>().ok());
        let left = number("/proc/sys/kernel/pid_max").zip(running).map(|(max, now)| max.saturating_sub(now));
        let free_percent = register::disk(data_dir).map(|(all, free)| free.saturating_mul(100) / all.max(1));
        Self {
            memory: register::memory("MemAvailable").is_some_and(|kib| kib < LEAST_MEMORY_KIB),
            disk: free_percent.is_some_and(|percent| percent < LEAST_DISK_PERCENT),
            processes: left.is_some_and(|left| left < LEAST_PROCESSES),
        }
    }
}

/// The conditions now. Times of transitions are kept, conditions of others stay.
#[must_use]
pub fn conditions(
    old: &[NodeCondition],
    runtime: &Result<RuntimeStatus, RuntimeError>,
    pressure: &Pressure,
    now: Timestamp,
) -> Vec<NodeCondition> {
    let ours = [
        short_of(MEMORY_PRESSURE, pressure.memory, "Memory", "memory available"),
        disk(pressure.disk),
        short_of(PID_PRESSURE, pressure.processes, "PID", "PID available"),
        ready(runtime),
    ];
    let foreign = old.iter().filter(|c| ours.iter().all(|o| o.type_ != c.type_)).cloned();
    let with_times = |mut condition: NodeCondition| {
        let before = old.iter().find(|before| before.type_ == condition.type_);
        let same = before.filter(|before| before.status == condition.status);
        condition.last_heartbeat_time = Some(Time(now));
        condition.last_transition_time =
            same.and_then(|same| same.last_transition_time.clone()).or(Some(Time(now)));
        condition
    };
    foreign.chain(ours.clone().map(with_times)).collect()
}

fn condition(type_: &str, yes: bool, reason: &str, message: String) -> NodeCondition {
    NodeCondition {
        type_: type_.into(),
        status: if yes { "True" } else { "False" }.into(),
        reason: Some(reason.into()),
        message: Some(message),
        ..NodeCondition::default()
    }
}

fn short_of(type_: &str, is_short: bool, word: &str, what: &str) -> NodeCondition {
    let (how, text) = if is_short { ("Insufficient", "insufficient") } else { ("Sufficient", "sufficient") };
    condition(type_, is_short, &format!("KubeletHas{how}{word}"), format!("kubelet has {text} {what}"))
}

fn disk(is_short: bool) -> NodeCondition {
    let (reason, message) = if is_short {
        ("KubeletHasDiskPressure", "kubelet has disk pressure")
    } else {
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure")
    };
    condition(DISK_PRESSURE, is_short, reason, message.into())
}

fn ready(runtime: &Result<RuntimeStatus, RuntimeError>) -> NodeCondition {
    let complaints = match runtime {
        Err(error) => vec![error.to_string()],
        Ok(status) => {
            let complain = |name: &str, of: &str, readiness: &Option<Readiness>| match readiness {
                Some(Readiness::NotReady { reason, message }) => {
                    Some(format!("{of} not ready: {name}=false reason:{reason} message:{message}"))
                }
                Some(Readiness::Ready) | None => None,
            };
            let runtime = complain("RuntimeReady", "container runtime", &status.runtime);
            let network = complain("NetworkReady", "container runtime network", &status.network);
            runtime.into_iter().chain(network).collect()
        }
    };
    if complaints.is_empty() {
        return condition("Ready", true, "KubeletReady", "kubelet is posting ready status".into());
    }
    condition("Ready", false, "KubeletNotReady", complaints.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(runtime: Result<RuntimeStatus, RuntimeError>, expected: (&str, &str, &str)) {
        let made = conditions(&[], &runtime, &Pressure::default(), Timestamp::UNIX_EPOCH);
        let ready = made.iter().find(|condition| condition.type_ == "Ready").unwrap();
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let found = (ready.status.clone(), text(&ready.reason), text(&ready.message));
        let (status, reason, message) = expected;
        assert_eq!(found, (status.into(), reason.into(), message.into()));
    }

    #[test]
    fn the_node_is_as_ready_as_its_runtime() {
        let well = RuntimeStatus { runtime: Some(Readiness::Ready), network: Some(Readiness::Ready) };
        check(Ok(well.clone()), ("True", "KubeletReady", "kubelet is posting ready status"));
        let network = Some(Readiness::NotReady {
            reason: "NetworkPluginNotReady".into(),
            message: "Network plugin returns error: cni plugin not initialized".into(),
        });
        let message = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
                       message:Network plugin returns error: cni plugin not initialized";
        check(Ok(RuntimeStatus { network, ..well }), ("False", "KubeletNotReady", message));
        let down = RuntimeError::Down { message: "gone".into() };
        check(Err(down), ("False", "KubeletNotReady", "container runtime is down: gone"));
    }

    #[test]
    fn a_transition_keeps_its_time_and_foreign_conditions_stay() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let well = || Ok(RuntimeStatus { runtime: Some(Readiness::Ready), network: None });
        let foreign = condition("NetworkUnavailable", false, "RouteCreated", String::new());
        let first = conditions(&[foreign], &well(), &Pressure::default(), at(1));
        let second = conditions(&first, &well(), &Pressure { disk: true, ..Pressure::default() }, at(2));
        let times: Vec<_> = second
            .iter()
            .map(|c| (c.type_.as_str(), c.last_transition_time.as_ref().map(|time| time.0.as_second())))
            .collect();
        let expected = [
            ("NetworkUnavailable", None),
            ("MemoryPressure", Some(1)),
            ("DiskPressure", Some(2)),
            ("PIDPressure", Some(1)),
            ("Ready", Some(1)),
        ];
        assert_eq!(times, expected);
    }
}
