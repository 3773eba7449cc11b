//! Kinds that users bring: defined, served, used and gone (wire 2.11).

use crate::harness::{Harness, PATIENCE};
use serde_json::{Value, json};

pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub const WIDGETS: &str = "/apis/shop.example/v1/namespaces/default/widgets";

/// A definition with everything that most have.
pub fn widgets() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.shop.example"},
        "spec": {"group": "shop.example", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
                "additionalPrinterColumns": [
                    {"name": "Color", "type": "string", "jsonPath": ".spec.color"},
                    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "priority": 1}],
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "schema": {"openAPIV3Schema": schema()}}]}})
}

fn schema() -> Value {
    let part = json!({"type": "object", "required": ["name"],
        "properties": {"name": {"type": "string"}, "size": {"type": "integer", "default": 5}}});
    let spec = json!({"type": "object", "required": ["color"], "properties": {
        "color": {"type": "string", "enum": ["red", "green"]},
        "replicas": {"type": "integer", "default": 1, "minimum": 0, "maximum": 10},
        "empty": {"type": "array", "items": {"type": "string"}},
        "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": part}}});
    let status = json!({"type": "object",
        "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}});
    json!({"type": "object", "description": "A thing.", "required": ["spec"],
        "properties": {"spec": spec, "status": status}})
}

pub fn widget(name: &str) -> Value {
    json!({"apiVersion": "shop.example/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"color": "red"}})
}

/// Defines a kind and waits until it is served.
pub async fn define(api: &Harness, definition: Value) {
    let name = definition["metadata"]["name"].as_str().unwrap().to_string();
    api.create(DEFINITIONS, definition).await;
    let mut watch =
        api.watch(&format!("{DEFINITIONS}?watch=1&fieldSelector=metadata.name={name}"), &[]).await;
    while !is_established(&watch.next().await.unwrap()["object"]) {}
}

fn is_established(definition: &Value) -> bool {
    let conditions = definition["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|c| c["type"] == "Established" && c["status"] == "True")
}

/// Waits until the definition is gone.
pub async fn gone(api: &Harness, name: &str) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while api.get(&format!("{DEFINITIONS}/{name}")).await.code != 404 {
        assert!(tokio::time::Instant::now() < end, "the definition is still there");
        tokio::task::yield_now().await;
    }
}

async fn with_widgets() -> Harness {
    let api = Harness::new().await;
    define(&api, widgets()).await;
    api
}

#[tokio::test]
async fn a_definition_is_completed_accepted_and_found() {
    let api = with_widgets().await;
    let stored = api.get(&format!("{DEFINITIONS}/widgets.shop.example")).await.json;
    let names = json!({"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList",
        "shortNames": ["wd"], "categories": ["all"]});
    assert_eq!((&stored["spec"]["names"], &stored["status"]["acceptedNames"]), (&names, &names));
    assert_eq!(stored["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(
        (&stored["metadata"]["generation"], &stored["spec"]["conversion"]),
        (&json!(1), &json!({"strategy": "None"}))
    );

    let groups = api.get("/apis").await.json;
    let group = groups["groups"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&group["name"], &group["preferredVersion"]["groupVersion"]),
        (&json!("shop.example"), &json!("shop.example/v1"))
    );
    let list = api.get("/apis/shop.example/v1").await.json;
    let named: Vec<(&str, &str)> = list["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["name"].as_str().unwrap(), r["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(named, [("widgets", "Widget"), ("widgets/scale", "Scale"), ("widgets/status", "Widget")]);
    assert_eq!(list["resources"][0]["shortNames"], json!(["wd"]));
    let accept = [("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")];
    let aggregated = api.raw("GET /apis", &accept, "").await.json;
    let group = aggregated["items"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        group["versions"][0]["resources"][0]["responseKind"],
        json!({"group": "shop.example", "version": "v1", "kind": "Widget"})
    );

    let index = api.get("/openapi/v3").await.json;
    let url = index["paths"]["apis/shop.example/v1"]["serverRelativeURL"].as_str().unwrap().to_string();
    let document = api.get(&url).await.json;
    let schema = &document["components"]["schemas"]["example.shop.v1.Widget"];
    assert_eq!(
        (&schema["description"], &schema["properties"]["spec"]["required"]),
        (&json!("A thing."), &json!(["color"]))
    );
    let item = &document["paths"]["/apis/shop.example/v1/namespaces/{namespace}/widgets/{name}"]["patch"];
    assert!(item["parameters"].as_array().unwrap().iter().any(|p| p["name"] == "fieldValidation"));
}

#[tokio::test]
async fn an_object_is_pruned_filled_and_numbered() {
    let api = with_widgets().await;
    let mut sent = widget("a");
    sent["spec"]["bogus"] = json!({"deep": 1});
    sent["spec"]["empty"] = json!([]);
    sent["spec"]["parts"] = json!([{"name": "x"}, {"name": "y", "size": null}]);
    sent["status"] = json!({"replicas": 7});
    let answer = api.call(&format!("POST {WIDGETS}"), sent.clone()).await;
    assert_eq!(
        (answer.code, answer.warnings()),
        (201, vec!["299 - \"unknown field \\\"spec.bogus\\\"\"".to_string()])
    );
    assert_eq!(
        answer.json["spec"],
        json!({"color": "red", "replicas": 1, "empty": [],
        "parts": [{"name": "x", "size": 5}, {"name": "y", "size": 5}]})
    );
    assert_eq!((&answer.json["status"], &answer.json["metadata"]["generation"]), (&Value::Null, &json!(1)));
    // Metadata is no spec.
    let labelled = api.call(&format!("PATCH {WIDGETS}/a"), json!({"metadata": {"labels": {"l": "1"}}})).await;
    assert_eq!(labelled.json["metadata"]["generation"], 1);
    let changed = api.call(&format!("PATCH {WIDGETS}/a"), json!({"spec": {"replicas": 2}})).await;
    assert_eq!(changed.json["metadata"]["generation"], 2);

    sent["metadata"]["name"] = "strict".into();
    let strict = api.call(&format!("POST {WIDGETS}?fieldValidation=Strict"), sent).await;
    assert_eq!(
        (strict.code, strict.message()),
        (
            400,
            "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: unknown field \"spec.bogus\""
        )
    );
}

#[tokio::test]
async fn a_broken_rule_is_told_at_its_field() {
    let api = with_widgets().await;
    let refused = async |spec: Value, message: &str| {
        let mut sent = widget("a");
        sent["spec"] = spec;
        let answer = api.call(&format!("POST {WIDGETS}"), sent).await;
        assert_eq!((answer.code, answer.message()), (422, message));
        answer.json
    };
    refused(json!({}), "Widget.shop.example \"a\" is invalid: spec.color: Required value").await;
    refused(json!({"color": "blue"}),
        "Widget.shop.example \"a\" is invalid: spec.color: Unsupported value: \"blue\": supported values: \"red\", \"green\"").await;
    let typed = refused(json!({"color": "red", "replicas": "two"}),
        "Widget.shop.example \"a\" is invalid: [spec.replicas: Invalid value: \"string\": spec.replicas in body must be of type integer: \"string\", .spec.replicas: Invalid value: 0: .spec.replicas accessor error: two is of the type string, expected int64]").await;
    assert_eq!(typed["details"]["causes"][0]["reason"], "FieldValueTypeInvalid");
    refused(
        json!({"color": "red", "parts": [{"name": "x"}, {"name": "x"}]}),
        "Widget.shop.example \"a\" is invalid: spec.parts[1]: Duplicate value: {\"name\":\"x\"}",
    )
    .await;
    api.create(WIDGETS, widget("a")).await;
    let put = api.call(&format!("PUT {WIDGETS}/a"), widget("a")).await;
    assert_eq!(
        (put.code, put.json["details"]["causes"][0]["field"].clone()),
        (422, json!("metadata.resourceVersion"))
    );
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    let answer = api.raw(&format!("PATCH {WIDGETS}/a"), &strategic, "{}").await;
    assert_eq!(
        (answer.code, answer.message()),
        (
            415,
            "the body of the request was in an unknown format - accepted media types include: \
        application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
        )
    );
}

#[tokio::test]
async fn status_and_scale_write_their_own_part() {
    let api = with_widgets().await;
    api.create(WIDGETS, widget("a")).await;
    let status = json!({"status": {"replicas": 3, "selector": "app=a"}, "spec": {"color": "green"}, "metadata": {"labels": {"x": "y"}}});
    let answer = api.call(&format!("PATCH {WIDGETS}/a/status"), status).await;
    assert_eq!(
        (answer.code, &answer.json["status"]["replicas"], &answer.json["spec"]["color"]),
        (200, &json!(3), &json!("red"))
    );
    assert_eq!(
        (&answer.json["metadata"]["generation"], &answer.json["metadata"]["labels"]),
        (&json!(1), &Value::Null)
    );
    let wrong = api.call(&format!("PATCH {WIDGETS}/a/status"), json!({"status": {"replicas": "x"}})).await;
    assert_eq!(
        (wrong.code, wrong.message()),
        (
            422,
            "Widget.shop.example \"a\" is invalid: status.replicas: Invalid value: \"string\": replicas in body must be of type integer: \"string\""
        )
    );

    let scale = api.get(&format!("{WIDGETS}/a/scale")).await.json;
    assert_eq!(
        (&scale["kind"], &scale["spec"], &scale["status"]),
        (&json!("Scale"), &json!({"replicas": 1}), &json!({"replicas": 3, "selector": "app=a"}))
    );
    let scaled = api.call(&format!("PATCH {WIDGETS}/a/scale"), json!({"spec": {"replicas": 4}})).await;
    assert_eq!((scaled.code, &scaled.json["spec"]["replicas"]), (200, &json!(4)));
    let object = api.get(&format!("{WIDGETS}/a")).await.json;
    assert_eq!(
        (&object["spec"]["replicas"], &object["status"]["replicas"], &object["metadata"]["generation"]),
        (&json!(4), &json!(3), &json!(2))
    );
    let mut put = scaled.json;
    put["spec"]["replicas"] = 11.into();
    assert_eq!(api.call(&format!("PUT {WIDGETS}/a/scale"), put).await.code, 422);
}

#[tokio::test]
async fn lists_tables_selectors_and_pages() {
    let api = with_widgets().await;
    for name in ["a", "b", "c"] {
        api.create(WIDGETS, widget(name)).await;
    }
    api.call(&format!("PATCH {WIDGETS}/b"), json!({"spec": {"color": "green"}})).await;
    let names = async |query: &str| -> Vec<String> {
        let list = api.get(&format!("/apis/shop.example/v1/widgets?{query}")).await.json;
        let items = list["items"].as_array().into_iter().flatten();
        items.map(|item| item["metadata"]["name"].as_str().unwrap().to_string()).collect()
    };
    assert_eq!(names("fieldSelector=spec.color=green").await, ["b"]);
    assert_eq!(names("fieldSelector=metadata.name=c").await, ["c"]);
    assert_eq!(names("limit=2").await, ["a", "b"]);
    let list = api.get(WIDGETS).await.json;
    assert_eq!(
        (&list["kind"], &list["items"][0]["kind"], &list["items"][0]["apiVersion"]),
        (&json!("WidgetList"), &json!("Widget"), &json!("shop.example/v1"))
    );
    let unknown = api.get(&format!("{WIDGETS}?fieldSelector=spec.replicas=1")).await;
    assert_eq!((unknown.code, unknown.message()), (400, "field label not supported: spec.replicas"));
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = api.raw(&format!("GET {WIDGETS}"), &accept, "").await.json;
    let columns: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(columns, ["Name", "Color", "Replicas"]);
    assert_eq!(table["rows"][1]["cells"], json!(["b", "green", 1]));
    let accept = [("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")];
    let partial = api.raw(&format!("GET {WIDGETS}"), &accept, "").await.json;
    assert_eq!(
        (&partial["items"][0]["kind"], &partial["items"][0]["spec"]),
        (&json!("PartialObjectMetadata"), &Value::Null)
    );
}

#[tokio::test]
async fn appliers_share_an_object_as_its_schema_says() {
    let api = with_widgets().await;
    let apply = async |manager: &str, part: Value| {
        let mut body = json!({"apiVersion": "shop.example/v1", "kind": "Widget", "metadata": {"name": "a"}});
        body["spec"] = part;
        let headers = [("content-type", "application/apply-patch+yaml")];
        api.raw(&format!("PATCH {WIDGETS}/a?fieldManager={manager}"), &headers, body.to_string()).await
    };
    let first = apply("one", json!({"color": "red", "parts": [{"name": "x", "size": 1}]})).await;
    assert_eq!(first.code, 201, "{}", first.text);
    let second = apply("two", json!({"parts": [{"name": "y"}]})).await;
    assert_eq!(
        (second.code, &second.json["spec"]["parts"]),
        (200, &json!([{"name": "x", "size": 1}, {"name": "y", "size": 5}]))
    );
    let conflict = apply("two", json!({"color": "green"})).await;
    assert_eq!(
        (conflict.code, conflict.message()),
        (409, "Apply failed with 1 conflict: conflict with \"one\": .spec.color")
    );
    // What nobody applies any more goes.
    let less = apply("one", json!({"color": "red"})).await;
    assert_eq!(less.json["spec"]["parts"], json!([{"name": "y", "size": 5}]));
    let unknown = apply("one", json!({"color": "red", "bogus": 1})).await;
    assert_eq!(unknown.code, 400);
    assert!(
        unknown.message().ends_with(".spec.bogus: field not declared in schema"),
        "{}",
        unknown.message()
    );
}

#[tokio::test]
async fn a_kind_goes_with_its_objects_and_its_watches() {
    let api = with_widgets().await;
    let mut held = widget("held");
    held["metadata"]["finalizers"] = json!(["a.example/hold"]);
    api.create(WIDGETS, held).await;
    api.create(WIDGETS, widget("free")).await;
    let mut watch = api.watch(&format!("{WIDGETS}?watch=1"), &[]).await;
    assert_eq!([watch.brief().await, watch.brief().await], ["ADDED free", "ADDED held"]);
    let deleted = api.call(&format!("DELETE {DEFINITIONS}/widgets.shop.example"), Value::Null).await;
    assert_eq!(deleted.json["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    let mut seen = vec![watch.brief().await, watch.brief().await];
    seen.sort();
    assert_eq!(seen, ["DELETED free", "MODIFIED held"]);
    let refused = api.call(&format!("POST {WIDGETS}"), widget("new")).await;
    assert_eq!(
        (refused.code, refused.message()),
        (405, "create not allowed while custom resource definition is terminating")
    );
    api.call(&format!("PATCH {WIDGETS}/held"), json!({"metadata": {"finalizers": null}})).await;
    gone(&api, "widgets.shop.example").await;
    assert_eq!(watch.brief().await, "DELETED held");
    assert!(watch.next().await.is_none());
    let answer = api.get(WIDGETS).await;
    assert_eq!((answer.code, answer.text.as_str()), (404, "404 page not found\n"));
    assert_eq!(api.get("/apis/shop.example").await.code, 404);
}

#[tokio::test]
async fn a_definition_that_is_wrong_is_refused_with_everything_that_is() {
    let api = Harness::new().await;
    let mut wrong = widgets();
    wrong["metadata"]["name"] = "gadgets.shop.example".into();
    wrong["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["color"]
        ["pattern"] = "(".into();
    let answer = api.call(&format!("POST {DEFINITIONS}"), wrong).await;
    let fields: Vec<&str> = answer.json["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["field"].as_str().unwrap())
        .collect();
    assert_eq!(
        (answer.code, fields),
        (
            422,
            vec![
                "metadata.name",
                "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[color].pattern"
            ]
        )
    );
    let mut rules = widgets();
    rules["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] =
        json!([{"rule": "self.spec.replicas > 0"}]);
    let answer = api.call(&format!("POST {DEFINITIONS}"), rules).await;
    assert_eq!(answer.code, 201);
    assert!(answer.warnings()[0].contains("does not evaluate"), "{:?}", answer.warnings());
}

#[tokio::test]
async fn names_are_whose_they_were_first() {
    let api = with_widgets().await;
    let mut second = widgets();
    second["metadata"]["name"] = "gadgets.shop.example".into();
    second["spec"]["names"] = json!({"plural": "gadgets", "kind": "Gadget", "shortNames": ["wd"]});
    api.create(DEFINITIONS, second).await;
    let mut watch = api
        .watch(&format!("{DEFINITIONS}?watch=1&fieldSelector=metadata.name=gadgets.shop.example"), &[])
        .await;
    let conflict = loop {
        let seen = watch.next().await.unwrap()["object"]["status"]["conditions"][0].clone();
        if seen["reason"] == "ShortNamesConflict" {
            break seen;
        }
    };
    assert_eq!(conflict["message"], "\"wd\" is already in use");
    assert_eq!(api.get("/apis/shop.example/v1/gadgets").await.code, 404);
    // The other one goes, and frees its name.
    api.call(&format!("DELETE {DEFINITIONS}/widgets.shop.example"), Value::Null).await;
    while !is_established(&watch.next().await.unwrap()["object"]) {}
    assert_eq!(api.get("/apis/shop.example/v1/gadgets").await.code, 200);
}
