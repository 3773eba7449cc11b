//! The loop of DaemonSets with no more rights than upstream's controller has.

use crate::world::{World, daemonset, image};
use controllers::Config;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};

const USER: &str = "system:serviceaccount:kube-system:daemon-set-controller";

async fn allow(world: &World) {
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    let rules: Vec<Value> = vec![
        rule("apps", &["daemonsets"], &["get", "list", "watch"]),
        rule("apps", &["daemonsets/status", "daemonsets/finalizers"], &["update"]),
        rule("", &["nodes"], &["list", "watch"]),
        rule("", &["pods"], &["list", "watch", "create", "delete", "patch"]),
        rule("", &["pods/binding"], &["create"]),
        rule(
            "apps",
            &["controllerrevisions"],
            &["get", "list", "watch", "create", "delete", "update", "patch"],
        ),
        rule("", &["events"], &["create", "patch", "update"]),
    ];
    let role = json!({"metadata": {"name": "daemons"}, "rules": rules});
    let binding = json!({"metadata": {"name": "daemons"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "daemons"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}]});
    let params = PostParams::default();
    let roles = Api::<ClusterRole>::all(world.client.clone());
    roles.create(&params, &serde_json::from_value(role).unwrap()).await.unwrap();
    let bindings = Api::<ClusterRoleBinding>::all(world.client.clone());
    bindings.create(&params, &serde_json::from_value(binding).unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_rights_are_enough() {
    // OW-28: creation, rollout, history, status, events, release and adoption, and nothing is refused on the way.
    let mut world = World::with_config(Config::default()).await;
    allow(&world).await;
    world.give_daemonsets_to(USER, "system:serviceaccounts");
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
