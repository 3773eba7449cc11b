//! Tokens of service accounts, from their request to their end (wire 7.4).

use crate::harness::{Answer, Harness, config, pod};
use apiserver::Config;
use apiserver::service_accounts::{DEFAULT_ISSUER, Issuer, Keys};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn with_issuer() -> Config {
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let issuer = Issuer::new(DEFAULT_ISSUER, Keys::new(&key, []).unwrap());
    Config { issuer: Some(Arc::new(issuer)), ..config() }
}

async fn issue(api: &Harness, account: &str, spec: Value) -> Answer {
    api.call(&format!("POST {ACCOUNTS}/{account}/token"), json!({ "spec": spec })).await
}

fn token(answer: &Answer) -> String {
    assert_eq!(answer.code, 201, "{}", answer.text);
    answer.json["status"]["token"].as_str().unwrap().to_string()
}

fn bound(kind: &str, name: &str, uid: &Value) -> Value {
    json!({"boundObjectRef": {"kind": kind, "apiVersion": "v1", "name": name, "uid": uid}})
}

/// A review's user name, or its error.
async fn review(api: &Harness, token: &str) -> String {
    let body = json!({"spec": {"token": token}});
    let status = api.create("/apis/authentication.k8s.io/v1/tokenreviews", body).await["status"].clone();
    match status["authenticated"] == true {
        true => status["user"]["username"].as_str().unwrap().to_string(),
        false => status["error"].as_str().unwrap().to_string(),
    }
}

#[tokio::test]
async fn a_token_opens_what_its_accounts_roles_open_and_nothing_else() {
    let api = Harness::with(with_issuer()).await;
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]);
    api.create(&format!("{roles}/roles"), json!({"metadata": {"name": "r"}, "rules": rules})).await;
    let binding = json!({"metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}]});
    api.create(&format!("{roles}/rolebindings"), binding).await;
    let made = issue(&api, "default", json!({})).await;
    let bearer = format!("Bearer {}", token(&made));
    assert_eq!(made.json["spec"], json!({"audiences": [DEFAULT_ISSUER], "expirationSeconds": 3600}));
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(api.stranger(&format!("GET {PODS}"), &headers, "").await.code, 200);
    let other = api.stranger("GET /api/v1/namespaces/kube-system/pods", &headers, "").await;
    assert_eq!(
        (other.code, other.message()),
        (
            403,
            "pods is forbidden: User \"system:serviceaccount:default:default\" cannot list resource \"pods\" in API group \"\" in the namespace \"kube-system\""
        )
    );
    let broken = format!("{bearer}x");
    let refused = api.stranger(&format!("GET {PODS}"), &[("authorization", &broken)], "").await;
    assert_eq!((refused.code, refused.message()), (401, "Unauthorized"));
    let huge = format!("Bearer {}", "a.b.c".repeat(20_000));
    let refused = api.stranger(&format!("GET {PODS}"), &[("authorization", &huge)], "").await;
    assert_eq!(refused.code, 401);
    // Whoever has an account may read who issues.
    let found = api.stranger("GET /.well-known/openid-configuration", &headers, "").await;
    assert_eq!(found.json["issuer"], DEFAULT_ISSUER);
    assert_eq!(found.json["jwks_uri"], "https://192.0.2.1:6443/openid/v1/jwks");
    let keys = api.stranger("GET /openid/v1/jwks", &headers, "").await;
    assert_eq!((keys.code, &keys.json["keys"][0]["crv"]), (200, &json!("P-256")));
    assert_eq!(keys.headers["content-type"], "application/jwk-set+json");
    assert_eq!(api.stranger("GET /openid/v1/jwks", &[], "").await.code, 403);
}

#[tokio::test]
async fn a_token_says_who_shows_it_from_which_pod() {
    let api = Harness::with(with_issuer()).await;
    api.create("/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await;
    let made = api.create(PODS, pod("p", "n1")).await;
    let uid = &made["metadata"]["uid"];
    let account = api.get(&format!("{ACCOUNTS}/default")).await.json["metadata"]["uid"].clone();
    let bearer = format!("Bearer {}", token(&issue(&api, "default", bound("Pod", "p", uid)).await));
    let call = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews";
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let mut user = api.stranger(call, &headers, "{}").await.json["status"]["userInfo"].clone();
    let id = user["extra"]["authentication.kubernetes.io/credential-id"].take();
    assert!(id[0].as_str().unwrap().starts_with("JTI="), "{id}");
    let node = api.get("/api/v1/nodes/n1").await.json["metadata"]["uid"].clone();
    assert_eq!(
        user,
        json!({"username": "system:serviceaccount:default:default", "uid": account,
            "groups": ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"],
            "extra": {"authentication.kubernetes.io/credential-id": null,
                "authentication.kubernetes.io/node-name": ["n1"],
                "authentication.kubernetes.io/node-uid": [node],
                "authentication.kubernetes.io/pod-name": ["p"], "authentication.kubernetes.io/pod-uid": [uid]}})
    );
}

#[tokio::test]
async fn a_request_for_a_token_is_refused_in_kubernetes_words() {
    let api = Harness::with(with_issuer()).await;
    api.create(ACCOUNTS, json!({"metadata": {"name": "other"}})).await;
    api.create(PODS, pod("p", "n1")).await;
    let check = |account: &'static str, spec: Value, code: u16, message: &'static str| {
        let api = &api;
        async move {
            let answer = issue(api, account, spec).await;
            assert_eq!((answer.code, answer.message()), (code, message));
        }
    };
    check("nobody", json!({}), 404, "serviceaccounts \"nobody\" not found").await;
    let short = "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes";
    check("default", json!({"expirationSeconds": 599}), 422, short).await;
    let long = "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds";
    check("default", json!({"expirationSeconds": 4_294_967_297_i64}), 422, long).await;
    check("default", bound("Pod", "nopod", &json!("u")), 404, "pods \"nopod\" not found").await;
    check("default", bound("Secret", "nosecret", &Value::Null), 404, "secrets \"nosecret\" not found").await;
    check("default", bound("Node", "nonode", &Value::Null), 404, "nodes \"nonode\" not found").await;
    let foreign =
        "cannot bind token for serviceaccount \"other\" to pod running with different serviceaccount name.";
    check("other", bound("Pod", "p", &Value::Null), 400, foreign).await;
    let kind = "cannot bind token to object of type /v1, Kind=ConfigMap";
    check("default", bound("ConfigMap", "c", &Value::Null), 400, kind).await;
    let stale = "Operation cannot be fulfilled on Pod \"p\": the UID in the bound object reference (u) does not match the UID in record. The object might have been deleted and then recreated";
    check("default", bound("Pod", "p", &json!("u")), 409, stale).await;
    let call = format!("POST {ACCOUNTS}/default/token");
    let renamed = api.call(&call, json!({"metadata": {"name": "other"}, "spec": {}})).await;
    assert_eq!(
        renamed.message(),
        "TokenRequest.authentication.k8s.io \"default\" is invalid: metadata.name: Invalid value: \"other\": must match the service account name if specified"
    );
    let without = Harness::new().await;
    assert_eq!(issue(&without, "default", json!({})).await.code, 404);
}

#[tokio::test]
async fn a_token_ends_with_what_it_is_bound_to() {
    let api = Harness::with(with_issuer()).await;
    let user = "system:serviceaccount:default:default";
    let gone = "[invalid bearer token, service account token has been invalidated]";
    let made = api.create(PODS, pod("p", "")).await;
    let of_pod = token(&issue(&api, "default", bound("Pod", "p", &made["metadata"]["uid"])).await);
    assert_eq!(review(&api, &of_pod).await, user);
    api.call(&format!("DELETE {PODS}/p"), json!({"gracePeriodSeconds": 0})).await;
    assert_eq!(review(&api, &of_pod).await, gone);
    // A later pod of the same name is another.
    let again = api.create(PODS, pod("p", "")).await;
    let (is, was) = (&again["metadata"]["uid"], &made["metadata"]["uid"]);
    let other = format!(
        "[invalid bearer token, pod UID ({}) does not match service account pod ref claim ({})]",
        is.as_str().unwrap(),
        was.as_str().unwrap()
    );
    assert_eq!(review(&api, &of_pod).await, other);
    let secret = api.create("/api/v1/namespaces/default/secrets", json!({"metadata": {"name": "s"}})).await;
    let of_secret = token(&issue(&api, "default", bound("Secret", "s", &secret["metadata"]["uid"])).await);
    assert_eq!(review(&api, &of_secret).await, user);
    api.call("DELETE /api/v1/namespaces/default/secrets/s", Value::Null).await;
    assert_eq!(review(&api, &of_secret).await, gone);
    let node = api.create("/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await;
    let of_node = token(&issue(&api, "default", bound("Node", "n1", &node["metadata"]["uid"])).await);
    assert_eq!(review(&api, &of_node).await, user);
    api.call("DELETE /api/v1/nodes/n1", Value::Null).await;
    assert_eq!(review(&api, &of_node).await, gone);
    let free = token(&issue(&api, "default", json!({})).await);
    api.call(&format!("DELETE {ACCOUNTS}/default"), Value::Null).await;
    assert_eq!(review(&api, &free).await, "[invalid bearer token, serviceaccounts \"default\" not found]");
    api.create(ACCOUNTS, json!({"metadata": {"name": "default"}})).await;
    assert!(review(&api, &free).await.starts_with("[invalid bearer token, service account UID ("));
}

#[tokio::test]
async fn a_token_is_reviewed_for_an_audience_and_at_a_time() {
    static LATER: AtomicI64 = AtomicI64::new(0);
    let mut config = with_issuer();
    config.sources.now = || {
        let ahead = SignedDuration::from_secs(LATER.load(Ordering::SeqCst));
        Timestamp::now().saturating_add(ahead).unwrap()
    };
    let api = Harness::with(config).await;
    let vault =
        token(&issue(&api, "default", json!({"audiences": ["vault"], "expirationSeconds": 600})).await);
    let ask = async |audiences: Value| {
        let body = json!({"spec": {"token": vault, "audiences": audiences}});
        let answer = api.create("/apis/authentication.k8s.io/v1/tokenreviews", body).await;
        answer["status"].clone()
    };
    let found = ask(json!(["vault", "x"])).await;
    assert_eq!((&found["authenticated"], &found["audiences"]), (&json!(true), &json!(["vault"])));
    let wrong = format!(
        "[invalid bearer token, token audiences [\"vault\"] is invalid for the target audiences [\"{DEFAULT_ISSUER}\"]]"
    );
    assert_eq!(ask(Value::Null).await, json!({"user": {}, "error": wrong}));
    // It is not for this server.
    let bearer = format!("Bearer {vault}");
    let refused = api.stranger("GET /version", &[("authorization", &bearer)], "").await;
    assert_eq!(refused.code, 401);
    LATER.store(700, Ordering::SeqCst);
    let over = ask(json!(["vault"])).await;
    assert_eq!(over["error"], "[invalid bearer token, service account token has expired]");
    let empty = api.call("POST /apis/authentication.k8s.io/v1/tokenreviews", json!({"spec": {}})).await;
    assert_eq!((empty.code, empty.message()), (400, "token is required for TokenReview in authentication"));
}

#[tokio::test]
async fn a_pod_that_ends_keeps_its_token_for_its_grace_and_a_minute() {
    static LATER: AtomicI64 = AtomicI64::new(0);
    let mut config = with_issuer();
    config.sources.now = || {
        let ahead = SignedDuration::from_secs(LATER.load(Ordering::SeqCst));
        Timestamp::now().saturating_add(ahead).unwrap()
    };
    let api = Harness::with(config).await;
    let made = api.create(PODS, pod("p", "n1")).await;
    let of_pod = token(&issue(&api, "default", bound("Pod", "p", &made["metadata"]["uid"])).await);
    let ending = api.call(&format!("DELETE {PODS}/p"), json!({"gracePeriodSeconds": 30})).await;
    assert!(ending.json["metadata"]["deletionTimestamp"].is_string(), "{}", ending.text);
    for (second, lives) in [(0, true), (80, true), (100, false)] {
        LATER.store(second, Ordering::SeqCst);
        assert_eq!(review(&api, &of_pod).await.starts_with("system:"), lives, "after {second}s");
    }
}

#[tokio::test]
async fn a_secrets_token_lives_as_long_as_its_secret_holds_it() {
    let config = with_issuer();
    let issuer = config.issuer.clone().unwrap();
    let api = Harness::with(config).await;
    let account = api.get(&format!("{ACCOUNTS}/default")).await.json;
    let uid = account["metadata"]["uid"].as_str().unwrap();
    let legacy = issuer.secret_token("default", "default", uid, "s").unwrap();
    let gone = "[invalid bearer token, service account token has been invalidated]";
    assert_eq!(review(&api, &legacy).await, gone);
    let secrets = "/api/v1/namespaces/default/secrets";
    let body = json!({"metadata": {"name": "s", "annotations": {"kubernetes.io/service-account.name": "default"}},
        "type": "kubernetes.io/service-account-token", "stringData": {"token": legacy}});
    api.create(secrets, body).await;
    assert_eq!(review(&api, &legacy).await, "system:serviceaccount:default:default");
    let change = json!({"stringData": {"token": "another"}});
    api.call(&format!("PATCH {secrets}/s"), change).await;
    let replaced = "[invalid bearer token, service account token does not match the one in its secret]";
    assert_eq!(review(&api, &legacy).await, replaced);
}

#[tokio::test]
async fn a_new_pod_gets_a_token_volume_that_is_valid_and_a_template_does_not() {
    let api = Harness::with(with_issuer()).await;
    let made = api.create(PODS, pod("p", "")).await;
    let volume = &made["spec"]["volumes"][0];
    let name = volume["name"].as_str().unwrap();
    assert!(name.starts_with("kube-api-access-") && name.len() == 21, "{name}");
    assert_eq!(
        volume["projected"],
        json!({"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [
                {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}]})
    );
    assert_eq!(
        made["spec"]["containers"][0]["volumeMounts"],
        json!([{"name": name, "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}])
    );
    // Sent back as it came, nothing changes.
    let same = api.call(&format!("PUT {PODS}/p"), made.clone()).await;
    assert_eq!((same.code, &same.json["spec"]), (200, &made["spec"]), "{}", same.text);
    let set =
        api.create("/apis/apps/v1/namespaces/default/daemonsets", crate::harness::daemon_set("d")).await;
    assert_eq!(set["spec"]["template"]["spec"]["volumes"], Value::Null);
    let mut without = pod("q", "");
    without["spec"]["automountServiceAccountToken"] = false.into();
    assert_eq!(api.create(PODS, without).await["spec"]["volumes"], Value::Null);
    let mut nobody = pod("r", "");
    nobody["spec"]["serviceAccountName"] = "nobody".into();
    let refused = api.call(&format!("POST {PODS}"), nobody).await;
    assert_eq!(
        (refused.code, refused.message()),
        (
            403,
            "pods \"r\" is forbidden: error looking up service account default/nobody: serviceaccount \"nobody\" not found"
        )
    );
}

#[tokio::test]
async fn a_node_gets_tokens_of_its_own_pods_for_whom_they_speak_to() {
    let api = Harness::with(with_issuer()).await;
    api.create("/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await;
    let uid = |made: Value| made["metadata"]["uid"].clone();
    let own = uid(api.create(PODS, pod("own", "n1")).await);
    let foreign = uid(api.create(PODS, pod("foreign", "n2")).await);
    let n1 = api.as_user(apiserver::User::authenticated("system:node:n1", ["system:nodes".to_string()]));
    assert_eq!(issue(&n1, "default", bound("Pod", "own", &own)).await.code, 201);
    let check = async |spec: Value, why: &str| {
        let answer = issue(&n1, "default", spec).await;
        let expected = format!("serviceaccounts \"default\" is forbidden: {why}");
        assert_eq!((answer.code, answer.message()), (403, expected.as_str()));
    };
    check(json!({}), "node requested token not bound to a pod").await;
    let without = bound("Pod", "own", &Value::Null);
    check(without, "node requested token with a pod binding without a uid").await;
    let elsewhere = "node requested token bound to a pod scheduled on a different node";
    check(bound("Pod", "foreign", &foreign), elsewhere).await;
    let mut vault = bound("Pod", "own", &own);
    vault["audiences"] = json!(["vault"]);
    check(vault.clone(), "audience \"vault\" not found in pod spec volume").await;
    let mut speaks = pod("speaks", "n1");
    let token = json!({"serviceAccountToken": {"path": "t", "audience": "vault"}});
    speaks["spec"]["volumes"] = json!([{"name": "v", "projected": {"sources": [token]}}]);
    let speaks = uid(api.create(PODS, speaks).await);
    let mut vault = bound("Pod", "speaks", &speaks);
    vault["audiences"] = json!(["vault"]);
    assert_eq!(issue(&n1, "default", vault).await.code, 201);
}
