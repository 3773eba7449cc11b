//! Endpoints that somebody wrote by hand, for a service without a selector, as EndpointSlices.
//!
//! Clients read slices only; so what is written in the old form is shown in the new one too, as the Endpoints' own objects.
//! Not mirrored: what is labelled [`SKIP`], what a leader election writes, and what the loop beside this one makes.
//! Kubernetes: `pkg/controller/endpointslicemirroring`.

use super::behind::Family;
use super::fill::{Head, MANAGED_BY, Plan, SERVICE, Wanted};
use super::written::Written;
use super::{act, fill, is_ours, service_of, trigger};
use crate::Shared;
use crate::caches::{BY_SERVICE, Watched, service_key};
use crate::reconcile::{Next, Queue, work};
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use objects::key::ObjectKey;
use objects::owner::controller_reference;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Kinds that this loop reads.
pub(crate) const READS: &[Watched] = &[Watched::Endpoints, Watched::Services, Watched::Slices];

/// Whose these slices are.
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
/// `true` on Endpoints that are not to be mirrored.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// On Endpoints that hold a lock and no addresses.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that are about the Endpoints object alone.
const OWN_ANNOTATIONS: [&str; 2] = ["kubectl.kubernetes.io/last-applied-configuration", trigger::ANNOTATION];
/// Most addresses of a subset, and of a slice. Kubernetes: `--mirroring-max-endpoints-per-subset`.
const MAX_ENDPOINTS: usize = 1000;
/// Endpoints at a time.
const WORKERS: usize = 2;
/// Long enough for a service and its Endpoints to come together.
const COALESCE: Duration = Duration::from_millis(50);

/// Mirrors, for ever.
pub(crate) async fn run(shared: Arc<Shared>) -> Infallible {
    let queue = Arc::new(Queue::new(COALESCE));
    let (caches, add) = (&shared.caches, queue.clone());
    caches.endpoints.listen(move |change| {
        if change.old.into_iter().chain(change.new).any(|endpoints| !is_ours(&endpoints.metadata)) {
            add.add(change.key());
        }
    });
    let add = queue.clone();
    caches.services.listen(move |change| add.add(change.key()));
    let add = queue.clone();
    caches.endpoint_slices.listen(move |change| {
        let slice = change.latest().map(|slice| &slice.metadata);
        if let Some(key) = slice.and_then(|meta| service_of(meta, MANAGER)) {
            add.add(key);
        }
    });
    shared.synced(READS).await;
    let written = Mutex::default();
    work(&queue, WORKERS, |key| reconcile(&shared, &written, key)).await
}

async fn reconcile(
    shared: &Shared,
    written: &Mutex<BTreeMap<ObjectKey, Written>>,
    key: ObjectKey,
) -> Result<Next, kube::Error> {
    let caches = &shared.caches;
    let (endpoints, service) = (caches.endpoints.get(&key), caches.services.get(&key));
    let mut seen = caches.endpoint_slices.by(BY_SERVICE, &service_key(&key));
    seen.retain(|slice| service_of(&slice.metadata, MANAGER).is_some());
    let lock = || written.lock().unwrap_or_else(PoisonError::into_inner);
    let mut own = lock().remove(&key).unwrap_or_default();
    let wait = own.wait(&seen, Instant::now());
    let mut outcome = Ok(Next::After(wait));
    if wait == Duration::ZERO {
        let plan = plan(endpoints.as_deref(), service.as_deref(), &seen);
        outcome = act::slices(shared, &key.namespace, plan, None, &mut own).await.map(|()| Next::Rest);
    }
    if !own.is_empty() {
        lock().insert(key, own);
    }
    outcome
}

/// Plans the slices of Endpoints; without anything to mirror, what there is goes.
fn plan(endpoints: Option<&Endpoints>, service: Option<&Service>, seen: &[Arc<EndpointSlice>]) -> Plan {
    let endpoints = endpoints.filter(|endpoints| is_mirrored(endpoints));
    let selects = |service: &Service| service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).is_some();
    match (endpoints, service) {
        (Some(endpoints), Some(service)) if !selects(service) => {
            let subsets = endpoints.subsets.iter().flatten();
            fill::plan(&head(endpoints), merged(subsets.flat_map(wanted)), seen, MAX_ENDPOINTS, &[])
        }
        _ => Plan { delete: seen.to_vec(), ..Plan::default() },
    }
}

fn is_mirrored(endpoints: &Endpoints) -> bool {
    let meta = &endpoints.metadata;
    let skipped = meta.labels.as_ref().and_then(|labels| labels.get(SKIP)).is_some_and(|skip| skip == "true");
    let leader = meta.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(LEADER));
    !(skipped || leader || is_ours(meta) || meta.deletion_timestamp.is_some())
}

fn head(endpoints: &Endpoints) -> Head {
    let meta = &endpoints.metadata;
    let name = meta.name.as_deref().unwrap_or_default();
    let mut labels = meta.labels.clone().unwrap_or_default();
    labels.insert(SERVICE.to_string(), name.to_string());
    labels.insert(MANAGED_BY.to_string(), MANAGER.to_string());
    let mut annotations = meta.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| !OWN_ANNOTATIONS.contains(&key.as_str()));
    Head {
        namespace: meta.namespace.clone().unwrap_or_default(),
        generate_name: format!("{name}-"),
        owner: controller_reference("v1", "Endpoints", name, meta.uid.as_deref().unwrap_or_default()),
        labels,
        annotations: Some(annotations),
    }
}

/// A subset's addresses, by family; ready ones first, as far as there is room.
fn wanted(subset: &EndpointSubset) -> Vec<Wanted> {
    let port = |port: &k8s_openapi::api::core::v1::EndpointPort| EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: port.protocol.clone(),
        app_protocol: port.app_protocol.clone(),
    };
    let ports: Vec<EndpointPort> = subset.ports.iter().flatten().map(port).collect();
    let ready = subset.addresses.iter().flatten().map(|address| (address, true));
    let others = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
    let all: Vec<_> = ready.chain(others).take(MAX_ENDPOINTS).collect();
    let of = |family: Family| {
        let members = all.iter().filter(|(address, _)| Family::of(&address.ip) == Some(family));
        let endpoints = members.map(|(address, ready)| endpoint(address, *ready)).collect();
        Wanted { family: family.name(), ports: ports.clone(), endpoints }
    };
    [Family::V4, Family::V6].map(of).into()
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

/// Subsets with the same ports are one.
fn merged(all: impl Iterator<Item = Wanted>) -> Vec<Wanted> {
    let mut merged: Vec<Wanted> = Vec::new();
    for wanted in all {
        match merged.iter_mut().find(|other| other.family == wanted.family && other.ports == wanted.ports) {
            Some(other) => other.endpoints.extend(wanted.endpoints),
            None => merged.push(wanted),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn endpoints(labels: Value, annotations: Value, subsets: Value) -> Endpoints {
        serde_json::from_value(
            json!({"metadata": {"name": "s", "namespace": "a", "uid": "u", "labels": labels,
            "annotations": annotations}, "subsets": subsets}),
        )
        .unwrap()
    }

    fn service(spec: Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "s", "namespace": "a"}, "spec": spec})).unwrap()
    }

    #[test]
    fn what_was_written_by_hand_is_shown_as_slices_by_family() {
        let subsets = json!([{"addresses": [{"ip": "192.0.2.1"}, {"ip": "fd00::1", "hostname": "h"}],
            "notReadyAddresses": [{"ip": "192.0.2.2"}], "ports": [{"port": 80, "protocol": "TCP"}]},
            {"addresses": [{"ip": "192.0.2.3"}], "ports": [{"port": 80, "protocol": "TCP"}]}]);
        let notes = json!({"note": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}"});
        let plan = plan(Some(&endpoints(json!({"k": "v"}), notes, subsets)), Some(&service(json!({}))), &[]);
        let metadata = json!({"namespace": "a", "generateName": "s-", "annotations": {"note": "x"},
            "labels": {"k": "v", "kubernetes.io/service-name": "s",
                "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Endpoints", "name": "s", "uid": "u",
                "controller": true, "blockOwnerDeletion": true}]});
        let slice = |family: &str, endpoints: Value| {
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "addressType": family, "metadata": metadata, "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
            "endpoints": endpoints})
        };
        let one =
            |address: &str, ready: bool| json!({"addresses": [address], "conditions": {"ready": ready}});
        let mut named = one("fd00::1", true);
        named["hostname"] = json!("h");
        let four = json!([one("192.0.2.1", true), one("192.0.2.2", false), one("192.0.2.3", true)]);
        assert_eq!(json!(plan.create), json!([slice("IPv4", four), slice("IPv6", json!([named]))]));
    }

    #[test]
    fn leaders_skipped_ones_and_what_has_a_selector_are_not_mirrored() {
        let subsets = json!([{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}]);
        let check = |labels: Value, annotations: Value, spec: Option<Value>, expected: usize| {
            let endpoints = endpoints(labels, annotations, subsets.clone());
            let plan = plan(Some(&endpoints), spec.map(service).as_ref(), &[]);
            assert_eq!(plan.create.len(), expected);
        };
        check(json!({}), json!({}), Some(json!({})), 1);
        check(json!({}), json!({}), None, 0);
        check(json!({}), json!({}), Some(json!({"selector": {"a": "b"}})), 0);
        check(json!({SKIP: "true"}), json!({}), Some(json!({})), 0);
        check(json!({}), json!({LEADER: "{}"}), Some(json!({})), 0);
        check(
            json!({"endpoints.kubernetes.io/managed-by": "endpoint-controller"}),
            json!({}),
            Some(json!({})),
            0,
        );
    }
}
