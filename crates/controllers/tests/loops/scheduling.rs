//! Who makes room for whom, as a user sees it.

use crate::world::{World, daemonset};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use objects::pod;
use serde_json::{Value, json};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_critical_daemon_evicts_one_waits_for_it_and_runs() {
    let world = World::with_nodes(1).await;
    let class = json!({"metadata": {"name": "batch"}, "value": -5});
    let classes = kube::Api::<k8s_openapi::api::scheduling::v1::PriorityClass>::all(world.client.clone());
    classes.create(&PostParams::default(), &serde_json::from_value(class).unwrap()).await.unwrap();
    for name in ["a", "b", "c"] {
        create(&world, &filler(name, Value::Null)).await;
    }
    create(&world, &filler("low", "batch".into())).await;
    world.until_living(&["n1 Ready"; 4]).await;

    let mut critical = daemonset("hello:1");
    let template = &mut critical["spec"]["template"]["spec"];
    template["priorityClassName"] = "system-node-critical".into();
    template["containers"][0]["resources"] = json!({"requests": {"cpu": CPU_OF_A_QUARTER}});
    world.create(&critical).await;

    // NP-19: the least important has to go, marked; nobody else.
    world.eventually("a victim", || leaving(&world), |names| *names == ["low"]).await;
    let victim = world.pods_api().get("low").await.unwrap();
    let marked = pod::condition(&victim, "DisruptionTarget").unwrap();
    assert_eq!((marked.status.as_str(), marked.reason.as_deref()), ("True", Some("PreemptionByScheduler")));
    assert_eq!(
        marked.message.as_deref(),
        Some("default-scheduler: preempting to accommodate a higher priority pod")
    );
    let waits = world
        .eventually(
            "the promise",
            || daemon(&world),
            |pod| pod.as_ref().and_then(promised).as_deref() == Some("n1"),
        )
        .await
        .unwrap();
    assert_eq!(waits.spec.as_ref().unwrap().priority, Some(2_000_001_000));
    let told = world.eventually("the event", || world.events("default", "low"), |told| told.len() >= 2).await;
    let expected = format!(
        "default-scheduler Preempted Preempted by pod {} on node n1",
        waits.metadata.uid.as_deref().unwrap()
    );
    assert!(told.contains(&expected), "{told:?}");

    // Nobody takes the room meanwhile, and it goes to the one that it was made for.
    create(&world, &filler("passer-by", Value::Null)).await;
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    world.pods_api().patch("low", &PatchParams::default(), &free).await.unwrap();
    let runs = |pod: &Option<Pod>| pod.as_ref().is_some_and(pod::is_ready);
    world.eventually("the daemon", || daemon(&world), runs).await;
    world.until_living(&["- Pending", "n1 Ready", "n1 Ready", "n1 Ready", "n1 Ready"]).await;
    assert_eq!(leaving(&world).await, [""; 0]);
}
