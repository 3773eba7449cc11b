//! DaemonSets from apply to deletion.

use crate::world::{World, daemonset, image};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams};
use kube::runtime::watcher;
use objects::pod::{hash_label, is_ready, is_terminating};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const THREE: [&str; 3] = ["n1 Ready", "n2 Ready", "n3 Ready"];

fn uids(pods: &[Pod]) -> BTreeSet<String> {
    pods.iter().filter_map(|pod| pod.metadata.uid.clone()).collect()
}

fn hashes(pods: &[Pod]) -> BTreeSet<String> {
    pods.iter().filter_map(|pod| hash_label(pod).map(str::to_string)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_gets_a_pod_and_the_status_says_so() {
    // TE-1, TE-13, WE-1, MG-23, TE-28 NumberReadyStatus and ObservedGeneration.
    let world = World::with_nodes(3).await;
    world.create(&daemonset("hello:1")).await;
    world.until_living(&THREE).await;
    let status = |daemonset: &k8s_openapi::api::apps::v1::DaemonSet| {
        let status = daemonset.status.clone().unwrap_or_default();
        let counted = [status.desired_number_scheduled, status.current_number_scheduled, status.number_ready];
        let optional =
            [status.updated_number_scheduled, status.number_available].map(Option::unwrap_or_default);
        (counted, optional, status.observed_generation)
    };
    let daemonsets = world.daemonsets();
    let get = || async { status(&daemonsets.get("d").await.unwrap()) };
    world.eventually("status", get, |seen| *seen == ([3; 3], [3; 2], Some(1))).await;

    let pods = world.pods().await;
    let told = world.events("default", "d").await;
    let mut expected: Vec<String> = pods
        .iter()
        .map(|pod| {
            format!(
                "daemonset-controller SuccessfulCreate Created pod: {}",
                pod.metadata.name.as_deref().unwrap()
            )
        })
        .collect();
    expected.sort();
    assert_eq!(told, expected);
    let (name, node) = (pods[0].metadata.name.clone().unwrap(), objects::pod::node_name(&pods[0]).unwrap());
    let told = world
        .eventually("the bound pod's event", || world.events("default", &name), |told| !told.is_empty())
        .await;
    assert!(
        told.contains(&format!("default-scheduler Scheduled Successfully assigned default/{name} to {node}")),
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_image_goes_one_node_after_the_other_and_back_again() {
    // TE-6.
    let world = World::with_nodes(3).await;
    world.create(&daemonset("hello:1")).await;
    world.until_living(&THREE).await;
    let first = hashes(&world.pods().await);
    assert_eq!(first.len(), 1);

    // RU-8 with maxUnavailable 1: never are two nodes without a ready daemon.
    let mut ready: BTreeMap<String, bool> =
        world.pods().await.iter().map(|pod| (pod.metadata.name.clone().unwrap(), true)).collect();
    let mut events = Box::pin(watcher(world.pods_api(), watcher::Config::default()));
    world.patch("d", image("hello:2")).await;
    let mut fewest = 3;
    let rollout = async {
        while let Some(event) = events.next().await {
            let (pod, gone) = match event.unwrap() {
                watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => (pod, false),
                watcher::Event::Delete(pod) => (pod, true),
                watcher::Event::Init | watcher::Event::InitDone => continue,
            };
            let is_serving = !gone && is_ready(&pod) && !is_terminating(&pod);
            ready.insert(pod.metadata.name.clone().unwrap(), is_serving);
            fewest = fewest.min(ready.values().filter(|serving| **serving).count());
            let is_new = hash_label(&pod).is_some_and(|hash| !first.contains(hash));
            ready.retain(|_, serving| *serving);
            let living = world.pods().await;
            if is_new
                && living.len() == 3
                && living.iter().all(|p| is_ready(p) && !first.contains(hash_label(p).unwrap_or("")))
            {
                return;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), rollout).await.expect("the rollout ends");
    assert!(fewest >= 2, "{fewest} ready at the worst moment");
    let numbers = |revisions: Vec<ControllerRevision>| {
        revisions.iter().map(|revision| revision.revision).collect::<Vec<_>>()
    };
    assert_eq!(numbers(world.revisions().await), [1, 2]);

    // RV-16, RV-11: back to the first template is back to its hash.
    world.patch("d", image("hello:1")).await;
    let back = |pods: &Vec<Pod>| pods.len() == 3 && hashes(pods) == first && pods.iter().all(is_ready);
    world.eventually("the first template again", || world.pods(), back).await;
    assert_eq!(numbers(world.revisions().await), [2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_image_stops_at_the_first_node_and_undo_cures_it() {
    let world = World::with_nodes(3).await;
    world.create(&daemonset("hello:1")).await;
    world.until_living(&THREE).await;
    let before = uids(&world.pods().await);
    world.patch("d", image("hello:broken")).await;
    let one_is_replaced = |pods: &Vec<Pod>| {
        let kept = uids(pods).intersection(&before).count();
        let unready = pods
            .iter()
            .any(|pod| !before.contains(pod.metadata.uid.as_deref().unwrap_or("")) && !is_ready(pod));
        kept == 2 && unready && pods.len() == 3
    };
    let stuck = world.eventually("one node with a broken pod", || world.pods(), one_is_replaced).await;
    let stuck_kept: BTreeSet<String> = uids(&stuck).intersection(&before).cloned().collect();
    world.patch("d", image("hello:1")).await;
    world.until_living(&THREE).await;
    // RU-20, TE-7: those that never changed are the same pods.
    assert!(uids(&world.pods().await).is_superset(&stuck_kept));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_pod_comes_again() {
    // TE-1: one a node, and it is revived.
    let world = World::with_nodes(2).await;
    world.create(&daemonset("hello:1")).await;
    world.until_living(&["n1 Ready", "n2 Ready"]).await;
    let before = world.pods().await;
    let victim = before[0].metadata.name.clone().unwrap();
    world.pods_api().delete(&victim, &DeleteParams::default()).await.unwrap();
    let other = |pods: &Vec<Pod>| {
        pods.len() == 2
            && pods.iter().all(|pod| is_ready(pod) && pod.metadata.name.as_deref() != Some(&victim))
    };
    world.eventually("a new pod", || world.pods(), other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_live_on_and_are_adopted() {
    // OW-20, OW-21.
    let world = World::with_nodes(3).await;
    world.create(&daemonset("hello:1")).await;
    world.until_living(&THREE).await;
    let before = world.pods().await;
    world.delete("d", &DeleteParams::orphan()).await;
    let daemonsets = world.daemonsets();
    let gone = || async { daemonsets.get_opt("d").await.unwrap().is_none() };
    world.eventually("the DaemonSet is gone", gone, |gone| *gone).await;
    let orphans = world.pods().await;
    assert_eq!(uids(&orphans), uids(&before));
    assert!(orphans.iter().all(|pod| pod.metadata.owner_references.iter().flatten().count() == 0));

    let again = world.create(&daemonset("hello:1")).await;
    let uid = again.metadata.uid.unwrap();
    let adopted =
        |pods: &Vec<Pod>| pods.iter().all(|pod| objects::owner::is_controlled_by(&pod.metadata, &uid));
    world.eventually("adoption", || world.pods(), adopted).await;
    let ready = || async { daemonsets.get("d").await.unwrap().status.unwrap_or_default() };
    let done = |status: &k8s_openapi::api::apps::v1::DaemonSetStatus| {
        status.number_available == Some(3) && status.updated_number_scheduled == Some(3)
    };
    world.eventually("the status of the adopter", ready, done).await;
    assert_eq!(uids(&world.pods().await), uids(&before), "none was restarted");
    assert_eq!(world.revisions().await.len(), 1, "the revision was adopted too");
    // TK-11: neither the pods' metadata nor the template is written to.
    let kept = |pods: &[Pod]| -> Vec<_> {
        let metas = pods.iter().map(|pod| pod.metadata.clone());
        metas.map(|meta| (meta.uid, meta.labels, meta.annotations, meta.finalizers)).collect()
    };
    assert_eq!(kept(&world.pods().await), kept(&before));
    assert_eq!(daemonsets.get("d").await.unwrap().metadata.generation, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_and_taints_of_nodes_decide_at_once() {
    let world = World::with_nodes(3).await;
    world.create(&daemonset("hello:1")).await;
    world.until_living(&THREE).await;
    // EL-5, EL-6: NoSchedule keeps what is there, NoExecute ends it.
    let taint = |effect: &str| json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": effect}]}});
    world.patch_node("n1", taint("NoSchedule")).await;
    world.patch_node("n2", taint("NoExecute")).await;
    world.until_living(&["n1 Ready", "n3 Ready"]).await;
    let tolerant =
        json!({"spec": {"template": {"spec": {"tolerations": [{"key": "k", "operator": "Exists"}]}}}});
    world.patch("d", tolerant).await;
    world.until_living(&THREE).await;
    // NP-8.
    world.patch_node("n3", json!({"metadata": {"labels": {"disk": "ssd"}}})).await;
    world.patch("d", json!({"spec": {"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}}})).await;
    world.until_living(&["n3 Ready"]).await;
    world.patch_node("n1", json!({"metadata": {"labels": {"disk": "ssd"}}})).await;
    world.until_living(&["n1 Ready", "n3 Ready"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_follows_a_taint_and_a_pinned_pod_leaves_with_its_node() {
    let world = World::with_nodes(2).await;
    world.create(&daemonset("hello:1")).await;
    world.until_living(&["n1 Ready", "n2 Ready"]).await;
    // BUG-11, WE-16: neither a running pod's node that wants no new one, nor the node of a pod that never got there,
    // makes any pod event.
    let taint = |effect: &str| json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": effect}]}});
    world.patch_node("n1", taint("NoSchedule")).await;
    let daemonsets = world.daemonsets();
    let counts = || async {
        let status = daemonsets.get("d").await.unwrap().status.unwrap_or_default();
        [status.desired_number_scheduled, status.number_misscheduled]
    };
    world.eventually("the status of a tainted node", counts, |counts| *counts == [1, 1]).await;

    let mut big = daemonset("hello:1");
    big["metadata"]["name"] = "big".into();
    let labels = json!({"app": "big"});
    big["spec"]["selector"]["matchLabels"] = labels.clone();
    big["spec"]["template"]["metadata"]["labels"] = labels;
    big["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "999"}});
    world.create(&big).await;
    let pending = "- Pending".to_string();
    let waits = |living: &Vec<String>| living.contains(&pending);
    world.eventually("a pod that fits nowhere", || world.living(), waits).await;
    world.patch_node("n2", taint("NoExecute")).await;
    world.until_living(&["n1 Ready"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_revision_of_one_meaning_is_merged_at_once() {
    // BUG-10, RV-12, RV-13: nothing but the creation of the revision tells of it.
    let world = World::with_nodes(1).await;
    world.create(&daemonset("hello:1")).await;
    world.until_living(&["n1 Ready"]).await;
    let before = world.pods().await;
    let mut twin = world.revisions().await.remove(0);
    twin.metadata = kube::api::ObjectMeta {
        name: Some("d-twin".to_string()),
        labels: Some(
            [("app", "d"), ("controller-revision-hash", "twin")].map(|(k, v)| (k.into(), v.into())).into(),
        ),
        owner_references: twin.metadata.owner_references,
        ..kube::api::ObjectMeta::default()
    };
    twin.revision = 5;
    let revisions = Api::<ControllerRevision>::namespaced(world.client.clone(), "default");
    revisions.create(&PostParams::default(), &twin).await.unwrap();
    let names = || async {
        let all = world.revisions().await;
        all.into_iter()
            .map(|revision| (revision.metadata.name.unwrap(), revision.revision))
            .collect::<Vec<_>>()
    };
    world.eventually("one revision", names, |names| *names == [("d-twin".to_string(), 5)]).await;
    let relabelled = |pods: &Vec<Pod>| hashes(pods) == BTreeSet::from(["twin".to_string()]);
    let after = world.eventually("the pod's new hash", || world.pods(), relabelled).await;
    assert_eq!(uids(&after), uids(&before), "none was restarted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_come_and_go() {
    // TE-12 with the first node.
    let config =
        controllers::Config { pod_quarantine: std::time::Duration::from_secs(1), ..Default::default() };
    let world = World::with_config(config).await;
    world.create(&daemonset("hello:1")).await;
    let first = world.add_nodes(1, 1);
    world.until_living(&["n1 Ready"]).await;
    world.add_nodes(2, 1);
    world.until_living(&["n1 Ready", "n2 Ready"]).await;
    first.end();
    world.nodes().delete("n1", &DeleteParams::default()).await.unwrap();
    // NP-12: pod GC, not the DaemonSet, removes it; the status follows at once (BUG-4).
    world.until_living(&["n2 Ready"]).await;
    let daemonsets = world.daemonsets();
    let desired =
        || async { daemonsets.get("d").await.unwrap().status.unwrap_or_default().desired_number_scheduled };
    world.eventually("desired", desired, |desired| *desired == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_fits_nowhere_says_why() {
    let world = World::with_nodes(1).await;
    let mut big = daemonset("hello:1");
    big["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "999"}});
    world.create(&big).await;
    let reasons = || async {
        let pods = world.pods().await;
        let condition = pods.first().and_then(|pod| objects::pod::condition(pod, "PodScheduled"));
        condition.map(|c| (c.status.clone(), c.reason.clone(), c.message.clone().unwrap_or_default()))
    };
    let said =
        world.eventually("PodScheduled", reasons, |said| said.as_ref().is_some_and(|s| s.0 == "False")).await;
    let (_, reason, message) = said.unwrap();
    assert_eq!(reason.as_deref(), Some("Unschedulable"));
    assert!(message.starts_with("0/1 nodes are available: 1 Insufficient cpu."), "{message}");
    let name = world.pods().await[0].metadata.name.clone().unwrap();
    let told =
        world.eventually("the event", || world.events("default", &name), |told| !told.is_empty()).await;
    assert_eq!(told, [format!("default-scheduler FailedScheduling {message}")]);
}
