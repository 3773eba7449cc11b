//! Evictions and what stands in their way (NP-16, wire 2.8). The test counts the budgets itself.

use crate::harness::{Answer, Harness, pod};
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

async fn running(api: &Harness, name: &str, ready: &str) {
    api.create(PODS, pod(name, "n1")).await;
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
    assert_eq!(api.call(&format!("PATCH {PODS}/{name}/status"), status).await.code, 200);
}

async fn budget(api: &Harness, name: &str, spec: Value, status: Value) {
    let mut all = json!({"selector": {"matchLabels": {"app": "x"}}});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    api.create(BUDGETS, json!({"metadata": {"name": name}, "spec": all})).await;
    count(api, name, status).await;
}

async fn count(api: &Harness, name: &str, status: Value) {
    let answer = api.call(&format!("PATCH {BUDGETS}/{name}/status"), json!({ "status": status })).await;
    assert_eq!(answer.code, 200, "{}", answer.text);
}

async fn evict(api: &Harness, name: &str) -> Answer {
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    api.call(&format!("POST {PODS}/{name}/eviction"), eviction).await
}

#[tokio::test]
async fn an_eviction_is_paid_from_the_budget_or_refused() {
    let api = Harness::new().await;
    for name in ["a", "b", "c"] {
        running(&api, name, "True").await;
    }
    budget(&api, "x", json!({"minAvailable": 2}), json!({})).await;
    let early = evict(&api, "a").await;
    assert_eq!(
        (early.code, &early.json["details"]["retryAfterSeconds"]),
        (429, &json!(10)),
        "{}",
        early.text
    );
    count(
        &api,
        "x",
        json!({"observedGeneration": 1, "disruptionsAllowed": 1, "desiredHealthy": 2, "currentHealthy": 3}),
    )
    .await;
    assert_eq!(evict(&api, "a").await.code, 201);
    assert!(api.get(&format!("{PODS}/a")).await.json["metadata"]["deletionTimestamp"].is_string());
    let paid = api.get(&format!("{BUDGETS}/x")).await.json;
    assert_eq!(paid["status"]["disruptionsAllowed"], 0);
    assert!(paid["status"]["disruptedPods"]["a"].is_string(), "{paid}");
    let refused = evict(&api, "b").await;
    assert_eq!(refused.message(), "Cannot evict pod as it would violate the pod's disruption budget.");
    let cause = "The disruption budget x needs 2 healthy pods and has 3 currently";
    assert_eq!((refused.code, &refused.json["details"]["causes"][0]["message"]), (429, &json!(cause)));
    assert_eq!(evict(&api, "a").await.code, 201, "a pod that ends costs nothing");
    assert_eq!(api.get(&format!("{PODS}/b")).await.json["metadata"]["deletionTimestamp"], Value::Null);
}

#[tokio::test]
async fn a_pod_that_serves_nobody_costs_nothing() {
    let api = Harness::new().await;
    let empty = |healthy: i64| json!({"observedGeneration": 1, "disruptionsAllowed": 0, "desiredHealthy": 2, "currentHealthy": healthy});
    budget(&api, "x", json!({"minAvailable": 2}), empty(1)).await;
    running(&api, "a", "False").await;
    assert_eq!(evict(&api, "a").await.code, 429, "too few are healthy already");
    count(&api, "x", empty(2)).await;
    assert_eq!(evict(&api, "a").await.code, 201, "those that must be healthy are");
    count(&api, "x", empty(0)).await;
    running(&api, "b", "False").await;
    let always = json!({"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}});
    assert_eq!(api.call(&format!("PATCH {BUDGETS}/x"), always).await.code, 200);
    assert_eq!(evict(&api, "b").await.code, 201);
    api.create(PODS, pod("pending", "")).await;
    assert_eq!(evict(&api, "pending").await.code, 201);
    let mut other = pod("other", "n1");
    other["metadata"]["labels"] = json!({"app": "y"});
    api.create(PODS, other).await;
    assert_eq!(evict(&api, "other").await.code, 201);
    assert_eq!(evict(&api, "none").await.code, 404);
}

#[tokio::test]
async fn two_budgets_for_one_pod_are_refused() {
    let api = Harness::new().await;
    running(&api, "a", "True").await;
    for name in ["x", "y"] {
        budget(
            &api,
            name,
            json!({"maxUnavailable": 1}),
            json!({"observedGeneration": 1, "disruptionsAllowed": 1}),
        )
        .await;
    }
    let refused = evict(&api, "a").await;
    let text =
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
    assert_eq!((refused.code, refused.message()), (500, text));
}
