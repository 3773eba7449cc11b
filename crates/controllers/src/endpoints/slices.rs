//! PURE. Which EndpointSlices does a service have?
//!
//! 1. Per family of the service and per set of port numbers that its pods have, at most [`MAX_ENDPOINTS`] in each; a family
//!    without endpoints has one empty slice, so that watchers see that somebody has looked.
//! 2. `serving` is the pod's readiness, `ready` is serving and not ending; a service that publishes all is always ready.
//! 3. A pod whose node is not known waits for it, since nobody knows its zone.
//!
//! Kubernetes: `staging/endpointslice/reconciler.go`. Differs: no topology hints, because nothing routes by them.

use super::behind::{self, Family};
use super::fill::{self, Head, MANAGED_BY, Plan, SERVICE, Wanted};
use crate::caches::Pod;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use objects::owner::controller_reference;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most endpoints in a slice: a watcher gets all of it for one change. Kubernetes: `--max-endpoints-per-slice`.
const MAX_ENDPOINTS: usize = 100;
/// Whose these slices are.
pub(crate) const MANAGER: &str = "endpointslice-controller.k8s.io";
/// On the slices and Endpoints of a service without an address of its own.
pub(super) const HEADLESS: &str = "service.kubernetes.io/headless";

/// The zones of the nodes that are known; a node need not have one.
pub(super) type Zones = BTreeMap<String, Option<String>>;

/// Plans the slices of a service from the pods that it selects.
pub(super) fn plan(service: &Service, pods: &[Arc<Pod>], zones: &Zones, seen: &[Arc<EndpointSlice>]) -> Plan {
    let families = behind::families(service);
    let wanted = families.iter().flat_map(|family| wanted(service, pods, zones, *family)).collect();
    let names: Vec<&'static str> = families.iter().map(|family| family.name()).collect();
    fill::plan(&head(service), wanted, seen, MAX_ENDPOINTS, &names)
}

fn head(service: &Service) -> Head {
    let (name, uid) = (service.metadata.name.as_deref(), service.metadata.uid.as_deref());
    let name = name.unwrap_or_default();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if behind::is_headless(service) {
        labels.insert(HEADLESS.to_string(), String::new());
    }
    labels.insert(SERVICE.to_string(), name.to_string());
    labels.insert(MANAGED_BY.to_string(), MANAGER.to_string());
    Head {
        namespace: service.metadata.namespace.clone().unwrap_or_default(),
        generate_name: format!("{name}-"),
        owner: controller_reference("v1", "Service", name, uid.unwrap_or_default()),
        labels,
        annotations: None,
    }
}

fn wanted(service: &Service, pods: &[Arc<Pod>], zones: &Zones, family: Family) -> Vec<Wanted> {
    let mut groups: Vec<Wanted> = Vec::new();
    for pod in pods {
        let Some(endpoint) = endpoint(service, pod, zones, family) else { continue };
        let ports = ports(service, pod);
        match groups.iter_mut().find(|group| group.ports == ports) {
            Some(group) => group.endpoints.push(endpoint),
            None => groups.push(Wanted { family: family.name(), ports, endpoints: vec![endpoint] }),
        }
    }
    groups
}

fn endpoint(service: &Service, pod: &Pod, zones: &Zones, family: Family) -> Option<Endpoint> {
    let address = behind::address(pod, family)?.to_string();
    let (node, all) = (objects::pod::node_name(pod), behind::publishes_all(service));
    let zone = node.and_then(|node| zones.get(node));
    if node.is_some() && zone.is_none() && !all {
        return None;
    }
    let (serving, terminating) = (objects::pod::is_ready(pod), objects::pod::is_terminating(pod));
    Some(Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(all || serving && !terminating),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: behind::hostname(pod, service),
        node_name: node.map(str::to_string),
        target_ref: Some(behind::reference(pod)),
        zone: zone.cloned().flatten(),
        ..Endpoint::default()
    })
}

/// The service's ports with the pod's numbers, without those that the pod does not have.
fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let port = |port: &k8s_openapi::api::core::v1::ServicePort| {
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(behind::target_port(pod, port)?),
            protocol: port.protocol.clone(),
            app_protocol: port.app_protocol.clone(),
        })
    };
    behind::ports(service).iter().filter_map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, node: &str, metadata: Value, spec: Value, status: Value) -> Arc<Pod> {
        let mut pod = json!({"metadata": metadata, "spec": spec, "status": status});
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["namespace"] = json!("a");
        pod["metadata"]["uid"] = json!(format!("uid-{name}"));
        pod["spec"]["nodeName"] = json!(node);
        pod["spec"]["containers"] = json!([]);
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn running(address: &str, ready: &str) -> Value {
        json!({"podIP": address, "conditions": [{"type": "Ready", "status": ready}]})
    }

    fn service(spec: Value) -> Service {
        let metadata = json!({"name": "s", "namespace": "a", "uid": "u", "labels": {"team": "x"}});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    #[test]
    fn a_slice_says_who_is_behind_the_service_and_how() {
        let service = service(json!({"clusterIP": "None", "ipFamilies": ["IPv4"], "selector": {"a": "b"},
            "ports": [{"name": "web", "port": 80, "protocol": "TCP", "targetPort": 8080, "appProtocol": "http"}]}));
        let pods = [
            pod(
                "p1",
                "n1",
                json!({}),
                json!({"hostname": "h", "subdomain": "s"}),
                running("10.0.0.1", "True"),
            ),
            pod("p2", "n2", json!({}), json!({}), running("10.0.0.2", "False")),
            pod(
                "p3",
                "n1",
                json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
                json!({}),
                running("10.0.0.3", "True"),
            ),
            pod("p4", "n1", json!({}), json!({}), json!({"phase": "Pending"})),
            pod("p5", "unknown", json!({}), json!({}), running("10.0.0.5", "True")),
        ];
        let zones = Zones::from([("n1".to_string(), Some("z".to_string())), ("n2".to_string(), None)]);
        let plan = plan(&service, &pods, &zones, &[]);
        let target =
            |name: &str| json!({"kind": "Pod", "namespace": "a", "name": name, "uid": format!("uid-{name}")});
        let expected = json!([{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"namespace": "a", "generateName": "s-",
            "labels": {"team": "x", "kubernetes.io/service-name": "s", "service.kubernetes.io/headless": "",
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": "s", "uid": "u",
                "controller": true, "blockOwnerDeletion": true}]},
        "ports": [{"name": "web", "port": 8080, "protocol": "TCP", "appProtocol": "http"}],
        "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": true, "serving": true, "terminating": false},
                "hostname": "h", "nodeName": "n1", "zone": "z", "targetRef": target("p1")},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": false, "serving": false, "terminating": false},
                "nodeName": "n2", "targetRef": target("p2")},
            {"addresses": ["10.0.0.3"], "conditions": {"ready": false, "serving": true, "terminating": true},
                "nodeName": "n1", "zone": "z", "targetRef": target("p3")},
        ]}]);
        assert_eq!((json!(plan.create), plan.update.len(), plan.delete.len()), (expected, 0, 0));
    }

    #[test]
    fn families_and_ports_have_slices_of_their_own() {
        let service = service(
            json!({"clusterIP": "10.96.0.9", "ipFamilies": ["IPv4", "IPv6"], "selector": {"a": "b"},
            "publishNotReadyAddresses": true, "ports": [{"port": 80, "protocol": "TCP", "targetPort": "web"}]}),
        );
        let both = json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]});
        let mut pods = [
            pod("p1", "n1", json!({}), json!({}), both),
            pod("p2", "n1", json!({}), json!({}), running("10.0.0.2", "False")),
            pod("p3", "n1", json!({}), json!({}), running("10.0.0.3", "False")),
        ];
        for (pod, number) in pods.iter_mut().zip([8080, 8081, 8080]) {
            let container = json!({"name": "c", "ports": [{"name": "web", "containerPort": number}]});
            let mut whole = pod.whole();
            whole.spec.as_mut().unwrap().containers = vec![serde_json::from_value(container).unwrap()];
            *pod = Arc::new(whole.into());
        }
        let plan = plan(&service, &pods, &Zones::new(), &[]);
        let shown: Vec<Value> = plan
            .create
            .iter()
            .map(|slice| {
                let endpoints: Vec<Value> = slice
                    .endpoints
                    .iter()
                    .map(|endpoint| json!([endpoint.addresses, endpoint.conditions.as_ref().unwrap().ready]))
                    .collect();
                json!([slice.address_type, slice.ports.as_ref().unwrap()[0].port, endpoints])
            })
            .collect();
        let expected = json!([
            ["IPv4", 8080, [[["10.0.0.1"], true], [["10.0.0.3"], true]]],
            ["IPv4", 8081, [[["10.0.0.2"], true]]],
            ["IPv6", 8080, [[["fd00::1"], true]]],
        ]);
        assert_eq!(json!(shown), expected);
    }
}
