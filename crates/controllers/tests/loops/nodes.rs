//! Nodes that fall silent and come back, and pods that their taints drive away.

use crate::world::World;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::time::Duration;

async fn impatient() -> World {
    let config = controllers::Config {
        node_grace: Duration::from_millis(1500),
        node_startup_grace: Duration::from_millis(1500),
        node_period: Duration::from_millis(100),
        ..controllers::Config::default()
    };
    World::with_config(config).await
}

/// A node without an agent; the test speaks for it.
pub async fn register(world: &World, name: &str) {
    let node = json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "1", "pods": "10"}}});
    world.nodes().create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
}

pub async fn report(world: &World, name: &str, ready: &str) {
    let now = Timestamp::now();
    let condition = json!({"type": "Ready", "status": ready, "reason": "Test", "message": "",
        "lastHeartbeatTime": now, "lastTransitionTime": now});
    let patch = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
    world.nodes().patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

async fn seen(world: &World, name: &str) -> (String, String, Vec<String>) {
    let node: Node = world.nodes().get(name).await.unwrap();
    let ready = objects::node::condition(&node, "Ready").cloned().unwrap_or_default();
    let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
    let mut taints: Vec<String> = taints.iter().map(objects::taints::text).collect();
    taints.sort();
    (ready.status, ready.message.unwrap_or_default(), taints)
}

async fn until(world: &World, name: &str, status: &str, message: &str, taints: &[&str]) {
    let right =
        |seen: &(String, String, Vec<String>)| seen.0 == status && seen.1 == message && seen.2 == taints;
    world.eventually(&format!("{name} {status} {taints:?}"), || seen(world, name), right).await;
}

async fn create_pod(world: &World, name: &str, node: &str, tolerations: Value) {
    let pod = json!({"metadata": {"name": name},
        "spec": {"nodeName": node, "tolerations": tolerations, "containers": [{"name": "c", "image": "i"}]}});
    world.pods_api().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": Timestamp::now()});
    let patch = Patch::Strategic(json!({"status": {"phase": "Running", "conditions": [ready]}}));
    world.pods_api().patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_is_tainted_and_returns() {
    let world = impatient().await;
    for name in ["n1", "n2"] {
        register(&world, name).await;
        report(&world, name, "True").await;
        until(&world, name, "True", "", &[]).await;
    }
    let ever = json!([{"operator": "Exists"}]);
    create_pod(&world, "stays", "n1", ever).await;
    create_pod(&world, "leaves", "n1", json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}])).await;
    // n2 lives on by its lease.
    let leases = Api::<Lease>::namespaced(world.client.clone(), "kube-node-lease");
    let lease = json!({"metadata": {"name": "n2"}, "spec": {"holderIdentity": "n2", "renewTime": "2026-01-01T00:00:00.000000Z"}});
    leases.create(&PostParams::default(), &serde_json::from_value(lease).unwrap()).await.unwrap();
    let renewing = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(300));
        for number in 1_u32.. {
            ticks.tick().await;
            let time = format!("2026-01-01T00:00:00.{number:06}Z");
            let patch = Patch::Merge(json!({"spec": {"renewTime": time}}));
            leases.patch("n2", &PatchParams::default(), &patch).await.unwrap();
        }
    };
    let story = async {
        let taints =
            ["node.kubernetes.io/unreachable:NoExecute", "node.kubernetes.io/unreachable:NoSchedule"];
        until(&world, "n1", "Unknown", "Kubelet stopped posting node status.", &taints).await;
        let pods = || async { world.pods().await };
        // NP-4, NP-6.
        let marked = |pods: &Vec<Pod>| {
            let stays = pods.iter().find(|pod| pod.metadata.name.as_deref() == Some("stays"));
            let leaves = pods.iter().find(|pod| pod.metadata.name.as_deref() == Some("leaves"));
            stays.is_some_and(|pod| !objects::pod::is_ready(pod) && !objects::pod::is_terminating(pod))
                && leaves.is_none_or(objects::pod::is_terminating)
        };
        world.eventually("pods marked and evicted", pods, marked).await;
        let told = || world.events("default", "leaves");
        let evicted =
            "taint-eviction-controller TaintManagerEviction Marking for deletion Pod default/leaves";
        world.eventually("the eviction's event", told, |told| told.iter().any(|line| line == evicted)).await;
        assert_eq!(seen(&world, "n2").await.0, "True", "the lease keeps it alive");
        report(&world, "n1", "True").await;
        until(&world, "n1", "True", "", &[]).await;
    };
    tokio::select! { () = renewing => {}, () = story => {} }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taints_follow_the_nodes_state() {
    let world = World::with_config(controllers::Config::default()).await;
    register(&world, "n1").await;
    register(&world, "n2").await;
    // The API server puts it on every new node; the first Ready takes it off.
    until(&world, "n1", "", "", &["node.kubernetes.io/not-ready:NoSchedule"]).await;
    report(&world, "n1", "True").await;
    report(&world, "n2", "True").await;
    until(&world, "n1", "True", "", &[]).await;
    world.patch_node("n1", json!({"spec": {"unschedulable": true}})).await;
    until(&world, "n1", "True", "", &["node.kubernetes.io/unschedulable:NoSchedule"]).await;
    world.patch_node("n1", json!({"spec": {"unschedulable": null}})).await;
    until(&world, "n1", "True", "", &[]).await;
    report(&world, "n1", "False").await;
    let both = ["node.kubernetes.io/not-ready:NoExecute", "node.kubernetes.io/not-ready:NoSchedule"];
    until(&world, "n1", "False", "", &both).await;
}
