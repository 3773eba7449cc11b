//! What a pod says about itself: ready, available since when, ending, ended, what it asks for.
//!
//! Ready and available look at the condition only, never at phase or deletion (RU-3); the two other questions have
//! functions of their own. Kubernetes: `pkg/api/v1/pod/util.go`, `component-helpers/resource`.

use crate::quantity::Amount;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod, PodCondition, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// The label that says from which ControllerRevision a pod was made.
pub const HASH_LABEL: &str = "controller-revision-hash";

/// Whether a pod has been ready for long enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Availability {
    /// It has.
    Yes,
    /// It is ready, and will be available just after this moment if it stays so.
    After(Timestamp),
    /// It is not ready, or nobody knows since when.
    No,
}

/// Whether the condition `Ready` has the status `True`.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Whether the pod is ready for more than `min_ready_seconds` (RU-3), and if not, when it will be.
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Availability {
    let Some(ready) = condition(pod, "Ready").filter(|ready| ready.status == "True") else {
        return Availability::No;
    };
    if min_ready_seconds <= 0 {
        return Availability::Yes;
    }
    let wait = SignedDuration::from_secs(i64::from(min_ready_seconds));
    let since = ready.last_transition_time.as_ref();
    match since.and_then(|since| since.0.checked_add(wait).ok()) {
        Some(end) if end < now => Availability::Yes,
        Some(end) => Availability::After(end),
        None => Availability::No,
    }
}

/// Whether it has ended for good: phase `Succeeded` or `Failed`.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether it has been told to end.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// The pod's name; empty if it has none yet.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// `status.phase`; empty if nobody has set it.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// The condition of this type.
pub fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == type_)
}

/// The node that the pod is bound to; `None` while it is not.
pub fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// A label's value.
pub fn label<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// The hash of the ControllerRevision that the pod was made from; an empty label is none.
pub fn hash_label(pod: &Pod) -> Option<&str> {
    label(pod, HASH_LABEL).filter(|hash| !hash.is_empty())
}

/// What the pod asks of its node: its containers and side cars together, or the largest step of its start, whichever
/// is more, and the overhead of its runtime. A quantity that cannot be read counts as nothing: the API server refuses it.
pub fn requests(spec: &PodSpec) -> BTreeMap<String, Amount> {
    requests_or(spec, &BTreeMap::new())
}

/// The same, where a container that does not say counts for this much. Kubernetes: `NonMissingContainerRequests`.
pub fn requests_or(spec: &PodSpec, unsaid: &BTreeMap<String, Amount>) -> BTreeMap<String, Amount> {
    let mut total = total(spec, |container| {
        let mut requests = unsaid.clone();
        requests.extend(requests_of(container));
        requests
    });
    add(&mut total, &amounts(spec.overhead.as_ref()));
    total
}

/// What the pod may use at most, of what is limited: counted like [`requests`]. The runtime's overhead raises a limit and
/// makes none. Kubernetes: `PodLimits`.
pub fn limits(spec: &PodSpec) -> BTreeMap<String, Amount> {
    let mut total =
        total(spec, |container| amounts(container.resources.as_ref().and_then(|all| all.limits.as_ref())));
    for (name, more) in amounts(spec.overhead.as_ref()) {
        total.entry(name).and_modify(|limit| *limit += more);
    }
    total
}

fn total(spec: &PodSpec, of: impl Fn(&Container) -> BTreeMap<String, Amount>) -> BTreeMap<String, Amount> {
    let mut running = BTreeMap::new();
    spec.containers.iter().for_each(|container| add(&mut running, &of(container)));
    let (mut side_cars, mut start) = (BTreeMap::new(), BTreeMap::new());
    for container in spec.init_containers.iter().flatten() {
        let mut step = side_cars.clone();
        add(&mut step, &of(container));
        raise(&mut start, &step);
        if is_side_car(container) {
            side_cars = step;
        }
    }
    add(&mut running, &side_cars);
    raise(&mut running, &start);
    running
}

/// Whether it is an init container that keeps running.
pub fn is_side_car(init_container: &Container) -> bool {
    init_container.restart_policy.as_deref() == Some("Always")
}

/// A port of the node that a pod takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// `0.0.0.0` stands for every address.
    pub ip: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// 1 to 65535.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be had on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        let everywhere = self.ip == ANY_ADDRESS || other.ip == ANY_ADDRESS;
        self.port == other.port && self.protocol == other.protocol && (everywhere || self.ip == other.ip)
    }
}

const ANY_ADDRESS: &str = "0.0.0.0";

/// The node's ports that the pod takes, sorted: of its containers and its side cars.
pub fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let side_cars = spec.init_containers.iter().flatten().filter(|container| is_side_car(container));
    let ports =
        spec.containers.iter().chain(side_cars).flat_map(|container| container.ports.iter().flatten());
    let text = |field: &Option<String>, default: &str| {
        field.as_deref().filter(|value| !value.is_empty()).unwrap_or(default).to_string()
    };
    let mut taken: Vec<HostPort> = ports
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            Some(HostPort {
                ip: text(&port.host_ip, ANY_ADDRESS),
                protocol: text(&port.protocol, "TCP"),
                port: number,
            })
        })
        .collect();
    taken.sort();
    taken.dedup();
    taken
}

fn requests_of(container: &Container) -> BTreeMap<String, Amount> {
    amounts(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
}

fn amounts(quantities: Option<&BTreeMap<String, Quantity>>) -> BTreeMap<String, Amount> {
    let amounts = quantities.into_iter().flatten();
    amounts.filter_map(|(name, quantity)| Some((name.clone(), Amount::try_from(quantity).ok()?))).collect()
}

fn add(sum: &mut BTreeMap<String, Amount>, more: &BTreeMap<String, Amount>) {
    for (name, amount) in more {
        *sum.entry(name.clone()).or_default() += *amount;
    }
}

fn raise(most: &mut BTreeMap<String, Amount>, other: &BTreeMap<String, Amount>) {
    for (name, amount) in other {
        let entry = most.entry(name.clone()).or_default();
        *entry = (*entry).max(*amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(value: Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    fn ready(status: &str, since: Option<&str>) -> Pod {
        pod(
            json!({"status": {"conditions": [{"type": "Ready", "status": status, "lastTransitionTime": since}]}}),
        )
    }

    #[test]
    fn a_pod_is_available_strictly_after_its_minimum() {
        let since = Some("2026-01-01T00:00:00Z");
        let end: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        let just_after = end + SignedDuration::from_millis(1);
        let cases = [
            (ready("True", since), 0, end, Availability::Yes),
            (ready("True", None), 0, end, Availability::Yes),
            (ready("True", None), 10, end, Availability::No),
            (ready("True", since), 10, end, Availability::After(end)),
            (ready("True", since), 10, just_after, Availability::Yes),
            (ready("False", since), 0, end, Availability::No),
            (pod(json!({})), 0, end, Availability::No),
        ];
        for (pod, minimum, now, expected) in cases {
            assert_eq!(is_available(&pod, minimum, now), expected, "RU-3 {minimum} {now}");
        }
    }

    #[test]
    fn ended_and_ending_are_two_questions() {
        let failed = pod(json!({"status": {"phase": "Failed"}}));
        assert_eq!((is_terminal(&failed), is_terminating(&failed)), (true, false));
        let ending = pod(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
        assert_eq!((is_terminal(&ending), is_terminating(&ending)), (false, true));
    }

    fn check_requests(spec: Value, expected: &[(&str, &str)]) {
        let pod = pod(json!({ "spec": spec }));
        let found = requests(pod.spec.as_ref().unwrap());
        let found: Vec<(String, String)> = found.into_iter().map(|(k, v)| (k, v.to_string())).collect();
        let found: Vec<(&str, &str)> = found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, expected);
    }

    fn container(cpu: &str) -> Value {
        json!({"name": "c", "resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn requests_are_the_sum_of_containers_or_the_largest_start_step() {
        check_requests(json!({"containers": [container("100m"), container("200m")]}), &[("cpu", "300m")]);
        check_requests(
            json!({"containers": [container("100m")], "initContainers": [container("1"), container("2")]}),
            &[("cpu", "2")],
        );
        let mut side_car = container("500m");
        side_car["restartPolicy"] = "Always".into();
        check_requests(
            json!({"containers": [container("1")], "initContainers": [side_car.clone(), container("2")]}),
            &[("cpu", "2500m")],
        );
        check_requests(
            json!({"containers": [container("3")], "initContainers": [side_car], "overhead": {"memory": "1Mi"}}),
            &[("cpu", "3500m"), ("memory", "1Mi")],
        );
        check_requests(json!({"containers": [{"name": "c"}]}), &[]);
    }

    #[test]
    fn a_side_car_counts_for_the_init_containers_after_it_and_not_before() {
        let side_car = |cpu: &str| {
            let mut side_car = container(cpu);
            side_car["restartPolicy"] = "Always".into();
            side_car
        };
        let start = [container("4"), side_car("1"), container("2"), side_car("3"), container("1")];
        check_requests(json!({"containers": [container("500m")], "initContainers": start}), &[("cpu", "5")]);
        let start = [container("9"), side_car("1")];
        check_requests(json!({"containers": [container("1")], "initContainers": start}), &[("cpu", "9")]);
    }

    #[test]
    fn a_container_that_does_not_say_counts_for_a_given_amount() {
        let unsaid = BTreeMap::from([("cpu".to_string(), Amount::parse("100m").unwrap())]);
        let pod = pod(json!({"spec": {"containers": [container("1"), {"name": "d"}, container("0")]}}));
        let found = requests_or(pod.spec.as_ref().unwrap(), &unsaid);
        assert_eq!(found["cpu"].to_string(), "1100m");
    }

    #[test]
    fn host_ports_conflict_on_the_same_address_and_protocol() {
        let port =
            |ip: &str, protocol: &str, port| HostPort { ip: ip.into(), protocol: protocol.into(), port };
        assert!(port("0.0.0.0", "TCP", 80).conflicts(&port("10.0.0.1", "TCP", 80)));
        assert!(!port("10.0.0.2", "TCP", 80).conflicts(&port("10.0.0.1", "TCP", 80)));
        assert!(!port("0.0.0.0", "TCP", 80).conflicts(&port("0.0.0.0", "UDP", 80)));
        let pod = pod(json!({"spec": {"containers": [{"name": "c", "ports": [
            {"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}]}]}}));
        assert_eq!(host_ports(pod.spec.as_ref().unwrap()), [port("0.0.0.0", "TCP", 8080)]);
    }
}
