//! Every cell of who × verb × resource × name: allowed or not, and why (wire 7). The table is `who_may.txt`, beside this
//! file, for people to read; it is computed from the product and compared. `UPDATE=1 cargo test -p apiserver who_may` writes
//! it anew; what changed then has to be argued.
//!
//! The first part asks for access reviews, which are answered by the function that guards requests; the second sends requests
//! that only admission refuses. What stands in no line is refused.

use crate::harness::{Harness, pod};
use apiserver::User;
use apiserver::resources::KINDS;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const PATHS: &[&str] = &[
    "/",
    "/api",
    "/api/v1",
    "/apis",
    "/apis/apps/v1",
    "/everynode/ca",
    "/healthz",
    "/livez",
    "/livez/ping",
    "/metrics",
    "/openapi/v3",
    "/readyz",
    "/version",
    "/other",
];
/// What no kind has, and rights are asked about: group, resource, verbs.
const VIRTUAL: &[(&str, &str, &[&str])] = &[
    ("", "nodes/proxy", VERBS),
    ("", "pods/attach", VERBS),
    ("", "pods/exec", VERBS),
    ("", "pods/portforward", VERBS),
    ("", "serviceaccounts/token", &["create"]),
    ("", "users", &["impersonate"]),
    ("", "groups", &["impersonate"]),
    ("", "serviceaccounts", &["impersonate"]),
    ("authentication.k8s.io", "uids", &["impersonate"]),
    ("authentication.k8s.io", "userextras/scopes", &["impersonate"]),
    ("rbac.authorization.k8s.io", "roles", &["bind", "escalate"]),
    ("rbac.authorization.k8s.io", "clusterroles", &["bind", "escalate"]),
    ("certificates.k8s.io", "signers", &["approve", "sign"]),
    ("certificates.k8s.io", "certificatesigningrequests/nodeclient", &["create"]),
    ("certificates.k8s.io", "certificatesigningrequests/selfnodeclient", &["create"]),
    ("apps", "deployments", VERBS),
];

/// Somebody, and a line about them.
struct Who {
    title: &'static str,
    user: User,
}

fn user(name: &str, groups: &[&str]) -> User {
    User::authenticated(name, groups.iter().map(|group| group.to_string()))
}

fn everybody() -> Vec<Who> {
    let who = |title, user| Who { title, user };
    vec![
        who("nobody in particular, without a credential", User::anonymous()),
        who("somebody whom no binding names", user("stranger", &[])),
        who("the administrator's certificate", user("everynode-admin", &["system:masters"])),
        who("the loops in the server", user("system:everynode:controllers", &["system:masters"])),
        who("bound to cluster-admin in the cluster", user("chief", &[])),
        who("bound to admin in namespace default", user("admin", &[])),
        who("bound to edit in namespace default", user("editor", &[])),
        who("bound to view in namespace default", user("viewer", &[])),
        who("bound to view in the cluster", user("auditor", &[])),
        who("the agent of node n1", user("system:node:n1", &["system:nodes"])),
        who("a node's name without the nodes' group", user("system:node:n1", &[])),
        who("the nodes' group without a node's name", user("n1", &["system:nodes"])),
        who("the server, as agents and their logs see it", user("everynode-server", &[])),
        who("a service account that nothing was given to", account("default", "idle")),
        who("a service account bound to edit in its namespace", account("default", "daemon")),
        who("a service account of the same name elsewhere", account("other", "daemon")),
        who("a join token", user("system:bootstrap:abcdef", &["system:bootstrappers"])),
        who("may impersonate the user alice and the group devs", user("helpdesk", &[])),
        who("the group for health checks", user("prober", &["system:monitoring"])),
        who("bound to system:kubelet-api-admin", user("prometheus", &[])),
        who("bound to system:auth-delegator", user("extension", &[])),
    ]
}

fn account(namespace: &str, name: &str) -> User {
    let group = format!("system:serviceaccounts:{namespace}");
    user(&format!("system:serviceaccount:{namespace}:{name}"), &["system:serviceaccounts", &group])
}

async fn bind(api: &Harness, namespace: &str, role: &str, subject: Value) {
    let (path, kind) = match namespace {
        "" => (format!("{RBAC}/clusterrolebindings"), "ClusterRoleBinding"),
        namespace => (format!("{RBAC}/namespaces/{namespace}/rolebindings"), "RoleBinding"),
    };
    let name = format!("{role}-{}", subject["name"].as_str().unwrap());
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role});
    api.create(
        &path,
        json!({"kind": kind, "metadata": {"name": name}, "subjects": [subject], "roleRef": role}),
    )
    .await;
}

/// Two nodes with a pod each, which uses one of each kind; a request for a certificate; bindings.
async fn cluster() -> Harness {
    let api = Harness::new().await;
    api.create("/api/v1/namespaces", json!({"metadata": {"name": "other"}})).await;
    for node in ["n1", "n2"] {
        api.create("/api/v1/nodes", json!({"metadata": {"name": node}})).await;
    }
    for (name, node) in [("own", "n1"), ("foreign", "n2")] {
        let account = json!({"metadata": {"name": name}});
        api.create("/api/v1/namespaces/default/serviceaccounts", account).await;
        let mut body = pod(name, node);
        body["spec"]["serviceAccountName"] = name.into();
        body["spec"]["volumes"] = json!([{"name": "c", "configMap": {"name": name}},
            {"name": "s", "secret": {"secretName": name}}]);
        api.create("/api/v1/namespaces/default/pods", body).await;
    }
    let named = |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name});
    bind(&api, "", "cluster-admin", named("chief")).await;
    bind(&api, "default", "admin", named("admin")).await;
    bind(&api, "default", "edit", named("editor")).await;
    bind(&api, "default", "view", named("viewer")).await;
    bind(&api, "", "view", named("auditor")).await;
    bind(&api, "", "system:kubelet-api-admin", named("prometheus")).await;
    bind(&api, "", "system:auth-delegator", named("extension")).await;
    let daemon = json!({"kind": "ServiceAccount", "namespace": "default", "name": "daemon"});
    bind(&api, "default", "edit", daemon).await;
    let rules = json!([{"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["own"]},
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"], "resourceNames": ["own"]}]);
    let role = json!({"metadata": {"name": "impersonator"}, "rules": rules});
    api.create(&format!("{RBAC}/clusterroles"), role).await;
    bind(&api, "", "impersonator", named("helpdesk")).await;
    api
}

/// One question about a resource.
struct Cell<'a> {
    group: &'a str,
    resource: &'a str,
    verb: &'a str,
    namespace: &'a str,
    name: &'a str,
}

/// Empty for yes; else why not, and `no` where nothing is said.
async fn answer(them: &Harness, attributes: Value) -> String {
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let masters = Harness { server: them.server.clone(), user: them.user.clone() };
    let mut review = masters.call(&format!("POST {path}"), json!({"spec": attributes})).await;
    if review.code == 403 {
        // Who may not even ask is asked about by somebody who may.
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let mut spec = attributes;
        spec["user"] = them.user.name.as_str().into();
        spec["groups"] = them.user.groups.clone().into();
        let asking = Harness { server: them.server.clone(), user: crate::harness::masters() };
        review = asking.call(&format!("POST {path}"), json!({"spec": spec})).await;
    }
    assert_eq!(review.code, 201, "{}", review.text);
    match (review.json["status"]["allowed"] == true, review.json["status"]["reason"].as_str()) {
        (true, _) => String::new(),
        (false, why) => why.filter(|why| !why.is_empty()).unwrap_or("no").to_string(),
    }
}

async fn asked(them: &Harness, cell: &Cell<'_>) -> String {
    let (resource, subresource) = cell.resource.split_once('/').unwrap_or((cell.resource, ""));
    let attributes = json!({"verb": cell.verb, "group": cell.group, "resource": resource,
        "subresource": subresource, "namespace": cell.namespace, "name": cell.name});
    answer(them, json!({"resourceAttributes": attributes})).await
}

/// Group, resource, verbs, and whether it is in namespaces: everything that is served, and what else has rights.
fn resources() -> Vec<(&'static str, String, Vec<&'static str>, bool)> {
    let mut all = Vec::new();
    for kind in KINDS {
        all.push((kind.group, kind.plural.to_string(), VERBS.to_vec(), kind.namespaced));
        for sub in kind.subresources {
            all.push((kind.group, format!("{}/{}", kind.plural, sub.name), VERBS.to_vec(), kind.namespaced));
        }
    }
    for (group, resource, verbs) in VIRTUAL {
        let plural = resource.split('/').next().unwrap();
        let kind = KINDS.iter().find(|kind| kind.group == *group && kind.plural == plural);
        let namespaced =
            kind.is_some_and(|kind| kind.namespaced) || matches!(plural, "roles" | "deployments");
        match all.iter_mut().find(|(g, r, ..)| g == group && r == resource) {
            Some((.., known, _)) => known.extend(verbs.iter().filter(|verb| !VERBS.contains(verb))),
            None => all.push((group, resource.to_string(), verbs.to_vec(), namespaced)),
        }
    }
    all
}

/// Where the object is and what it is called; a collection has no name.
fn places(resource: &str, namespaced: bool) -> Vec<(&'static str, &'static str)> {
    match (resource.split('/').next().unwrap_or_default(), namespaced) {
        ("nodes", _) => vec![("", ""), ("", "n1"), ("", "n2")],
        ("leases", _) => {
            vec![
                ("kube-node-lease", ""),
                ("kube-node-lease", "n1"),
                ("kube-node-lease", "n2"),
                ("default", "n1"),
            ]
        }
        (_, true) => vec![("default", ""), ("default", "own"), ("default", "foreign"), ("other", "own")],
        (_, false) => vec![("", ""), ("", "own"), ("", "foreign")],
    }
}

/// The lines about one resource: places with equal answers stand together.
async fn lines(them: &Harness, group: &str, resource: &str, verbs: &[&str], namespaced: bool) -> String {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for (namespace, name) in places(resource, namespaced) {
        let mut by_reason: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for verb in verbs {
            let cell = Cell { group, resource, verb, namespace, name };
            by_reason.entry(asked(them, &cell).await).or_default().push(verb);
        }
        let yes = by_reason.remove("").map(|verbs| verbs.join(" ")).unwrap_or_default();
        by_reason.remove("no");
        let no = by_reason.into_iter().map(|(why, verbs)| format!("    not {}: {why}\n", verbs.join(" ")));
        let no: String = no.collect();
        let place = [namespace, if name.is_empty() { "*" } else { name }];
        let place = place.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/");
        let text = format!("{yes}\n{no}");
        match found.iter_mut().find(|(known, _)| *known == text) {
            Some((_, places)) => places.push(place),
            None => found.push((text, vec![place])),
        }
    }
    let title = if group.is_empty() { resource.to_string() } else { format!("{resource} ({group})") };
    let mut out = String::new();
    for (text, places) in found.iter().filter(|(text, _)| text != "\n") {
        let text = text.strip_prefix('\n').map_or(text.clone(), |rest| format!("nothing\n{rest}"));
        write!(out, "  {title} {}: {text}", places.join(" ")).unwrap();
    }
    out
}

async fn about(api: &Harness, who: &Who) -> String {
    let them = api.as_user(who.user.clone());
    let mut out = format!("{}\n  = {} [{}]\n", who.title, who.user.name, who.user.groups.join(" "));
    let mut paths = Vec::new();
    for path in PATHS {
        if answer(&them, json!({"nonResourceAttributes": {"verb": "get", "path": path}})).await.is_empty() {
            paths.push(*path);
        }
    }
    writeln!(out, "  paths: {}", paths.join(" ")).unwrap();
    if who.user.is_in("system:masters") {
        // Every question has the same answer: one line says so, and one cell of each kind is asked all the same.
        for (group, resource, verbs, namespaced) in resources() {
            let (namespace, name) = places(&resource, namespaced)[0];
            let cell = Cell { group, resource: &resource, verb: verbs[0], namespace, name };
            assert_eq!(asked(&them, &cell).await, "", "{resource}");
        }
        out.push_str("  everything\n");
        return out;
    }
    for (group, resource, verbs, namespaced) in resources() {
        out.push_str(&lines(&them, group, &resource, &verbs, namespaced).await);
    }
    out
}

/// Requests whose refusal depends on the object: what the node restriction and the guard against escalation say.
async fn requests(api: &Harness) -> String {
    let mut out = String::new();
    let n1 = api.as_user(user("system:node:n1", &["system:nodes"]));
    let (nodes, pods) = ("/api/v1/nodes", "/api/v1/namespaces/default/pods");
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let label = |key: &str| json!({"metadata": {"labels": {key: "x"}}});
    let taint = json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}});
    let status = json!({"status": {"phase": "Running"}});
    let csr = |text: &str| {
        json!({"metadata": {"name": "c"}, "spec": {"request": text, "usages": ["client auth"],
        "signerName": "kubernetes.io/kube-apiserver-client-kubelet"}})
    };
    let eviction =
        |name: &str| json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    let secrets = "/api/v1/namespaces/default/secrets";
    for (call, body) in [
        (format!("GET {pods}?fieldSelector=spec.nodeName=n1"), Value::Null),
        (format!("GET {pods}?fieldSelector=spec.nodeName=n2"), Value::Null),
        (format!("GET {pods}?fieldSelector=spec.nodeName!=n2"), Value::Null),
        ("GET /api/v1/pods?fieldSelector=spec.nodeName=n1".to_string(), Value::Null),
        (format!("GET {nodes}?fieldSelector=metadata.name=n1"), Value::Null),
        (format!("GET {nodes}?fieldSelector=metadata.name=n2"), Value::Null),
        (format!("GET {secrets}?fieldSelector=metadata.name=own"), Value::Null),
        (format!("GET {secrets}?fieldSelector=metadata.name=foreign"), Value::Null),
        ("GET /api/v1/secrets?fieldSelector=metadata.name=own".to_string(), Value::Null),
        (format!("GET {requests}?fieldSelector=metadata.name=theirs"), Value::Null),
        (format!("POST {nodes}"), json!({"metadata": {"name": "n3"}})),
        (format!("PATCH {nodes}/n1"), label("disk")),
        (format!("PATCH {nodes}/n1"), label("node-role.kubernetes.io/control-plane")),
        (format!("PATCH {nodes}/n1"), label("node-restriction.kubernetes.io/tier")),
        (format!("PATCH {nodes}/n1/status"), label("x.k8s.io/y")),
        (format!("PATCH {nodes}/n1"), taint),
        (format!("PATCH {nodes}/n2"), label("disk")),
        (format!("PATCH {nodes}/n2/status"), json!({"status": {"phase": "x"}})),
        (format!("DELETE {nodes}/n1"), Value::Null),
        (format!("PATCH {pods}/own/status"), status.clone()),
        (format!("PATCH {pods}/foreign/status"), status),
        (format!("PATCH {pods}/own/status"), label("tier")),
        (format!("PATCH {pods}/own"), label("app")),
        (format!("POST {pods}/own/eviction"), eviction("own")),
        (format!("POST {pods}/foreign/eviction"), eviction("foreign")),
        (format!("DELETE {pods}/own"), Value::Null),
        (format!("DELETE {pods}/foreign"), Value::Null),
        (format!("POST {pods}"), pod("made", "n1")),
        (format!("POST {leases}"), json!({"metadata": {"name": "n2"}})),
        (format!("POST {leases}"), json!({"metadata": {"name": "n1"}})),
        (format!("POST {requests}"), csr(&request_of("system:node:n1"))),
        (format!("POST {requests}"), csr(&request_of("system:node:n2"))),
        (format!("POST {requests}"), csr(&request_of("everynode-admin"))),
    ] {
        let dry = if call.starts_with("GET") { call.clone() } else { format!("{call}?dryRun=All") };
        let answer = n1.call(&dry, body.clone()).await;
        let body = if body.is_null() { String::new() } else { format!(" {}", shortened(&body)) };
        let message = if answer.code < 300 { "" } else { answer.message() };
        writeln!(out, "  {call}{body}\n    {} {message}", answer.code).unwrap();
    }
    out
}

/// A request for a certificate, as base64 of PEM.
fn request_of(name: &str) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:nodes");
    crate::authority::base64(&params.serialize_request(&key).unwrap().pem().unwrap())
}

/// Without what is random or long.
fn shortened(body: &Value) -> String {
    let mut body = body.clone();
    if body["spec"]["request"].is_string() {
        let text = body["spec"]["request"].as_str().unwrap();
        let pem = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap();
        let (_, block) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
        let parsed =
            <x509_parser::certification_request::X509CertificationRequest<'_> as x509_parser::prelude::FromDer<
                '_,
                _,
            >>::from_der(&block.contents);
        let subject = parsed.unwrap().1.certification_request_info.subject.to_string();
        body["spec"] = json!({"request": format!("<{subject}>")});
    }
    if body["spec"]["containers"].is_array() {
        body = json!({"metadata": {"name": body["metadata"]["name"]}, "spec": {"nodeName": body["spec"]["nodeName"]}});
    }
    body.to_string()
}

#[tokio::test]
async fn every_cell_is_what_the_table_says() {
    let api = cluster().await;
    let mut found = String::from(HEAD);
    for who in everybody() {
        found.push('\n');
        found.push_str(&about(&api, &who).await);
    }
    found.push_str("\nrequests of node n1's agent, with dryRun=All: what admission says to the object\n");
    found.push_str(&requests(&api).await);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/who_may.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    for (at, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "{}:{}; UPDATE=1 writes it anew", path.display(), at + 1);
    }
    assert_eq!(found.lines().count(), expected.lines().count());
}

const HEAD: &str = "\
Who may do what. Computed from the product by who_may.rs; UPDATE=1 writes it anew.
A line: resource (group) places: verbs that are allowed. A place is namespace/name, * is a collection or a new object.
\"not\" gives the reason of a refusal where there is one. What stands in no line is refused.
Objects: pod, secret, config map and service account \"own\" belong to node n1, \"foreign\" to n2.
";
