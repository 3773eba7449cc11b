//! Static pods of an agent with the simulated runtime and an API server in memory.

mod support;

use agent::runtime::simulated::{Simulated, Stages};
use agent::runtime::{Runtime as _, State};
use agent::{Config, Shutdown};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use support::api::Api;
use support::eventually;

const MIRROR: &str = "/api/v1/namespaces/default/pods/web-n1";

struct Node {
    api: Api,
    runtime: Arc<Simulated>,
    dir: tempfile::TempDir,
    shutdown: Shutdown,
    agent: Option<tokio::task::JoinHandle<()>>,
}

impl Node {
    fn new() -> Self {
        let node = Self {
            api: Api::default(),
            runtime: Arc::new(Simulated::new(Stages::INSTANT, "10.201.0.0".parse().unwrap())),
            dir: tempfile::tempdir().unwrap(),
            shutdown: Shutdown::new(),
            agent: None,
        };
        std::fs::create_dir(node.manifests()).unwrap();
        node
    }

    fn manifests(&self) -> std::path::PathBuf {
        self.dir.path().join("manifests")
    }

    fn write(&self, file: &str, text: &str) {
        // Whole or not at all, as one should.
        let draft = self.manifests().join(".new");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(draft, self.manifests().join(file)).unwrap();
    }

    fn start_agent(&mut self) {
        let mut config =
            Config::new(self.api.client(), self.runtime.clone(), "n1", "192.0.2.1".parse().unwrap());
        config.data_dir = self.dir.path().join("agent");
        config.log_dir = self.dir.path().join("log");
        config.manifests = Some(self.manifests());
        self.shutdown = Shutdown::new();
        let shutdown = self.shutdown.clone();
        self.agent = Some(tokio::spawn(async move { agent::run(config, shutdown).await.unwrap() }));
    }

    async fn stop_agent(&mut self) {
        self.shutdown.cancel();
        self.agent.take().unwrap().await.unwrap();
    }

    /// Ids of what runs. Two pods of one name never do.
    async fn running(&self) -> Vec<String> {
        let containers = self.runtime.list_containers(None).await.unwrap();
        let running: Vec<_> =
            containers.into_iter().filter(|c| matches!(c.state, State::Running { .. })).collect();
        assert!(running.len() <= 1, "{running:#?}");
        running.into_iter().map(|container| container.id).collect()
    }

    async fn until_running(&self, what: &str, but_not: &[String]) -> Vec<String> {
        eventually(what, || async {
            let running = self.running().await;
            (!running.is_empty() && running != but_not).then_some(running)
        })
        .await
    }

    async fn mirror(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || async { self.api.get(MIRROR).filter(|pod| is(pod)) }).await
    }
}

fn manifest(image: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  labels: {{app: web}}\nspec:\n  \
         terminationGracePeriodSeconds: 1\n  containers:\n  - name: web\n    image: {image}\n"
    )
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

fn hash(pod: &Value) -> &str {
    pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_static_pod_needs_no_server_and_is_shown_when_there_is_one() {
    let mut node = Node::new();
    node.api.set_down(true);
    node.write("web.yaml", &manifest("web:1"));
    node.start_agent();
    let first = node.until_running("a container without a server", &[]).await;
    node.api.set_down(false);
    let mirror = node.mirror("a ready mirror", is_ready).await;
    let owner = &mirror["metadata"]["ownerReferences"][0];
    let object = node.api.get("/api/v1/nodes/n1").unwrap();
    assert_eq!((&owner["kind"], &owner["uid"]), (&Value::from("Node"), &object["metadata"]["uid"]));
    let annotations = &mirror["metadata"]["annotations"];
    assert_eq!(annotations["kubernetes.io/config.source"], "file");
    assert_eq!(annotations["kubernetes.io/config.hash"], hash(&mirror));
    assert!(annotations["kubernetes.io/config.seen"].is_string());
    assert_eq!(mirror["metadata"]["labels"]["app"], "web");
    assert_eq!(mirror["spec"]["nodeName"], "n1");

    node.stop_agent().await;
    node.start_agent();
    node.api.delete_pod(MIRROR, 30);
    let gone = mirror["metadata"]["uid"].clone();
    let again = node.mirror("a new mirror", |pod| pod["metadata"]["uid"] != gone && is_ready(pod)).await;
    assert_eq!(hash(&again), hash(&mirror));
    assert!(again["metadata"]["deletionTimestamp"].is_null());
    assert_eq!(node.running().await, first, "neither a new agent nor a deletion touches the container");
    node.stop_agent().await;
}

#[tokio::test]
async fn a_manifest_changes_breaks_and_goes() {
    let mut node = Node::new();
    node.start_agent();
    node.write("web.yaml", &manifest("web:1"));
    let first = node.until_running("the first container", &[]).await;
    let shown = hash(&node.mirror("a ready mirror", is_ready).await).to_string();

    node.write("web.yaml", "half: [writ");
    node.write("zz.yaml", &manifest("web:3"));
    eventually("both complaints", || async {
        let events = node.api.events("n1");
        let told = |text: &str| events.iter().any(|event| event.starts_with(text));
        let twice = "InvalidStaticPod: manifest zz.yaml: describes the pod default/web-n1, as web.yaml does";
        (told("InvalidStaticPod: manifest web.yaml: is neither YAML nor JSON") && told(twice)).then_some(())
    })
    .await;
    std::fs::remove_file(node.manifests().join("zz.yaml")).unwrap();

    node.write("web.yaml", &manifest("web:2"));
    let second = node.until_running("the second container", &first).await;
    let mirror = node.mirror("another mirror", |pod| hash(pod) != shown && is_ready(pod)).await;
    assert_eq!(mirror["spec"]["containers"][0]["image"], "web:2");
    assert_ne!(first, second);

    std::fs::remove_file(node.manifests().join("web.yaml")).unwrap();
    eventually("nothing runs", || async { node.running().await.is_empty().then_some(()) }).await;
    eventually("no mirror", || async { node.api.get(MIRROR).is_none().then_some(()) }).await;
    eventually("nothing is left", || async {
        node.runtime.list_pod_sandbox(None).await.unwrap().is_empty().then_some(())
    })
    .await;
    let left = std::fs::read_dir(Path::new(&node.dir.path().join("agent/pods"))).unwrap().count();
    assert_eq!(left, 0);
    node.stop_agent().await;
}
