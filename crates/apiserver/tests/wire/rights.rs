//! Roles and bindings as requests meet them (wire 7.2, 7.7, 7.8).

use crate::harness::{Harness, config_map, pod};
use apiserver::User;
use serde_json::{Value, json};

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1";

fn user(name: &str, groups: &[&str]) -> User {
    User::authenticated(name, groups.iter().map(|group| group.to_string()))
}

async fn bind(api: &Harness, namespace: &str, role: (&str, &str), subject: Value) {
    let (path, kind) = match namespace {
        "" => (format!("{ROLES}/clusterrolebindings"), "ClusterRoleBinding"),
        namespace => (format!("{ROLES}/namespaces/{namespace}/rolebindings"), "RoleBinding"),
    };
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": role.0, "name": role.1});
    let body =
        json!({"kind": kind, "metadata": {"generateName": "b-"}, "subjects": [subject], "roleRef": role});
    api.create(&path, body).await;
}

fn to_user(name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name})
}

async fn role(api: &Harness, namespace: &str, name: &str, rules: Value) {
    let body = json!({"metadata": {"name": name}, "rules": rules});
    api.create(&format!("{ROLES}/namespaces/{namespace}/roles"), body).await;
}

#[tokio::test]
async fn every_cell_of_who_may_do_what() {
    let api = Harness::new().await;
    api.create("/api/v1/namespaces", json!({"metadata": {"name": "other"}})).await;
    for namespace in ["default", "other"] {
        let maps = format!("/api/v1/namespaces/{namespace}/configmaps");
        for name in ["x", "y"] {
            api.create(&maps, config_map(name, json!({"k": "v"}))).await;
        }
    }
    api.create("/api/v1/namespaces/default/pods", pod("p", "n1")).await;
    let one = json!([{"verbs": ["get", "patch", "create"], "apiGroups": [""], "resources": ["configmaps"],
        "resourceNames": ["x"]}]);
    role(&api, "default", "one", one).await;
    bind(&api, "default", ("Role", "one"), to_user("one")).await;
    bind(&api, "default", ("ClusterRole", "view"), to_user("viewer")).await;
    bind(&api, "", ("ClusterRole", "edit"), to_user("editor")).await;
    let account = json!({"kind": "ServiceAccount", "namespace": "default", "name": "daemon"});
    bind(&api, "default", ("ClusterRole", "view"), account).await;
    let (maps, other) = ("/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/other/configmaps");
    let calls = [
        format!("GET {maps}/x"),
        format!("GET {maps}/y"),
        format!("GET {maps}"),
        format!("PATCH {maps}/x"),
        format!("PUT {maps}/new"),
        format!("GET {other}/x"),
        format!("DELETE {other}/x?dryRun=All"),
        "GET /api/v1/configmaps".to_string(),
        "GET /api/v1/nodes".to_string(),
        "GET /api/v1/namespaces/default/secrets".to_string(),
        "GET /apis".to_string(),
        "GET /metrics".to_string(),
    ];
    let table = [
        ("one", "✓··✓······✓·"),
        ("viewer", "✓✓✓·······✓·"),
        ("editor", "✓✓✓✓·✓✓✓·✓✓·"),
        ("stranger", "··········✓·"),
        ("system:serviceaccount:default:daemon", "✓✓✓·······✓·"),
        ("system:serviceaccount:other:daemon", "··········✓·"),
    ];
    for (name, expected) in table {
        let them = api.as_user(user(name, &[]));
        let mut row = String::new();
        for call in &calls {
            let body = match call.split_once(' ').unwrap().0 {
                "PATCH" => json!({"metadata": {"labels": {"by": name.replace(':', "-")}}}),
                "PUT" => config_map("new", json!({})),
                _ => Value::Null,
            };
            let answer = them.call(call, body).await;
            row.push(if answer.code == 403 { '·' } else { '✓' });
            assert!(answer.code < 300 || matches!(answer.code, 403 | 404), "{name} {call}: {}", answer.text);
        }
        // The editor may write, but PUT of a ConfigMap that is not there is 404 for everybody who may update.
        let expected = if name == "editor" { "✓✓✓✓✓✓✓✓·✓✓·" } else { expected };
        assert_eq!(row, expected, "{name}");
    }
}

#[tokio::test]
async fn a_change_of_a_role_holds_from_the_next_request_on() {
    let api = Harness::new().await;
    let alice = api.as_user(user("alice", &["devs"]));
    let devs = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "devs"});
    let read = json!([{"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}]);
    assert_eq!(alice.get("/api/v1/namespaces/default/pods").await.code, 403);
    bind(&api, "default", ("Role", "lister"), devs).await;
    let refused = alice.get("/api/v1/namespaces/default/pods").await;
    let text = "pods is forbidden: User \"alice\" cannot list resource \"pods\" in API group \"\" in the namespace \
         \"default\": RBAC: role.rbac.authorization.k8s.io \"lister\" not found";
    assert_eq!((refused.code, refused.message()), (403, text));
    role(&api, "default", "lister", read).await;
    assert_eq!(alice.get("/api/v1/namespaces/default/pods").await.code, 200);
    let path = format!("{ROLES}/namespaces/default/roles/lister");
    api.call(&format!("DELETE {path}"), Value::Null).await;
    assert_eq!(alice.get("/api/v1/namespaces/default/pods").await.code, 403);
}

#[tokio::test]
async fn nobody_gives_what_they_do_not_have() {
    // 7.7.4.
    let api = Harness::new().await;
    bind(&api, "default", ("ClusterRole", "admin"), to_user("alice")).await;
    let alice = api.as_user(user("alice", &["devs"]));
    let roles = format!("POST {ROLES}/namespaces/default/roles");
    let body = |rules: Value| json!({"metadata": {"name": "r"}, "rules": rules});
    let refused = alice
        .call(&roles, body(json!([{"verbs": ["get"], "apiGroups": ["x.io"], "resources": ["things"]}])))
        .await;
    let text = "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"alice\" (groups=[\"devs\" \
         \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"x.io\"], Resources:[\"things\"], Verbs:[\"get\"]}";
    assert_eq!((refused.code, refused.message()), (403, text));
    let pods = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
    assert_eq!(alice.call(&roles, body(pods)).await.code, 201);
    let bindings = format!("POST {ROLES}/namespaces/default/rolebindings");
    let to = |role: &str| {
        json!({"metadata": {"name": format!("to-{role}")}, "subjects": [to_user("bob")],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}})
    };
    assert_eq!(alice.call(&bindings, to("view")).await.code, 201);
    assert_eq!(alice.call(&bindings, to("cluster-admin")).await.code, 403);
    assert_eq!(alice.call(&bindings, to("missing")).await.code, 404);
    // With the verb `bind` on a role, its rules do not matter.
    let bind_any = json!([{"verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"],
        "resourceNames": ["cluster-admin"]}]);
    role(&api, "default", "binder", bind_any).await;
    bind(&api, "default", ("Role", "binder"), to_user("alice")).await;
    assert_eq!(alice.call(&bindings, to("cluster-admin")).await.code, 201);
}

#[tokio::test]
async fn speaking_for_others_is_a_right_of_its_own() {
    // 7.2.1.
    let api = Harness::new().await;
    bind(&api, "default", ("ClusterRole", "view"), to_user("bob")).await;
    let rules = json!([
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"]},
        {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["userextras/reason"]}]);
    api.create(&format!("{ROLES}/clusterroles"), json!({"metadata": {"name": "bobs"}, "rules": rules})).await;
    bind(&api, "", ("ClusterRole", "bobs"), to_user("alice")).await;
    let alice = api.as_user(user("alice", &[]));
    let check = async |headers: &[(&str, &str)], code: u16| {
        let answer = alice.raw("GET /api/v1/namespaces/default/pods", headers, "").await;
        assert_eq!(answer.code, code, "{headers:?} {}", answer.text);
    };
    check(&[], 403).await;
    check(&[("impersonate-user", "bob")], 200).await;
    check(&[("impersonate-user", "bob"), ("impersonate-extra-reason", "x")], 200).await;
    check(&[("impersonate-user", "bob"), ("impersonate-extra-other", "x")], 403).await;
    check(&[("impersonate-user", "carol")], 403).await;
    check(&[("impersonate-user", "bob"), ("impersonate-group", "system:masters")], 403).await;
    // A client's mistake is not the server's.
    check(&[("impersonate-group", "devs")], 400).await;
    check(&[("impersonate-uid", "1")], 400).await;
    check(&[("impersonate-extra-reason", "x")], 400).await;
}

#[tokio::test]
async fn a_user_can_ask_what_they_may_do() {
    // 7.3.4.
    let api = Harness::new().await;
    role(&api, "default", "r", json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}])).await;
    bind(&api, "default", ("Role", "r"), to_user("alice")).await;
    let alice = api.as_user(user("alice", &[]));
    let body = json!({"spec": {"namespace": "default"}});
    let rules = alice.call("POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews", body).await;
    let found = rules.json["status"]["resourceRules"].as_array().unwrap();
    assert!(
        found.contains(&json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]})),
        "{}",
        rules.text
    );
    assert!(rules.json["status"]["nonResourceRules"].to_string().contains("/openapi/*"));
    let attributes = json!({"verb": "get", "resource": "pods", "namespace": "default"});
    let body = json!({"spec": {"user": "alice", "resourceAttributes": attributes}});
    let review = api.call("POST /apis/authorization.k8s.io/v1/subjectaccessreviews", body).await;
    assert_eq!(review.json["status"]["allowed"], true);
    let reason = review.json["status"]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("RBAC: allowed by RoleBinding \"b-")
            && reason.ends_with("of Role \"r\" to User \"alice\"")
    );
}

/// Waits until a role has a rule about a resource, or no longer has one.
async fn until(api: &Harness, name: &str, resource: &str, has: bool) {
    let limit = tokio::time::Instant::now() + crate::harness::PATIENCE;
    loop {
        let role = api.get(&format!("{ROLES}/clusterroles/{name}")).await.json;
        let mut rules = role["rules"].as_array().unwrap().iter();
        if rules.any(|rule| rule["resources"] == json!([resource])) == has {
            return;
        }
        assert!(tokio::time::Instant::now() < limit, "{name} {resource} {has}: {role}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_collecting_role_shows_what_it_collects() {
    // 7.7.3.
    let api = Harness::new().await;
    let view = api.get(&format!("{ROLES}/clusterroles/view")).await.json;
    let first = view["metadata"]["resourceVersion"].clone();
    assert!(view["rules"].as_array().unwrap().len() > 5, "{view}");
    let label = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    let rules = json!([{"verbs": ["get"], "apiGroups": ["example.com"], "resources": ["daemons"]}]);
    let piece = json!({"metadata": {"name": "daemons-view", "labels": label}, "rules": rules});
    api.create(&format!("{ROLES}/clusterroles"), piece).await;
    for role in ["view", "edit", "admin"] {
        until(&api, role, "daemons", true).await;
    }
    api.call(&format!("DELETE {ROLES}/clusterroles/daemons-view"), Value::Null).await;
    for role in ["view", "edit", "admin"] {
        until(&api, role, "daemons", false).await;
    }
    assert_ne!(
        api.get(&format!("{ROLES}/clusterroles/view")).await.json["metadata"]["resourceVersion"],
        first
    );
}

#[tokio::test]
async fn default_roles_and_bindings_get_back_what_they_lack_and_keep_what_was_added() {
    // 7.8.2.
    let store = std::sync::Arc::new(store::memory::MemoryStore::new());
    let start = async || {
        let server = apiserver::ApiServer::open(store.clone(), crate::harness::config()).await.unwrap();
        Harness { server, user: crate::harness::masters() }
    };
    let api = start().await;
    let binding = |name: &str| format!("{ROLES}/clusterrolebindings/{name}");
    let alice = json!([to_user("alice")]);
    let body = json!({"subjects": alice});
    api.call(&format!("PATCH {}", binding("system:discovery")), body.clone()).await;
    api.call(&format!("PATCH {}", binding("system:basic-user")), body).await;
    let left = json!({"metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}});
    api.call(&format!("PATCH {}", binding("system:basic-user")), left).await;
    api.server.close();
    let api = start().await;
    let group =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"});
    let discovery = api.get(&binding("system:discovery")).await.json;
    assert_eq!(discovery["subjects"], json!([to_user("alice"), group]));
    assert_eq!(api.get(&binding("system:basic-user")).await.json["subjects"], alice);
}
