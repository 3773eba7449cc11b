//! Upstream's own tests of DaemonSets (TE-1…TE-22), told again for these loops. Nodes without an agent never run what is
//! bound to them, so that the test says what becomes of a pod.

use crate::nodes::{register, report};
use crate::world::{Refusal, World, daemonset, image};
use controllers::Config;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A world whose nodes are these, ready, and without agents.
pub async fn still(names: &[&str]) -> World {
    let world = World::with_config(Config::default()).await;
    for name in names {
        register(&world, name).await;
        report(&world, name, "True").await;
    }
    world.eventually("the nodes", || world.ready_nodes(), |ready| *ready == names.len()).await;
    world
}

/// Nodes of the living pods, bound or pinned, sorted.
async fn places(world: &World) -> Vec<String> {
    let pods = world.pods().await.into_iter().filter(|pod| !objects::pod::is_terminating(pod));
    let mut places: Vec<String> = pods
        .map(|pod| {
            let spec = pod.spec.unwrap_or_default();
            objects::node_affinity::target_node(&spec).unwrap_or_default().to_string()
        })
        .collect();
    places.sort();
    places
}

async fn until_places(world: &World, expected: &[&str]) {
    world.eventually(&format!("pods on {expected:?}"), || places(world), |places| places == expected).await;
}

async fn label(world: &World, node: &str, color: Value) {
    world.patch_node(node, json!({"metadata": {"labels": {"color": color}}})).await;
}

fn with_spec(pod: Value) -> Value {
    let mut set = daemonset("hello:1");
    set["spec"]["template"]["spec"].as_object_mut().unwrap().extend(pod.as_object().unwrap().clone());
    set
}

/// The world once the loops have looked at everything that is there: a later set has its pods.
pub async fn settled(world: &World, pods: usize) {
    let mut later = daemonset("hello:1");
    later["metadata"]["name"] = "later".into();
    later["spec"]["selector"]["matchLabels"]["app"] = "later".into();
    later["spec"]["template"]["metadata"]["labels"]["app"] = "later".into();
    later["spec"]["template"]["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    world.create(&later).await;
    let of_later = || async {
        let is_its = |pod: &Pod| pod.metadata.labels.iter().flatten().any(|(_, value)| value == "later");
        world.pods().await.iter().filter(|pod| is_its(pod)).count()
    };
    world.eventually("pods of the later set", of_later, |count| *count == pods).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selector_launches_where_a_label_comes_and_ends_where_it_goes() {
    // TE-2, NP-8.
    let world = World::with_nodes(2).await;
    world.create(&with_spec(json!({"nodeSelector": {"color": "blue"}}))).await;
    settled(&world, 2).await;
    world.delete("later", &DeleteParams::default()).await;
    until_places(&world, &[]).await;
    label(&world, "n1", "blue".into()).await;
    world.until_living(&["n1 Ready"]).await;
    label(&world, "n1", "green".into()).await;
    world.until_living(&[]).await;
    let change = json!({"spec": {"updateStrategy": {"type": "RollingUpdate"},
        "template": {"spec": {"nodeSelector": {"color": "green"}}}}});
    world.patch("d", change).await;
    world.until_living(&["n1 Ready"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_affinity_launches_where_a_label_comes_and_ends_where_it_goes() {
    // TE-3.
    let world = World::with_nodes(2).await;
    let terms = json!([{"matchExpressions": [{"key": "color", "operator": "In", "values": ["blue"]}]}]);
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
    world.create(&with_spec(json!({"affinity": {"nodeAffinity": required}}))).await;
    label(&world, "n2", "blue".into()).await;
    world.until_living(&["n2 Ready"]).await;
    label(&world, "n2", Value::Null).await;
    world.until_living(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_has_ended_is_replaced_even_if_something_holds_it() {
    // TE-4, TE-14, NP-18.
    for (phase, held) in [("Failed", false), ("Succeeded", false), ("Succeeded", true)] {
        let world = still(&["n1"]).await;
        let mut set = daemonset("hello:1");
        if held {
            set["spec"]["template"]["metadata"]["finalizers"] = json!(["example.com/hold"]);
        }
        world.create(&set).await;
        let bound = |pods: &Vec<Pod>| pods.iter().all(|pod| objects::pod::node_name(pod).is_some());
        let one = |pods: &Vec<Pod>| pods.len() == 1 && bound(pods);
        let first = world.eventually("a pod", || world.pods(), one).await.remove(0);
        let (name, uid) = (first.metadata.name.unwrap(), first.metadata.uid);
        let patch = Patch::Strategic(json!({"status": {"phase": phase}}));
        world.pods_api().patch_status(&name, &PatchParams::default(), &patch).await.unwrap();
        let replaced = |pods: &Vec<Pod>| {
            let (old, new): (Vec<&Pod>, Vec<&Pod>) = pods.iter().partition(|pod| pod.metadata.uid == uid);
            new.len() == 1 && old.iter().all(|pod| held && objects::pod::is_terminating(pod))
        };
        world.eventually(&format!("the one after {phase}"), || world.pods(), replaced).await;
        let told = world.events("default", "d").await;
        let expected = match phase {
            "Failed" => format!(
                "FailedDaemonPod Found failed daemon pod default/{name} on node n1, will try to kill it"
            ),
            _ => format!(
                "SucceededDaemonPod Found succeeded daemon pod default/{name} on node n1, will try to delete it"
            ),
        };
        assert!(told.iter().any(|line| line.ends_with(&expected)), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_delete_makes_a_revision_and_leaves_the_pods() {
    // TE-5.
    let world = World::with_nodes(2).await;
    let mut set = daemonset("hello:1");
    set["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    world.create(&set).await;
    world.until_living(&["n1 Ready", "n2 Ready"]).await;
    let before: Vec<_> =
        world.pods().await.into_iter().map(|pod| (pod.metadata.uid, pod.metadata.labels)).collect();
    world.patch("d", image("hello:2")).await;
    let revisions = || async { world.revisions().await.iter().map(|r| r.revision).collect::<Vec<_>>() };
    world.eventually("a second revision", revisions, |numbers| *numbers == [1, 2]).await;
    settled(&world, 2).await;
    let after: Vec<_> =
        world.pods().await.into_iter().map(|pod| (pod.metadata.uid, pod.metadata.labels)).collect();
    assert!(before.iter().all(|pod| after.contains(pod)), "{before:?} {after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tainted_node_gets_its_pod_when_the_taint_goes() {
    // TE-20, NP-9.
    let world = World::with_nodes(1).await;
    let taint = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
    world.patch_node("n1", taint.clone()).await;
    world.create(&daemonset("hello:1")).await;
    settled(&world, 1).await;
    world.delete("later", &DeleteParams::default()).await;
    world.until_living(&[]).await;
    world.patch_node("n1", json!({"spec": {"taints": null}})).await;
    world.until_living(&["n1 Ready"]).await;
    let counts = || async {
        let status = world.daemonsets().get("d").await.unwrap().status.unwrap_or_default();
        (status.desired_number_scheduled, status.number_misscheduled)
    };
    world.eventually("it counts", counts, |counts| *counts == (1, 0)).await;
    let uid = world.pods().await[0].metadata.uid.clone();
    world.patch_node("n1", taint).await;
    world.eventually("it counts elsewhere", counts, |counts| *counts == (0, 1)).await;
    world.patch_node("n1", json!({"spec": {"taints": null}})).await;
    world.eventually("it counts again", counts, |counts| *counts == (1, 0)).await;
    assert_eq!(world.pods().await[0].metadata.uid, uid, "NP-9: the same pod");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_network_daemon_comes_where_nothing_else_may() {
    // TE-21, NP-2: unschedulable, and without a network.
    let world = still(&["n1", "n2"]).await;
    world.patch_node("n1", json!({"spec": {"unschedulable": true}})).await;
    let condition = json!([{"type": "NetworkUnavailable", "status": "True"}]);
    let patch = Patch::Strategic(json!({"status": {"conditions": condition}}));
    world.nodes().patch_status("n2", &PatchParams::default(), &patch).await.unwrap();
    world.eventually("the taints", || world.ready_nodes(), |ready| *ready == 0).await;
    world.create(&daemonset("hello:1")).await;
    until_places(&world, &["n1"]).await;
    world.delete("d", &DeleteParams::default()).await;
    until_places(&world, &[]).await;
    world.create(&with_spec(json!({"hostNetwork": true}))).await;
    until_places(&world, &["n1", "n2"]).await;
}

fn refusal(message: &str) -> Refusal {
    (
        403,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": "Forbidden", "code": 403}),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_counts_what_could_be_created() {
    // TE-22, TE-25: the third creation and all later ones are refused.
    let created = Arc::new(AtomicUsize::new(0));
    let world = World::with_faults(Config::default(), move |parts| {
        let creates = parts.method == http::Method::POST && parts.uri.path().ends_with("/pods");
        (creates && created.fetch_add(1, Ordering::SeqCst) >= 2).then(|| refusal("no more"))
    })
    .await;
    world.add_nodes(1, 5);
    world.eventually("five nodes", || world.ready_nodes(), |ready| *ready == 5).await;
    world.create(&daemonset("hello:1")).await;
    let counts = || async {
        let status = world.daemonsets().get("d").await.unwrap().status.unwrap_or_default();
        (status.desired_number_scheduled, status.current_number_scheduled)
    };
    world.eventually("two of five", counts, |counts| *counts == (5, 2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_done_before_all_that_is_read_is_known() {
    // WE-20, MG-1.2: while nodes cannot be listed, a set does not pass for one that no node wants.
    let blocked = Arc::new(AtomicBool::new(true));
    let refuses = blocked.clone();
    let world = World::with_faults(Config::default(), move |parts| {
        let is_nodes = parts.method == http::Method::GET && parts.uri.path() == "/api/v1/nodes";
        (is_nodes && refuses.load(Ordering::SeqCst)).then(|| refusal("not now"))
    })
    .await;
    register(&world, "n1").await;
    world.create(&daemonset("hello:1")).await;
    // Loops that do not need nodes work.
    let accounts = kube::Api::<k8s_openapi::api::core::v1::ServiceAccount>::namespaced(
        world.client.clone(),
        "kube-public",
    );
    let account = || async { accounts.get_opt("default").await.unwrap().is_some() };
    world.eventually("an account", account, |is_there| *is_there).await;
    let observed = || async {
        let status = world.daemonsets().get("d").await.unwrap().status.unwrap_or_default();
        (status.observed_generation, status.desired_number_scheduled)
    };
    assert_eq!((observed().await, world.revisions().await.len()), ((None, 0), 0));
    blocked.store(false, Ordering::SeqCst);
    report(&world, "n1", "True").await;
    world.eventually("the work begins", observed, |observed| *observed == (Some(1), 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_made_anew_under_its_name_begins_anew() {
    // WE-1, WE-2, WE-3, MG-1.1, OW-23, MG-28, TE-23 ExpectationsOnRecreate: the pods of the first set are not its own.
    let world = World::with_nodes(2).await;
    world.create(&daemonset("hello:1")).await;
    world.until_living(&["n1 Ready", "n2 Ready"]).await;
    let before: Vec<Option<String>> = world.pods().await.into_iter().map(|pod| pod.metadata.uid).collect();
    world.delete("d", &DeleteParams::background()).await;
    let uid = world.create(&daemonset("hello:1")).await.metadata.uid.unwrap();
    let renewed = |pods: &Vec<Pod>| {
        let is_ours = |pod: &Pod| {
            objects::owner::is_controlled_by(&pod.metadata, &uid) && !before.contains(&pod.metadata.uid)
        };
        pods.len() == 2 && pods.iter().all(|pod| is_ours(pod) && objects::pod::is_ready(pod))
    };
    world.eventually("pods of the second set only", || world.pods(), renewed).await;
}
