//! Containers that are added to a running pod: `pods/ephemeralcontainers`, as `kubectl debug` writes it.

use crate::harness::{Harness, pod};
use serde_json::{Value, json};

const POD: &str = "/api/v1/namespaces/default/pods/p/ephemeralcontainers";

fn debugger(name: &str) -> Value {
    json!({"name": name, "image": "busybox", "targetContainerName": "c", "stdin": true, "tty": true})
}

fn list(containers: &[Value]) -> Value {
    json!({"spec": {"ephemeralContainers": containers}})
}

async fn patch(api: &Harness, body: Value) -> crate::harness::Answer {
    let kind = [("content-type", "application/strategic-merge-patch+json")];
    api.raw(&format!("PATCH {POD}"), &kind, body.to_string()).await
}

async fn a_pod() -> Harness {
    let api = Harness::new().await;
    let mut object = pod("p", "n1");
    object["spec"]["containers"][0]["name"] = "c".into();
    api.create("/api/v1/namespaces/default/pods", object).await;
    api
}

#[tokio::test]
async fn containers_are_added_and_defaulted_and_nothing_else_changes() {
    let api = a_pod().await;
    let mut body = list(&[debugger("d")]);
    body["spec"]["nodeName"] = "n2".into();
    body["metadata"] = json!({"labels": {"x": "y"}});
    let added = patch(&api, body).await;
    assert_eq!(added.code, 200, "{}", added.text);
    let spec = &added.json["spec"];
    assert_eq!(spec["nodeName"], "n1");
    assert_eq!(added.json["metadata"]["labels"]["x"], Value::Null);
    let expected = json!([{"name": "d", "image": "busybox", "imagePullPolicy": "Always", "resources": {}, "stdin": true,
        "tty": true, "targetContainerName": "c", "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File"}]);
    assert_eq!(spec["ephemeralContainers"], expected);
    assert_eq!(api.get(POD).await.json["spec"], *spec);
    let second = patch(&api, list(&[debugger("e")])).await;
    assert_eq!(second.json["spec"]["ephemeralContainers"].as_array().map(Vec::len), Some(2));
    let managers = second.json["metadata"]["managedFields"].as_array().unwrap();
    assert!(managers.iter().any(|entry| entry["subresource"] == "ephemeralcontainers"), "{managers:?}");
}

#[tokio::test]
async fn what_was_added_stays_as_it_is() {
    let api = a_pod().await;
    let first = patch(&api, list(&[debugger("d")])).await.json;
    let check = async |change: fn(&mut Value), expected: &str| {
        let mut object = first.clone();
        change(&mut object);
        let refused = api.call(&format!("PUT {POD}"), object).await;
        assert_eq!(refused.code, 422, "{}", refused.text);
        assert_eq!(refused.message(), format!("Pod \"p\" is invalid: {expected}"));
    };
    check(
        |pod| pod["spec"]["ephemeralContainers"] = json!([]),
        "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be removed\n",
    )
    .await;
    check(
        |pod| pod["spec"]["ephemeralContainers"][0]["image"] = "other".into(),
        "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be changed\n",
    )
    .await;
    check(
        |pod| {
            pod["spec"]["ephemeralContainers"]
                .as_array_mut()
                .unwrap()
                .push(json!({"name": "e", "image": "i", "targetContainerName": "x"}));
        },
        "spec.ephemeralContainers[1].targetContainerName: Not found: \"x\"",
    )
    .await;
    let main = POD.trim_end_matches("/ephemeralcontainers");
    let refused = api.call(&format!("PATCH {main}"), list(&[])).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    assert_eq!(api.call(&format!("DELETE {POD}"), Value::Null).await.code, 405);
}

#[tokio::test]
async fn a_careful_namespace_refuses_careless_debuggers() {
    let api = a_pod().await;
    let stricter = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
    assert_eq!(api.call("PATCH /api/v1/namespaces/default", stricter).await.code, 200);
    let mut careless = debugger("d");
    careless["securityContext"] = json!({"privileged": true});
    let refused = patch(&api, list(&[careless])).await;
    assert_eq!(refused.code, 403, "{}", refused.text);
    let expected = "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": privileged (container \"d\" must not \
                    set securityContext.privileged=true)";
    assert_eq!(refused.message(), expected);
    assert_eq!(patch(&api, list(&[debugger("d")])).await.code, 200);
}

#[tokio::test]
async fn a_static_pods_file_cannot_be_debugged_into() {
    let api = Harness::new().await;
    let mut mirror = pod("p", "n1");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    api.create("/api/v1/namespaces/default/pods", mirror).await;
    let refused = patch(&api, list(&[json!({"name": "d", "image": "i"})])).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    assert!(
        refused.message().contains("static pods do not support ephemeral containers"),
        "{}",
        refused.message()
    );
}
