//! PURE. What does the Endpoints object of a service say?
//!
//! 1. One subset per set of ports; addresses of the service's first family, those of pods that are not ready apart.
//! 2. Labels are the service's. At most [`MAX_ADDRESSES`] addresses, ready ones first, each subset its share; then it is
//!    marked as truncated.
//!
//! Kubernetes: `endpoints_controller.go`, `api/v1/endpoints/util.go`. Differs: subsets stand in the order of their ports,
//! not of a hash.

use super::behind;
use super::slices::HEADLESS;
use super::trigger;
use crate::caches::Pod;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most addresses of one object: all of it goes to every watcher for each change.
const MAX_ADDRESSES: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// The label that says whose an Endpoints object is.
pub(crate) const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// Whose these are.
pub(crate) const MANAGER: &str = "endpoint-controller";

/// The Endpoints of a service, if they are not yet as they should be. Annotations of others stay.
pub(super) fn plan(service: &Service, pods: &[Arc<Pod>], seen: Option<&Endpoints>) -> Option<Endpoints> {
    let mut subsets = subsets(service, pods);
    let truncated = truncate(&mut subsets);
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if behind::is_headless(service) {
        labels.insert(HEADLESS.to_string(), String::new());
    }
    labels.insert(MANAGED_BY.to_string(), MANAGER.to_string());
    let mut annotations = seen.and_then(|seen| seen.metadata.annotations.clone()).unwrap_or_default();
    annotations.remove(OVER_CAPACITY);
    if truncated {
        annotations.insert(OVER_CAPACITY.to_string(), "truncated".to_string());
    }
    let is_right = seen.is_some_and(|seen| {
        let none = BTreeMap::new();
        seen.metadata.labels.as_ref() == Some(&labels)
            && *seen.metadata.annotations.as_ref().unwrap_or(&none) == annotations
            && seen.subsets.as_deref().unwrap_or_default() == subsets
    });
    // The moment of the last change is about the change that comes.
    annotations.remove(trigger::ANNOTATION);
    let metadata = ObjectMeta {
        name: service.metadata.name.clone(),
        namespace: service.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    };
    (!is_right).then_some(Endpoints { metadata, subsets: Some(subsets) })
}

/// Name, number, protocol and application of each port.
type Ports = Vec<(Option<String>, i32, Option<String>, Option<String>)>;
/// Ready ones and others, by address and pod.
type Addresses = [BTreeMap<(String, Option<String>), EndpointAddress>; 2];

fn subsets(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let all = behind::publishes_all(service);
    let mut found: BTreeMap<Ports, Addresses> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| all || !objects::pod::is_terminating(pod)) {
        let (Some(address), ports) = (address(service, pod), ports(service, pod)) else { continue };
        if ports.is_empty() && !(behind::ports(service).is_empty() && behind::is_headless(service)) {
            continue;
        }
        let key = (address.ip.clone(), pod.metadata.uid.clone());
        let [ready, others] = found.entry(ports).or_default();
        let list = if all || objects::pod::is_ready(pod) { ready } else { others };
        list.insert(key, address);
    }
    let list = |addresses: BTreeMap<_, EndpointAddress>| some(addresses.into_values().collect());
    let subset = |(ports, [ready, others]): (Ports, Addresses)| EndpointSubset {
        addresses: list(ready),
        not_ready_addresses: list(others),
        ports: some(ports.into_iter().map(port).collect()),
    };
    found.into_iter().map(subset).collect()
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn address(service: &Service, pod: &Pod) -> Option<EndpointAddress> {
    let said = service.spec.as_ref().and_then(|spec| spec.ip_families.as_ref()).is_some();
    // A headless service of an old client has no family: the pod's first address counts.
    let address = match (said || !behind::is_headless(service), behind::families(service).first()) {
        (true, Some(family)) => behind::address(pod, *family),
        _ => behind::addresses(pod).next(),
    };
    Some(EndpointAddress {
        ip: address?.to_string(),
        node_name: objects::pod::node_name(pod).map(str::to_string),
        target_ref: Some(behind::reference(pod)),
        hostname: behind::hostname(pod, service),
    })
}

fn ports(service: &Service, pod: &Pod) -> Ports {
    let port = |port: &k8s_openapi::api::core::v1::ServicePort| {
        let name = port.name.clone().filter(|name| !name.is_empty());
        Some((name, behind::target_port(pod, port)?, port.protocol.clone(), port.app_protocol.clone()))
    };
    let mut ports: Ports = behind::ports(service).iter().filter_map(port).collect();
    ports.sort();
    ports
}

fn port(
    (name, port, protocol, app_protocol): (Option<String>, i32, Option<String>, Option<String>),
) -> EndpointPort {
    EndpointPort { name, port, protocol, app_protocol }
}

/// Takes off what is too much; true if something was.
fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let count = |of: fn(&mut EndpointSubset) -> &mut Option<Vec<EndpointAddress>>,
                 subsets: &mut [EndpointSubset]| {
        subsets.iter_mut().map(|subset| of(subset).as_ref().map_or(0, Vec::len)).sum::<usize>()
    };
    let ready = count(|subset| &mut subset.addresses, subsets);
    let others = count(|subset| &mut subset.not_ready_addresses, subsets);
    if ready + others <= MAX_ADDRESSES {
        return false;
    }
    let left = MAX_ADDRESSES.saturating_sub(ready);
    share(subsets, |subset| &mut subset.not_ready_addresses, others, left);
    share(subsets, |subset| &mut subset.addresses, ready, MAX_ADDRESSES.min(ready));
    true
}

/// Cuts the lists down to `max` of `total`, each in proportion.
fn share(
    subsets: &mut [EndpointSubset],
    of: fn(&mut EndpointSubset) -> &mut Option<Vec<EndpointAddress>>,
    total: usize,
    max: usize,
) {
    let mut left = max;
    for list in subsets.iter_mut().map(of) {
        let Some(addresses) = list else { continue };
        let part = (addresses.len() * max).div_ceil(total.max(1)).min(left);
        addresses.truncate(part);
        left -= addresses.len();
        *list = list.take().filter(|addresses| !addresses.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(index: usize, ready: &str, ending: bool) -> Arc<Pod> {
        let deleted = ending.then_some("2026-01-01T00:00:00Z");
        Arc::new(serde_json::from_value(json!({
            "metadata": {"namespace": "a", "name": format!("p{index}"), "uid": format!("u{index}"), "deletionTimestamp": deleted},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8000 + index % 2}]}]},
            "status": {"podIP": format!("10.0.{}.{}", index / 200, index % 200 + 1), "conditions": [{"type": "Ready", "status": ready}]}
        })).unwrap())
    }

    fn service(spec: Value) -> Service {
        let metadata = json!({"name": "s", "namespace": "a", "uid": "u", "labels": {"team": "x"}});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn subset(endpoints: &Endpoints, index: usize) -> [usize; 2] {
        let subset = &endpoints.subsets.as_ref().unwrap()[index];
        [&subset.addresses, &subset.not_ready_addresses].map(|list| list.as_ref().map_or(0, Vec::len))
    }

    #[test]
    fn subsets_are_by_ports_and_readiness_stands_apart() {
        let service = service(json!({"clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"],
            "ports": [{"name": "web", "port": 80, "protocol": "TCP", "targetPort": "web"}]}));
        let pods =
            [pod(0, "True", false), pod(1, "True", false), pod(2, "False", false), pod(4, "True", true)];
        let planned = plan(&service, &pods, None).unwrap();
        let address = |index: usize| {
            json!({"ip": format!("10.0.0.{}", index + 1), "nodeName": "n",
            "targetRef": {"kind": "Pod", "namespace": "a", "name": format!("p{index}"), "uid": format!("u{index}")}})
        };
        let expected = json!({"apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "s", "namespace": "a", "annotations": {},
            "labels": {"team": "x", "endpoints.kubernetes.io/managed-by": "endpoint-controller"}},
        "subsets": [
            {"addresses": [address(0)], "notReadyAddresses": [address(2)],
                "ports": [{"name": "web", "port": 8000, "protocol": "TCP"}]},
            {"addresses": [address(1)], "ports": [{"name": "web", "port": 8001, "protocol": "TCP"}]},
        ]});
        assert_eq!(json!(planned), expected);
        assert_eq!(plan(&service, &pods, Some(&planned)), None);
        let ready = plan(&service, &[pod(0, "True", false)], Some(&planned)).unwrap();
        assert_eq!(subset(&ready, 0), [1, 0]);
    }

    #[test]
    fn a_headless_service_needs_no_ports_and_may_publish_all() {
        let headless = |all: bool| service(json!({"clusterIP": "None", "publishNotReadyAddresses": all}));
        let pods = [pod(0, "False", false), pod(1, "True", true)];
        let quiet = plan(&headless(false), &pods, None).unwrap();
        assert_eq!(subset(&quiet, 0), [0, 1]);
        let loud = plan(&headless(true), &pods, None).unwrap();
        assert_eq!((subset(&loud, 0), loud.metadata.labels.unwrap().contains_key(HEADLESS)), ([2, 0], true));
        let with_address =
            service(json!({"clusterIP": "10.96.0.9", "ports": [{"port": 80, "targetPort": "none"}]}));
        assert_eq!(plan(&with_address, &pods, None).unwrap().subsets, Some(Vec::new()));
    }

    #[test]
    fn a_thousand_addresses_are_kept_ready_ones_first() {
        let check = |ready: usize, others: usize, mark: bool, expected: [[usize; 2]; 2]| {
            let service = service(
                json!({"clusterIP": "10.96.0.9", "ports": [{"port": 80, "targetPort": "web", "protocol": "TCP"}]}),
            );
            let pods: Vec<_> = (0..ready)
                .map(|index| pod(index, "True", false))
                .chain((ready..ready + others).map(|index| pod(index, "False", false)))
                .collect();
            let planned = plan(&service, &pods, None).unwrap();
            assert_eq!([subset(&planned, 0), subset(&planned, 1)], expected);
            let said = planned.metadata.annotations.unwrap().get(OVER_CAPACITY).cloned();
            assert_eq!(said.as_deref(), mark.then_some("truncated"));
        };
        check(600, 400, false, [[300, 200], [300, 200]]);
        check(600, 600, true, [[300, 200], [300, 200]]);
        check(1200, 40, true, [[500, 0], [500, 0]]);
    }
}
