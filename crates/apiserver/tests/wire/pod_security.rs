//! Namespaces that ask their pods to be careful.

use crate::harness::{Harness, daemon_set, pod};
use serde_json::{Value, json};

async fn namespace(api: &Harness, labels: Value) -> String {
    api.create("/api/v1/namespaces", json!({"metadata": {"name": "s", "labels": labels}})).await;
    // The account that pods need; a loop makes it elsewhere.
    api.create("/api/v1/namespaces/s/serviceaccounts", json!({"metadata": {"name": "default"}})).await;
    "/api/v1/namespaces/s".to_string()
}

fn of_host(name: &str) -> Value {
    let mut pod = pod(name, "");
    pod["spec"]["hostNetwork"] = true.into();
    pod
}

/// A text as the header `Warning` carries it.
fn header(text: &str) -> String {
    format!("299 - {text:?}")
}

#[tokio::test]
async fn a_namespace_refuses_warns_and_tells_of_what_it_has() {
    let api = Harness::new().await;
    let path = namespace(&api, json!({"pod-security.kubernetes.io/warn": "baseline"})).await;
    let warned = api.call(&format!("POST {path}/pods"), of_host("p")).await;
    assert_eq!(warned.code, 201, "{}", warned.text);
    let careless = "violate PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)";
    assert_eq!(warned.warnings(), [header(&format!("would {careless}"))]);
    let mut set = daemon_set("d");
    set["spec"]["template"]["spec"]["hostNetwork"] = true.into();
    let sets = "/apis/apps/v1/namespaces/s/daemonsets";
    assert_eq!(
        api.call(&format!("POST {sets}"), set).await.warnings(),
        [header(&format!("would {careless}"))]
    );
    let calm = api.call(&format!("PATCH {sets}/d"), json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!((calm.code, calm.warnings()), (200, vec![]), "what did not change is not warned of again");

    let stricter = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
    let told = api.call(&format!("PATCH {path}"), stricter).await.warnings();
    assert_eq!(
        told,
        [
            header(
                "existing pods in namespace \"s\" violate the new PodSecurity enforce level \"baseline:latest\""
            ),
            header("p: host namespaces"),
        ]
    );
    let refused = api.call(&format!("POST {path}/pods"), of_host("q")).await;
    assert_eq!((refused.code, refused.json["reason"].as_str()), (403, Some("Forbidden")));
    assert_eq!(
        refused.message(),
        "pods \"q\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"
    );
    assert_eq!(api.call(&format!("POST {path}/pods"), pod("careful", "")).await.code, 201);
}

#[tokio::test]
async fn a_level_that_does_not_exist_is_refused() {
    let api = Harness::new().await;
    let wrong = json!({"metadata": {"name": "s", "labels": {"pod-security.kubernetes.io/enforce": "high"}}});
    let refused = api.call("POST /api/v1/namespaces", wrong).await;
    assert_eq!(
        refused.message(),
        "Namespace \"s\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"high\": must \
         be one of privileged, baseline, restricted"
    );
}
