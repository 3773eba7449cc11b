//! What a namespace's LimitRanges and ResourceQuotas let in.

use crate::harness::{Harness, pod};
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";
const RANGES: &str = "/api/v1/namespaces/default/limitranges";

async fn range(api: &Harness, limits: Value) {
    api.create(RANGES, json!({"metadata": {"name": "lr"}, "spec": {"limits": limits}})).await;
    // A list waits for the cache that pods are admitted from.
    assert_eq!(api.get(RANGES).await.json["items"].as_array().map(Vec::len), Some(1));
}

fn with_resources(name: &str, resources: Value) -> Value {
    let mut pod = pod(name, "");
    pod["spec"]["containers"][0]["resources"] = resources;
    pod
}

#[tokio::test]
async fn a_pod_gets_its_namespace_s_defaults_and_keeps_to_its_bounds() {
    let api = Harness::new().await;
    range(&api, json!([{"type": "Container", "max": {"cpu": "1"}, "defaultRequest": {"cpu": "250m"}}])).await;
    let made = api.create(PODS, pod("plain", "")).await;
    let resources = &made["spec"]["containers"][0]["resources"];
    assert_eq!(*resources, json!({"requests": {"cpu": "250m"}, "limits": {"cpu": "1"}}));
    assert_eq!(made["status"]["qosClass"], "Burstable");
    let told = &made["metadata"]["annotations"]["kubernetes.io/limit-ranger"];
    assert_eq!(told, "LimitRanger plugin set: cpu request for container c; cpu limit for container c");
    let refused =
        api.call(&format!("POST {PODS}"), with_resources("big", json!({"limits": {"cpu": "2"}}))).await;
    assert_eq!(refused.code, 403, "{}", refused.text);
    assert_eq!(
        refused.message(),
        "pods \"big\" is forbidden: maximum cpu usage per Container is 1, but limit is 2"
    );
}

#[tokio::test]
async fn a_limit_range_says_itself_what_follows_from_it() {
    let api = Harness::new().await;
    range(&api, json!([{"type": "Container", "max": {"cpu": "1"}}])).await;
    let shown = api.get(&format!("{RANGES}/lr")).await.json["spec"]["limits"][0].clone();
    assert_eq!((&shown["default"]["cpu"], &shown["defaultRequest"]["cpu"]), (&json!("1"), &json!("1")));
    let wrong = json!({"metadata": {"name": "x"}, "spec": {"limits": [{"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]}});
    let refused = api.call(&format!("POST {RANGES}"), wrong).await;
    assert_eq!((refused.code, refused.json["reason"].as_str()), (422, Some("Invalid")), "{}", refused.text);
}

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// The test counts itself: there is no loop here.
async fn quota(api: &Harness, hard: Value, used: Value) {
    api.create(QUOTAS, json!({"metadata": {"name": "rq"}, "spec": {"hard": hard}})).await;
    let status = json!({"status": {"hard": hard, "used": used}});
    assert_eq!(api.call(&format!("PATCH {QUOTAS}/rq/status"), status).await.code, 200);
    assert_eq!(api.get(QUOTAS).await.json["items"][0]["status"]["hard"], hard);
}

async fn used(api: &Harness) -> Value {
    api.get(&format!("{QUOTAS}/rq")).await.json["status"]["used"].clone()
}

#[tokio::test]
async fn a_quota_is_charged_before_the_object_is_stored() {
    let api = Harness::new().await;
    quota(&api, json!({"configmaps": "2"}), json!({"configmaps": "1"})).await;
    let map = |name: &str| crate::harness::config_map(name, json!({}));
    let tried = api.call(&format!("POST {MAPS}?dryRun=All"), map("a")).await;
    assert_eq!((tried.code, used(&api).await), (201, json!({"configmaps": "1"})), "a dry run costs nothing");
    api.create(MAPS, map("a")).await;
    assert_eq!(used(&api).await, json!({"configmaps": "2"}));
    let refused = api.call(&format!("POST {MAPS}"), map("b")).await;
    assert_eq!(
        (refused.code, refused.message()),
        (
            403,
            "configmaps \"b\" is forbidden: exceeded quota: rq, requested: configmaps=1, used: configmaps=2, \
             limited: configmaps=2"
        )
    );
    let invalid = api.call(&format!("POST {MAPS}"), map("B_")).await;
    assert_eq!(invalid.code, 422, "what is wrong is not charged: {}", invalid.text);
    assert_eq!(
        api.create("/api/v1/namespaces/kube-public/configmaps", map("b")).await["metadata"]["name"],
        "b"
    );
}

#[tokio::test]
async fn pods_must_say_what_is_bounded_and_do_not_share_the_last_place() {
    let api = Harness::new().await;
    quota(&api, json!({"requests.cpu": "1", "pods": "10"}), json!({"requests.cpu": "0", "pods": "0"})).await;
    let refused = api.call(&format!("POST {PODS}"), pod("silent", "")).await;
    assert_eq!(
        refused.message(),
        "pods \"silent\" is forbidden: failed quota: rq: must specify requests.cpu for: c"
    );
    let asking = |name: &str| with_resources(name, json!({"requests": {"cpu": "300m"}}));
    let calls = ["a", "b", "c", "d", "e"].map(|name| {
        let (api, pod) = (&api, asking(name));
        async move { api.call(&format!("POST {PODS}"), pod).await.code }
    });
    let mut codes = futures::future::join_all(calls).await;
    codes.sort_unstable();
    assert_eq!(codes, [201, 201, 201, 403, 403]);
    assert_eq!(used(&api).await, json!({"requests.cpu": "900m", "pods": "3"}));
}

#[tokio::test]
async fn a_service_pays_for_the_ports_that_it_gets_later() {
    let api = Harness::new().await;
    quota(&api, json!({"services.nodeports": "1"}), json!({"services.nodeports": "0"})).await;
    let services = "/api/v1/namespaces/default/services";
    let ports = json!([{"name": "a", "port": 80}, {"name": "b", "port": 81}]);
    api.create(
        services,
        json!({"metadata": {"name": "s"}, "spec": {"selector": {"app": "x"}, "ports": ports}}),
    )
    .await;
    let refused = api.call(&format!("PATCH {services}/s"), json!({"spec": {"type": "NodePort"}})).await;
    assert_eq!(
        refused.message(),
        "services \"s\" is forbidden: exceeded quota: rq, requested: services.nodeports=2, used: \
         services.nodeports=0, limited: services.nodeports=1"
    );
    assert_eq!(used(&api).await, json!({"services.nodeports": "0"}));
}
