//! Evictions of daemons under a PodDisruptionBudget.

use crate::upstream::still;
use crate::world::{World, daemonset};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

/// Bound pods, which their node says are ready.
async fn until_ready(world: &World, count: usize) -> Vec<Pod> {
    let bound = |pods: &Vec<Pod>| {
        pods.len() == count && pods.iter().all(|pod| objects::pod::node_name(pod).is_some())
    };
    let pods = world.eventually("bound pods", || world.pods(), bound).await;
    for pod in pods.iter().filter(|pod| !objects::pod::is_ready(pod)) {
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": Timestamp::now()});
        let patch = Patch::Strategic(json!({"status": {"phase": "Running", "conditions": [ready]}}));
        let name = pod.metadata.name.as_deref().unwrap();
        world.pods_api().patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }
    pods
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_daemons_are_evicted_as_their_budget_allows() {
    // NP-16. Upstream counts no DaemonSet's pods for a maxUnavailable; here the nodes that want one are the scale.
    let world = still(&["n1", "n2", "n3"]).await;
    let budgets = Api::<PodDisruptionBudget>::namespaced(world.client.clone(), "default");
    let budget = json!({"metadata": {"name": "b"}, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "d"}}}});
    budgets.create(&PostParams::default(), &serde_json::from_value(budget).unwrap()).await.unwrap();
    world.create(&daemonset("hello:1")).await;
    let pods = until_ready(&world, 3).await;
    let counts = || async {
        let status = budgets.get("b").await.unwrap().status.unwrap_or_default();
        [status.expected_pods, status.desired_healthy, status.current_healthy, status.disruptions_allowed]
    };
    world.eventually("one may go", counts, |counts| *counts == [3, 2, 3, 1]).await;
    let evict = async |pod: &Pod| {
        world.pods_api().evict(pod.metadata.name.as_deref().unwrap(), &Default::default()).await.map(drop)
    };
    evict(&pods[0]).await.unwrap();
    world.eventually("nobody may go", counts, |counts| *counts == [3, 2, 2, 0]).await;
    let refused = evict(&pods[1]).await.unwrap_err();
    let is_told = matches!(&refused, kube::Error::Api(status) if status.code == 429
        && status.message == "Cannot evict pod as it would violate the pod's disruption budget.");
    assert!(is_told, "{refused}");
    let at_once = kube::api::DeleteParams { grace_period_seconds: Some(0), ..Default::default() };
    world.pods_api().delete(pods[0].metadata.name.as_deref().unwrap(), &at_once).await.unwrap();
    until_ready(&world, 3).await;
    world.eventually("one may go again", counts, |counts| *counts == [3, 2, 3, 1]).await;
    evict(&pods[1]).await.unwrap();
}
