//! RuntimeClasses, and what pods take over from them.

use crate::harness::{Harness, pod};
use serde_json::{Value, json};

const CLASSES: &str = "/apis/node.k8s.io/v1/runtimeclasses";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn with(name: &str, spec: Value) -> Value {
    let mut pod = pod(name, "");
    pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    pod
}

#[tokio::test]
async fn a_pod_takes_over_what_its_class_says() {
    let harness = Harness::new().await;
    let class = json!({"metadata": {"name": "sandboxed"}, "handler": "runsc", "overhead": {"podFixed": {"cpu": "50m"}},
        "scheduling": {"nodeSelector": {"sandbox": "yes"}, "tolerations": [{"key": "sandbox", "operator": "Exists"}]}});
    harness.create(CLASSES, class).await;
    let created = harness.create(PODS, with("a", json!({"runtimeClassName": "sandboxed"}))).await;
    let spec = &created["spec"];
    assert_eq!(spec["overhead"], json!({"cpu": "50m"}));
    assert_eq!(spec["nodeSelector"], json!({"sandbox": "yes"}));
    assert_eq!(spec["tolerations"][0], json!({"key": "sandbox", "operator": "Exists"}));

    let check = async |name: &str, spec: Value, why: &str| {
        let answer = harness.call(&format!("POST {PODS}"), with(name, spec)).await;
        assert_eq!(
            (answer.code, answer.message()),
            (403, format!("pods \"{name}\" is forbidden: {why}").as_str())
        );
    };
    check("b", json!({"runtimeClassName": "other"}), "pod rejected: RuntimeClass \"other\" not found").await;
    check(
        "c",
        json!({"runtimeClassName": "sandboxed", "nodeSelector": {"sandbox": "no"}}),
        "conflict: runtimeClass.scheduling.nodeSelector[sandbox] = yes; pod.spec.nodeSelector[sandbox] = no",
    )
    .await;
    let different = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
    check("d", json!({"runtimeClassName": "sandboxed", "overhead": {"cpu": "1"}}), different).await;
    let alone = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
    check("e", json!({"overhead": {"cpu": "1"}}), alone).await;
}

#[tokio::test]
async fn the_handler_is_for_ever_and_a_write_names_the_revision() {
    let harness = Harness::new().await;
    let class = harness.create(CLASSES, json!({"metadata": {"name": "a"}, "handler": "runc"})).await;
    let path = format!("PUT {CLASSES}/a");
    let mut other = class.clone();
    other["handler"] = json!("runsc");
    let answer = harness.call(&path, other).await;
    let why =
        "RuntimeClass.node.k8s.io \"a\" is invalid: handler: Invalid value: \"runsc\": field is immutable";
    assert_eq!((answer.code, answer.message()), (422, why));
    let mut blind = class.clone();
    blind["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    assert_eq!(harness.call(&path, blind.clone()).await.code, 422);
    // What is not there is missing before the revision is.
    blind["metadata"]["name"] = json!("b");
    let missing = harness.call(&format!("PUT {CLASSES}/b"), blind).await;
    assert_eq!((missing.code, missing.message()), (404, "runtimeclasses.node.k8s.io \"b\" not found"));
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = harness.raw(&format!("GET {CLASSES}"), &table, "").await.json;
    let names: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Name", "Handler", "Age"]);
    assert_eq!(table["rows"][0]["cells"][1], "runc");
}
