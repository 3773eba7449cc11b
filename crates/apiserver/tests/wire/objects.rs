//! Create, update, patch and delete: what comes back, and what is stored (wire 2, 4.1).

use crate::harness::{Harness, config_map, daemon_set, pod};
use serde_json::{Value, json};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DAEMON_SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn who_has_written_reads_what_was_written() {
    let api = Harness::new().await;
    let made = api.create(CONFIG_MAPS, config_map("x", json!({}))).await;
    let read = api.get(&format!("{CONFIG_MAPS}/x")).await;
    assert_eq!((read.code, &read.json), (200, &made));
    let metadata = &made["metadata"];
    assert_eq!((&metadata["namespace"], metadata["uid"].as_str().unwrap().len()), (&json!("default"), 36));
    assert!(metadata["creationTimestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(metadata["generation"], Value::Null);
}

#[tokio::test]
async fn a_name_is_generated_and_kept_apart() {
    let api = Harness::new().await;
    let body = || json!({"metadata": {"generateName": "x-"}});
    let one = api.create(CONFIG_MAPS, body()).await;
    let two = api.create(CONFIG_MAPS, body()).await;
    for made in [&one, &two] {
        let name = made["metadata"]["name"].as_str().unwrap();
        assert!(name.starts_with("x-") && name.len() == 7, "{name}");
        assert_eq!(made["metadata"]["generateName"], "x-");
    }
    assert_ne!(one["metadata"]["name"], two["metadata"]["name"]);
}

#[tokio::test]
async fn a_dry_run_answers_and_stores_nothing() {
    let api = Harness::new().await;
    let made = api.create(&format!("{CONFIG_MAPS}?dryRun=All"), config_map("x", json!({}))).await;
    assert_eq!(made["metadata"]["resourceVersion"], Value::Null);
    assert!(made["metadata"]["uid"].is_string());
    assert_eq!(api.get(&format!("{CONFIG_MAPS}/x")).await.code, 404);
    api.create(CONFIG_MAPS, config_map("x", json!({}))).await;
    let patched = api.call(&format!("PATCH {CONFIG_MAPS}/x?dryRun=All"), json!({"data": {"a": "c"}})).await;
    assert_eq!(patched.json["data"]["a"], "c");
    assert_eq!(api.get(&format!("{CONFIG_MAPS}/x")).await.json["data"]["a"], "b");
    let deleted = api.call(&format!("DELETE {CONFIG_MAPS}/x?dryRun=All"), Value::Null).await;
    assert_eq!((deleted.code, api.get(&format!("{CONFIG_MAPS}/x")).await.code), (200, 200));
}

#[tokio::test]
async fn a_write_that_changes_nothing_is_not_stored() {
    let api = Harness::new().await;
    let made = api.create(CONFIG_MAPS, config_map("x", json!({"a": "b"}))).await;
    let same = api.call(&format!("PUT {CONFIG_MAPS}/x"), made.clone()).await;
    assert_eq!((same.code, &same.json), (200, &made));
    let patch = json!({"metadata": {"labels": {"a": "b", "gone": null}}});
    assert_eq!(api.call(&format!("PATCH {CONFIG_MAPS}/x"), patch).await.json, made);
}

#[tokio::test]
async fn a_put_is_checked_against_the_state_it_was_made_from() {
    let api = Harness::new().await;
    let made = api.create(CONFIG_MAPS, config_map("x", json!({}))).await;
    let mut changed = made.clone();
    changed["data"]["a"] = "c".into();
    let first = api.call(&format!("PUT {CONFIG_MAPS}/x"), changed.clone()).await;
    assert_eq!(first.code, 200);
    assert!(revision(&first.json) > revision(&made));
    changed["data"]["a"] = "d".into();
    let stale = api.call(&format!("PUT {CONFIG_MAPS}/x"), changed.clone()).await;
    assert_eq!(stale.code, 409);
    assert_eq!(
        stale.message(),
        "Operation cannot be fulfilled on configmaps \"x\": the object has been modified; please apply your changes to the latest version and try again"
    );
    changed["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let unconditional = api.call(&format!("PUT {CONFIG_MAPS}/x"), changed).await;
    assert_eq!((unconditional.code, &unconditional.json["data"]["a"]), (200, &json!("d")));
    let stale = json!({"metadata": {"resourceVersion": "2"}, "data": {"a": "e"}});
    assert_eq!(api.call(&format!("PATCH {CONFIG_MAPS}/x"), stale).await.code, 409);
}

#[tokio::test]
async fn what_may_not_change_does_not() {
    let api = Harness::new().await;
    let made = api.create(CONFIG_MAPS, config_map("x", json!({}))).await;
    let patch = json!({"metadata": {"uid": "other"}});
    let refused = api.call(&format!("PATCH {CONFIG_MAPS}/x"), patch).await;
    assert_eq!(refused.code, 422);
    assert!(
        refused.message().contains("metadata.uid: Invalid value: \"other\": field is immutable"),
        "{}",
        refused.text
    );
    let mut other = made.clone();
    other["metadata"]["uid"] = "other".into();
    let refused = api.call(&format!("PUT {CONFIG_MAPS}/x"), other).await;
    assert_eq!(refused.code, 409);
    assert!(
        refused.message().contains("Precondition failed: UID in precondition: other"),
        "{}",
        refused.text
    );
    let patch = json!({"metadata": {"creationTimestamp": "2000-01-01T00:00:00Z", "generation": 7}});
    assert_eq!(api.call(&format!("PATCH {CONFIG_MAPS}/x"), patch).await.json, made);
}

#[tokio::test]
async fn a_change_of_spec_raises_the_generation_and_one_of_metadata_does_not() {
    let api = Harness::new().await;
    let made = api.create(DAEMON_SETS, daemon_set("x")).await;
    assert_eq!(made["metadata"]["generation"], 1);
    let labelled =
        api.call(&format!("PATCH {DAEMON_SETS}/x"), json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(labelled.json["metadata"]["generation"], 1);
    let changed = api.call(&format!("PATCH {DAEMON_SETS}/x"), json!({"spec": {"minReadySeconds": 5}})).await;
    assert_eq!(changed.json["metadata"]["generation"], 2, "{}", changed.text);
    let status = json!({"status": {"numberReady": 3}, "spec": {"minReadySeconds": 9}});
    let status = api.call(&format!("PATCH {DAEMON_SETS}/x/status"), status).await;
    assert_eq!(
        (
            &status.json["metadata"]["generation"],
            &status.json["status"]["numberReady"],
            &status.json["spec"]["minReadySeconds"]
        ),
        (&json!(2), &json!(3), &json!(5))
    );
    let main = api.call(&format!("PATCH {DAEMON_SETS}/x"), json!({"status": {"numberReady": 8}})).await;
    assert_eq!(main.json["status"]["numberReady"], 3);
}

#[tokio::test]
async fn a_deletion_answers_with_a_status_or_the_object() {
    let api = Harness::new().await;
    let made = api.create(DAEMON_SETS, daemon_set("x")).await;
    let gone = api.call(&format!("DELETE {DAEMON_SETS}/x"), json!({"propagationPolicy": "Background"})).await;
    let details = json!({"name": "x", "group": "apps", "kind": "daemonsets", "uid": made["metadata"]["uid"]});
    let expected = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
    assert_eq!((gone.code, gone.json), (200, expected));
    api.create(PODS, pod("p", "")).await;
    let gone = api.call(&format!("DELETE {PODS}/p"), Value::Null).await;
    assert_eq!((gone.code, &gone.json["kind"]), (200, &json!("Pod")));
    assert_eq!(api.get(&format!("{PODS}/p")).await.code, 404);
}

#[tokio::test]
async fn a_bound_pod_ends_with_grace_and_its_agent_ends_it_for_good() {
    let api = Harness::new().await;
    let made = api.create(PODS, pod("p", "n1")).await;
    let marked = api.call(&format!("DELETE {PODS}/p"), Value::Null).await;
    assert_eq!((marked.code, &marked.json["metadata"]["deletionGracePeriodSeconds"]), (200, &json!(30)));
    assert_eq!(api.get(&format!("{PODS}/p")).await.code, 200);
    let end = |uid: Value| json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
    let wrong = api.call(&format!("DELETE {PODS}/p"), end("other".into())).await;
    assert_eq!(wrong.code, 409);
    let expected = format!(
        "Operation cannot be fulfilled on Pod \"p\": the UID in the precondition (other) does not match the UID in record ({}). The object might have been deleted and then recreated",
        made["metadata"]["uid"].as_str().unwrap()
    );
    assert_eq!(wrong.message(), expected);
    assert_eq!(api.call(&format!("DELETE {PODS}/p"), end(made["metadata"]["uid"].clone())).await.code, 200);
    assert_eq!(api.get(&format!("{PODS}/p")).await.code, 404);
}

#[tokio::test]
async fn finalizers_hold_an_object_and_their_removal_ends_it() {
    let api = Harness::new().await;
    let mut body = config_map("x", json!({}));
    body["metadata"]["finalizers"] = json!(["example.com/hold"]);
    api.create(CONFIG_MAPS, body).await;
    let marked = api.call(&format!("DELETE {CONFIG_MAPS}/x"), Value::Null).await;
    assert_eq!((marked.code, &marked.json["kind"]), (200, &json!("ConfigMap")));
    assert!(marked.json["metadata"]["deletionTimestamp"].is_string());
    let again = api.call(&format!("POST {CONFIG_MAPS}"), config_map("x", json!({}))).await;
    assert_eq!(again.message(), "object is being deleted: configmaps \"x\" already exists");
    let more = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    assert_eq!(api.call(&format!("PATCH {CONFIG_MAPS}/x"), more).await.code, 422);
    let last = api.call(&format!("PATCH {CONFIG_MAPS}/x"), json!({"metadata": {"finalizers": null}})).await;
    assert_eq!((last.code, &last.json["metadata"]["name"]), (200, &json!("x")));
    assert_eq!(api.get(&format!("{CONFIG_MAPS}/x")).await.code, 404);
}

#[tokio::test]
async fn foreground_and_orphan_wait_for_the_collector() {
    let api = Harness::new().await;
    for (name, policy, finalizer) in [("f", "Foreground", "foregroundDeletion"), ("o", "Orphan", "orphan")] {
        api.create(DAEMON_SETS, daemon_set(name)).await;
        let marked =
            api.call(&format!("DELETE {DAEMON_SETS}/{name}"), json!({"propagationPolicy": policy})).await;
        assert_eq!(marked.json["metadata"]["finalizers"], json!([finalizer]));
        assert_eq!(marked.json["metadata"]["generation"], 2);
    }
}

#[tokio::test]
async fn a_body_of_options_silences_the_query() {
    let api = Harness::new().await;
    api.create(CONFIG_MAPS, config_map("x", json!({}))).await;
    let call = format!("DELETE {CONFIG_MAPS}/x?dryRun=All");
    assert_eq!(api.call(&call, json!({"propagationPolicy": "Background"})).await.code, 200);
    assert_eq!(api.get(&format!("{CONFIG_MAPS}/x")).await.code, 404);
}

#[tokio::test]
async fn a_collection_is_deleted_as_far_as_it_is_selected() {
    let api = Harness::new().await;
    for name in ["a", "b", "c"] {
        api.create(CONFIG_MAPS, config_map(name, json!({"keep": if name == "c" { "yes" } else { "no" }})))
            .await;
    }
    let gone = api.call(&format!("DELETE {CONFIG_MAPS}?labelSelector=keep%3Dno"), Value::Null).await;
    assert_eq!((gone.code, &gone.json["kind"]), (200, &json!("ConfigMapList")));
    assert_eq!(gone.json["items"].as_array().unwrap().len(), 2);
    let left = api.get(CONFIG_MAPS).await;
    assert_eq!(left.json["items"].as_array().unwrap().len(), 1);
    assert_eq!(api.call("DELETE /api/v1/namespaces", Value::Null).await.code, 405);
}

#[tokio::test]
async fn a_namespace_ends_when_its_finalizers_are_gone() {
    let api = Harness::new().await;
    let made = api.create("/api/v1/namespaces", json!({"metadata": {"name": "t"}})).await;
    assert_eq!(made["metadata"]["labels"]["kubernetes.io/metadata.name"], "t");
    assert_eq!(
        (&made["spec"]["finalizers"], &made["status"]["phase"]),
        (&json!(["kubernetes"]), &json!("Active"))
    );
    let marked = api.call("DELETE /api/v1/namespaces/t", Value::Null).await;
    assert_eq!((marked.code, &marked.json["status"]["phase"]), (200, &json!("Terminating")));
    let refused = api.call("POST /api/v1/namespaces/t/configmaps", config_map("x", json!({}))).await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.message(),
        "configmaps \"x\" is forbidden: unable to create new content in namespace t because it is being terminated"
    );
    let mut finalized = marked.json.clone();
    finalized["spec"]["finalizers"] = json!([]);
    assert_eq!(api.call("PUT /api/v1/namespaces/t/finalize", finalized).await.code, 200);
    assert_eq!(api.get("/api/v1/namespaces/t").await.code, 404);
    let refused = api.call("DELETE /api/v1/namespaces/default", Value::Null).await;
    assert_eq!(refused.message(), "namespaces \"default\" is forbidden: this namespace may not be deleted");
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let api = Harness::new().await;
    api.create(PODS, pod("p", "")).await;
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"},
        "target": {"kind": "Node", "name": "n1"}});
    let bound = api.call(&format!("POST {PODS}/p/binding"), binding.clone()).await;
    assert_eq!((bound.code, &bound.json["status"]), (201, &json!("Success")));
    let read = api.get(&format!("{PODS}/p")).await.json;
    assert_eq!(read["spec"]["nodeName"], "n1");
    let scheduled =
        read["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "PodScheduled");
    assert_eq!(scheduled.unwrap()["status"], "True");
    let twice = api.call(&format!("POST {PODS}/p/binding"), binding).await;
    assert_eq!(twice.code, 409);
    assert_eq!(
        twice.message(),
        "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\""
    );
}

#[tokio::test]
async fn an_evicted_pod_is_marked_and_says_why() {
    let api = Harness::new().await;
    api.create(PODS, pod("p", "n1")).await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}, "deleteOptions": {}});
    assert_eq!(api.call(&format!("POST {PODS}/p/eviction"), eviction).await.code, 201);
    let read = api.get(&format!("{PODS}/p")).await.json;
    assert!(read["metadata"]["deletionTimestamp"].is_string());
    let target =
        read["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "DisruptionTarget");
    assert_eq!(target.unwrap()["reason"], "EvictionByEvictionAPI");
}

#[tokio::test]
async fn a_pod_gets_what_the_cluster_adds() {
    let api = Harness::new().await;
    let mut body = pod("p", "");
    body["spec"]["priorityClassName"] = "system-node-critical".into();
    let made = api.create(PODS, body).await;
    let spec = &made["spec"];
    assert_eq!(
        (&spec["serviceAccountName"], &spec["priority"], &spec["preemptionPolicy"]),
        (&json!("default"), &json!(2_000_001_000), &json!("PreemptLowerPriority"))
    );
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
    let mut body = pod("q", "");
    body["spec"]["priorityClassName"] = "nopc".into();
    let refused = api.call(&format!("POST {PODS}"), body).await;
    assert_eq!(refused.message(), "pods \"q\" is forbidden: no PriorityClass with name nopc was found");
    let mut body = pod("q", "");
    body["spec"]["priority"] = 5.into();
    let refused = api.call(&format!("POST {PODS}"), body).await;
    assert_eq!(
        refused.message(),
        "pods \"q\" is forbidden: the integer value of priority (5) must not be provided in pod spec; priority \
         admission controller computed 0 from the given PriorityClass name"
    );
    let mut body = pod("q", "");
    body["spec"]["serviceAccountName"] = "nosa".into();
    let refused = api.call(&format!("POST {PODS}"), body).await;
    assert_eq!(
        refused.message(),
        "pods \"q\" is forbidden: error looking up service account default/nosa: serviceaccount \"nosa\" not found"
    );
}

#[tokio::test]
async fn a_new_node_is_tainted_until_it_is_ready() {
    // NP-10.
    let api = Harness::new().await;
    let made = api.create("/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await;
    assert_eq!(
        made["spec"]["taints"],
        json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}])
    );
}

#[tokio::test]
async fn a_lease_needs_its_revision_and_may_be_made_by_put() {
    let api = Harness::new().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let lease = json!({"metadata": {"name": "n1"}, "spec": {"holderIdentity": "n1"}});
    assert_eq!(api.call(&format!("PUT {leases}/n1"), lease.clone()).await.code, 201);
    let refused = api.call(&format!("PUT {leases}/n1"), lease).await;
    assert_eq!(refused.code, 422);
    assert!(
        refused
            .message()
            .ends_with("metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"),
        "{}",
        refused.text
    );
}

#[tokio::test]
async fn a_service_gets_an_address_and_the_first_one_is_ours() {
    let api = Harness::new().await;
    let own = api.get("/api/v1/namespaces/default/services/kubernetes").await.json;
    assert_eq!(own["spec"]["clusterIP"], "10.96.0.1");
    let body = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}});
    let made = api.create("/api/v1/namespaces/default/services", body).await;
    assert_eq!(
        (&made["spec"]["clusterIP"], &made["spec"]["clusterIPs"]),
        (&json!("10.96.0.2"), &json!(["10.96.0.2"]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_at_once_lose_nothing() {
    let api = Harness::new().await;
    api.create(CONFIG_MAPS, config_map("x", json!({}))).await;
    let writers = (0..4).map(|writer| {
        let api = api.as_user(api.user.clone());
        tokio::spawn(async move {
            for round in 0..10 {
                let key = format!("w{writer}-{round}");
                let patch = json!({"data": {key: "done"}});
                // 409 after five tries is an answer too; then the client tries again, as kubectl does.
                while api.call(&format!("PATCH {CONFIG_MAPS}/x"), patch.clone()).await.code == 409 {}
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let data = api.get(&format!("{CONFIG_MAPS}/x")).await.json["data"].clone();
    assert_eq!(data.as_object().unwrap().len(), 41);
}

#[tokio::test]
async fn what_was_written_is_there_after_the_store_was_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let open = async || {
        let store = std::sync::Arc::new(store::sqlite::SqliteStore::open(&file).unwrap());
        apiserver::ApiServer::open(store, crate::harness::config()).await.unwrap()
    };
    let first = Harness { server: open().await, user: crate::harness::masters() };
    let made = first.create(CONFIG_MAPS, config_map("x", json!({}))).await;
    first.server.close();
    first.server.ended().await;
    drop(first);
    let second = Harness { server: open().await, user: crate::harness::masters() };
    assert_eq!(second.get(&format!("{CONFIG_MAPS}/x")).await.json, made);
}

#[tokio::test]
async fn one_priority_class_is_the_default_and_the_systems_own_stay() {
    const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let class = |name: &str, value: i64, default: bool| json!({"metadata": {"name": name}, "value": value, "globalDefault": default, "preemptionPolicy": "Never"});
    let api = Harness::new().await;
    api.create(CLASSES, class("calm", 7, true)).await;
    let refused = api.call(&format!("POST {CLASSES}"), class("other", 8, true)).await;
    assert_eq!(
        (refused.code, refused.message()),
        (
            403,
            "priorityclasses.scheduling.k8s.io \"other\" is forbidden: PriorityClass calm is already marked as \
             default. Only one default can exist"
        )
    );
    // The default itself may be written again.
    let patch = json!({"description": "for most"});
    assert_eq!(api.call(&format!("PATCH {CLASSES}/calm"), patch).await.code, 200);
    let made = api.create(PODS, pod("p", "")).await;
    let spec = &made["spec"];
    assert_eq!(
        (&spec["priorityClassName"], &spec["priority"], &spec["preemptionPolicy"]),
        (&json!("calm"), &json!(7), &json!("Never"))
    );
    let refused = api.call(&format!("DELETE {CLASSES}/system-node-critical"), json!({})).await;
    assert_eq!(
        refused.message(),
        "priorityclasses.scheduling.k8s.io \"system-node-critical\" is forbidden: this is a system priority class \
         and cannot be deleted"
    );
}
