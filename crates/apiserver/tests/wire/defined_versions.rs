//! Several versions of one defined kind, a schema that changes, and several servers.

use crate::defined::{DEFINITIONS, WIDGETS, define, widget, widgets};
use crate::harness::{Harness, PATIENCE, config, masters};
use apiserver::ApiServer;
use futures::TryStreamExt as _;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use std::sync::Arc;
use store::memory::MemoryStore;

const NEXT: &str = "/apis/shop.example/v2/namespaces/default/widgets";

/// `v1` is stored; `v2` has another schema, `v3` the same.
fn three_versions() -> Value {
    let mut definition = widgets();
    let first = definition["spec"]["versions"][0].clone();
    let (mut second, mut third) = (first.clone(), first);
    for (version, name) in [(&mut second, "v2"), (&mut third, "v3")] {
        version["name"] = name.into();
        version["storage"] = false.into();
    }
    second["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        .as_object_mut()
        .unwrap()
        .remove("parts");
    second["deprecated"] = true.into();
    definition["spec"]["versions"].as_array_mut().unwrap().extend([second, third]);
    definition
}

#[tokio::test]
async fn an_object_is_seen_in_every_version() {
    let api = Harness::new().await;
    define(&api, three_versions()).await;
    let mut sent = widget("a");
    sent["spec"]["parts"] = json!([{"name": "x"}]);
    api.create(WIDGETS, sent).await;
    let second = api.get(&format!("{NEXT}/a")).await;
    assert_eq!(
        (&second.json["apiVersion"], &second.json["spec"]),
        (&json!("shop.example/v2"), &json!({"color": "red", "replicas": 1}))
    );
    assert_eq!(second.warnings(), ["299 - \"shop.example/v2 Widget is deprecated\""]);
    let third = api.get(&format!("{}/a", NEXT.replace("v2", "v3"))).await.json;
    assert_eq!(
        (&third["apiVersion"], &third["spec"]["parts"]),
        (&json!("shop.example/v3"), &json!([{"name": "x", "size": 5}]))
    );
    let list = api.get(NEXT).await.json;
    assert_eq!(list["items"][0]["apiVersion"], "shop.example/v2");
    let mut watch = api.watch(&format!("{NEXT}?watch=1"), &[]).await;
    assert_eq!(watch.next().await.unwrap()["object"]["apiVersion"], "shop.example/v2");
    // Written as another version, stored as the first.
    let mut other = widget("b");
    other["apiVersion"] = "shop.example/v2".into();
    api.create(NEXT, other).await;
    assert_eq!(api.get(&format!("{WIDGETS}/b")).await.json["apiVersion"], "shop.example/v1");
    assert_eq!(watch.next().await.unwrap()["object"]["apiVersion"], "shop.example/v2");
    let group = api.get("/apis/shop.example").await.json;
    let versions: Vec<&str> =
        group["versions"].as_array().unwrap().iter().map(|v| v["version"].as_str().unwrap()).collect();
    assert_eq!(versions, ["v3", "v2", "v1"]);
}

#[tokio::test]
async fn a_new_default_shows_in_old_objects_and_watches_begin_anew() {
    let api = Harness::new().await;
    define(&api, widgets()).await;
    api.create(WIDGETS, widget("a")).await;
    let mut watch = api.watch(&format!("{WIDGETS}?watch=1"), &[]).await;
    assert_eq!(watch.brief().await, "ADDED a");
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/texture";
    let patch = json!([{"op": "add", "path": path, "value": {"type": "string", "default": "smooth"}}]);
    let headers = [("content-type", "application/json-patch+json")];
    let patched =
        api.raw(&format!("PATCH {DEFINITIONS}/widgets.shop.example"), &headers, patch.to_string()).await;
    assert_eq!((patched.code, &patched.json["metadata"]["generation"]), (200, &json!(2)));
    assert_eq!(api.get(&format!("{WIDGETS}/a")).await.json["spec"]["texture"], "smooth");
    assert_eq!(api.get(WIDGETS).await.json["items"][0]["spec"]["texture"], "smooth");
    assert!(watch.next().await.is_none());
    // The new kind's objects are watched like any others.
    let mut watch = api.watch(&format!("{WIDGETS}?watch=1"), &[]).await;
    assert_eq!(watch.brief().await, "ADDED a");
    api.create(WIDGETS, widget("b")).await;
    assert_eq!(watch.brief().await, "ADDED b");
}

#[tokio::test]
async fn every_server_learns_of_a_kind_and_so_does_the_next_one() {
    let store = Arc::new(MemoryStore::new());
    let one = Harness { server: ApiServer::open(store.clone(), config()).await.unwrap(), user: masters() };
    let two = Harness { server: ApiServer::open(store.clone(), config()).await.unwrap(), user: masters() };
    define(&one, widgets()).await;
    assert_eq!(two.get(WIDGETS).await.code, 200);
    two.create(WIDGETS, widget("a")).await;
    assert_eq!(one.get(&format!("{WIDGETS}/a")).await.code, 200);
    one.server.close();
    two.server.close();
    let three = Harness { server: ApiServer::open(store, config()).await.unwrap(), user: masters() };
    assert_eq!(three.get(&format!("{WIDGETS}/a")).await.json["spec"]["color"], "red");
}

#[tokio::test]
async fn a_dynamic_client_watches_what_was_just_defined() {
    let api = Harness::new().await;
    define(&api, widgets()).await;
    let client = kube::Client::new(api.server.as_user(masters()), "default");
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("shop.example", "v1", "Widget"), "widgets");
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let objects: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &resource);
        let mut seen = Box::pin(watcher(objects, config).applied_objects());
        let next = tokio::time::timeout(PATIENCE, seen.try_next());
        let name = format!("n{}", api.get(WIDGETS).await.json["items"].as_array().unwrap().len());
        api.create(WIDGETS, widget(&name)).await;
        assert!(next.await.unwrap().unwrap().is_some());
    }
}

#[tokio::test]
async fn a_store_that_was_not_emptied_gives_its_objects_back() {
    let store = Arc::new(MemoryStore::new());
    let one = Harness { server: ApiServer::open(store.clone(), config()).await.unwrap(), user: masters() };
    define(&one, widgets()).await;
    one.create(WIDGETS, widget("a")).await;
    let definition = one.get(&format!("{DEFINITIONS}/widgets.shop.example")).await.json;
    assert!(definition["metadata"]["finalizers"].is_null());
    let same = one.call(&format!("PUT {DEFINITIONS}/widgets.shop.example"), definition.clone()).await.json;
    assert_eq!(same["metadata"]["resourceVersion"], definition["metadata"]["resourceVersion"]);
}
