//! What a ResourceQuota says is used, while objects come and go.

use crate::upstream::still;
use crate::world::{World, daemonset};
use k8s_openapi::api::core::v1::{ResourceQuota, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

fn quotas(world: &World) -> Api<ResourceQuota> {
    Api::namespaced(world.client.clone(), "default")
}

async fn bounded(world: &World, hard: Value) {
    let quota = json!({"metadata": {"name": "rq"}, "spec": {"hard": hard}});
    quotas(world).create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
}

async fn until_used(world: &World, used: Value) {
    let told = || async { json!(quotas(world).get("rq").await.unwrap().status.unwrap_or_default().used) };
    world.eventually(&format!("{used} used"), told, |told| *told == used).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_makes_room_again() {
    let world = still(&["n1"]).await;
    let secrets = Api::<Secret>::namespaced(world.client.clone(), "default");
    let secret = |name: &str| serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    secrets.create(&PostParams::default(), &secret("early")).await.unwrap();
    bounded(&world, json!({"secrets": "2", "count/daemonsets.apps": "1"})).await;
    until_used(&world, json!({"secrets": "1", "count/daemonsets.apps": "0"})).await;
    secrets.create(&PostParams::default(), &secret("a")).await.unwrap();
    let refused = secrets.create(&PostParams::default(), &secret("b")).await.unwrap_err();
    assert!(refused.to_string().contains("exceeded quota: rq"), "{refused}");
    secrets.delete("early", &DeleteParams::default()).await.unwrap();
    until_used(&world, json!({"secrets": "1", "count/daemonsets.apps": "0"})).await;
    secrets.create(&PostParams::default(), &secret("b")).await.unwrap();
    world.create(&daemonset("hello:1")).await;
    let fewer = Patch::Merge(json!({"spec": {"hard": {"secrets": null}}}));
    quotas(&world).patch("rq", &PatchParams::default(), &fewer).await.unwrap();
    until_used(&world, json!({"count/daemonsets.apps": "1"})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_come_as_far_as_the_quota_goes_and_on_when_it_is_raised() {
    let world = still(&["n1", "n2", "n3"]).await;
    bounded(&world, json!({"pods": "2"})).await;
    until_used(&world, json!({"pods": "0"})).await;
    world.create(&daemonset("hello:1")).await;
    world.eventually("two pods", || world.pods(), |pods| pods.len() == 2).await;
    until_used(&world, json!({"pods": "2"})).await;
    let more = Patch::Merge(json!({"spec": {"hard": {"pods": "3"}}}));
    quotas(&world).patch("rq", &PatchParams::default(), &more).await.unwrap();
    world.eventually("the third pod", || world.pods(), |pods| pods.len() == 3).await;
    until_used(&world, json!({"pods": "3"})).await;
}
