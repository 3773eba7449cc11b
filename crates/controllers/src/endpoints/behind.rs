//! PURE. Who stands behind a service: what one pod and one service say about each other.
//!
//! 1. A pod counts while it has an address and has not ended for good; whether it is ready is another question.
//! 2. A service without a selector, or of type `ExternalName`, is filled by its owner, never here.
//! 3. A port by name is each pod's own: two pods of one service may answer on two numbers.
//!
//! Kubernetes: `component-helpers`' and `endpointslice`'s `utils.go`, `endpoints_controller.go`.

use crate::caches::Pod;
use k8s_openapi::api::core::v1::{Container, ObjectReference, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use objects::pod::is_side_car;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A family of addresses; an EndpointSlice has one for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// The family of an address.
    pub(crate) fn of(address: &str) -> Option<Self> {
        match address.parse() {
            Ok(IpAddr::V4(_)) => Some(Self::V4),
            Ok(IpAddr::V6(_)) => Some(Self::V6),
            Err(_) => None,
        }
    }

    /// As `addressType` and `ipFamilies` name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// Whether its endpoints are made here.
pub(crate) fn is_filled(service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    spec.type_.as_deref() != Some("ExternalName") && spec.selector.as_ref().is_some_and(|s| !s.is_empty())
}

/// Whether the service selects a pod with these labels.
pub(crate) fn selects(service: &Service, labels: &BTreeMap<String, String>) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|wanted| {
        !wanted.is_empty() && wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
    })
}

/// Whether the service has no address of its own.
pub(crate) fn is_headless(service: &Service) -> bool {
    matches!(cluster_ip(service), "" | "None")
}

/// The families in which its pods are looked for; the first one is that of Endpoints.
pub(crate) fn families(service: &Service) -> Vec<Family> {
    let said = service.spec.as_ref().and_then(|spec| spec.ip_families.as_deref()).unwrap_or_default();
    if !said.is_empty() {
        return said.iter().map(|family| if family == "IPv6" { Family::V6 } else { Family::V4 }).collect();
    }
    // A headless service of an old client: whatever its pods have.
    Family::of(cluster_ip(service)).map_or_else(|| vec![Family::V4, Family::V6], |family| vec![family])
}

/// The ports of the service.
pub(crate) fn ports(service: &Service) -> &[ServicePort] {
    service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default()
}

/// Whether pods are to be reached before they are ready, and after.
pub(crate) fn publishes_all(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or_default()
}

/// The address of a pod that still counts.
pub(crate) fn address(pod: &Pod, family: Family) -> Option<&str> {
    addresses(pod).find(|address| Family::of(address) == Some(family))
}

/// Every address of a pod that still counts.
pub(crate) fn addresses(pod: &Pod) -> impl Iterator<Item = &str> {
    let status = pod.status.as_ref().filter(|_| !objects::pod::is_terminal(pod));
    let several = status.and_then(|status| status.pod_ips.as_deref()).unwrap_or_default();
    let single = status.and_then(|status| status.pod_ip.as_deref()).filter(|_| several.is_empty());
    several.iter().map(|ip| ip.ip.as_str()).chain(single).filter(|address| !address.is_empty())
}

/// The number on which this pod answers for a port of the service; none if it does not have that port.
pub(crate) fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    match port.target_port.as_ref() {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => named_port(pod, name, protocol(port.protocol.as_deref())),
    }
}

/// The name that DNS gives the pod below the service.
pub(crate) fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let below = spec.subdomain.is_some() && spec.subdomain == service.metadata.name;
    spec.hostname.clone().filter(|name| below && !name.is_empty())
}

/// A reference to the pod.
pub(crate) fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_string()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

fn cluster_ip(service: &Service) -> &str {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()).unwrap_or_default()
}

fn named_port(pod: &Pod, name: &str, wanted: &str) -> Option<i32> {
    let spec = pod.body()?;
    let side_cars = spec.init_containers.iter().flatten().filter(|container| is_side_car(container));
    let in_container = |container: &Container| {
        let ports = container.ports.as_deref().unwrap_or_default();
        let found = ports
            .iter()
            .find(|port| port.name.as_deref() == Some(name) && protocol(port.protocol.as_deref()) == wanted);
        found.map(|port| port.container_port)
    };
    spec.containers.iter().chain(side_cars).find_map(in_container)
}

fn protocol(said: Option<&str>) -> &str {
    said.filter(|said| !said.is_empty()).unwrap_or("TCP")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value, status: Value) -> Pod {
        let mut spec = spec;
        spec["containers"] = spec.get("containers").cloned().unwrap_or_else(|| json!([]));
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec, "status": status})).unwrap()
    }

    fn service(spec: Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": spec})).unwrap()
    }

    #[test]
    fn a_pod_counts_with_its_address_of_the_family_until_it_has_ended() {
        let check = |status: Value, expected: [Option<&str>; 2]| {
            let pod = pod(json!({}), status);
            assert_eq!([Family::V4, Family::V6].map(|family| address(&pod, family)), expected);
        };
        check(json!({}), [None, None]);
        check(json!({"podIP": ""}), [None, None]);
        check(json!({"podIP": "10.0.0.1"}), [Some("10.0.0.1"), None]);
        check(json!({"podIP": "fd00::1"}), [None, Some("fd00::1")]);
        let both = json!([{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]);
        check(json!({"podIP": "10.0.0.1", "podIPs": both}), [Some("10.0.0.1"), Some("fd00::1")]);
        check(json!({"podIP": "10.0.0.1", "phase": "Failed"}), [None, None]);
        check(json!({"podIP": "10.0.0.1", "phase": "Succeeded"}), [None, None]);
    }

    #[test]
    fn a_named_port_is_the_pods_own() {
        let ports = json!([{"name": "web", "containerPort": 8080}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]);
        let inits = json!([{"name": "i", "ports": [{"name": "once", "containerPort": 1}]},
            {"name": "s", "restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 2}]}]);
        let pod =
            pod(json!({"containers": [{"name": "c", "ports": ports}], "initContainers": inits}), json!({}));
        let check = |target: Value, protocol: &str, expected: Option<i32>| {
            let port = json!({"port": 80, "protocol": protocol, "targetPort": target});
            let port: ServicePort = serde_json::from_value(port).unwrap();
            assert_eq!(target_port(&pod, &port), expected, "{target} {protocol}");
        };
        check(json!("web"), "TCP", Some(8080));
        check(json!("web"), "UDP", None);
        check(json!("dns"), "UDP", Some(53));
        check(json!("side"), "TCP", Some(2));
        check(json!("once"), "TCP", None);
        check(json!("none"), "TCP", None);
        check(json!(9), "TCP", Some(9));
        check(json!(null), "TCP", Some(80));
    }

    #[test]
    fn the_service_says_what_is_filled_and_in_which_families() {
        let check = |spec: Value, filled: bool, expected: &[Family]| {
            let service = service(spec);
            assert_eq!((is_filled(&service), families(&service).as_slice()), (filled, expected));
        };
        let both = [Family::V4, Family::V6];
        check(json!({}), false, &both);
        check(json!({"selector": {}}), false, &both);
        check(json!({"selector": {"a": "b"}, "type": "ExternalName"}), false, &both);
        check(json!({"selector": {"a": "b"}, "clusterIP": "None"}), true, &both);
        check(json!({"selector": {"a": "b"}, "clusterIP": "10.96.0.1"}), true, &[Family::V4]);
        check(
            json!({"selector": {"a": "b"}, "ipFamilies": ["IPv6", "IPv4"]}),
            true,
            &[Family::V6, Family::V4],
        );
    }

    #[test]
    fn a_pod_is_named_below_its_own_subdomain_only() {
        let name = |spec: Value| hostname(&pod(spec, json!({})), &service(json!({})));
        assert_eq!(name(json!({"hostname": "h", "subdomain": "s"})).as_deref(), Some("h"));
        assert_eq!(name(json!({"hostname": "h", "subdomain": "t"})), None);
        assert_eq!(name(json!({"subdomain": "s"})), None);
    }
}
