//! A whole agent on a real containerd, with an API server in memory.

mod support;

use agent::heartbeat::Pressure;
use agent::runtime::cri::Cri;
use agent::{Config, Shutdown};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::api::Api;
use support::containerd::{self, Containerd, IMAGE};
use support::eventually;

struct Node {
    api: Api,
    containerd: Containerd,
    shutdown: Shutdown,
    agent: Option<tokio::task::JoinHandle<()>>,
    pressure: fn(&Path) -> Pressure,
}

impl Node {
    async fn start() -> Option<Self> {
        Self::start_with(Pressure::read).await
    }

    /// A node that is short of what `pressure` says.
    async fn start_with(pressure: fn(&Path) -> Pressure) -> Option<Self> {
        if let Some(reason) = containerd::missing() {
            eprintln!("skipped: {reason}");
            return None;
        }
        let mut node = Self {
            api: Api::default(),
            containerd: Containerd::start(),
            shutdown: Shutdown::new(),
            agent: None,
            pressure,
        };
        node.start_agent().await;
        let api = node.api.clone();
        eventually("a ready node", || async {
            let node = api.get("/api/v1/nodes/n1")?;
            (condition(&node, "Ready")? == "True").then_some(())
        })
        .await;
        Some(node)
    }

    async fn start_agent(&mut self) {
        let dir = self.containerd.dir.path();
        let runtime = Arc::new(Cri::connect(&self.containerd.socket()).await.unwrap());
        let mut config = Config::new(self.api.client(), runtime, "n1", "192.0.2.1".parse().unwrap());
        config.data_dir = dir.join("agent");
        config.log_dir = dir.join("log");
        config.cgroup_parent.clone_from(&self.containerd.cgroup);
        config.labels.insert("node-role.kubernetes.io/worker".into(), String::new());
        config.pressure = self.pressure;
        self.shutdown = Shutdown::new();
        let shutdown = self.shutdown.clone();
        self.agent = Some(tokio::spawn(async move { agent::run(config, shutdown).await.unwrap() }));
    }

    async fn stop_agent(&mut self) {
        self.shutdown.cancel();
        self.agent.take().unwrap().await.unwrap();
    }

    fn create(&self, name: &str, spec: Value) {
        let mut spec = spec;
        spec["nodeName"] = json!("n1");
        for container in spec["containers"].as_array_mut().unwrap() {
            container["imagePullPolicy"] = json!("IfNotPresent");
            if container["image"].is_null() {
                container["image"] = json!(IMAGE);
            }
        }
        self.api.put(&path(name), json!({"metadata": {}, "spec": spec}));
    }

    async fn until(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let api = self.api.clone();
        let look = async || api.get(&path(name)).filter(|pod| is(pod));
        let deadline = tokio::time::Instant::now() + support::LIMIT;
        loop {
            if let Some(pod) = look().await {
                return pod;
            }
            let late = tokio::time::Instant::now() > deadline;
            assert!(
                !late,
                "{name}: {what}: {:#}\n{:#?}",
                api.get(&path(name)).unwrap_or_default(),
                api.events(name)
            );
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    async fn until_ready(&self, name: &str) -> Value {
        self.until(name, "never ready", |pod| condition(pod, "Ready") == Some("True")).await
    }

    async fn until_gone(&self, name: &str) {
        let api = self.api.clone();
        let path = path(name);
        eventually(&format!("{name} is gone"), || async { api.get(&path).is_none().then_some(()) }).await;
    }
}

fn path(name: &str) -> String {
    format!("/api/v1/namespaces/default/pods/{name}")
}

fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == name)?["status"].as_str()
}

fn status(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

fn script(text: &str) -> Value {
    json!(["/bin/sh", "-c", text])
}

const FOR_EVER: &str = "trap 'exit 0' TERM; echo started; while true; do sleep 0.1; done";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_lives_and_dies_on_a_real_runtime() {
    let Some(node) = Node::start().await else { return };
    let object = node.api.get("/api/v1/nodes/n1").unwrap();
    assert!(
        object["status"]["nodeInfo"]["containerRuntimeVersion"]
            .as_str()
            .unwrap()
            .starts_with("containerd://")
    );
    assert_eq!(object["metadata"]["labels"]["kubernetes.io/hostname"], "n1");
    assert_eq!(object["metadata"]["labels"]["node-role.kubernetes.io/worker"], "");
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1";
    eventually("a lease", || async { node.api.get(lease) }).await;

    node.api.put("/api/v1/namespaces/default/configmaps/settings", json!({"data": {"colour": "blue"}}));
    node.api.put("/api/v1/namespaces/default/secrets/keys", json!({"data": {"key": "c2VjcmV0"}}));
    let tell = "echo $NAME $NODE $COLOUR $KEY $(cat /config/colour) $(cat /keys/key) $(cat /init/done); id -u; \
                echo bye > /dev/termination-log;";
    node.create(
        "hello",
        json!({
            "terminationGracePeriodSeconds": 5,
            "securityContext": {"runAsUser": 1000, "fsGroup": 2000},
            "initContainers": [{"name": "init", "image": IMAGE, "command": script("echo initialized > /init/done"),
                "imagePullPolicy": "IfNotPresent", "volumeMounts": [{"name": "init", "mountPath": "/init"}]}],
            "containers": [{"name": "main", "command": script(&format!("{tell} {FOR_EVER}")),
                "env": [
                    {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
                    {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "key"}}}],
                "readinessProbe": {"exec": {"command": ["/bin/cat", "/init/done"]}, "periodSeconds": 1},
                "resources": {"requests": {"cpu": "10m"}, "limits": {"memory": "64Mi"}},
                "volumeMounts": [{"name": "init", "mountPath": "/init"}, {"name": "settings", "mountPath": "/config"},
                    {"name": "keys", "mountPath": "/keys"}]}],
            "volumes": [{"name": "init", "emptyDir": {}}, {"name": "settings", "configMap": {"name": "settings"}},
                {"name": "keys", "secret": {"secretName": "keys"}}],
        }),
    );
    let pod = node.until_ready("hello").await;
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(pod["status"]["hostIP"], "192.0.2.1");
    assert!(pod["status"]["podIP"].as_str().unwrap().starts_with("10.77.0."));
    assert_eq!(pod["status"]["qosClass"], "Burstable");
    assert!(status(&pod)["containerID"].as_str().unwrap().starts_with("containerd://"));
    let log = log_of(node.containerd.dir.path(), &pod, "main");
    assert!(log.contains("stdout F hello n1 blue secret blue secret initialized"), "{log}");
    assert!(log.contains("stdout F 1000"), "{log}");
    let events = eventually("the event of the start", || async {
        let events = node.api.events("hello");
        events.iter().any(|event| event == "Started: Started container main").then_some(events)
    })
    .await;
    for expected in [
        "Pulled: Container image \"docker.io/library/test:1\" already present on machine",
        "Created: Created container: main",
    ] {
        assert!(events.iter().any(|event| event == expected), "{expected}: {events:#?}");
    }

    node.api.delete_pod(&path("hello"), 5);
    node.until_gone("hello").await;
    assert_eq!(node.containerd.ctr(&["containers", "ls", "-q"]), "", "nothing is left in the runtime");
    let left = std::fs::read_dir(node.containerd.dir.path().join("agent/pods")).unwrap().count();
    assert_eq!(left, 0, "no volumes are left");
    assert!(
        !Path::new(&format!("/sys/fs/cgroup/memory{}/burstable/poduid", node.containerd.cgroup)).exists()
    );
}

fn log_of(dir: &Path, pod: &Value, container: &str) -> String {
    let metadata = &pod["metadata"];
    let text = |key: &str| metadata[key].as_str().unwrap().to_string();
    let folder = format!("{}_{}_{}", text("namespace"), text("name"), text("uid"));
    std::fs::read_to_string(dir.join("log/pods").join(folder).join(container).join("0.log")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashing_container_waits_and_a_missing_image_is_explained() {
    let Some(node) = Node::start().await else { return };
    node.create("crash", json!({"containers": [{"name": "main", "command": script("echo oh; echo why > /dev/termination-log; exit 3")}]}));
    node.create("missing", json!({"containers": [{"name": "main", "image": "registry.invalid/none:1"}]}));
    node.create(
        "config",
        json!({"containers": [{"name": "main", "command": script(FOR_EVER),
        "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "a"}}}]}]}),
    );
    let is_waiting =
        |reason: &'static str| move |pod: &Value| status(pod)["state"]["waiting"]["reason"] == reason;
    let pod = node.until("crash", "no crash loop", is_waiting("CrashLoopBackOff")).await;
    let last = &status(&pod)["lastState"]["terminated"];
    let found = (last["exitCode"].as_i64(), last["reason"].as_str(), last["message"].as_str());
    assert_eq!(found, (Some(3), Some("Error"), Some("why\n")));
    assert_eq!(status(&pod)["restartCount"], 1);
    let message = status(&pod)["state"]["waiting"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("back-off 10s restarting failed container=main pod=crash_default("),
        "{message}"
    );
    node.until("missing", "no back-off", is_waiting("ImagePullBackOff")).await;
    let events = node.api.events("missing");
    assert!(events.iter().any(|event| event == "Failed: Error: ErrImagePull"), "{events:#?}");
    let pod = node.until("config", "no config error", is_waiting("CreateContainerConfigError")).await;
    assert_eq!(status(&pod)["state"]["waiting"]["message"], "configmap \"later\" not found");
    node.api.put("/api/v1/namespaces/default/configmaps/later", json!({"data": {"a": "1"}}));
    node.until_ready("config").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_probes_hooks_and_ends_are_those_of_a_node() {
    let Some(node) = Node::start().await else { return };
    let shared = node.containerd.dir.path().join("shared");
    create_one_of_each(&node, &shared);

    let pod = node.until("elsewhere", "not refused", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(pod["status"]["reason"], "NodeAffinity");
    let message =
        "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
    assert_eq!(pod["status"]["message"], message);

    node.until_ready("port").await;
    let containerd = &node.containerd;
    // Debian's static busybox cannot resolve addresses; the shell can connect by itself.
    let request = "exec 3<>/dev/tcp/10.77.0.1/18080 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3";
    let fetch = ["timeout", "5", "bash", "-c", request];
    let answer = eventually("an answer at the host port", || async { containerd.on_node(&fetch) }).await;
    assert!(answer.ends_with("\r\n\r\nport\n"), "{answer}");
    let pod = node.until_ready("host").await;
    assert_eq!(pod["status"]["podIP"], "192.0.2.1");

    let pod = node.until("done", "not failed", |pod| pod["status"]["phase"] == "Failed").await;
    let code =
        |index: usize| pod["status"]["containerStatuses"][index]["state"]["terminated"]["exitCode"].as_i64();
    assert_eq!((code(0), code(1)), (Some(0), Some(4)));

    node.until("sick", "not restarted", |pod| status(pod)["restartCount"] == 1).await;
    let expected = [
        "Unhealthy: Liveness probe failed: ill\n",
        "Killing: Container main failed liveness probe, will be restarted",
    ];
    eventually("the events of the sick", || async {
        let events = node.api.events("sick");
        expected.iter().all(|text| events.iter().any(|event| event == text)).then_some(())
    })
    .await;

    node.until_ready("hooks").await;
    node.until_ready("stubborn").await;
    for name in ["hooks", "stubborn", "sick", "done", "port", "host", "elsewhere"] {
        node.api.delete_pod(&path(name), 2);
    }
    for name in ["hooks", "stubborn", "sick", "done", "port", "host", "elsewhere"] {
        node.until_gone(name).await;
    }
    assert_eq!(std::fs::read_to_string(shared.join("hooks/log")).unwrap(), "began\nends\n");
    assert_eq!(node.containerd.ctr(&["containers", "ls", "-q"]), "");
    assert!(containerd.on_node(&fetch).is_none(), "the host port is free again");
}

/// A pod for each thing that a node must do beside running a container.
fn create_one_of_each(node: &Node, shared: &Path) {
    let volume = json!([{"name": "shared", "hostPath": {"path": shared, "type": "DirectoryOrCreate"}}]);
    let mounts = json!([{"name": "shared", "mountPath": "/shared", "subPathExpr": "$(POD)"}]);
    let env = json!([{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
    node.create("port", json!({"containers": [{"name": "main", "ports": [{"containerPort": 8080, "hostPort": 18080}],
        "command": script("mkdir /tmp/www; echo port > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www")}]}));
    node.create(
        "hooks",
        json!({"terminationGracePeriodSeconds": 5, "volumes": volume, "containers": [{
        "name": "main", "command": script(FOR_EVER), "env": env, "volumeMounts": mounts,
        "lifecycle": {"postStart": {"exec": {"command": script("echo began >> /shared/log")}},
            "preStop": {"exec": {"command": script("echo ends >> /shared/log")}}}}]}),
    );
    node.create(
        "sick",
        json!({"terminationGracePeriodSeconds": 1, "containers": [{"name": "main",
        "command": script(FOR_EVER), "livenessProbe": {"exec": {"command": script("echo ill; exit 1")},
            "periodSeconds": 1, "failureThreshold": 2}}]}),
    );
    node.create(
        "stubborn",
        json!({"terminationGracePeriodSeconds": 2,
        "containers": [{"name": "main", "command": script("trap '' TERM; while true; do sleep 0.1; done")}]}),
    );
    node.create(
        "done",
        json!({"restartPolicy": "Never", "containers": [
        {"name": "good", "command": script("exit 0")}, {"name": "bad", "command": script("exit 4")}]}),
    );
    node.create("elsewhere", json!({"nodeSelector": {"disk": "ssd"}, "containers": [{"name": "main"}]}));
    node.create(
        "host",
        json!({"hostNetwork": true, "hostPID": true,
        "containers": [{"name": "main", "command": script(FOR_EVER)}]}),
    );
}

/// Whether the node of the test below is short of memory.
static SHORT: AtomicBool = AtomicBool::new(false);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_short_of_memory_sends_one_pod_away_and_takes_no_other() {
    // NP-15: the critical one stays, of the others the one with the lower priority goes; newcomers are refused.
    let pressure = |_: &Path| Pressure { memory: SHORT.load(Ordering::SeqCst), ..Pressure::default() };
    let Some(mut node) = Node::start_with(pressure).await else { return };
    let pod = |priority: i64| json!({"priority": priority, "containers": [{"name": "main", "command": script(FOR_EVER)}]});
    node.create("critical", pod(2_000_000_000));
    node.create("important", pod(10));
    node.create("unimportant", pod(1));
    for name in ["critical", "important", "unimportant"] {
        node.until_ready(name).await;
    }
    SHORT.store(true, Ordering::SeqCst);
    let evicted = node.until("unimportant", "not evicted", |pod| pod["status"]["phase"] == "Failed").await;
    SHORT.store(false, Ordering::SeqCst);
    let said = (&evicted["status"]["reason"], &evicted["status"]["message"]);
    assert_eq!(said, (&json!("Evicted"), &json!("The node was low on resource: memory. ")));
    assert_eq!(condition(&evicted, "DisruptionTarget"), Some("True"));
    let containerd = &node.containerd;
    eventually("its containers have ended", || async { (running(containerd).len() == 4).then_some(()) })
        .await;
    for name in ["critical", "important"] {
        let pod = node.api.get(&path(name)).unwrap();
        assert_eq!(condition(&pod, "Ready"), Some("True"), "{name}");
    }
    node.stop_agent().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_agent_nor_server_restarts_a_container_by_going_away() {
    let Some(mut node) = Node::start().await else { return };
    node.create("stays", json!({"containers": [{"name": "main", "command": script(FOR_EVER)}]}));
    node.create(
        "goes",
        json!({"terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "command": script(FOR_EVER)}]}),
    );
    let before = status(&node.until_ready("stays").await)["containerID"].clone();
    node.until_ready("goes").await;

    // The server goes; a container that dies meanwhile is started again.
    node.api.set_down(true);
    let id = before.as_str().unwrap().trim_start_matches("containerd://").to_string();
    node.containerd.ctr(&["tasks", "kill", "-s", "SIGKILL", "--all", &id]);
    let containerd = &node.containerd;
    eventually("a second run without the server", || async {
        let tasks = containerd.ctr(&["tasks", "ls", "-q"]);
        (tasks.lines().count() == 4 && !running(containerd).contains(&id)).then_some(())
    })
    .await;
    node.api.set_down(false);
    let pod = node.until("stays", "no restart seen", |pod| status(pod)["restartCount"] == 1).await;
    let pod = if condition(&pod, "Ready") == Some("True") { pod } else { node.until_ready("stays").await };
    let second = status(&pod)["containerID"].clone();

    // The agent goes, a pod is deleted behind its back; it returns.
    node.stop_agent().await;
    node.api.remove(&path("goes"));
    assert_eq!(running(&node.containerd).len(), 4, "containers run without an agent");
    node.start_agent().await;
    let containerd = &node.containerd;
    eventually("the orphan is stopped", || async { (running(containerd).len() == 2).then_some(()) }).await;
    let pod = node.until_ready("stays").await;
    assert_eq!((status(&pod)["containerID"].clone(), &status(&pod)["restartCount"]), (second, &json!(1)));
}

fn running(containerd: &Containerd) -> Vec<String> {
    let tasks = containerd.ctr(&["tasks", "ls"]);
    let running = tasks.lines().filter(|line| line.contains("RUNNING"));
    running.filter_map(|line| line.split_whitespace().next().map(str::to_string)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_critical_pod_that_finds_no_room_pushes_one_aside() {
    // NP-14, NP-15: bound by somebody who did not ask whether it fits.
    let Some(node) = Node::start().await else { return };
    let cpus = node.api.get("/api/v1/nodes/n1").unwrap()["status"]["allocatable"]["cpu"].clone();
    let cpus: u32 = cpus.as_str().unwrap().parse().unwrap();
    let asks = |milli: u32, priority: i64| {
        let resources = json!({"requests": {"cpu": format!("{milli}m")}});
        json!({"terminationGracePeriodSeconds": 1, "priority": priority,
            "containers": [{"name": "main", "command": script(FOR_EVER), "resources": resources}]})
    };
    node.create("small", asks(100, 0));
    node.create("large", asks(cpus * 1000 - 100, 0));
    node.until_ready("small").await;
    node.until_ready("large").await;
    node.create("critical", asks(500, 2_000_001_000));
    node.until_ready("critical").await;
    let pod = node.until("large", "not pushed aside", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(pod["status"]["reason"], "Preempting");
    assert_eq!(pod["status"]["message"], "Preempted in order to admit critical pod");
    let stopped = |pod: &Value| status(pod)["state"]["terminated"].is_object();
    node.until("large", "still running", stopped).await;
    node.until_ready("small").await;
    let told = node.api.events("large");
    assert!(told.contains(&"Preempting: Preempted in order to admit critical pod".to_string()), "{told:#?}");
}
