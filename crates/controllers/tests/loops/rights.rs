//! The loop of DaemonSets with the rights of deploy/manifests/rights.yaml, which are upstream's.

use crate::world::{World, daemonset, image};
use controllers::Config;
use controllers::leader::Election;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};

const RIGHTS: &str = include_str!("../../../../deploy/manifests/rights.yaml");
const USER: &str = "system:serviceaccount:kube-system:everynode-controller";

/// Creates the roles and bindings of the example, as its reader does.
async fn allow(world: &World) {
    for text in RIGHTS.split("\n---\n") {
        let object: Value = serde_saphyr::from_str(text).unwrap();
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        match object["kind"].as_str().unwrap() {
            "ClusterRole" => create(Api::<ClusterRole>::all(world.client.clone()), &object).await,
            "ClusterRoleBinding" => {
                create(Api::<ClusterRoleBinding>::all(world.client.clone()), &object).await
            }
            "Role" => create(Api::<Role>::namespaced(world.client.clone(), namespace), &object).await,
            "RoleBinding" => {
                create(Api::<RoleBinding>::namespaced(world.client.clone(), namespace), &object).await
            }
            kind => assert_eq!(kind, "ServiceAccount"),
        }
    }
}

async fn create<K>(api: Api<K>, object: &Value)
where
    K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    api.create(&PostParams::default(), &serde_json::from_value(object.clone()).unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_rights_are_enough() {
    // OW-28: creation, rollout, history, status, events, release and adoption, and nothing is refused on the way.
    let election = Election::new("kube-system", "e", "i".to_string());
    let mut world = World::with_config(Config::default()).await;
    allow(&world).await;
    world.give_daemonsets_to(USER, "system:serviceaccounts", election);
    world.add_nodes(1, 2);
    world.eventually("the nodes", || world.ready_nodes(), |ready| *ready == 2).await;
    world.create(&daemonset("hello:1")).await;
    world.until_living(&["n1 Ready", "n2 Ready"]).await;
    world.patch("d", image("hello:2")).await;
    let rolled = || async { world.daemonsets().get("d").await.unwrap().status.unwrap_or_default() };
    world
        .eventually("the rollout", rolled, |status| {
            status.observed_generation == Some(2)
                && status.updated_number_scheduled == Some(2)
                && status.number_available == Some(2)
        })
        .await;
    world.patch("d", json!({"spec": {"revisionHistoryLimit": 0}})).await;
    let history = || async { world.revisions().await.len() };
    world.eventually("a short history", history, |revisions| *revisions == 1).await;
    let told = world.events("default", "d").await;
    assert!(told.iter().any(|line| line.contains("SuccessfulDelete")), "{told:?}");
    world.delete("d", &DeleteParams::orphan()).await;
    let gone = || async { world.daemonsets().get_opt("d").await.unwrap().is_none() };
    world.eventually("the set is gone", gone, |gone| *gone).await;
    let uid = world.create(&daemonset("hello:2")).await.metadata.uid.unwrap();
    let ours = |pods: &Vec<Pod>| pods.iter().all(|pod| objects::owner::is_controlled_by(&pod.metadata, &uid));
    world.eventually("adoption", || world.pods(), ours).await;
    let label = json!({"metadata": {"labels": {"app": "free"}}});
    let name = world.pods().await[0].metadata.name.clone().unwrap();
    let patch = kube::api::Patch::Merge(label);
    world.pods_api().patch(&name, &Default::default(), &patch).await.unwrap();
    world.eventually("release and replacement", || world.pods(), |pods| pods.len() == 3).await;
}
