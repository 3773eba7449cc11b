//! Server-side apply on the wire, and who owns what after the other writes (wire 4.5, 4.7).

use crate::harness::{Answer, Harness};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DAEMON_SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";

async fn apply(api: &Harness, path: &str, query: &str, config: &Value) -> Answer {
    let media = [("content-type", "application/apply-patch+yaml")];
    api.raw(&format!("PATCH {path}?{query}"), &media, config.to_string()).await
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": data})
}

fn managers(object: &Value) -> Vec<(&str, &str)> {
    let text = |entry: &'_ Value, field: &str| {
        entry[field].as_str().map(str::to_owned).unwrap_or_default().leak() as &str
    };
    let entries = object["metadata"]["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().map(|entry| (text(entry, "manager"), text(entry, "operation"))).collect()
}

#[tokio::test]
async fn an_apply_creates_changes_and_rests() {
    // 4.5.2, 4.5.6 (7).
    let api = Harness::new().await;
    let path = format!("{MAPS}/x");
    let created = apply(&api, &path, "fieldManager=one", &map(json!({"a": "1"}))).await;
    assert_eq!((created.code, managers(&created.json)), (201, vec![("one", "Apply")]), "{}", created.text);
    let again = apply(&api, &path, "fieldManager=one", &map(json!({"a": "1"}))).await;
    assert_eq!((again.code, &again.json), (200, &created.json));
    let shared = apply(&api, &path, "fieldManager=two", &map(json!({"a": "1"}))).await;
    assert_eq!(managers(&shared.json), [("one", "Apply"), ("two", "Apply")]);
    assert_ne!(shared.json["metadata"]["resourceVersion"], created.json["metadata"]["resourceVersion"]);
    let changed = apply(&api, &path, "fieldManager=one&force=true", &map(json!({"a": "2"}))).await;
    assert_eq!((changed.code, &changed.json["data"]), (200, &json!({"a": "2"})));
    assert_eq!(managers(&changed.json), [("one", "Apply")]);
    let dry = apply(&api, &path, "fieldManager=one&dryRun=All", &map(json!({"b": "2"}))).await;
    assert_eq!(dry.json["data"], json!({"b": "2"}));
    assert_eq!(api.get(&path).await.json, changed.json);
}

#[tokio::test]
async fn other_writes_are_recorded_too() {
    // 4.5.8, 4.5.13, 2.5.2.
    let api = Harness::new().await;
    api.call(&format!("POST {MAPS}?fieldManager=kubectl-create"), map(json!({"a": "1"}))).await;
    let body = json!({"metadata": {"labels": {"k": "v"}}});
    let labeled = api.call(&format!("PATCH {MAPS}/x?fieldManager=kubectl-label"), body).await;
    assert_eq!(managers(&labeled.json), [("kubectl-create", "Update"), ("kubectl-label", "Update")]);
    let mut put = labeled.json.clone();
    put["data"]["a"] = "2".into();
    let headers = [("content-type", "application/json"), ("user-agent", "prober/1.0 (linux)")];
    let put = api.raw(&format!("PUT {MAPS}/x"), &headers, put.to_string()).await;
    assert!(managers(&put.json).contains(&("prober", "Update")), "{}", put.text);
}

#[tokio::test]
async fn a_conflict_names_manager_and_field() {
    // 4.5.7.
    let api = Harness::new().await;
    let path = format!("{DAEMON_SETS}/x");
    let config = |image: &str| {
        json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "x"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": image}]}}}})
    };
    let created = apply(&api, &path, "fieldManager=one", &config("i:1")).await;
    assert_eq!(created.code, 201, "{}", created.text);
    let refused = apply(&api, &path, "fieldManager=two", &config("i:2")).await;
    let field = r#".spec.template.spec.containers[name="c"].image"#;
    assert_eq!(refused.code, 409);
    assert_eq!(refused.message(), format!("Apply failed with 1 conflict: conflict with \"one\": {field}"));
    assert_eq!(refused.json["details"]["causes"][0]["reason"], "FieldManagerConflict");
    assert_eq!(refused.json["details"]["causes"][0]["field"], field);
    let same = apply(&api, &path, "fieldManager=one", &config("i:1")).await;
    assert_eq!(same.json["metadata"]["generation"], 1);
    let status = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "x"},
        "status": {"numberReady": 3, "currentNumberScheduled": 3, "numberMisscheduled": 0, "desiredNumberScheduled": 3}});
    let status = apply(&api, &format!("{path}/status"), "fieldManager=reporter&force=true", &status).await;
    assert_eq!((status.code, &status.json["status"]["numberReady"]), (200, &json!(3)), "{}", status.text);
    let entries = status.json["metadata"]["managedFields"].as_array().unwrap();
    assert!(entries.iter().any(|e| e["manager"] == "reporter" && e["subresource"] == "status"));
}

#[tokio::test]
async fn what_is_no_apply_is_refused_in_words() {
    // 4.5.1, 4.5.11.
    let api = Harness::new().await;
    let path = format!("{MAPS}/x");
    let good = || map(json!({"a": "1"}));
    let with = |field: &str, value: Value| {
        let mut config = good();
        config[field] = value;
        config
    };
    let check = async |query: &str, config: &Value, code: u16, text: &str| {
        let answer = apply(&api, &path, query, config).await;
        assert_eq!((answer.code, answer.message().contains(text)), (code, true), "{}", answer.text);
    };
    check("", &good(), 422, "fieldManager: Required value: is required for apply patch").await;
    check("fieldManager=m", &with("kind", "Pod".into()), 400, "invalid object type: v1, Kind=Pod").await;
    check("fieldManager=m", &json!({"metadata": {}}), 400, "invalid object type: /, Kind=").await;
    check("fieldManager=m", &with("bogus", 1.into()), 400, ".bogus: field not declared in schema").await;
    let managed = json!({"name": "x", "managedFields": [{}]});
    check("fieldManager=m", &with("metadata", managed), 400, "metadata.managedFields must be nil").await;
    let uid = json!({"name": "x", "uid": "u"});
    check("fieldManager=m", &with("metadata", uid), 409, "uid mismatch").await;
    let other = json!({"name": "other"});
    check("fieldManager=m", &with("metadata", other), 400, "does not match the name on the URL").await;
    assert_eq!(api.get(&path).await.code, 404);
    let nothing = apply(
        &api,
        &format!("{DAEMON_SETS}/x/status"),
        "fieldManager=m",
        &json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "x"}}),
    )
    .await;
    assert_eq!(nothing.code, 404);
}

#[tokio::test]
async fn kubectl_moves_from_its_own_record_to_the_servers() {
    // 4.7.4: the four requests of `kubectl apply --server-side` after `kubectl apply`.
    let api = Harness::new().await;
    let path = format!("{MAPS}/x");
    let record = "kubectl.kubernetes.io/last-applied-configuration";
    let mut object = map(json!({"a": "1", "b": "1"}));
    object["metadata"]["annotations"] = json!({record: format!("{}\n", map(json!({"a": "1", "b": "1"})))});
    api.call(&format!("POST {MAPS}?fieldManager=kubectl-client-side-apply"), object).await;
    let config = map(json!({"a": "2"}));
    let first = apply(&api, &path, "fieldManager=kubectl&force=false", &config).await;
    assert_eq!(first.code, 200, "{}", first.text);
    let entries = first.json["metadata"]["managedFields"].as_array().unwrap();
    let apply_entry = entries.iter().find(|e| e["operation"] == "Apply").unwrap().clone();
    let mut moved = apply_entry.clone();
    moved["fieldsV1"]["f:data"]["f:b"] = json!({});
    let patch = json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": [moved]},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": first.json["metadata"]["resourceVersion"]}]);
    let media = [("content-type", "application/json-patch+json")];
    let patched = api.raw(&format!("PATCH {path}"), &media, patch.to_string()).await;
    assert_eq!(
        (patched.code, managers(&patched.json)),
        (200, vec![("kubectl", "Apply")]),
        "{}",
        patched.text
    );
    let last = apply(&api, &path, "fieldManager=kubectl&force=false", &config).await;
    assert_eq!(last.json["data"], json!({"a": "2"}), "{}", last.text);
}
