//! Who may do what, and what the server says about itself (wire 1, 7).

use crate::harness::{Answer, Harness, config_map, pod};
use apiserver::User;
use serde_json::{Value, json};

fn user(name: &str, groups: &[&str]) -> User {
    User::authenticated(name, groups.iter().map(|group| group.to_string()))
}

fn expect(answer: &Answer, code: u16, message: &str) {
    assert_eq!((answer.code, answer.message()), (code, message));
}

#[tokio::test]
async fn a_stranger_is_refused_in_kubernetes_words() {
    let api = Harness::new().await;
    let alice = api.as_user(user("alice", &["devs"]));
    expect(
        &alice.get("/apis/apps/v1/namespaces/default/daemonsets/x").await,
        403,
        "daemonsets.apps \"x\" is forbidden: User \"alice\" cannot get resource \"daemonsets\" in API group \"apps\" in the namespace \"default\"",
    );
    expect(
        &alice.get("/api/v1/nodes").await,
        403,
        "nodes is forbidden: User \"alice\" cannot list resource \"nodes\" in API group \"\" at the cluster scope",
    );
    let nobody = api.as_user(User::anonymous());
    expect(
        &nobody.get("/metrics").await,
        403,
        "forbidden: User \"system:anonymous\" cannot get path \"/metrics\"",
    );
    assert_eq!(nobody.get("/api").await.code, 403);
    assert_eq!(nobody.get("/version").await.json["minor"], "33");
    assert_eq!(nobody.get("/readyz").await.text, "ok");
    assert!(nobody.get("/everynode/ca").await.text.starts_with("-----BEGIN"));
    assert_eq!(alice.get("/apis").await.code, 200);
}

#[tokio::test]
async fn a_node_agent_lives_within_its_node() {
    let api = Harness::new().await;
    let n1 = api.as_user(user("system:node:n1", &["system:nodes"]));
    n1.create("/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await;
    expect(
        &n1.call("POST /api/v1/nodes", json!({"metadata": {"name": "n2"}})).await,
        403,
        "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\"",
    );
    let lease = json!({"metadata": {"name": "n1"}, "spec": {"holderIdentity": "n1"}});
    n1.create("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", lease).await;
    assert_eq!(n1.get("/api/v1/pods").await.code, 403);
    assert_eq!(n1.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await.code, 200);
    for (name, node) in [("a", "n1"), ("b", "n2")] {
        let mut body = pod(name, node);
        body["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": format!("of-{name}")}}]);
        api.create("/api/v1/namespaces/default/pods", body).await;
        api.create("/api/v1/namespaces/default/configmaps", config_map(&format!("of-{name}"), json!({})))
            .await;
    }
    assert_eq!(n1.get("/api/v1/namespaces/default/configmaps/of-a").await.code, 200);
    expect(
        &n1.get("/api/v1/namespaces/default/configmaps/of-b").await,
        403,
        "configmaps \"of-b\" is forbidden: User \"system:node:n1\" cannot get resource \"configmaps\" in API group \"\" in the namespace \"default\": no relationship found between node 'n1' and this object",
    );
    let uid = api.get("/api/v1/nodes/n1").await.json["metadata"]["uid"].clone();
    let mut mirror = pod("static-n1", "n1");
    let pods = "POST /api/v1/namespaces/default/pods";
    assert_eq!(n1.call(pods, mirror.clone()).await.code, 403);
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "h"});
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": uid, "controller": true});
    mirror["metadata"]["ownerReferences"] = json!([owner]);
    mirror["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": "of-b"}}]);
    expect(
        &n1.call(pods, mirror.clone()).await,
        403,
        "pods \"static-n1\" is forbidden: node \"n1\" can not create pods that reference configmaps",
    );
    mirror["spec"]["volumes"] = json!([]);
    let made = n1.call(pods, mirror).await;
    assert_eq!((made.code, &made.json["spec"]["serviceAccountName"]), (201, &Value::Null), "{}", made.text);
    let end = "DELETE /api/v1/namespaces/default/pods/static-n1";
    assert_eq!(n1.call(end, json!({"gracePeriodSeconds": 0})).await.code, 200);
    let ready = json!({"status": {"phase": "Running"}});
    assert_eq!(n1.call("PATCH /api/v1/namespaces/default/pods/a/status", ready.clone()).await.code, 200);
    assert_eq!(n1.call("PATCH /api/v1/namespaces/default/pods/b/status", ready).await.code, 403);
}

#[tokio::test]
async fn a_joining_node_asks_for_its_certificate_and_sees_no_other() {
    let api = Harness::new().await;
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let joining = api.as_user(user("system:bootstrap:abcdef", &["system:bootstrappers"]));
    let body = json!({"metadata": {"name": "mine"}, "spec": {"request": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0=",
        "signerName": "kubernetes.io/kube-apiserver-client-kubelet", "usages": ["client auth"], "username": "root"}});
    let made = joining.call(&format!("POST {path}"), body).await;
    if made.code == 201 {
        assert_eq!(made.json["spec"]["username"], "system:bootstrap:abcdef");
        assert_eq!(joining.get(&format!("{path}/mine")).await.code, 200);
        let mut approved = made.json.clone();
        approved["status"]["conditions"] = json!([{"type": "Approved", "status": "True", "reason": "Test"}]);
        assert_eq!(joining.call(&format!("PUT {path}/mine/approval"), approved.clone()).await.code, 403);
        let approved = api.call(&format!("PUT {path}/mine/approval"), approved).await;
        assert_eq!(
            (approved.code, &approved.json["status"]["conditions"][0]["type"]),
            (200, &json!("Approved"))
        );
        assert!(approved.json["status"]["conditions"][0]["lastUpdateTime"].is_string());
    } else {
        // The request is checked for real; a body that is no request is the kind's to refuse.
        assert_eq!(made.code, 422, "{}", made.text);
    }
    assert_eq!(joining.get(path).await.code, 403);
}

#[tokio::test]
async fn reviews_answer_as_requests_are_answered() {
    let api = Harness::new().await;
    let n1 = api.as_user(user("system:node:n1", &["system:nodes"]));
    let own = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let ask = |verb: &str, resource: &str| json!({"spec": {"resourceAttributes": {"verb": verb, "resource": resource}}});
    assert_eq!(n1.create(own, ask("create", "nodes")).await["status"]["allowed"], true);
    assert_eq!(n1.create(own, ask("list", "secrets")).await["status"]["allowed"], false);
    let other = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let mut review = ask("create", "nodes");
    review["spec"]["user"] = "alice".into();
    assert_eq!(api.create(other, review).await["status"]["allowed"], false);
    assert_eq!(api.call(&format!("POST {other}"), ask("get", "pods")).await.code, 422);
    let me = n1.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", json!({})).await;
    assert_eq!(
        me["status"]["userInfo"],
        json!({"username": "system:node:n1", "groups": ["system:nodes", "system:authenticated"]})
    );
    let token = |token: &str| json!({"spec": {"token": token}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let known = api.create(reviews, token("abcdef.0123456789abcdef")).await;
    assert_eq!(known["status"]["user"]["username"], "system:bootstrap:abcdef");
    let unknown = api.create(reviews, token("x")).await;
    assert_eq!(unknown["status"]["error"], "invalid bearer token");
}

#[tokio::test]
async fn masters_may_speak_for_others_and_nobody_else_may() {
    let api = Harness::new().await;
    let headers = [("impersonate-user", "alice")];
    assert_eq!(api.raw("GET /api/v1/nodes", &headers, "").await.code, 403);
    let alice = api.as_user(user("alice", &[]));
    expect(
        &alice.raw("GET /api/v1/nodes", &[("impersonate-user", "bob")], "").await,
        403,
        "users \"bob\" is forbidden: User \"alice\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
    );
}

#[tokio::test]
async fn discovery_is_one_table_in_three_styles() {
    let api = Harness::new().await;
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    for (path, group) in [("/api", Value::Null), ("/apis", json!("apps"))] {
        let answer = api.raw(&format!("GET {path}"), &[("accept", accept)], "").await;
        assert_eq!(
            answer.headers["content-type"],
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        );
        let items = answer.json["items"].as_array().unwrap();
        let found = items.iter().find(|item| item["metadata"]["name"] == group).unwrap();
        for version in found["versions"].as_array().unwrap() {
            assert_eq!(version["freshness"], "Current");
            assert!(
                version["resources"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|r| r["responseKind"]["kind"].is_string())
            );
        }
        let tag = answer.headers["etag"].to_str().unwrap().to_string();
        let again = api.raw(&format!("GET {path}"), &[("accept", accept), ("if-none-match", &tag)], "").await;
        assert_eq!((again.code, again.text.len()), (304, 0));
    }
    let old = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    let answer = api.raw("GET /apis", &[("accept", old)], "").await;
    assert_eq!(answer.json["apiVersion"], "apidiscovery.k8s.io/v2beta1");
    let legacy = api.get("/apis/apps/v1").await;
    assert!(legacy.text.contains("{\"name\":\"daemonsets\",\"singularName\":\"daemonset\",\"namespaced\":true,\"kind\":\"DaemonSet\",\"verbs\":[\"create\",\"delete\",\"deletecollection\",\"get\",\"list\",\"patch\",\"update\",\"watch\"],\"shortNames\":[\"ds\"],\"categories\":[\"all\"],\"storageVersionHash\":\""), "{}", legacy.text);
    assert_eq!(api.get("/apis/apps").await.json["preferredVersion"]["groupVersion"], "apps/v1");
    let only = "application/json;g=apidiscovery.k8s.io;v=v3;as=APIGroupDiscoveryList";
    assert_eq!(api.raw("GET /apis", &[("accept", only)], "").await.code, 406);
}

#[tokio::test]
async fn health_is_reported_check_by_check() {
    let api = Harness::new().await;
    assert_eq!(
        api.get("/readyz?verbose").await.text,
        "[+]ping ok\n[+]store ok\n[+]cache ok\nreadyz check passed\n"
    );
    assert_eq!(api.get("/livez/ping").await.text, "ok");
    assert_eq!(api.get("/livez/none").await.code, 404);
    assert_eq!(api.get("/healthz").await.text, "ok");
}

#[tokio::test]
async fn every_cluster_has_what_clients_expect() {
    let api = Harness::new().await;
    for path in [
        "/api/v1/namespaces/kube-node-lease",
        "/api/v1/namespaces/kube-public",
        "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical",
        "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/cluster-admin",
    ] {
        assert_eq!(api.get(path).await.code, 200, "{path}");
    }
    let endpoints = api.get("/api/v1/namespaces/default/endpoints/kubernetes").await.json;
    assert_eq!(endpoints["subsets"][0]["addresses"][0]["ip"], "192.0.2.1");
}
