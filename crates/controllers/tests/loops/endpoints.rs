//! Services in front of daemons: EndpointSlices and Endpoints follow the pods.

use crate::upstream::still;
use crate::world::{World, daemonset};
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

async fn create<K>(world: &World, object: Value) -> K
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + serde::Serialize
        + serde::de::DeserializeOwned
        + Clone
        + std::fmt::Debug,
{
    let api = Api::<K>::namespaced(world.client.clone(), "default");
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
}

async fn front(world: &World) {
    let spec = json!({"selector": {"app": "d"}, "ports": [{"name": "web", "port": 80, "targetPort": 8080}]});
    create::<Service>(world, json!({"metadata": {"name": "s", "labels": {"team": "x"}}, "spec": spec})).await;
}

/// Says that each daemon runs, with an address made of its node's number.
async fn run(world: &World, count: usize, ready: &str) {
    let bound = |pods: &Vec<k8s_openapi::api::core::v1::Pod>| {
        pods.len() == count && pods.iter().all(|pod| objects::pod::node_name(pod).is_some())
    };
    for pod in world.eventually("bound pods", || world.pods(), bound).await {
        let node = objects::pod::node_name(&pod).unwrap();
        state(world, pod.metadata.name.as_deref().unwrap(), node, ready).await;
    }
}

async fn state(world: &World, pod: &str, node: &str, ready: &str) {
    let address = format!("10.1.0.{}", node.trim_start_matches('n'));
    let condition = json!({"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-02T03:04:05Z"});
    let status =
        json!({"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [condition]});
    let patch = Patch::Strategic(json!({"status": status}));
    world.pods_api().patch_status(pod, &PatchParams::default(), &patch).await.unwrap();
}

/// `generation: address ready, …` of each slice of a service.
async fn slices(world: &World, service: &str) -> Vec<String> {
    let api = Api::<EndpointSlice>::namespaced(world.client.clone(), "default");
    let labelled = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
    let show = |slice: EndpointSlice| {
        let mut words: Vec<String> = slice
            .endpoints
            .iter()
            .map(|endpoint| {
                let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap();
                let zone = endpoint.zone.as_deref().unwrap_or("-");
                format!("{} {zone} {ready}", endpoint.addresses.join(","))
            })
            .collect();
        words.sort();
        words.join(", ")
    };
    api.list(&labelled).await.unwrap().items.into_iter().map(show).collect()
}

/// Ready addresses, and others.
async fn old_form(world: &World, service: &str) -> Option<[Vec<String>; 2]> {
    let api = Api::<Endpoints>::namespaced(world.client.clone(), "default");
    let subsets = api.get_opt(service).await.unwrap()?.subsets.unwrap_or_default();
    let list = |of: fn(&k8s_openapi::api::core::v1::EndpointSubset) -> &Option<Vec<_>>| {
        let addresses = subsets.iter().flat_map(|subset| of(subset).iter().flatten());
        addresses.map(|address: &k8s_openapi::api::core::v1::EndpointAddress| address.ip.clone()).collect()
    };
    Some([list(|subset| &subset.addresses), list(|subset| &subset.not_ready_addresses)])
}

fn addresses(numbers: &[u8]) -> Vec<String> {
    numbers.iter().map(|number| format!("10.1.0.{number}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_shows_who_is_behind_it_and_how() {
    let world = still(&["n1", "n2"]).await;
    world.patch_node("n1", json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "east"}}})).await;
    front(&world).await;
    world.eventually("an empty slice", || slices(&world, "s"), |seen| *seen == [""]).await;
    world.create(&daemonset("hello:1")).await;
    run(&world, 2, "True").await;
    let both = ["10.1.0.1 east true, 10.1.0.2 - true"];
    world.eventually("both in one slice", || slices(&world, "s"), |seen| *seen == both).await;
    let old = || old_form(&world, "s");
    world.eventually("both", old, |seen| *seen == Some([addresses(&[1, 2]), addresses(&[])])).await;

    let pods = world.pods().await;
    let second = pods.iter().find(|pod| objects::pod::node_name(pod) == Some("n2")).unwrap();
    state(&world, second.metadata.name.as_deref().unwrap(), "n2", "False").await;
    let one = ["10.1.0.1 east true, 10.1.0.2 - false"];
    world.eventually("one is not ready", || slices(&world, "s"), |seen| *seen == one).await;
    world.eventually("one apart", old, |seen| *seen == Some([addresses(&[1]), addresses(&[2])])).await;

    world.patch_node("n2", json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "west"}}})).await;
    let moved = ["10.1.0.1 east true, 10.1.0.2 west false"];
    world.eventually("the zone of the node", || slices(&world, "s"), |seen| *seen == moved).await;

    let services = Api::<Service>::namespaced(world.client.clone(), "default");
    services.delete("s", &DeleteParams::default()).await.unwrap();
    world.eventually("no slices", || slices(&world, "s"), Vec::is_empty).await;
    world.eventually("no Endpoints", old, Option::is_none).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_away_or_changed_by_others_comes_back() {
    let mut world = still(&["n1"]).await;
    front(&world).await;
    world.create(&daemonset("hello:1")).await;
    run(&world, 1, "True").await;
    let one = ["10.1.0.1 - true"];
    world.eventually("one", || slices(&world, "s"), |seen| *seen == one).await;
    let api = Api::<EndpointSlice>::namespaced(world.client.clone(), "default");
    let old = Api::<Endpoints>::namespaced(world.client.clone(), "default");
    let before = api.list(&ListParams::default()).await.unwrap().items;
    let slice =
        before.iter().find(|slice| slice.endpoints.iter().any(|end| end.node_name.is_some())).unwrap();
    let (name, labels) = (slice.metadata.name.clone().unwrap(), slice.metadata.labels.clone().unwrap());
    assert!(
        name.starts_with("s-") && labels.get("team").map(String::as_str) == Some("x"),
        "{name} {labels:?}"
    );
    let empty = Patch::Merge(json!({"endpoints": []}));
    api.patch(&name, &PatchParams::default(), &empty).await.unwrap();
    world.eventually("one again", || slices(&world, "s"), |seen| *seen == one).await;
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    old.delete("s", &DeleteParams::default()).await.unwrap();
    world.eventually("one more time", || slices(&world, "s"), |seen| *seen == one).await;
    let there = |seen: &Option<[Vec<String>; 2]>| *seen == Some([addresses(&[1]), addresses(&[])]);
    world.eventually("Endpoints again", || old_form(&world, "s"), there).await;
    // New loops, which know nothing, find everything as it should be, and write nothing.
    let versions = async || {
        let slices = api.list(&ListParams::default()).await.unwrap().items;
        let version = |meta: &kube::api::ObjectMeta| meta.resource_version.clone();
        let mut all: Vec<_> = slices.iter().map(|slice| version(&slice.metadata)).collect();
        all.push(version(&old.get("s").await.unwrap().metadata));
        all
    };
    let before = versions().await;
    world.restart_loops();
    create::<Service>(
        &world,
        json!({"metadata": {"name": "z"}, "spec": {"selector": {"app": "z"}, "clusterIP": "None"}}),
    )
    .await;
    world.eventually("the loops look again", || slices(&world, "z"), |seen| *seen == [""]).await;
    let after = versions().await;
    assert!(before.iter().all(|version| after.contains(version)), "{before:?} {after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_by_hand_are_their_owners_and_are_mirrored() {
    let world = still(&["n1"]).await;
    create::<Service>(&world, json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})).await;
    let subsets = |address: &str| json!([{"addresses": [{"ip": address}], "ports": [{"port": 80}]}]);
    create::<Endpoints>(&world, json!({"metadata": {"name": "s"}, "subsets": subsets("192.0.2.1")})).await;
    create::<Endpoints>(&world, json!({"metadata": {"name": "alone"}, "subsets": subsets("192.0.2.1")}))
        .await;
    world.eventually("a mirror", || slices(&world, "s"), |seen| *seen == ["192.0.2.1 - true"]).await;
    let old = Api::<Endpoints>::namespaced(world.client.clone(), "default");
    let other = Patch::Merge(json!({"subsets": subsets("192.0.2.2")}));
    old.patch("s", &PatchParams::default(), &other).await.unwrap();
    world
        .eventually("the mirror follows", || slices(&world, "s"), |seen| *seen == ["192.0.2.2 - true"])
        .await;
    let skip =
        Patch::Merge(json!({"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}}));
    old.patch("s", &PatchParams::default(), &skip).await.unwrap();
    world.eventually("no mirror", || slices(&world, "s"), Vec::is_empty).await;
    assert_eq!(old_form(&world, "alone").await, Some([vec!["192.0.2.1".to_string()], Vec::new()]));
}
