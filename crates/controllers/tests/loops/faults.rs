//! Refused requests, servers that do not know everything, restarts, and two processes at once.

use crate::world::{World, daemonset};
use controllers::Config;
use controllers::leader::Election;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exhausted_quota_costs_one_attempt_per_retry() {
    // TE-25.
    let (attempts, is_full) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let (counted, full) = (attempts.clone(), is_full.clone());
    let world = World::with_faults(Config::default(), move |parts| {
        let creates = parts.method == http::Method::POST && parts.uri.path().ends_with("/pods");
        if !creates || !full.load(Ordering::SeqCst) {
            return None;
        }
        counted.fetch_add(1, Ordering::SeqCst);
        let message =
            "pods \"d-x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0";
        Some((
            403,
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": "Forbidden", "code": 403}),
        ))
    })
    .await;
    world.add_nodes(1, 30);
    world.eventually("30 nodes", || world.ready_nodes(), |ready| *ready == 30).await;
    world.create(&daemonset("hello:1")).await;
    // MG-1.10: the status is written though nothing can be created.
    let daemonsets = world.daemonsets();
    let desired =
        || async { daemonsets.get("d").await.unwrap().status.unwrap_or_default().desired_number_scheduled };
    world.eventually("the status", desired, |desired| *desired == 30).await;
    let told = world.eventually("the event", || world.events("default", "d"), |told| !told.is_empty()).await;
    assert!(
        told[0].starts_with("daemonset-controller FailedCreate Error creating: pods \"d-x\" is forbidden:"),
        "{told:?}"
    );
    // MG-20, MG-22: the batch of one fails, and nothing else is tried.
    let tried = attempts.load(Ordering::SeqCst);
    assert!(tried < 30, "{tried} attempts in the first moments");
    is_full.store(false, Ordering::SeqCst);
    world.eventually("all pods", || world.living(), |living| living.len() == 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_ended_too_early_blinds_nobody() {
    // BUG-8, MG-21: a refusal leaves nothing to wait for; the next look creates at once.
    let ends = Arc::new(AtomicBool::new(true));
    let still_ends = ends.clone();
    let world = World::with_faults(Config::default(), move |parts| {
        let creates = parts.method == http::Method::POST && parts.uri.path().ends_with("/pods");
        let details = json!({"causes": [{"reason": "NamespaceTerminating", "message": "it ends"}]});
        (creates && still_ends.load(Ordering::SeqCst)).then(|| {
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "it ends", "reason": "Forbidden", "details": details, "code": 403});
            (403, status)
        })
    })
    .await;
    world.add_nodes(1, 1);
    world.eventually("a node", || world.ready_nodes(), |ready| *ready == 1).await;
    world.create(&daemonset("hello:1")).await;
    let daemonsets = world.daemonsets();
    let desired =
        || async { daemonsets.get("d").await.unwrap().status.unwrap_or_default().desired_number_scheduled };
    world.eventually("the status", desired, |desired| *desired == 1).await;
    assert_eq!(world.events("default", "d").await, Vec::<String>::new(), "MG-21: nobody's failure");
    ends.store(false, Ordering::SeqCst);
    world.patch("d", json!({"metadata": {"labels": {"any": "change"}}})).await;
    world.until_living(&["n1 Ready"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_streaming_lists_will_do() {
    let world = World::with_faults(Config::default(), |parts| {
        let streams = parts.uri.query().is_some_and(|query| query.contains("sendInitialEvents"));
        let message = "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is \
                       forbidden for watch unless the WatchList feature gate is enabled";
        streams.then(|| (422, json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": "Invalid", "code": 422})))
    })
    .await;
    world.add_nodes(1, 1);
    world.create(&daemonset("hello:1")).await;
    world.until_living(&["n1 Ready"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_changes_nothing() {
    // WE-23: what was remembered is gone, and nothing is done for that.
    let mut world = World::with_nodes(3).await;
    world.create(&daemonset("hello:1")).await;
    world.until_living(&["n1 Ready", "n2 Ready", "n3 Ready"]).await;
    let versions = |world: &World| {
        let pods = world.pods_api();
        async move {
            let pods = pods.list(&Default::default()).await.unwrap().items;
            pods.into_iter().map(|pod| (pod.metadata.name, pod.metadata.resource_version)).collect::<Vec<_>>()
        }
    };
    let before = versions(&world).await;
    world.restart_loops();
    // A later DaemonSet shows that the new loops have looked.
    let mut second = daemonset("hello:1");
    second["metadata"]["name"] = "e".into();
    second["spec"]["selector"]["matchLabels"]["app"] = "e".into();
    second["spec"]["template"]["metadata"]["labels"]["app"] = "e".into();
    world.create(&second).await;
    world.eventually("pods of both", || world.living(), |living| living.len() == 6).await;
    let after = versions(&world).await;
    assert!(before.iter().all(|pod| after.contains(pod)), "{before:?} {after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_holder_of_the_lease_acts_and_another_takes_over() {
    let named = |identity: &str| {
        let election = Election::new("kube-system", "everynode-controllers", identity.to_string());
        Config { election: Some(election), ..Config::default() }
    };
    let mut world = World::with_config(named("first")).await;
    let leases = Api::<Lease>::namespaced(world.client.clone(), "kube-system");
    let holder = || async {
        let lease = leases.get_opt("everynode-controllers").await.unwrap();
        lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default()
    };
    world.eventually("the first leads", holder, |holder| holder == "first").await;
    let second = world.start_loops(named("second"));
    world.add_nodes(1, 1);
    world.create(&daemonset("hello:1")).await;
    world.until_living(&["n1 Ready"]).await;
    assert_eq!(holder().await, "first");
    world.end_first_loops();
    world.eventually("the second leads", holder, |holder| holder == "second").await;
    world.pods_api().delete_collection(&Default::default(), &Default::default()).await.unwrap();
    world.until_living(&["n1 Ready"]).await;
    second.cancel();
    world.eventually("the lease is given back", holder, String::is_empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loops_that_have_ended_leave_nothing_in_memory() {
    let mut world = World::with_nodes(1).await;
    world.create(&daemonset("hello:1")).await;
    world.eventually("its pod", || world.living(), |living| *living == ["n1 Ready"]).await;
    world.end_loops().await;
}
