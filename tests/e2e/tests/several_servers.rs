//! Two servers on one etcd: each serves what the other wrote, one of them runs the loops, and neither a server nor a
//! member of etcd is missed by more than the requests that were on it.

use e2e::{
    Agent, Etcd, Kubectl, Part, Server, assert_says, eventually, eventually_equal, newest_and_oldest,
    outer_address,
};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const NODES: u32 = 4;
/// A debug build on two busy cores; a lease of 15 s may have to run out.
const LIMIT: Duration = Duration::from_secs(90);
const HELLO: &str = include_str!("../../../examples/hello.yaml");

fn holder(kubectl: &Kubectl) -> String {
    let lease = ["get", "lease", "-n", "kube-system", "everynode-controllers"];
    let identity = kubectl.value(&lease, "{.spec.holderIdentity}").unwrap_or_default();
    identity.rsplit('_').next().unwrap_or_default().to_string()
}

#[track_caller]
fn converges(kubectl: &Kubectl, tag: &str) {
    let images = "{.items[*].spec.containers[0].image}";
    let expected = vec![format!("everynode.dev/hello:{tag}"); NODES as usize].join(" ");
    eventually_equal(&format!("all pods are hello:{tag}"), LIMIT, expected, || {
        kubectl.value(&["get", "pods", "-l", "app=hello"], images).unwrap_or_default()
    });
    let ready = "{.status.updatedNumberScheduled} {.status.numberAvailable}";
    eventually_equal("all pods are available", LIMIT, format!("{NODES} {NODES}"), || {
        kubectl.value(&["get", "ds", "hello"], ready).unwrap_or_default()
    });
}

#[test]
fn the_loss_of_a_server_or_of_an_etcd_member_interrupts_only_what_was_on_it() {
    let mut etcd = Etcd::start().unwrap();
    let (_, path) = newest_and_oldest().unwrap().remove(0);
    let mut first = Server::start_with(&["--store", &etcd.endpoints()]).unwrap();
    let at_first = first.kubectl(&path);
    first.wait_until_ready(&at_first);

    // A server with an authority of its own would let in whom the first does not know.
    let stranger = tempfile::tempdir().unwrap();
    let store = format!("EVERYNODE_STORE={}", etcd.endpoints());
    let refused = Server::refused(&["env", &store], &stranger.path().join("data"), "127.0.0.1:0").unwrap();
    assert_eq!(refused.code, 1);
    assert_says(&refused.stderr, "another certificate authority");
    assert_says(&refused.stderr, "--pki-dir");

    let pki = first.data_dir().join("pki").display().to_string();
    let second = Server::start_with(&["--store", &etcd.endpoints(), "--pki-dir", &pki]).unwrap();
    let at_second = second.kubectl(&path);
    second.wait_until_ready(&at_second);
    eventually_equal("the first runs the loops", LIMIT, first.pid().to_string(), || holder(&at_second));

    // What one has written the other shows at once.
    for round in 0..6 {
        let (writer, reader) = if round % 2 == 0 { (&at_first, &at_second) } else { (&at_second, &at_first) };
        let name = format!("note{round}");
        writer.ok(&["create", "configmap", &name, "--from-literal=a=b"]);
        assert_eq!(reader.value(&["get", "configmap", &name], "{.data.a}").unwrap(), "b");
    }

    let fleet = ["internal", "fleet", "--first", "1", "--nodes", &NODES.to_string(), "--lease", "40"];
    let _nodes = Part::start(&fleet, &second.kubeconfig()).unwrap();
    at_first.ok_with(&["apply", "-f", "-"], HELLO);
    converges(&at_second, "1");

    etcd.kill(0).unwrap();
    at_second.ok(&["set", "image", "ds/hello", "hello=everynode.dev/hello:2"]);
    converges(&at_first, "2");
    etcd.run(0).unwrap();

    first.kill().unwrap();
    at_second.ok(&["set", "image", "ds/hello", "hello=everynode.dev/hello:1"]);
    eventually_equal("the second runs the loops", LIMIT, second.pid().to_string(), || holder(&at_second));
    converges(&at_second, "1");

    first.kill_and_start_again().unwrap();
    first.wait_until_ready(&at_first);
    converges(&at_first, "1");
    eventually("the first has the notes", LIMIT, || {
        let names = at_first.value(&["get", "configmaps"], "{.items[*].metadata.name}")?;
        anyhow::ensure!(names.contains("note5"), "{names}");
        Ok(())
    });
    assert_eq!(holder(&at_first), second.pid().to_string(), "who stands by does not take the lease");
}

/// A DaemonSet whose pods are ready when they run: nobody answers probes in a simulated container.
fn daemon(name: &str) -> String {
    let container = format!(r#"{{"name": "{name}", "image": "everynode.dev/hello:1"}}"#);
    format!(
        r#"{{"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {{"name": "{name}"}}, "spec": {{"selector":
        {{"matchLabels": {{"app": "{name}"}}}}, "template": {{"metadata": {{"labels": {{"app": "{name}"}}}}, "spec":
        {{"terminationGracePeriodSeconds": 1, "containers": [{container}]}}}}}}}}"#
    )
}

/// Names of ready nodes, and since when they are.
fn ready_nodes(kubectl: &Kubectl) -> String {
    let path = r#"{range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].lastTransitionTime};{end}"#;
    kubectl.value(&["get", "nodes"], path).unwrap_or_default()
}

/// A second address of a server, which other machines could reach.
fn outer() -> String {
    let address = outer_address().expect("this machine has no address but loopback");
    let port = TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
    format!("{address}:{port}")
}

/// Two servers with a second address each, the second with a copy of the first's authority and keys.
struct Pair {
    etcd: Etcd,
    first: Server,
    second: Server,
    /// The outer addresses.
    listen: [String; 2],
    /// Where the copy is.
    common: TempDir,
}

impl Pair {
    fn start(path: &Path) -> Self {
        let etcd = Etcd::start().unwrap();
        let listen = [outer(), outer()];
        let members = etcd.endpoints();
        let store = ["--store", &members, "--listen"];
        let first = Server::start_with(&[&store[..], &[&listen[0]]].concat()).unwrap();
        first.wait_until_ready(&first.kubectl(path));
        let common = tempfile::tempdir().unwrap();
        let pki = common.path().join("pki");
        let copied = Command::new("cp").arg("-a").arg(first.data_dir().join("pki")).arg(&pki).status();
        assert!(copied.unwrap().success());
        let pki = pki.display().to_string();
        let second = Server::start_with(&[&store[..], &[&listen[1], "--pki-dir", &pki]].concat()).unwrap();
        second.wait_until_ready(&second.kubectl(path));
        Self { etcd, first, second, listen, common }
    }

    /// The key files of both.
    fn keys(&self) -> [String; 2] {
        [self.first.data_dir().join("pki"), self.common.path().join("pki")]
            .map(|folder| std::fs::read_to_string(folder.join("encryption-keys")).unwrap())
    }

    /// Gives both a new encryption key.
    fn rotate(&self) -> Child {
        let mut command = Command::new(e2e::binary());
        command.args(["rotate-encryption-key", "--store", &self.etcd.endpoints(), "--pki-dir"]);
        command.arg(self.common.path().join("pki")).stdout(Stdio::null()).spawn().unwrap()
    }
}

fn endpoints(kubectl: &Kubectl) -> Vec<String> {
    let path = "{range .subsets[*]}{.addresses[*].ip}:{.ports[*].port} {end}";
    let found = kubectl.value(&["get", "endpoints", "kubernetes"], path).unwrap_or_default();
    let mut found: Vec<String> = found.split_whitespace().map(String::from).collect();
    found.sort();
    found
}

fn pods(kubectl: &Kubectl) -> String {
    let path =
        "{.items[*].metadata.uid} {.items[*].status.conditions[?(@.type==\"Ready\")].lastTransitionTime}";
    kubectl.value(&["get", "pods", "-l", "app=hello"], path).unwrap()
}

/// Beside everything else a new encryption key comes to both servers, one of which is killed meanwhile.
#[test]
fn an_agent_goes_over_to_another_server_and_its_node_and_pods_stay_ready() {
    let (_, path) = newest_and_oldest().unwrap().remove(0);
    let mut pair = Pair::start(&path);
    let [a, b] = pair.listen.clone();
    let kubectl = pair.second.kubectl(&path);
    let mut both = vec![a.clone(), b.clone()];
    both.sort();
    eventually_equal("both servers are endpoints", LIMIT, both, || endpoints(&kubectl));
    kubectl.ok(&["create", "secret", "generic", "word", "--from-literal=word=battery"]);
    let old = pair.keys();
    let mut rotating = pair.rotate();

    // One is told both, the other learns the second from the cluster.
    let token = pair.first.token().unwrap();
    let a1 = Agent::start("a1", &format!("https://{a},https://{b}"), &token).unwrap();
    let mut a2 = Agent::start("a2", &format!("https://{a}"), &token).unwrap();
    eventually("both nodes are Ready", LIMIT, || {
        let nodes = ready_nodes(&kubectl);
        anyhow::ensure!(nodes.matches(" True ").count() == 2, "{nodes}\n{}\n{}", a1.log(), a2.log());
        Ok(())
    });
    let expected = format!("https://{a}\nhttps://{b}\n");
    eventually_equal("a2 remembers both", LIMIT, expected, || a2.identity("servers").unwrap_or_default());
    kubectl.ok_with(&["apply", "-f", "-"], &daemon("hello"));
    kubectl.ok(&["rollout", "status", "ds/hello", "--timeout=90s"]);
    let before = (ready_nodes(&kubectl), pods(&kubectl));

    pair.first.kill().unwrap();
    kubectl.ok_with(&["apply", "-f", "-"], &daemon("later"));
    eventually_equal("a new DaemonSet reaches both nodes", LIMIT, "2".to_string(), || {
        kubectl.value(&["get", "ds", "later"], "{.status.numberAvailable}").unwrap_or_default()
    });
    eventually_equal("the first is no endpoint any more", LIMIT, vec![b], || endpoints(&kubectl));
    assert_eq!((ready_nodes(&kubectl), pods(&kubectl)), before, "nobody was missed");

    assert!(rotating.wait().unwrap().success());
    pair.first.kill_and_start_again().unwrap();
    let at_first = pair.first.kubectl(&path);
    pair.first.wait_until_ready(&at_first);
    let [of_first, of_second] = pair.keys();
    assert!(of_first == of_second && of_first != old[0] && of_first.lines().count() == 1);
    at_first.ok(&["create", "secret", "generic", "other", "--from-literal=word=staple"]);
    for (name, expected) in [("word", "YmF0dGVyeQ=="), ("other", "c3RhcGxl")] {
        assert_eq!(at_first.value(&["get", "secret", name], "{.data.word}").unwrap(), expected);
        assert_eq!(kubectl.value(&["get", "secret", name], "{.data.word}").unwrap(), expected);
    }

    // Told nothing: it remembers. What its simulated containers did is forgotten.
    a2.kill_and_start_again().unwrap();
    kubectl.ok(&["set", "image", "ds/later", "later=everynode.dev/hello:2"]);
    kubectl.ok(&["rollout", "status", "ds/later", "--timeout=90s"]);
}
