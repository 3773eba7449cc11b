//! A thousand simulated nodes against an API server in memory.

mod support;

use agent::{Shutdown, fleet};
use serde_json::{Value, json};
use support::api::Api;
use support::eventually;

const NODES: u32 = 1000;

fn ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_pods_become_ready_and_go_with_one_write_each() {
    let api = Api::default();
    let shutdown = Shutdown::new();
    let running = tokio::spawn(fleet::run(fleet::Config::new(api.client(), NODES), shutdown.clone()));
    let count = |path: &'static str| {
        let api = api.clone();
        async move { api.count(path, ready) }
    };
    eventually("a thousand ready nodes", || async {
        (count("/api/v1/nodes/").await == NODES as usize).then_some(())
    })
    .await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/";
    eventually("a thousand leases", || async {
        (api.count(leases, |_| true) == NODES as usize).then_some(())
    })
    .await;

    for number in 1..=NODES {
        let spec =
            json!({"nodeName": format!("n{number}"), "containers": [{"name": "c", "image": "hello:1"}]});
        api.put(&format!("/api/v1/namespaces/default/pods/p{number}"), json!({"spec": spec}));
    }
    let pods = "/api/v1/namespaces/default/pods/";
    eventually("a thousand ready pods", || async { (count(pods).await == NODES as usize).then_some(()) })
        .await;
    assert_eq!(api.writes("PATCH /api/v1/namespaces/default/pods/"), NODES as usize);
    let ips: std::collections::BTreeSet<String> =
        api.list(pods).iter().map(|pod| pod["status"]["podIP"].to_string()).collect();
    assert_eq!(ips.len(), NODES as usize, "every pod has its own address");

    for number in 1..=NODES {
        api.delete_pod(&format!("{pods}p{number}"), 30);
    }
    eventually("all pods gone", || async { api.list(pods).is_empty().then_some(()) }).await;
    assert_eq!(api.writes("PATCH /api/v1/namespaces/default/pods/"), NODES as usize);

    // The server was away: the fleet goes on where it was.
    api.set_down(true);
    api.set_down(false);
    let spec = json!({"nodeName": "n7", "containers": [{"name": "c", "image": "hello:broken"}]});
    api.put("/api/v1/namespaces/default/pods/late", json!({"spec": spec}));
    eventually("a crash loop after the server's return", || async {
        let pod = api.get("/api/v1/namespaces/default/pods/late")?;
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
        (waiting == "CrashLoopBackOff").then_some(())
    })
    .await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
}
