//! DaemonSets and their revisions on the wire: what is served, set, kept, refused and printed (AP, OW-25…27, RV).

use crate::harness::{Answer, Harness, daemon_set};
use serde_json::{Value, json};

const ALL: &str = "/apis/apps/v1/daemonsets";
const DAEMON_SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const REVISIONS: &str = "/apis/apps/v1/namespaces/default/controllerrevisions";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const GENERATION: &str = "deprecated.daemonset.template.generation";

async fn patch(api: &Harness, name: &str, media: &str, body: &Value) -> Answer {
    let kind = format!("application/{media}-patch+json");
    api.raw(&format!("PATCH {DAEMON_SETS}/{name}"), &[("content-type", &kind)], body.to_string()).await
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

/// Fields of all causes, in their order.
fn causes(answer: &Answer) -> Vec<&str> {
    let causes = answer.json["details"]["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
    causes.iter().map(|cause| cause["field"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_kind_is_served_as_everywhere() {
    // AP-1.
    let api = Harness::new().await;
    let resources = api.get("/apis/apps/v1").await.json["resources"].clone();
    let of =
        |name: &str| resources.as_array().unwrap().iter().find(|resource| resource["name"] == name).cloned();
    let main = of("daemonsets").unwrap();
    assert_eq!(
        (&main["shortNames"], &main["categories"], &main["namespaced"]),
        (&json!(["ds"]), &json!(["all"]), &json!(true))
    );
    let verbs = json!(["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]);
    assert_eq!(main["verbs"], verbs);
    assert_eq!(of("daemonsets/status").unwrap()["verbs"], json!(["get", "patch", "update"]));
    assert_eq!(of("daemonsets/scale"), None);
    let missing = api.call(&format!("PUT {DAEMON_SETS}/x"), daemon_set("x")).await;
    assert_eq!((missing.code, missing.message()), (404, "daemonsets.apps \"x\" not found"));
    api.create(DAEMON_SETS, daemon_set("x")).await;
    let unconditional = api.call(&format!("PUT {DAEMON_SETS}/x"), daemon_set("x")).await;
    assert_eq!(unconditional.code, 200, "{}", unconditional.text);
}

#[tokio::test]
async fn sets_are_listed_across_namespaces_and_end_as_a_collection() {
    // TE-9, AP-2.
    let api = Harness::new().await;
    api.create("/api/v1/namespaces", json!({"metadata": {"name": "other"}})).await;
    for (namespace, name) in [("default", "a"), ("default", "b"), ("other", "c")] {
        let mut body = daemon_set(name);
        body["metadata"]["labels"] = json!({"kind": if name == "b" { "odd" } else { "even" }});
        api.create(&format!("/apis/apps/v1/namespaces/{namespace}/daemonsets"), body).await;
    }
    assert_eq!(names(&api.get(&format!("{ALL}?labelSelector=kind%3Deven")).await.json), ["a", "c"]);
    assert_eq!(names(&api.get(&format!("{ALL}?fieldSelector=metadata.name%3Db")).await.json), ["b"]);
    assert_eq!(names(&api.get(&format!("{ALL}?fieldSelector=metadata.namespace%3Dother")).await.json), ["c"]);
    let refused = api.get(&format!("{ALL}?fieldSelector=status.numberReady%3D1")).await;
    let text = "\"status.numberReady\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
    assert_eq!((refused.code, refused.message()), (400, text));
    let mut watch = api.watch(&format!("{ALL}?watch=1&labelSelector=kind%3Dodd"), &[]).await;
    assert_eq!(watch.brief().await, "ADDED b");
    let gone = api.call(&format!("DELETE {DAEMON_SETS}?labelSelector=kind%3Deven"), Value::Null).await;
    assert_eq!((gone.code, names(&gone.json)), (200, vec!["a"]));
    assert_eq!(names(&api.get(ALL).await.json), ["b", "c"]);
    api.call(&format!("DELETE {DAEMON_SETS}/b"), Value::Null).await;
    assert_eq!(watch.brief().await, "DELETED b");
}

#[tokio::test]
async fn a_deletion_without_options_leaves_the_rest_to_the_collector() {
    // AP-3: gone at once, with no finalizer that would keep its pods.
    let api = Harness::new().await;
    api.create(DAEMON_SETS, daemon_set("x")).await;
    let gone = api.call(&format!("DELETE {DAEMON_SETS}/x"), Value::Null).await;
    assert_eq!((gone.code, &gone.json["status"]), (200, &json!("Success")));
    assert_eq!(api.get(&format!("{DAEMON_SETS}/x")).await.code, 404);
}

#[tokio::test]
async fn a_new_set_begins_without_status_at_generation_one() {
    // AP-15, AP-37, AP-9, OW-25.
    let api = Harness::new().await;
    let mut body = daemon_set("x");
    body["metadata"]["generation"] = 7.into();
    body["spec"]["minReadySeconds"] = 0.into();
    body["status"] = json!({"desiredNumberScheduled": 3, "numberReady": 3, "observedGeneration": 9});
    let made = api.create(DAEMON_SETS, body).await;
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["metadata"]["annotations"], json!({GENERATION: "1"}));
    assert_eq!(made["spec"].get("minReadySeconds"), None);
    let zeros = json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0});
    assert_eq!(made["status"], zeros);
}

#[tokio::test]
async fn generations_follow_what_an_update_means() {
    // AP-16, AP-17, AP-37, OW-26, OW-27.
    let api = Harness::new().await;
    api.create(DAEMON_SETS, daemon_set("x")).await;
    let check = async |body: Value, generation: i64, template: &str| {
        let answer = patch(&api, "x", "merge", &body).await;
        let metadata = &answer.json["metadata"];
        let found = (&metadata["generation"], &metadata["annotations"][GENERATION]);
        assert_eq!(found, (&json!(generation), &json!(template)), "{body}: {}", answer.text);
    };
    check(json!({"metadata": {"labels": {"a": "b"}, "generation": 9}}), 1, "1").await;
    check(json!({"metadata": {"annotations": {GENERATION: "9"}}}), 1, "1").await;
    check(json!({"metadata": {"annotations": null}}), 1, "1").await;
    check(json!({"spec": {"template": {"spec": {"tolerations": [], "nodeSelector": {}}}}}), 1, "1").await;
    check(json!({"spec": {"revisionHistoryLimit": 3}}), 2, "1").await;
    check(json!({"spec": {"updateStrategy": {"type": "OnDelete"}}}), 3, "1").await;
    check(json!({"spec": {"template": {"metadata": {"labels": {"b": "c"}}}}}), 4, "2").await;
    let refused =
        patch(&api, "x", "merge", &json!({"metadata": {"annotations": {GENERATION: "many"}}})).await;
    assert_eq!(refused.code, 200, "the server's value is kept: {}", refused.text);
}

#[tokio::test]
async fn the_status_has_its_own_door() {
    // TE-10, AP-18, AP-16: a condition by PUT and PATCH, seen by a watch; the spec and the generation stay.
    let api = Harness::new().await;
    let made = api.create(DAEMON_SETS, daemon_set("x")).await;
    let from = made["metadata"]["resourceVersion"].as_str().unwrap();
    let mut watch = api.watch(&format!("{DAEMON_SETS}?watch=1&resourceVersion={from}"), &[]).await;
    let mut put = made.clone();
    put["status"]["conditions"] =
        json!([{"type": "Mine", "status": "True", "reason": "E2E", "message": "set"}]);
    put["spec"]["minReadySeconds"] = 9.into();
    put["metadata"]["labels"] = json!({"from": "status"});
    let put = api.call(&format!("PUT {DAEMON_SETS}/x/status"), put).await;
    assert_eq!(put.code, 200, "{}", put.text);
    let patched = json!({"status": {"conditions": [{"type": "Other", "status": "False"}], "numberReady": 1}});
    let kind = [("content-type", "application/merge-patch+json")];
    let patched = api.raw(&format!("PATCH {DAEMON_SETS}/x/status"), &kind, patched.to_string()).await;
    assert_eq!(patched.code, 200, "{}", patched.text);
    let mut seen = Vec::new();
    for _ in 0..2 {
        let object = watch.next().await.unwrap()["object"].clone();
        let metadata = &object["metadata"];
        assert_eq!((&metadata["generation"], &object["spec"]), (&json!(1), &made["spec"]));
        assert_eq!(metadata["labels"], json!({"from": "status"}));
        seen.push(object["status"]["conditions"][0]["type"].clone());
    }
    assert_eq!(seen, ["Mine", "Other"]);
    let main = patch(&api, "x", "merge", &json!({"status": {"numberReady": 8}})).await;
    assert_eq!(main.json["status"]["numberReady"], 1, "AP-16: an update of the object keeps the status");
}

#[tokio::test]
async fn a_refusal_names_every_field_once() {
    // AP-21, AP-22, AP-23, NX-9.
    let api = Harness::new().await;
    let made = api.create(DAEMON_SETS, daemon_set("x")).await;
    let one = patch(&api, "x", "merge", &json!({"spec": {"revisionHistoryLimit": -1}})).await;
    let text = "spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0";
    assert_eq!((one.code, one.message()), (422, format!("DaemonSet.apps \"x\" is invalid: {text}").as_str()));
    let details = json!({"name": "x", "group": "apps", "kind": "DaemonSet", "causes": [{
        "reason": "FieldValueInvalid", "message": text.split_once(": ").unwrap().1, "field": "spec.revisionHistoryLimit"}]});
    assert_eq!((&one.json["reason"], &one.json["details"]), (&json!("Invalid"), &details));
    let two = json!({"spec": {"minReadySeconds": -2, "template": {"spec": {"restartPolicy": "Never"}}}});
    let two = patch(&api, "x", "merge", &two).await;
    assert_eq!(causes(&two), ["spec.template.spec.restartPolicy", "spec.minReadySeconds"]);
    assert_eq!(
        two.message(),
        "DaemonSet.apps \"x\" is invalid: [spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \
         \"Always\", spec.minReadySeconds: Invalid value: -2: must be greater than or equal to 0]"
    );
    assert_eq!(api.get(&format!("{DAEMON_SETS}/x")).await.json, made, "a refused write changes nothing");
}

#[tokio::test]
async fn names_labels_and_annotations_are_checked() {
    // AP-24, AP-10.
    let api = Harness::new().await;
    let check = async |change: &dyn Fn(&mut Value), expected: &str| {
        let mut body = daemon_set("x");
        change(&mut body);
        let answer = api.call(&format!("POST {DAEMON_SETS}"), body.clone()).await;
        assert_eq!(answer.code, 422, "{body}: {}", answer.text);
        assert!(answer.message().contains(expected), "wanted {expected}\n   got {}", answer.message());
    };
    check(
        &|body| body["metadata"] = json!({}),
        "metadata.name: Required value: name or generateName is required",
    )
    .await;
    check(
        &|body| body["metadata"]["name"] = "A_b".into(),
        "metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain",
    )
    .await;
    check(&|body| body["metadata"]["name"] = "x".repeat(254).into(), "must be no more than 253").await;
    check(
        &|body| body["metadata"]["labels"] = json!({"a b": "c"}),
        "metadata.labels: Invalid value: \"a b\": name part must consist of",
    )
    .await;
    check(
        &|body| body["metadata"]["labels"] = json!({"a": "-"}),
        "metadata.labels: Invalid value: \"-\": a valid label must be",
    )
    .await;
    check(
        &|body| body["metadata"]["annotations"] = json!({"-": "c"}),
        "metadata.annotations: Invalid value: \"-\": name part must consist of",
    )
    .await;
    let huge = "x".repeat(256 * 1024);
    check(
        &|body| body["metadata"]["annotations"] = json!({"a": huge}),
        "metadata.annotations: Too long: must have at most 262144 bytes",
    )
    .await;
    let mismatch = "spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match template `labels`";
    check(&|body| body["spec"]["selector"] = Value::Null, mismatch).await;
    check(
        &|body| body["spec"]["template"]["metadata"] = json!({}),
        "`selector` does not match template `labels`",
    )
    .await;
}

#[tokio::test]
async fn what_an_update_may_not_change_is_said() {
    // AP-34, AP-35: the selector and the identity stay, all else may change.
    let api = Harness::new().await;
    let made = api.create(DAEMON_SETS, daemon_set("x")).await;
    let selector = json!({"spec": {"selector": {"matchLabels": {"app": "y"}}, "template": {"metadata": {"labels": {"app": "y"}}}}});
    let refused = patch(&api, "x", "merge", &selector).await;
    assert_eq!((refused.code, causes(&refused)), (422, vec!["spec.selector"]));
    assert!(refused.message().ends_with(": field is immutable"), "{}", refused.message());
    let refused = patch(&api, "x", "merge", &json!({"metadata": {"uid": "other"}})).await;
    assert_eq!((refused.code, causes(&refused)), (422, vec!["metadata.uid"]));
    let change = json!({"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["example.com/e"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}],
        "creationTimestamp": "2001-01-01T00:00:00Z", "namespace": "default"},
        "spec": {"minReadySeconds": 1, "revisionHistoryLimit": 2, "updateStrategy": {"rollingUpdate": {"maxUnavailable": 3}},
        "template": {"spec": {"hostNetwork": true}}}});
    let changed = patch(&api, "x", "merge", &change).await;
    assert_eq!(changed.code, 200, "{}", changed.text);
    assert_eq!(changed.json["metadata"]["creationTimestamp"], made["metadata"]["creationTimestamp"]);
    assert_eq!(changed.json["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"], 3);
}

#[tokio::test]
async fn undo_puts_the_old_template_in_the_place_of_the_new_one() {
    // RV-24, RV-25: the data of a revision, as stored, are the patch.
    let api = Harness::new().await;
    let first = api.create(DAEMON_SETS, daemon_set("x")).await;
    let mut template = first["spec"]["template"].clone();
    template["$patch"] = "replace".into();
    template["metadata"]["creationTimestamp"] = Value::Null;
    let data = json!({"spec": {"template": template}});
    let labels = json!({"app": "x", "controller-revision-hash": "7"});
    let revision = json!({"metadata": {"name": "x-7", "labels": labels}, "revision": 1, "data": data});
    api.create(REVISIONS, revision).await;
    let change = json!({"metadata": {"annotations": {"kubernetes.io/change-cause": "second"}}, "spec": {"minReadySeconds": 4,
        "template": {"metadata": {"annotations": {"a": "b"}}, "spec": {"hostNetwork": true, "nodeSelector": {"c": "d"},
        "containers": [{"name": "c", "image": "i:2"}, {"name": "d", "image": "i:3"}]}}}});
    patch(&api, "x", "strategic-merge", &change).await;
    let found = api.get(&format!("{REVISIONS}?labelSelector=app%3Dx")).await.json;
    assert_eq!(found["items"][0]["data"], data);
    let undone = patch(&api, "x", "strategic-merge", &found["items"][0]["data"]).await;
    assert_eq!((undone.code, &undone.json["spec"]["template"]), (200, &first["spec"]["template"]));
    assert_eq!(undone.json["spec"]["minReadySeconds"], 4);
    let cause = &undone.json["metadata"]["annotations"]["kubernetes.io/change-cause"];
    assert_eq!(cause, "second", "RV-24: the cause is outside of the template");
}

#[tokio::test]
async fn a_revision_keeps_its_data_and_may_get_another_number() {
    // RV-3, RV-4, RV-7.
    let api = Harness::new().await;
    let body =
        |data: Value, number: i64| json!({"metadata": {"name": "x-1"}, "revision": number, "data": data});
    for (wrong, text) in [
        (json!({"metadata": {"name": "x-1"}, "revision": 1}), "data: Required value: data is mandatory"),
        (body(json!({}), -1), "revision: Invalid value: -1: must be greater than or equal to 0"),
    ] {
        let refused = api.call(&format!("POST {REVISIONS}"), wrong).await;
        assert_eq!(
            (refused.code, refused.message()),
            (422, format!("ControllerRevision.apps \"x-1\" is invalid: {text}").as_str())
        );
    }
    let broken = api
        .raw(
            &format!("POST {REVISIONS}"),
            &[("content-type", "application/json")],
            "{\"metadata\":{\"name\":\"x-1\"},\"revision\":1,\"data\":{]}",
        )
        .await;
    assert_eq!(broken.code, 400, "NX-4: what is no JSON never gets so far: {}", broken.text);
    api.create(REVISIONS, body(json!({"a": null, "b": {}, "c": 1}), 1)).await;
    let moved = api.call(&format!("PUT {REVISIONS}/x-1"), body(json!({"a": null, "b": {}, "c": 1}), 5)).await;
    assert_eq!((moved.code, &moved.json["revision"]), (200, &json!(5)));
    assert_eq!(moved.json["data"], json!({"a": null, "b": {}, "c": 1}));
    for other in [json!({"a": null, "b": {}, "c": 2}), json!({"b": {}, "c": 1})] {
        let refused = api.call(&format!("PUT {REVISIONS}/x-1"), body(other, 5)).await;
        assert_eq!((refused.code, causes(&refused)), (422, vec!["data"]), "{}", refused.text);
        assert!(refused.message().ends_with(": field is immutable"), "{}", refused.message());
    }
}

#[tokio::test]
async fn tables_have_kubernetes_columns() {
    // ST-18, RV-8.
    let api = Harness::new().await;
    api.create(DAEMON_SETS, daemon_set("x")).await;
    let owner =
        json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "x", "uid": "u", "controller": true});
    let revision =
        json!({"metadata": {"name": "x-1", "ownerReferences": [owner]}, "revision": 3, "data": {}});
    api.create(REVISIONS, revision).await;
    let check = async |path: &str, columns: &[&str], cells: Value| {
        let table = api.raw(&format!("GET {path}"), &[("accept", TABLE)], "").await.json;
        let found: Vec<String> = table["columnDefinitions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|column| {
                format!(
                    "{}{}",
                    column["name"].as_str().unwrap(),
                    if column["priority"] == 0 { "" } else { " wide" }
                )
            })
            .collect();
        assert_eq!(found, columns);
        let mut row = table["rows"][0]["cells"].clone();
        let age = columns.iter().position(|column| *column == "Age").unwrap();
        row[age] = "-".into();
        assert_eq!(row, cells);
    };
    let columns = [
        "Name",
        "Desired",
        "Current",
        "Ready",
        "Up-to-date",
        "Available",
        "Node Selector",
        "Age",
        "Containers wide",
        "Images wide",
        "Selector wide",
    ];
    check(DAEMON_SETS, &columns, json!(["x", 0, 0, 0, 0, 0, "<none>", "-", "c", "i:1", "app=x"])).await;
    check(REVISIONS, &["Name", "Controller", "Revision", "Age"], json!(["x-1", "daemonset.apps/x", 3, "-"]))
        .await;
}
