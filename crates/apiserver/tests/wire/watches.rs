//! Watches: where they begin, what they show, how they end (wire 3.3–3.5).

use crate::harness::{Harness, config_map, pod};
use serde_json::{Value, json};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

async fn relabel(api: &Harness, name: &str, label: &str) -> Value {
    api.call(&format!("PATCH {CONFIG_MAPS}/{name}"), json!({"metadata": {"labels": {"app": label}}}))
        .await
        .json
}

#[tokio::test]
async fn a_watch_begins_with_what_is_there_and_goes_on() {
    let api = Harness::new().await;
    api.create(CONFIG_MAPS, config_map("a", json!({}))).await;
    let mut watch = api.watch(&format!("{CONFIG_MAPS}?watch=true"), &[]).await;
    assert_eq!(watch.brief().await, "ADDED a");
    api.create(CONFIG_MAPS, config_map("b", json!({}))).await;
    relabel(&api, "a", "x").await;
    let deleted = api.call(&format!("DELETE {CONFIG_MAPS}/b"), Value::Null).await;
    assert_eq!(deleted.code, 200);
    assert_eq!([watch.brief().await, watch.brief().await], ["ADDED b", "MODIFIED a"]);
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["kind"]), (&json!("DELETED"), &json!("ConfigMap")));
    // The deletion has a revision of its own (3.1.1).
    let list = api.get(CONFIG_MAPS).await.json;
    assert_eq!(event["object"]["metadata"]["resourceVersion"], list["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_watch_from_a_revision_replays_what_came_after() {
    let api = Harness::new().await;
    let a = api.create(CONFIG_MAPS, config_map("a", json!({}))).await;
    api.create(CONFIG_MAPS, config_map("b", json!({}))).await;
    relabel(&api, "a", "x").await;
    let from = a["metadata"]["resourceVersion"].as_str().unwrap();
    let mut watch = api.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={from}"), &[]).await;
    assert_eq!([watch.brief().await, watch.brief().await], ["ADDED b", "MODIFIED a"]);
    assert!(watch.is_silent().await);
}

#[tokio::test]
async fn a_revision_that_is_forgotten_is_an_error_event() {
    let api = Harness::new().await;
    let mut watch = api.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion=1"), &[]).await;
    let event = watch.next().await.unwrap();
    assert_eq!(
        (&event["type"], &event["object"]["code"], &event["object"]["reason"]),
        (&json!("ERROR"), &json!(410), &json!("Expired"))
    );
    assert!(event["object"]["message"].as_str().unwrap().starts_with("too old resource version: 1 ("));
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn what_begins_or_ends_to_match_is_added_or_deleted() {
    let api = Harness::new().await;
    api.create(CONFIG_MAPS, config_map("a", json!({"app": "no"}))).await;
    let mut watch = api.watch(&format!("{CONFIG_MAPS}?watch=1&labelSelector=app%3Dyes"), &[]).await;
    relabel(&api, "a", "yes").await;
    api.call(&format!("PATCH {CONFIG_MAPS}/a"), json!({"data": {"a": "c"}})).await;
    let left = relabel(&api, "a", "no").await;
    assert_eq!([watch.brief().await, watch.brief().await], ["ADDED a", "MODIFIED a"]);
    let event = watch.next().await.unwrap();
    // The state before, with the revision of the change (3.3.5).
    assert_eq!(
        (&event["type"], &event["object"]["metadata"]["labels"]["app"]),
        (&json!("DELETED"), &json!("yes"))
    );
    assert_eq!(event["object"]["metadata"]["resourceVersion"], left["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn an_agent_sees_the_pods_of_its_node_from_binding_to_end() {
    let api = Harness::new().await;
    let mut watch = api.watch("/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1", &[]).await;
    api.create(PODS, pod("a", "")).await;
    api.create(PODS, pod("b", "n2")).await;
    let binding = json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}});
    api.call(&format!("POST {PODS}/a/binding"), binding).await;
    api.call(&format!("DELETE {PODS}/a"), Value::Null).await;
    api.call(&format!("DELETE {PODS}/a"), json!({"gracePeriodSeconds": 0})).await;
    let seen = [watch.brief().await, watch.brief().await, watch.brief().await];
    assert_eq!(seen, ["ADDED a", "MODIFIED a", "DELETED a"]);
    assert!(watch.is_silent().await);
}

#[tokio::test]
async fn a_streamed_list_ends_with_one_marked_bookmark() {
    let api = Harness::new().await;
    api.create(CONFIG_MAPS, config_map("a", json!({}))).await;
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = api.watch(&format!("{CONFIG_MAPS}?{query}"), &[]).await;
    assert_eq!(watch.brief().await, "ADDED a");
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
    assert_eq!(event["object"]["metadata"]["annotations"], json!({"k8s.io/initial-events-end": "true"}));
    let list = api.get(CONFIG_MAPS).await.json;
    assert_eq!(event["object"]["metadata"]["resourceVersion"], list["metadata"]["resourceVersion"]);
    api.create(CONFIG_MAPS, config_map("b", json!({}))).await;
    assert_eq!(watch.brief().await, "ADDED b");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_watch_hears_bookmarks_and_ends_in_time() {
    let api = Harness::new().await;
    let mut watch =
        api.watch(&format!("{CONFIG_MAPS}?watch=1&allowWatchBookmarks=true&timeoutSeconds=5"), &[]).await;
    let begun = tokio::time::Instant::now();
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], begun.elapsed().as_secs()), (&json!("BOOKMARK"), 3));
    assert!(watch.next().await.is_none());
    assert_eq!(begun.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn the_first_table_has_the_columns_and_the_others_none() {
    let api = Harness::new().await;
    api.create(CONFIG_MAPS, config_map("a", json!({}))).await;
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let mut watch = api.watch(&format!("{CONFIG_MAPS}?watch=1"), &accept).await;
    let first = watch.next().await.unwrap()["object"].clone();
    api.create(CONFIG_MAPS, config_map("b", json!({}))).await;
    let second = watch.next().await.unwrap()["object"].clone();
    assert!(first["columnDefinitions"].is_array());
    assert_eq!(
        (&second["columnDefinitions"], &second["rows"][0]["object"]["metadata"]["name"]),
        (&Value::Null, &json!("b"))
    );
    assert!(first["metadata"]["resourceVersion"].is_string());
}

#[tokio::test]
async fn a_closing_server_ends_its_watches() {
    let api = Harness::new().await;
    let mut watch = api.watch(&format!("{CONFIG_MAPS}?watch=1"), &[]).await;
    api.server.close();
    assert!(watch.next().await.is_none());
    assert_eq!(api.server.ended().await, "closed");
}
