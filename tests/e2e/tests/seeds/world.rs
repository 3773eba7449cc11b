//! A cluster, its administrator's terminal, and a registry that stands for all registries.

use crate::images;
use e2e::{Cluster, Kubectl, Registry, Running, eventually, eventually_equal};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// A debug build on two busy cores that carry two clusters.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Dropping it ends everything.
pub struct World {
    pub cluster: Cluster,
    kubectl: Kubectl,
    /// Where manifests lie.
    folder: TempDir,
    /// Ends with the world.
    _registry: Registry,
}

impl World {
    /// Three nodes that are Ready, and all images within their reach.
    pub fn start(kubectl: &Path, (bridge, gateway): (&str, &str)) -> Self {
        let mut cluster = Cluster::start(&["--runtime", "cri", "--bridge-network", bridge]).unwrap();
        let kubectl = cluster.kubectl(kubectl);
        cluster.wait_for_nodes(&kubectl, &["n1", "n2", "n3"]);
        let port = Registry::free_port().unwrap();
        let registry = Registry::start(gateway.parse().unwrap(), port, None).unwrap();
        images::push(&registry);
        instead_of_all(&cluster.data_dir(), &registry.name());
        Self { cluster, kubectl, folder: tempfile::tempdir().unwrap(), _registry: registry }
    }

    /// The cluster's data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.cluster.data_dir()
    }

    /// Writes a manifest that commands name.
    pub fn file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// What a line of an article prints; it must succeed.
    #[track_caller]
    pub fn says(&self, line: &str) -> String {
        self.kubectl.ok(&words(&self.arguments(line)))
    }

    /// What a line that must succeed prints, and its warnings.
    #[track_caller]
    pub fn says_and_warns(&self, line: &str) -> (String, String) {
        let answer = self.kubectl.run(&words(&self.arguments(line)));
        assert_eq!(answer.code, 0, "{line}\n{}{}", answer.stdout, answer.stderr);
        (answer.stdout, answer.stderr)
    }

    /// What a line complains about that must fail.
    #[track_caller]
    pub fn refuses(&self, line: &str) -> String {
        self.kubectl.fails(&words(&self.arguments(line)))
    }

    /// Starts a line that goes on.
    pub fn watch(&self, line: &str) -> Running {
        self.kubectl.start(&words(&self.arguments(line)))
    }

    /// Waits until a line prints what [`like`] finds in it.
    #[track_caller]
    pub fn shows(&self, line: &str, wanted: &str) {
        eventually(line, LIMIT, || like(&self.says(line), wanted));
    }

    /// Applies a manifest; the answer must be this.
    #[track_caller]
    pub fn apply(&self, file: &str, text: &str, answer: &str) {
        self.file(file, text);
        assert_eq!(self.says(&format!("kubectl apply -f {file}")), format!("{answer}\n"));
    }

    /// Waits for the end of a rollout.
    #[track_caller]
    pub fn rolled_out(&self, namespace: &str, name: &str) {
        self.says(&format!("kubectl rollout status ds/{name} -n {namespace} --timeout=100s"));
    }

    /// Waits until pods with a label are on exactly these nodes.
    #[track_caller]
    pub fn runs_on(&self, namespace: &str, label: &str, nodes: &[&str]) {
        let expected: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        eventually_equal(&format!("nodes of {label}"), LIMIT, expected, || {
            self.field(namespace, label, ".spec.nodeName")
        });
    }

    /// One field of all pods with a label, sorted.
    pub fn field(&self, namespace: &str, label: &str, path: &str) -> Vec<String> {
        let path = format!("{{range .items[*]}}{{{path}}}{{\"\\n\"}}{{end}}");
        let text = self.kubectl.value(&["get", "pods", "-n", namespace, "-l", label], &path);
        let mut values: Vec<String> = text.unwrap_or_default().lines().map(str::to_string).collect();
        values.sort();
        values
    }

    /// Name of the pod with a label on a node.
    #[track_caller]
    pub fn pod_on(&self, namespace: &str, label: &str, node: &str) -> String {
        let field = format!("spec.nodeName={node}");
        let query = ["get", "pods", "-n", namespace, "-l", label, "--field-selector", &field];
        self.kubectl.value(&query, "{.items[0].metadata.name}").unwrap()
    }

    /// One value of what `kubectl get` names.
    pub fn value(&self, what: &str, path: &str) -> String {
        let what: Vec<&str> = ["get"].into_iter().chain(what.split_whitespace()).collect();
        self.kubectl.value(&what, path).unwrap_or_default()
    }

    /// Ends a DaemonSet and waits until nothing is left of it.
    #[track_caller]
    pub fn end(&self, namespace: &str, name: &str, label: &str) {
        self.says(&format!("kubectl delete ds {name} -n {namespace}"));
        self.runs_on(namespace, label, &[]);
    }

    /// A line's words; manifests lie in our folder.
    #[track_caller]
    fn arguments(&self, line: &str) -> Vec<String> {
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("kubectl"), "{line}");
        let place = |word: &str| match word.ends_with(".yaml") {
            true => self.folder.path().join(word).to_string_lossy().into_owned(),
            false => word.to_string(),
        };
        words.map(place).collect()
    }
}

fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// Lines of an article in an output: in their order, word by word, whatever stands between them. `*` is any word.
pub fn like(seen: &str, wanted: &str) -> anyhow::Result<()> {
    let mut lines = seen.lines();
    for line in wanted.lines().filter(|line| !line.trim().is_empty()) {
        let wanted: Vec<&str> = line.split_whitespace().collect();
        let is_like = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.len() == wanted.len() && words.iter().zip(&wanted).all(|(a, b)| a == b || *b == "*")
        };
        anyhow::ensure!(lines.any(is_like), "no further line is like {line:?} in\n{seen}");
    }
    Ok(())
}

/// The words of a table, without its header.
pub fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
}

/// containerd: docs/hosts.md, `_default`.
fn instead_of_all(data_dir: &Path, registry: &str) {
    let folder = data_dir.join("registries/_default");
    std::fs::create_dir_all(&folder).unwrap();
    let url = format!("http://{registry}");
    let text = format!("server = {url:?}\n[host.{url:?}]\ncapabilities = [\"pull\", \"resolve\"]\n");
    std::fs::write(folder.join("hosts.toml"), text).unwrap();
}
