//! Who makes room for whom, as a user sees it.

use crate::world::{World, daemonset};
use controllers::Config;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use objects::pod;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Simulated nodes have 32 CPUs.
const CPU_OF_A_QUARTER: &str = "8";
const KEPT: &str = "example.com/kept";

fn filler(name: &str, priority: Value) -> Pod {
    let resources = json!({"requests": {"cpu": CPU_OF_A_QUARTER}});
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default", "finalizers": [KEPT]},
        "spec": {
            "priorityClassName": priority,
            "containers": [{"name": "c", "image": "hello:1", "resources": resources}]
        }
    }))
    .unwrap()
}

async fn create(world: &World, pod: &Pod) {
    world.pods_api().create(&PostParams::default(), pod).await.unwrap();
}

async fn daemon(world: &World) -> Option<Pod> {
    world.pods().await.into_iter().find(|pod| pod::label(pod, "app") == Some("d"))
}

fn promised(pod: &Pod) -> Option<String> {
    pod.status.as_ref()?.nominated_node_name.clone()
}

/// Names of the pods that are being deleted.
async fn leaving(world: &World) -> Vec<String> {
    let pods = world.pods().await.into_iter().filter(pod::is_terminating);
    pods.filter_map(|pod| pod.metadata.name).collect()
}

async fn class(world: &World, name: &str, value: i32) {
    let class = json!({"metadata": {"name": name}, "value": value});
    let classes = kube::Api::<k8s_openapi::api::scheduling::v1::PriorityClass>::all(world.client.clone());
    classes.create(&PostParams::default(), &serde_json::from_value(class).unwrap()).await.unwrap();
}

/// A critical daemon that needs a quarter of a node.
fn critical() -> Value {
    let mut critical = daemonset("hello:1");
    let template = &mut critical["spec"]["template"]["spec"];
    template["priorityClassName"] = "system-node-critical".into();
    template["containers"][0]["resources"] = json!({"requests": {"cpu": CPU_OF_A_QUARTER}});
    critical
}

/// One node whose four pods fill it; `low` is the least important of them.
async fn fill(world: &World) {
    class(world, "batch", -5).await;
    for name in ["a", "b", "c"] {
        create(world, &filler(name, Value::Null)).await;
    }
    create(world, &filler("low", "batch".into())).await;
    world.until_living(&["n1 Ready"; 4]).await;
}

async fn let_go(world: &World, name: &str) {
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    world.pods_api().patch(name, &PatchParams::default(), &free).await.unwrap();
}

async fn until_promised(world: &World) -> Pod {
    let is_promised = |pod: &Option<Pod>| pod.as_ref().and_then(promised).as_deref() == Some("n1");
    world.eventually("the promise", || daemon(world), is_promised).await.unwrap()
}

async fn until_it_runs(world: &World) {
    let runs = |pod: &Option<Pod>| pod.as_ref().is_some_and(pod::is_ready);
    world.eventually("the daemon", || daemon(world), runs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_critical_daemon_evicts_one_waits_for_it_and_runs() {
    let world = World::with_nodes(1).await;
    fill(&world).await;
    world.create(&critical()).await;

    // NP-19: the least important has to go, marked; nobody else.
    world.eventually("a victim", || leaving(&world), |names| *names == ["low"]).await;
    let victim = world.pods_api().get("low").await.unwrap();
    let marked = pod::condition(&victim, "DisruptionTarget").unwrap();
    assert_eq!((marked.status.as_str(), marked.reason.as_deref()), ("True", Some("PreemptionByScheduler")));
    assert_eq!(
        marked.message.as_deref(),
        Some("default-scheduler: preempting to accommodate a higher priority pod")
    );
    let waits = until_promised(&world).await;
    assert_eq!(waits.spec.as_ref().unwrap().priority, Some(2_000_001_000));
    let told = world.eventually("the event", || world.events("default", "low"), |told| told.len() >= 2).await;
    let expected = format!(
        "default-scheduler Preempted Preempted by pod {} on node n1",
        waits.metadata.uid.as_deref().unwrap()
    );
    assert!(told.contains(&expected), "{told:?}");

    // Nobody takes the room meanwhile, and it goes to the one that it was made for.
    create(&world, &filler("passer-by", Value::Null)).await;
    let_go(&world, "low").await;
    until_it_runs(&world).await;
    world.until_living(&["- Pending", "n1 Ready", "n1 Ready", "n1 Ready", "n1 Ready"]).await;
    assert_eq!(leaving(&world).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_scheduler_keeps_the_promise_and_evicts_nobody_else() {
    let mut world = World::with_nodes(1).await;
    fill(&world).await;
    world.create(&critical()).await;
    until_promised(&world).await;
    world.eventually("a victim", || leaving(&world), |names| *names == ["low"]).await;
    world.restart_loops();
    // The new one has seen the waiting pod when it has decided on a later one.
    create(&world, &filler("passer-by", Value::Null)).await;
    let told = || world.events("default", "passer-by");
    world.eventually("a decision", told, |told| !told.is_empty()).await;
    assert_eq!(leaving(&world).await, ["low"]);
    let_go(&world, "low").await;
    until_it_runs(&world).await;
    assert_eq!(leaving(&world).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_eviction_that_fails_is_tried_again() {
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = refused.clone();
    let world = World::with_faults(Config::default(), move |parts| {
        let evicts = parts.method == http::Method::DELETE && parts.uri.path().ends_with("/pods/low");
        let refuses = evicts && counted.fetch_add(1, Ordering::SeqCst) < 2;
        refuses.then(|| {
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "try again", "reason": "InternalError", "code": 500});
            (500, status)
        })
    })
    .await;
    world.add_nodes(1, 1);
    world.eventually("a node", || world.ready_nodes(), |ready| *ready == 1).await;
    fill(&world).await;
    world.create(&critical()).await;
    world.eventually("a victim", || leaving(&world), |names| *names == ["low"]).await;
    assert_eq!(refused.load(Ordering::SeqCst), 3, "twice in vain");
    let_go(&world, "low").await;
    until_it_runs(&world).await;
}
