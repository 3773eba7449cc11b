//! What is wrong is refused, with the field or file and Kubernetes' words, and nothing is changed (issue 2, section 5).

use crate::harness::{Harness, config_map, daemon_set};
use serde_json::{Value, json};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DAEMON_SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";

/// The answer has this code and its message holds this text.
async fn check(api: &Harness, call: &str, body: Value, code: u16, text: &str) {
    let answer = api.call(call, body.clone()).await;
    assert_eq!(answer.code, code, "{call} {body}: {}", answer.text);
    assert!(answer.message().contains(text), "{call} {body}\nwanted: {text}\n   got: {}", answer.message());
    assert_eq!(answer.json["kind"], "Status");
}

#[tokio::test]
async fn a_name_that_is_none_is_refused() {
    let api = Harness::new().await;
    let create = format!("POST {CONFIG_MAPS}");
    check(&api, &create, json!({}), 422, "metadata.name: Required value: name or generateName is required")
        .await;
    check(
        &api,
        &create,
        config_map("Bad_Name", json!({})),
        422,
        "metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain",
    )
    .await;
    let long = "x".repeat(254);
    check(&api, &create, config_map(&long, json!({})), 422, "must be no more than 253").await;
    check(
        &api,
        "POST /api/v1/namespaces",
        json!({"metadata": {"name": "a.b"}}),
        422,
        "metadata.name: Invalid value: \"a.b\": must not contain dots",
    )
    .await;
    let old = json!({"metadata": {"name": "x", "resourceVersion": "7"}});
    check(&api, &create, old, 400, "resourceVersion should not be set on objects to be created").await;
    check(&api, &create, config_map("x", json!({"a b": "c"})), 422, "metadata.labels: Invalid value").await;
}

#[tokio::test]
async fn a_place_that_is_none_is_refused() {
    let api = Harness::new().await;
    let wrong = json!({"metadata": {"name": "x", "namespace": "other"}});
    let text = "the namespace of the provided object does not match the namespace sent on the request";
    check(&api, &format!("POST {CONFIG_MAPS}"), wrong, 400, text).await;
    let nowhere = "POST /api/v1/namespaces/none/configmaps";
    check(&api, nowhere, config_map("x", json!({})), 404, "namespaces \"none\" not found").await;
    let empty = api.get("/api/v1/namespaces/none/configmaps").await;
    assert_eq!((empty.code, &empty.json["items"]), (200, &json!([])));
    let not_here = "the server does not allow this method on the requested resource";
    check(&api, "POST /api/v1/configmaps", config_map("x", json!({})), 405, not_here).await;
    check(&api, &format!("PUT {CONFIG_MAPS}"), json!({}), 405, not_here).await;
    let no_path = "the server could not find the requested resource";
    check(&api, "GET /api/v1/nothings", Value::Null, 404, no_path).await;
    check(&api, &format!("PATCH {DAEMON_SETS}/x/scale"), json!({}), 404, no_path).await;
    let plain = api.get("/apis/none/v1/things").await;
    assert_eq!((plain.code, plain.text.trim()), (404, "404 page not found"));
}

#[tokio::test]
async fn what_is_missing_or_taken_is_said_so() {
    let api = Harness::new().await;
    check(&api, &format!("GET {DAEMON_SETS}/none"), Value::Null, 404, "daemonsets.apps \"none\" not found")
        .await;
    check(&api, &format!("DELETE {CONFIG_MAPS}/none"), Value::Null, 404, "configmaps \"none\" not found")
        .await;
    check(&api, &format!("PATCH {CONFIG_MAPS}/none"), json!({}), 404, "configmaps \"none\" not found").await;
    api.create(CONFIG_MAPS, config_map("x", json!({}))).await;
    check(
        &api,
        &format!("POST {CONFIG_MAPS}"),
        config_map("x", json!({})),
        409,
        "configmaps \"x\" already exists",
    )
    .await;
    let other = "the name of the object (y) does not match the name on the URL (x)";
    check(&api, &format!("PUT {CONFIG_MAPS}/x"), config_map("y", json!({})), 400, other).await;
}

#[tokio::test]
async fn an_unknown_field_is_refused_warned_of_or_ignored() {
    let api = Harness::new().await;
    let mut body = daemon_set("x");
    body["spec"]["bogus"] = 1.into();
    check(
        &api,
        &format!("POST {DAEMON_SETS}?fieldValidation=Strict"),
        body.clone(),
        400,
        "DaemonSet in version \"v1\" cannot be handled as a DaemonSet: strict decoding error: unknown field \"spec.bogus\"",
    )
    .await;
    assert_eq!(api.get(&format!("{DAEMON_SETS}/x")).await.code, 404);
    let warned = api.call(&format!("POST {DAEMON_SETS}"), body.clone()).await;
    assert_eq!(
        (warned.code, warned.warnings()),
        (201, vec!["299 - \"unknown field \\\"spec.bogus\\\"\"".to_string()])
    );
    assert_eq!(warned.json["spec"]["bogus"], Value::Null);
    body["metadata"]["name"] = "y".into();
    let ignored = api.call(&format!("POST {DAEMON_SETS}?fieldValidation=Ignore"), body).await;
    assert_eq!((ignored.code, ignored.warnings().len()), (201, 0));
    check(
        &api,
        &format!("POST {DAEMON_SETS}?fieldValidation=x"),
        daemon_set("z"),
        422,
        "fieldValidation: Unsupported value: \"x\"",
    )
    .await;
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused() {
    let api = Harness::new().await;
    let refuse = async |media: &str, body: &str, code: u16, text: &str| {
        let answer =
            api.raw(&format!("POST {CONFIG_MAPS}"), &[("content-type", media)], body.to_string()).await;
        assert_eq!(answer.code, code, "{body}: {}", answer.text);
        assert!(answer.message().contains(text), "{}", answer.message());
    };
    refuse("application/json", "{", 400, "the object provided is unrecognized (must be of type ConfigMap)")
        .await;
    refuse("application/yaml", "a: [", 400, "the object provided is unrecognized").await;
    refuse("text/plain", "x", 415, "the body of the request was in an unknown format").await;
    refuse(
        "application/json",
        r#"{"data":{"a":1}}"#,
        400,
        "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
    )
    .await;
    refuse(
        "application/json",
        r#"{"kind":"Secret","apiVersion":"v1"}"#,
        400,
        "cannot be handled as a ConfigMap",
    )
    .await;
    let huge = format!("{{\"data\":{{\"a\":\"{}\"}}}}", "x".repeat(3 << 20));
    refuse("application/json", &huge, 413, "limit is 3145728").await;
}

#[tokio::test]
async fn a_daemon_set_that_breaks_a_rule_is_refused() {
    let api = Harness::new().await;
    let create = format!("POST {DAEMON_SETS}");
    let with = |path: &str, value: Value| {
        let mut body = daemon_set("x");
        *body.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
        body
    };
    check(
        &api,
        &create,
        with("/spec/selector", json!({"matchLabels": {"app": "other"}})),
        422,
        "`selector` does not match template `labels`",
    )
    .await;
    check(&api, &create, with("/spec/selector", json!({})), 422, "empty selector is invalid for daemonset")
        .await;
    for (value, text) in [
        (json!(-1), "must be greater than or equal to 0"),
        (json!("150%"), "must not be greater than 100%"),
        (json!("abc"), "a valid percent string must be a numeric string followed by an ending '%'"),
        (json!(0), "cannot be 0 when maxSurge is 0"),
    ] {
        let mut body = daemon_set("x");
        body["spec"]["updateStrategy"] =
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": value}});
        check(&api, &create, body, 422, text).await;
    }
    let mut body = daemon_set("x");
    body["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "lots"}});
    let answer = api.call(&create, body).await;
    assert_eq!(answer.code, 400, "{}", answer.text);
    assert!(answer.message().contains("quantities must match the regular expression"), "{}", answer.text);
    api.create(DAEMON_SETS, daemon_set("x")).await;
    let patch = json!({"spec": {"selector": {"matchLabels": {"app": "y"}}, "template": {"metadata": {"labels": {"app": "y"}}}}});
    check(&api, &format!("PATCH {DAEMON_SETS}/x"), patch, 422, "field is immutable").await;
}

#[tokio::test]
async fn a_patch_that_does_not_fit_is_refused() {
    let api = Harness::new().await;
    api.create(CONFIG_MAPS, config_map("x", json!({}))).await;
    let patch = async |media: &str, body: &str, code: u16, text: &str| {
        let answer =
            api.raw(&format!("PATCH {CONFIG_MAPS}/x"), &[("content-type", media)], body.to_string()).await;
        assert_eq!(answer.code, code, "{body}: {}", answer.text);
        assert!(answer.message().contains(text), "{}", answer.message());
    };
    patch("application/json", "{}", 415, "").await;
    patch("application/merge-patch+json", "{", 400, "").await;
    patch(
        "application/merge-patch+json",
        r#"{"metadata":{"name":"y"}}"#,
        400,
        "does not match the name on the URL",
    )
    .await;
    patch(
        "application/json-patch+json",
        r#"[{"op":"test","path":"/data/a","value":"z"}]"#,
        422,
        "the server rejected our request due to an error in our request",
    )
    .await;
}
