//! The real API server in this process, without sockets; where a case needs a foreign one, some answers are replaced.

use super::*;
use apiserver::{ApiServer, User};
use http::{Request, Response};
use http_body_util::Either;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::PostParams;
use kube::client::Body;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use store::memory::MemoryStore;
use tower::Service as _;

async fn open() -> ApiServer {
    let config = apiserver::Config {
        advertise: ([127, 0, 0, 1], 6443).into(),
        token_user: Arc::new(|_| None),
        agent_tls: None,
        ca_pem: String::new(),
        issuer: None,
        audit: None,
        tracer: None,
        sources: Default::default(),
    };
    ApiServer::open(Arc::new(MemoryStore::new()), config).await.unwrap()
}

/// A client of a new server; `instead` may answer a path itself, with a code and a body.
pub async fn server(instead: impl Fn(&str) -> Option<(u16, Value)> + Send + Sync + 'static) -> Client {
    let server = open().await;
    let service = server.as_user(User::authenticated("admin", ["system:masters".to_string()]));
    let instead = Arc::new(instead);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (mut service, replaced) = (service.clone(), instead(&request.uri().to_string()));
        async move {
            match replaced {
                None => Ok::<_, std::convert::Infallible>(service.call(request).await?.map(Either::Left)),
                Some((code, body)) => {
                    let body = Either::Right(Body::from(body.to_string().into_bytes()));
                    Ok(Response::builder().status(code).body(body).unwrap())
                }
            }
        }
    });
    Client::new(service, "default")
}

fn forbidden(what: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403,
        "message": format!("{what} is forbidden: User \"u\" cannot list resource {what:?}")})
}

async fn with_a_daemonset(client: &Client) -> Lookup {
    let hello = serde_saphyr::from_str(include_str!("../../../../examples/hello.yaml")).unwrap();
    let api: Api<DaemonSet> = Api::namespaced(client.clone(), "default");
    api.create(&PostParams::default(), &hello).await.unwrap();
    Lookup::new(client.clone(), "default".to_string(), "hello".to_string())
}

#[tokio::test]
async fn a_list_is_read_to_its_end_in_pages() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = asked.clone();
    let client = server(move |path| {
        noted.lock().unwrap().push(path.to_string());
        None
    })
    .await;
    let lookup = with_a_daemonset(&client).await;
    let nodes: Api<Node> = Api::all(client);
    let count = 2 * usize::try_from(PAGE).unwrap() + 1;
    for number in 0..count {
        let node = serde_json::from_value(json!({"metadata": {"name": format!("n{number}")}})).unwrap();
        nodes.create(&PostParams::default(), &node).await.unwrap();
    }
    asked.lock().unwrap().clear();
    let report = lookup.all().await.unwrap().why(Timestamp::now());
    // A node that has never said that it is ready carries a taint.
    assert_eq!((report.nodes.len(), report.summary.left_out), (count, count));
    let asked = asked.lock().unwrap();
    let pages = asked.iter().filter(|path| path.starts_with("/api/v1/nodes?")).count();
    assert_eq!(pages, 3, "{asked:#?}");
    assert!(
        asked.iter().all(|path| path.contains("limit=500") || path.ends_with("/daemonsets/hello")),
        "{asked:#?}"
    );
}

#[tokio::test]
async fn events_are_a_help_and_no_condition() {
    let client = server(|path| path.contains("/events").then(|| (403, forbidden("events")))).await;
    let found = with_a_daemonset(&client).await.all().await.unwrap();
    let expected = "events is forbidden: User \"u\" cannot list resource \"events\"";
    assert_eq!(found.unread_events.as_deref(), Some(expected));
    assert_eq!(found.why(Timestamp::now()).standstill, None);
}

#[tokio::test]
async fn what_the_server_refuses_is_said_in_its_words() {
    let client = server(|path| path.contains("/nodes").then(|| (403, forbidden("nodes")))).await;
    let refused = with_a_daemonset(&client).await.all().await.err().map(|error| error.to_string());
    assert_eq!(refused.as_deref(), Some("nodes is forbidden: User \"u\" cannot list resource \"nodes\""));
    let missing = Lookup::new(client, "default".into(), "none".into()).all().await.err();
    assert_eq!(missing.map(|error| error.to_string()).as_deref(), Some("daemonsets.apps \"none\" not found"));
}

#[tokio::test]
async fn the_role_in_the_docs_is_enough_and_no_role_is_not() {
    let server = open().await;
    let admin =
        Client::new(server.as_user(User::authenticated("admin", ["system:masters".to_string()])), "default");
    with_a_daemonset(&admin).await;
    let reader = Client::new(server.as_user(User::authenticated("reader", [])), "default");
    let lookup = Lookup::new(reader, "default".to_string(), "hello".to_string());
    let refused = lookup.all().await.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("User \"reader\" cannot get resource \"daemonsets\""), "{refused}");

    let docs = include_str!("../../../../docs/why.md");
    let role = docs.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let role: ClusterRole = serde_saphyr::from_str(role).unwrap();
    let binding = json!({
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role.metadata.name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}],
    });
    let binding: ClusterRoleBinding = serde_json::from_value(binding).unwrap();
    Api::all(admin.clone()).create(&PostParams::default(), &role).await.unwrap();
    Api::all(admin).create(&PostParams::default(), &binding).await.unwrap();
    let found = lookup.all().await.unwrap();
    assert_eq!(found.unread_events, None);
    assert!(lookup.revisions(&found.subject.object).await.is_ok());
}
