//! Owners that go, namespaces that end, and what every namespace has.

use crate::world::{World, daemonset};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

async fn create<K>(api: &Api<K>, object: serde_json::Value) -> K
where
    K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_and_revisions_go_with_their_daemonset() {
    // OW-18, OW-19, TE-1.
    let world = World::with_nodes(3).await;
    for params in [DeleteParams::background(), DeleteParams::foreground()] {
        world.create(&daemonset("hello:1")).await;
        world.until_living(&["n1 Ready", "n2 Ready", "n3 Ready"]).await;
        world.delete("d", &params).await;
        let left = || async { (world.pods().await.len(), world.revisions().await.len()) };
        world.eventually("all gone", left, |left| *left == (0, 0)).await;
        let daemonsets = world.daemonsets();
        let gone = || async { daemonsets.get_opt("d").await.unwrap().is_none() };
        world.eventually("the DaemonSet too", gone, |gone| *gone).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_served_kind_can_own_and_be_owned() {
    let world = World::with_nodes(0).await;
    let maps = Api::<ConfigMap>::namespaced(world.client.clone(), "default");
    let secrets = Api::<Secret>::namespaced(world.client.clone(), "default");
    let owner = |map: &ConfigMap| json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": map.metadata.name, "uid": map.metadata.uid}]);
    let a = create(&maps, json!({"metadata": {"name": "a"}})).await;
    let b = create(&maps, json!({"metadata": {"name": "b", "ownerReferences": owner(&a)}})).await;
    let both = [owner(&a)[0].clone(), owner(&b)[0].clone()];
    create(&secrets, json!({"metadata": {"name": "s", "ownerReferences": owner(&b)}})).await;
    let free = create(&maps, json!({"metadata": {"name": "free"}})).await;
    let kept = [owner(&free)[0].clone(), both[0].clone()];
    create(&secrets, json!({"metadata": {"name": "kept", "ownerReferences": kept}})).await;
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let gone = || async {
        (maps.get_opt("b").await.unwrap().is_none(), secrets.get_opt("s").await.unwrap().is_none())
    };
    world.eventually("the chain is gone", gone, |gone| *gone == (true, true)).await;
    // One living owner is enough; the dead one is taken off.
    let owners = || async {
        let kept = secrets.get("kept").await.unwrap().metadata.owner_references.unwrap_or_default();
        kept.into_iter().map(|owner| owner.name).collect::<Vec<_>>()
    };
    world.eventually("one owner", owners, |owners| owners == &["free"]).await;
    // A reference to what never was.
    let lost = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "never", "uid": "no-such-uid"}]);
    create(&maps, json!({"metadata": {"name": "lost", "ownerReferences": lost}})).await;
    let gone = || async { maps.get_opt("lost").await.unwrap().is_none() };
    world.eventually("the lost one is gone", gone, |gone| *gone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_is_emptied_and_then_gone() {
    let world = World::with_nodes(1).await;
    let namespaces = Api::<Namespace>::all(world.client.clone());
    create(&namespaces, json!({"metadata": {"name": "ns"}})).await;
    let maps = Api::<ConfigMap>::namespaced(world.client.clone(), "ns");
    let daemonsets = Api::<k8s_openapi::api::apps::v1::DaemonSet>::namespaced(world.client.clone(), "ns");
    let pods = Api::<k8s_openapi::api::core::v1::Pod>::namespaced(world.client.clone(), "ns");
    let mut set = daemonset("hello:1");
    set["metadata"]["namespace"] = "ns".into();
    create(&daemonsets, set).await;
    create(&maps, json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}})).await;
    let ready = || async {
        pods.list(&ListParams::default())
            .await
            .unwrap()
            .items
            .iter()
            .filter(|p| objects::pod::is_ready(p))
            .count()
    };
    world.eventually("a pod", ready, |ready| *ready == 1).await;

    namespaces.delete("ns", &DeleteParams::default()).await.unwrap();
    let conditions = || async {
        let live = namespaces.get("ns").await.unwrap();
        let conditions = live.status.and_then(|status| status.conditions).unwrap_or_default();
        let held = conditions.iter().find(|c| c.type_ == "NamespaceFinalizersRemaining");
        held.and_then(|c| c.message.clone()).unwrap_or_default()
    };
    let text =
        "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances";
    world.eventually("the condition", conditions, |said| said == text).await;
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &PatchParams::default(), &patch).await.unwrap();
    let gone = || async { namespaces.get_opt("ns").await.unwrap().is_none() };
    world.eventually("the namespace is gone", gone, |gone| *gone).await;
    assert!(pods.list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_namespace_has_an_account_and_the_authority() {
    let world = World::with_nodes(0).await;
    let namespaces = Api::<Namespace>::all(world.client.clone());
    create(&namespaces, json!({"metadata": {"name": "ns"}})).await;
    let accounts = Api::<ServiceAccount>::namespaced(world.client.clone(), "ns");
    let maps = Api::<ConfigMap>::namespaced(world.client.clone(), "ns");
    let furnished = || async {
        let map = maps.get_opt("kube-root-ca.crt").await.unwrap();
        let published = map.and_then(|map| map.data).and_then(|data| data.get("ca.crt").cloned());
        (accounts.get_opt("default").await.unwrap().is_some(), published)
    };
    let right = |seen: &(bool, Option<String>)| *seen == (true, Some(world.authority.certificate.clone()));
    world.eventually("account and authority", furnished, right).await;
    accounts.delete("default", &DeleteParams::default()).await.unwrap();
    let broken = Patch::Merge(json!({"data": {"ca.crt": "broken"}}));
    maps.patch("kube-root-ca.crt", &PatchParams::default(), &broken).await.unwrap();
    world.eventually("account and authority again", furnished, right).await;
}
