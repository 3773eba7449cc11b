//! What becomes of a plan when the server refuses a part of it, and what is written to whose pods.

use crate::upstream::{settled, still};
use crate::world::{Refusal, World, daemonset, image};
use controllers::Config;
use http::request::Parts;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSetStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A switch that the test and the fault share.
#[derive(Clone)]
struct Switch(Arc<AtomicBool>);

impl Switch {
    fn on() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    fn is_on(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn off(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

fn refusal(code: u16, reason: &str, message: &str) -> Refusal {
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code}),
    )
}

fn is_call(parts: &Parts, method: &str, end: &str) -> bool {
    parts.method.as_str() == method && parts.uri.path().ends_with(end)
}

async fn status(world: &World) -> DaemonSetStatus {
    world.daemonsets().get("d").await.unwrap().status.unwrap_or_default()
}

async fn ready_world(
    nodes: u32,
    refuse: impl Fn(&Parts) -> Option<Refusal> + Send + Sync + 'static,
) -> World {
    let world = World::with_faults(Config::default(), refuse).await;
    world.add_nodes(1, nodes);
    world.eventually("the nodes", || world.ready_nodes(), |ready| *ready == nodes as usize).await;
    world
}

/// A pod of nobody that `d` selects.
async fn orphan(world: &World, name: &str, extra: Value) -> Pod {
    let mut pod = json!({"metadata": {"name": name, "labels": {"app": "d"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}});
    pod["metadata"].as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    world.pods_api().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminating_namespace_is_nobodys_failure_and_blinds_for_no_time() {
    // OW-24, MG-21, BUG-8: no event and no record; the status goes on, and the next look acts at once.
    let full = Switch::on();
    let switch = full.clone();
    let world = ready_world(1, move |parts| {
        let (code, mut body) = refusal(403, "Forbidden", "pods \"d-x\" is forbidden: the namespace is being terminated");
        body["details"] = json!({"causes": [{"reason": "NamespaceTerminating", "message": "x", "field": "metadata.namespace"}]});
        (switch.is_on() && is_call(parts, "POST", "/pods")).then_some((code, body))
    })
    .await;
    world.create(&daemonset("hello:1")).await;
    let counts = |status: &DaemonSetStatus| {
        status.desired_number_scheduled == 1 && status.current_number_scheduled == 0
    };
    world.eventually("the status", || status(&world), counts).await;
    assert_eq!(world.events("default", "d").await, Vec::<String>::new());
    full.off();
    world.patch("d", json!({"metadata": {"labels": {"look": "again"}}})).await;
    world.until_living(&["n1 Ready"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_fails_is_told_and_tried_again() {
    // MG-21, MG-22, MG-23.
    let broken = Switch::on();
    let switch = broken.clone();
    let world = ready_world(1, move |parts| {
        let is_pod = parts.method == http::Method::DELETE && parts.uri.path().contains("/pods/d-");
        (switch.is_on() && is_pod).then(|| refusal(500, "InternalError", "the disk is on fire"))
    })
    .await;
    world.create(&daemonset("hello:1")).await;
    world.until_living(&["n1 Ready"]).await;
    world.patch_node("n1", json!({"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}})).await;
    let told = || async {
        let told = world.events("default", "d").await;
        told.iter()
            .any(|line| line == "daemonset-controller FailedDelete Error deleting: the disk is on fire")
    };
    world.eventually("the event", told, |told| *told).await;
    broken.off();
    world.until_living(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_pods_cannot_be_created_no_other_is_replaced() {
    // MG-1.7, MG-1.10: a third node lacks its pod, so the rollout of the other two does not begin; the status is written.
    let open = Switch::on();
    let (switch, creations) = (open.clone(), Arc::new(AtomicUsize::new(0)));
    let world = ready_world(2, move |parts| {
        let is_third = is_call(parts, "POST", "/pods") && creations.fetch_add(1, Ordering::SeqCst) >= 2;
        (is_third && switch.is_on()).then(|| refusal(403, "Forbidden", "no more"))
    })
    .await;
    world.create(&daemonset("hello:1")).await;
    world.until_living(&["n1 Ready", "n2 Ready"]).await;
    let before: Vec<_> = world.pods().await.into_iter().map(|pod| pod.metadata.uid).collect();
    world.add_nodes(3, 1);
    let wants_three = |status: &DaemonSetStatus| status.desired_number_scheduled == 3;
    world.eventually("the third node", || status(&world), wants_three).await;
    world.patch("d", image("hello:2")).await;
    let observed = |status: &DaemonSetStatus| {
        status.observed_generation == Some(2) && status.updated_number_scheduled.unwrap_or_default() == 0
    };
    world.eventually("the new generation", || status(&world), observed).await;
    let after: Vec<_> = world.pods().await.into_iter().map(|pod| pod.metadata.uid).collect();
    assert_eq!(after, before);
    open.off();
    let rolled = |status: &DaemonSetStatus| {
        status.updated_number_scheduled == Some(3) && status.number_available == Some(3)
    };
    world.eventually("the rollout", || status(&world), rolled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_status_is_written_upon_the_live_object() {
    // ST-14, TE-28 StoreDaemonSetStatus: refused once, looked up once, written.
    let calls: Arc<Mutex<Vec<&str>>> = Arc::default();
    let log = calls.clone();
    let world = World::with_faults(Config::default(), move |parts| {
        let mut log = log.lock().unwrap();
        if is_call(parts, "PUT", "/daemonsets/d/status") {
            log.push("PUT");
            let is_first = log.iter().filter(|call| **call == "PUT").count() == 1;
            return is_first.then(|| refusal(409, "Conflict", "changed meanwhile"));
        }
        if is_call(parts, "GET", "/daemonsets/d") {
            log.push("GET");
        }
        None
    })
    .await;
    world.create(&daemonset("hello:1")).await;
    let observed = |status: &DaemonSetStatus| status.observed_generation == Some(1);
    world.eventually("the status", || status(&world), observed).await;
    // The first: whether it lives, before its revision is made.
    assert_eq!(*calls.lock().unwrap(), ["GET", "PUT", "GET", "PUT"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_let_go_keeps_its_other_owners_and_is_replaced() {
    // OW-6, OW-3, NP-22.
    let world = still(&["n1"]).await;
    let uid = world.create(&daemonset("hello:1")).await.metadata.uid.unwrap();
    let one = |pods: &Vec<Pod>| pods.len() == 1;
    let name = world.eventually("a pod", || world.pods(), one).await.remove(0).metadata.name.unwrap();
    let node_uid = world.nodes().get("n1").await.unwrap().metadata.uid;
    let owners = json!([{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": node_uid}]);
    let patch = json!({"metadata": {"ownerReferences": owners, "labels": {"app": "free"}}});
    world.pods_api().patch(&name, &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    let let_go = |pods: &Vec<Pod>| {
        let of = |pod: &Pod| {
            let owners = pod.metadata.owner_references.iter().flatten().map(|owner| owner.kind.clone());
            (pod.metadata.name.as_deref() == Some(&name), owners.collect::<Vec<_>>())
        };
        let mut found: Vec<_> = pods.iter().map(of).collect();
        found.sort();
        found == [(false, vec!["DaemonSet".to_string()]), (true, vec!["Node".to_string()])]
    };
    let pods = world.eventually("let go and replaced", || world.pods(), let_go).await;
    assert!(pods.iter().any(|pod| objects::owner::is_controlled_by(&pod.metadata, &uid)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_adopted_for_a_set_that_the_server_knows_to_end() {
    // OW-7, OW-8, TE-24 DontDoAnythingIfBeingDeletedRace: the cache is late, the live set ends.
    let late = Switch::on();
    let switch = late.clone();
    let world = World::with_faults(Config::default(), move |parts| {
        let ending = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "d",
            "namespace": "default", "uid": "another", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        (switch.is_on() && is_call(parts, "GET", "/daemonsets/d")).then_some((200, ending))
    })
    .await;
    orphan(&world, "o", json!({})).await;
    crate::nodes::register(&world, "n2").await;
    crate::nodes::report(&world, "n2", "True").await;
    let uid = world.create(&daemonset("hello:1")).await.metadata.uid.unwrap();
    let of = |pods: Vec<Pod>, uid: &str| {
        pods.into_iter().filter(|p| objects::owner::is_controlled_by(&p.metadata, uid)).count()
    };
    settled(&world, 1).await;
    assert_eq!(of(world.pods().await, &uid), 0, "nothing adopted, nothing created");
    assert_eq!(status(&world).await.observed_generation, None, "OW-8: no status either");
    late.off();
    let adopted = |count: &usize| *count >= 1;
    world.eventually("adoption", || async { of(world.pods().await, &uid) }, adopted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orphan_that_cannot_be_adopted_holds_everything_up() {
    // OW-8.
    let broken = Switch::on();
    let switch = broken.clone();
    let world = ready_world(2, move |parts| {
        let adopts = is_call(parts, "PATCH", "/pods/o");
        (switch.is_on() && adopts).then(|| refusal(500, "InternalError", "not this one"))
    })
    .await;
    orphan(&world, "o", json!({})).await;
    world.create(&daemonset("hello:1")).await;
    settled(&world, 2).await;
    let free = world.pods().await.iter().filter(|pod| pod.metadata.owner_references.is_none()).count();
    assert_eq!((world.pods().await.len(), free), (3, 1), "two of the other set, and the orphan");
    assert_eq!(status(&world).await.observed_generation, None);
    broken.off();
    let full = |status: &DaemonSetStatus| status.number_available == Some(2);
    world.eventually("everything", || status(&world), full).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revisions_of_another_namespace_are_left_alone() {
    // TE-41, RV-9: of two that nobody owns and the selector matches, only the one beside the set is adopted.
    let world = still(&["n1"]).await;
    for namespace in ["default", "kube-public"] {
        let api = kube::Api::<ControllerRevision>::namespaced(world.client.clone(), namespace);
        let revision = json!({"metadata": {"name": "r", "labels": {"app": "d", "controller-revision-hash": "r"}},
            "revision": 7, "data": {"spec": {"template": {"$patch": "replace"}}}});
        api.create(&PostParams::default(), &serde_json::from_value(revision).unwrap()).await.unwrap();
    }
    world.create(&daemonset("hello:1")).await;
    let owned = |namespace: &str| {
        let api = kube::Api::<ControllerRevision>::namespaced(world.client.clone(), namespace);
        async move { api.get("r").await.unwrap().metadata.owner_references.is_some() }
    };
    world.eventually("the one beside it", || owned("default"), |owned| *owned).await;
    let next =
        || async { world.revisions().await.iter().map(|revision| revision.revision).collect::<Vec<_>>() };
    world.eventually("the number after it", next, |numbers| *numbers == [7, 8]).await;
    assert!(!owned("kube-public").await);
}
