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
