//! Prometheus' Kubernetes service discovery: nodes, pods, services and endpoints are found.
//!
//! Debian's own Prometheus is built without it (its NEWS of 2017: too many dependencies). VictoriaMetrics, also of
//! Debian, reads the same `kubernetes_sd_configs` and answers the same `/api/v1/targets`; it is unpacked into a folder
//! and never installed. Every role goes through the recorder once, and nodes and pods once more as an operator
//! writes it: with the token of an account that may only look.

use crate::{LIMIT, World, install, installed};
use e2e::{eventually, run_to_end};
use serde_json::Value;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const ROLES: [&str; 5] = ["endpoints", "endpointslice", "node", "pod", "service"];

const OBJECTS: &str = "apiVersion: v1
kind: Service
metadata: {name: hello}
spec: {selector: {app: hello}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: finder}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: finder}
rules: [{apiGroups: [''], resources: [nodes, pods], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: finder}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: finder}
subjects: [{kind: ServiceAccount, name: finder, namespace: default}]
";

#[test]
fn service_discovery_finds_nodes_pods_services_and_endpoints() {
    let world = World::start();
    world.kubectl.ok_with(&["apply", "-f", "-"], OBJECTS);
    let folder = tempfile::tempdir().unwrap();
    let finder = Finder::start(folder.path(), &configuration(&world, folder.path()));
    let pods = "{range .items[*]}{.status.podIP}:8080 {end}";
    let pods = world.kubectl.value(&["get", "pods", "-l", "app=hello"], pods).unwrap();
    let mut pods: Vec<String> = pods.split_whitespace().map(str::to_string).collect();
    pods.sort();
    let named = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    eventually("everything is found", LIMIT, || {
        let check = |job: &str, label: &str, expected: &[String]| {
            let found = finder.targets(job, label)?;
            anyhow::ensure!(found == expected, "{job}: {found:?}, expected {expected:?}\n{}", finder.log());
            Ok(())
        };
        check("node", "__meta_kubernetes_node_name", &named(&["n1", "n2"]))?;
        check("node-by-token", "__meta_kubernetes_node_name", &named(&["n1", "n2"]))?;
        check("pod", "__address__", &pods)?;
        check("pod-by-token", "__meta_kubernetes_pod_node_name", &named(&["n1", "n2"]))?;
        check("service", "__meta_kubernetes_service_name", &named(&["hello", "kubernetes"]))?;
        for job in ["endpoints", "endpointslice"] {
            let found = finder.targets(job, "__address__")?;
            anyhow::ensure!(pods.iter().all(|pod| found.contains(pod)), "{job}: {found:?}");
        }
        Ok(())
    });
    drop(finder);
    world.compare("service-discovery");
}

fn victoria() -> PathBuf {
    let folder = installed("victoria-metrics", |folder| {
        install(
            Command::new("apt-get").args(["download", "--quiet", "victoria-metrics"]).current_dir(folder),
        );
        let unpack = "dpkg -x victoria-metrics_*.deb . && rm victoria-metrics_*.deb";
        install(Command::new("sh").args(["-c", unpack]).current_dir(folder));
    });
    folder.join("usr/bin/victoria-metrics")
}

fn configuration(world: &World, folder: &Path) -> String {
    // Nothing is scraped: simulated pods answer nothing. What was discovered is the question.
    let mut text = String::from("global: {scrape_interval: 1h}\nscrape_configs:\n");
    let api = world.recorder.url();
    for role in ROLES {
        text += &format!(
            "- job_name: {role}\n  kubernetes_sd_configs: [{{role: {role}, api_server: '{api}'}}]\n"
        );
    }
    let token = folder.join("token");
    std::fs::write(&token, world.kubectl.ok(&["create", "token", "finder"]).trim()).unwrap();
    let server = "{.clusters[0].cluster.server}";
    let server = world.kubectl.value(&["config", "view", "--raw"], server).unwrap();
    let authority = folder.join("ca.crt");
    let pem = world.kubectl.ok(&["get", "--raw", "/everynode/ca"]);
    std::fs::write(&authority, pem).unwrap();
    for role in ["node", "pod"] {
        text += &format!(
            "- job_name: {role}-by-token\n  kubernetes_sd_configs: [{{role: {role}, api_server: '{server}', \
             authorization: {{credentials_file: '{}'}}, tls_config: {{ca_file: '{}'}}}}]\n",
            token.display(),
            authority.display()
        );
    }
    text
}

/// A running VictoriaMetrics; dropping it ends it.
struct Finder {
    process: Child,
    log: PathBuf,
    port: u16,
}

impl Finder {
    fn start(folder: &Path, configuration: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = folder.join("prometheus.yml");
        std::fs::write(&file, configuration).unwrap();
        let log = folder.join("log");
        let mut command = Command::new(victoria());
        command.arg(format!("-promscrape.config={}", file.display()));
        command.arg(format!("-storageDataPath={}", folder.join("data").display()));
        command.arg(format!("-httpListenAddr=127.0.0.1:{port}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
        Self { process: command.spawn().unwrap(), log, port }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The sorted values of a label of all targets of a job, each once.
    fn targets(&self, job: &str, label: &str) -> anyhow::Result<Vec<String>> {
        let url = format!("http://127.0.0.1:{}/api/v1/targets?state=active", self.port);
        let answer = run_to_end(Command::new("curl").args(["--silent", "--fail", &url]), "")?;
        let answer: Value = serde_json::from_str(&answer.stdout)?;
        let targets = answer["data"]["activeTargets"].as_array().into_iter().flatten();
        let of_job = targets.filter(|target| target["discoveredLabels"]["job"] == job);
        let values = of_job.filter_map(|target| target["discoveredLabels"][label].as_str());
        let mut values: Vec<String> = values.map(str::to_string).collect();
        values.sort();
        values.dedup();
        Ok(values)
    }
}

impl Drop for Finder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
