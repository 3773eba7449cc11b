//! The conditions of a DaemonSet, and a paused rollout, as a client sees them.

use crate::world::{World, daemonset, image};
use k8s_openapi::api::apps::v1::DaemonSetCondition;
use kube::api::{Patch, PatchParams};
use objects::pod::hash_label;
use serde_json::{Value, json};
use std::collections::BTreeSet;

async fn conditions(world: &World) -> Vec<DaemonSetCondition> {
    let daemonset = world.daemonsets().get("d").await.unwrap();
    daemonset.status.and_then(|status| status.conditions).unwrap_or_default()
}

/// `Type=Status/Reason` of all conditions, in their order.
async fn said(world: &World) -> Vec<String> {
    let text = |c: DaemonSetCondition| format!("{}={}/{}", c.type_, c.status, c.reason.unwrap_or_default());
    conditions(world).await.into_iter().map(text).collect()
}

async fn until(world: &World, expected: &[&str]) {
    world.eventually(&format!("{expected:?}"), || said(world), |said| said == expected).await;
}

const FINE: [&str; 3] =
    ["Progressing=False/Complete", "Available=True/AllAvailable", "Degraded=False/AsExpected"];

fn paused(value: Value) -> Value {
    json!({"metadata": {"annotations": {"everynode.dev/paused": value}}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_becomes_available_and_the_times_of_its_conditions_stay() {
    // OPP-1, ST-10, TE-10.
    let world = World::with_nodes(2).await;
    world.create(&daemonset("hello:1")).await;
    until(&world, &FINE).await;
    let before = conditions(&world).await;
    let theirs = json!({"status": {"conditions": [{"type": "Theirs", "status": "True", "reason": "Because",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    let merge = Patch::Strategic(theirs);
    world.daemonsets().patch_status("d", &PatchParams::default(), &merge).await.unwrap();
    world.patch("d", json!({"spec": {"minReadySeconds": 0, "revisionHistoryLimit": 3}})).await;
    let daemonsets = world.daemonsets();
    let observed =
        || async { daemonsets.get("d").await.unwrap().status.unwrap_or_default().observed_generation };
    world.eventually("the new generation", observed, |seen| *seen == Some(2)).await;
    let mut after = conditions(&world).await;
    assert!(after.iter().any(|condition| condition.type_ == "Theirs"), "{after:?}");
    after.retain(|condition| condition.type_ != "Theirs");
    after.sort_by_key(|condition| before.iter().position(|old| old.type_ == condition.type_));
    assert_eq!(after, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_nodes_it_is_available() {
    let world = World::with_nodes(0).await;
    world.create(&daemonset("hello:1")).await;
    until(&world, &["Progressing=False/Complete", "Available=True/NoNodes", "Degraded=False/AsExpected"])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_update_of_the_only_node_is_seen() {
    let world = World::with_nodes(1).await;
    world.create(&daemonset("hello:1")).await;
    until(&world, &FINE).await;
    world.patch("d", image("hello:broken")).await;
    // RU-4: one may be missing, and it is this one; it counts as available only while the rollout moves.
    let rolls =
        ["Progressing=True/WaitingForPods", "Available=True/WithinBudget", "Degraded=False/AsExpected"];
    until(&world, &rolls).await;
    world.patch("d", image("hello:1")).await;
    until(&world, &FINE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_rollout_replaces_nothing_until_it_is_resumed() {
    // OPP-2.
    let world = World::with_nodes(2).await;
    world.create(&daemonset("hello:1")).await;
    until(&world, &FINE).await;
    let hashes = || async {
        let pods = world.pods().await;
        pods.iter().filter_map(|pod| hash_label(pod).map(str::to_string)).collect::<Vec<_>>()
    };
    let old: BTreeSet<String> = hashes().await.into_iter().collect();
    world.patch("d", paused(json!("true"))).await;
    world.patch("d", image("hello:2")).await;
    until(&world, &["Progressing=False/Paused", "Available=True/AllAvailable", "Degraded=False/AsExpected"])
        .await;
    assert!(hashes().await.iter().all(|hash| old.contains(hash)));
    // A new node gets its daemon all the same, of the newest template.
    world.add_nodes(3, 1);
    let one_is_new =
        |seen: &Vec<String>| seen.len() == 3 && seen.iter().filter(|hash| !old.contains(*hash)).count() == 1;
    world.eventually("a daemon on the new node", hashes, one_is_new).await;
    world.patch("d", paused(json!("oh yes"))).await;
    let all_new = |seen: &Vec<String>| seen.len() == 3 && seen.iter().all(|hash| !old.contains(hash));
    world.eventually("a value that pauses nothing", hashes, all_new).await;
    let told = |told: &Vec<String>| {
        told.iter().any(|line| line.contains("InvalidAnnotation the annotation everynode.dev/paused"))
    };
    world.eventually("the warning", || world.events("default", "d"), told).await;
    world.patch("d", paused(Value::Null)).await;
    until(&world, &FINE).await;
}
