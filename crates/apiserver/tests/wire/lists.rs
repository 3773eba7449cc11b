//! Lists: selectors, pages, revisions, and the forms of objects (wire 3.1, 3.2, 3.7–3.9).

use crate::harness::{Harness, config_map, pod};
use serde_json::{Value, json};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

async fn with_config_maps(names: &[&str]) -> Harness {
    let api = Harness::new().await;
    for name in names {
        api.create(CONFIG_MAPS, config_map(name, json!({"app": name}))).await;
    }
    api
}

#[tokio::test]
async fn a_selector_selects_and_a_wrong_one_is_refused() {
    let api = with_config_maps(&["a", "b", "c"]).await;
    let check = async |query: &str, expected: &[&str]| {
        let list = api.get(&format!("{CONFIG_MAPS}?{query}")).await;
        assert_eq!((list.code, names(&list.json)), (200, expected.to_vec()), "{query}");
        assert_eq!(list.json["kind"], "ConfigMapList");
    };
    check("", &["a", "b", "c"]).await;
    check("labelSelector=app%3Da", &["a"]).await;
    check("labelSelector=app+in+(a,c)", &["a", "c"]).await;
    check("labelSelector=app!%3Da", &["b", "c"]).await;
    check("fieldSelector=metadata.name%3Db", &["b"]).await;
    check("fieldSelector=metadata.name!%3Db,metadata.namespace%3Ddefault", &["a", "c"]).await;
    let refused = api.get(&format!("{CONFIG_MAPS}?fieldSelector=spec.foo%3Db")).await;
    assert_eq!(
        (refused.code, refused.message()),
        (400, "\"spec.foo\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    );
    let refused = api.get("/api/v1/pods?fieldSelector=foo%3Db").await;
    assert_eq!((refused.code, refused.message()), (400, "field label not supported: foo"));
    let refused = api.get(&format!("{CONFIG_MAPS}?fieldSelector=metadata.name")).await;
    assert_eq!(refused.message(), "invalid selector: 'metadata.name'; can't understand 'metadata.name'");
    let refused = api.get(&format!("{CONFIG_MAPS}?labelSelector=a+in+(b")).await;
    assert_eq!(refused.message(), "unable to parse requirement: found '', expected: ',' or ')'");
}

#[tokio::test]
async fn pages_show_one_snapshot_and_say_how_much_is_left() {
    let api = with_config_maps(&["a", "b", "c"]).await;
    let first = api.get(&format!("{CONFIG_MAPS}?limit=2")).await.json;
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["a", "b"], &json!(1)));
    api.create(CONFIG_MAPS, config_map("d", json!({}))).await;
    api.call(&format!("DELETE {CONFIG_MAPS}/c"), Value::Null).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = api.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await.json;
    assert_eq!(names(&second), ["c"]);
    assert_eq!(second["metadata"], json!({"resourceVersion": first["metadata"]["resourceVersion"]}));
    let selected = api.get(&format!("{CONFIG_MAPS}?limit=1&labelSelector=app")).await.json;
    assert_eq!(selected["metadata"]["remainingItemCount"], Value::Null);
    assert_eq!(api.get(&format!("{CONFIG_MAPS}?continue=rubbish")).await.code, 400);
    assert_eq!(api.get(&format!("{CONFIG_MAPS}?limit=x")).await.code, 400);
}

#[tokio::test]
async fn a_revision_is_exact_or_at_least_or_too_far_away() {
    let api = with_config_maps(&["a"]).await;
    let then = api.get(CONFIG_MAPS).await.json["metadata"]["resourceVersion"].as_str().unwrap().to_string();
    api.create(CONFIG_MAPS, config_map("b", json!({}))).await;
    let exact = format!("{CONFIG_MAPS}?resourceVersion={then}&resourceVersionMatch=Exact");
    assert_eq!(names(&api.get(&exact).await.json), ["a"]);
    let at_least = format!("{CONFIG_MAPS}?resourceVersion={then}");
    assert_eq!(names(&api.get(&at_least).await.json), ["a", "b"]);
    let old = api.get(&format!("{CONFIG_MAPS}?resourceVersion=1&resourceVersionMatch=Exact")).await;
    assert_eq!((old.code, old.message()), (410, "The resourceVersion for the provided list is too old."));
    tokio::time::pause();
    let far = api.get(&format!("{CONFIG_MAPS}?resourceVersion=99999999")).await;
    assert_eq!((far.code, &far.json["details"]["retryAfterSeconds"]), (504, &json!(1)));
    assert!(far.message().starts_with("Timeout: Too large resource version: 99999999, current: "));
}

#[tokio::test]
async fn a_table_has_all_columns_and_carries_metadata() {
    let api = with_config_maps(&["a"]).await;
    let table = api.raw(&format!("GET {CONFIG_MAPS}"), &[("accept", TABLE)], "").await;
    assert_eq!((&table.json["kind"], &table.json["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    assert_eq!(table.headers["content-type"], "application/json");
    let columns = table.json["columnDefinitions"].as_array().unwrap();
    assert_eq!((&columns[0]["name"], &columns[0]["format"]), (&json!("Name"), &json!("name")));
    let row = &table.json["rows"][0];
    assert_eq!(row["cells"].as_array().unwrap().len(), columns.len());
    assert_eq!(
        (&row["object"]["kind"], &row["object"]["metadata"]["name"]),
        (&json!("PartialObjectMetadata"), &json!("a"))
    );
    let bare = api.raw(&format!("GET {CONFIG_MAPS}/a?includeObject=None"), &[("accept", TABLE)], "").await;
    assert_eq!(bare.json["rows"][0]["object"], Value::Null);
    let full = api.raw(&format!("GET {CONFIG_MAPS}/a?includeObject=Object"), &[("accept", TABLE)], "").await;
    assert_eq!(full.json["rows"][0]["object"]["data"], json!({"a": "b"}));
}

#[tokio::test]
async fn metadata_alone_is_served_to_collectors() {
    let api = with_config_maps(&["a"]).await;
    let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let list = api.raw(&format!("GET {CONFIG_MAPS}"), &[("accept", accept)], "").await.json;
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(
        (&list["items"][0]["kind"], &list["items"][0]["data"]),
        (&json!("PartialObjectMetadata"), &Value::Null)
    );
    assert_eq!(api.raw(&format!("GET {CONFIG_MAPS}/a"), &[("accept", accept)], "").await.code, 406);
}

#[tokio::test]
async fn pods_are_found_by_their_node() {
    let api = Harness::new().await;
    for (name, node) in [("a", "n1"), ("b", "n2"), ("c", "n1")] {
        api.create("/api/v1/namespaces/default/pods", pod(name, node)).await;
    }
    let list =
        api.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1,status.phase!%3DFailed&limit=500").await;
    assert_eq!(names(&list.json), ["a", "c"]);
}

#[tokio::test]
async fn a_long_list_is_compressed_for_who_takes_it_and_a_human_gets_lines() {
    let api = Harness::new().await;
    let mut big = config_map("big", json!({}));
    big["data"]["a"] = "x".repeat(200_000).into();
    api.create(CONFIG_MAPS, big).await;
    let packed = api.raw(&format!("GET {CONFIG_MAPS}"), &[("accept-encoding", "gzip")], "").await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    let human = api.raw("GET /api", &[("user-agent", "curl/8")], "").await;
    assert!(human.text.lines().count() > 3, "{}", human.text);
    assert_eq!(api.get("/api").await.text.lines().count(), 1);
}
