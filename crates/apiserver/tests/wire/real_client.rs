//! kube-rs against the server, in this process and over TLS, HTTP/1.1 and a real socket.

use crate::authority::{Authority, base64};
use crate::harness::{Harness, PATIENCE, config, masters, pod};
use apiserver::{ApiServer, serve};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use kube::api::{
    Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::json;
use std::sync::Arc;
use store::memory::MemoryStore;

fn client(api: &Harness) -> kube::Client {
    kube::Client::new(api.server.as_user(masters()), "default")
}

#[tokio::test]
async fn a_typed_client_does_its_daily_work() {
    let api = Harness::new().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&api));
    let made = ConfigMap {
        metadata: ObjectMeta { name: Some("x".into()), ..Default::default() },
        data: Some([("a".to_string(), "b".to_string())].into()),
        ..Default::default()
    };
    maps.create(&PostParams::default(), &made).await.unwrap();
    let patch = Patch::Strategic(json!({"data": {"c": "d"}}));
    let patched = maps.patch("x", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.data.unwrap().len(), 2);
    assert_eq!(maps.list(&ListParams::default().labels("a=b")).await.unwrap().items.len(), 0);
    assert!(maps.delete("x", &DeleteParams::default()).await.unwrap().is_right());
    assert!(maps.get_opt("x").await.unwrap().is_none());
    let namespaces: Api<Namespace> = Api::all(client(&api));
    assert!(namespaces.list(&ListParams::default().limit(2)).await.unwrap().metadata.continue_.is_some());
}

#[tokio::test]
async fn a_watcher_sees_its_objects_listed_or_streamed() {
    let api = Harness::new().await;
    api.create("/api/v1/namespaces/default/pods", pod("a", "n1")).await;
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let pods: Api<Pod> = Api::all(client(&api));
        let mut seen = Box::pin(watcher(pods, config.fields("spec.nodeName=n1")).applied_objects());
        let first = tokio::time::timeout(PATIENCE, seen.try_next()).await.unwrap().unwrap().unwrap();
        assert_eq!(first.metadata.name.as_deref(), Some("a"));
        let patch =
            json!({"metadata": {"annotations": {"at": format!("{:?}", std::time::SystemTime::now())}}});
        api.call("PATCH /api/v1/namespaces/default/pods/a", patch).await;
        let second = tokio::time::timeout(PATIENCE, seen.try_next()).await.unwrap().unwrap().unwrap();
        assert!(second.metadata.annotations.unwrap().contains_key("at"));
    }
}

#[tokio::test]
async fn a_socket_speaks_tls_and_knows_its_clients_by_certificate_or_token() {
    let server = ApiServer::open(Arc::new(MemoryStore::new()), config()).await.unwrap();
    let ca = Authority::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(serve(server, listener, ca.server(), async move { drop(stopped.await) }));

    let kubeconfig = |user: serde_json::Value| {
        serde_json::from_value::<kube::config::Kubeconfig>(json!({
            "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": format!("https://{address}"),
                "certificate-authority-data": base64(&ca.certificate.pem())}}],
            "users": [{"name": "u", "user": user}]}))
        .unwrap()
    };
    let connect = async |user: serde_json::Value| {
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig(user), &options).await.unwrap();
        kube::Client::try_from(config).unwrap()
    };
    let (certificate, key) = ca.client("admin", "system:masters");
    let admin =
        connect(json!({"client-certificate-data": base64(&certificate), "client-key-data": base64(&key)}))
            .await;
    let nodes: Api<Node> = Api::all(admin.clone());
    let mut watch = nodes.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    let node =
        Node { metadata: ObjectMeta { name: Some("n1".into()), ..Default::default() }, ..Default::default() };
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let event = tokio::time::timeout(PATIENCE, watch.try_next()).await.unwrap().unwrap();
    assert!(matches!(event, Some(WatchEvent::Added(node)) if node.metadata.name.as_deref() == Some("n1")));

    let code = |error: kube::Error| match error {
        kube::Error::Api(status) => status.code,
        other => panic!("{other}"),
    };
    let wrong = connect(json!({"token": "wrong"})).await;
    assert_eq!(code(wrong.list_core_api_versions().await.unwrap_err()), 401);
    let joining = connect(json!({"token": "abcdef.0123456789abcdef"})).await;
    assert!(joining.list_core_api_versions().await.is_ok());
    let nobody = connect(json!({})).await;
    assert_eq!(nobody.apiserver_version().await.unwrap().minor, "33");
    assert_eq!(code(nobody.list_core_api_versions().await.unwrap_err()), 403);

    // A graceful end ends the watch, and with it the server.
    stop.send(()).unwrap();
    assert!(tokio::time::timeout(PATIENCE, watch.try_next()).await.unwrap().ok().flatten().is_none());
    tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap().unwrap();
}
