//! Members of an etcd cluster on loopback, as children of the test; each can be killed, frozen and started again.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use store::etcd::{EtcdStore, OpenError, Options, PREFIX};
use tempfile::TempDir;

/// The longest wait for a cluster to answer.
const LIMIT: Duration = Duration::from_secs(60);

/// A cluster that ends with the test.
pub struct Cluster {
    folder: TempDir,
    members: Vec<Member>,
    more: Vec<String>,
}

struct Member {
    client: u16,
    peer: u16,
    child: Option<Child>,
}

impl Cluster {
    /// So many members, running; they may not have found each other yet.
    pub fn start(members: usize) -> Self {
        Self::start_with(members, &[])
    }

    /// The same with more flags for each.
    pub fn start_with(members: usize, more: &[String]) -> Self {
        let ports = free_ports(2 * members);
        let members = ports
            .chunks(2)
            .map(|pair| Member { client: pair[0], peer: pair[1], child: None })
            .collect::<Vec<_>>();
        let folder = tempfile::tempdir().unwrap();
        let mut cluster = Self { folder, members, more: more.to_vec() };
        (0..cluster.members.len()).for_each(|member| cluster.run(member));
        cluster
    }

    /// Starts a member that does not run.
    pub fn run(&mut self, number: usize) {
        let scheme = if self.more.iter().any(|flag| flag == "--cert-file") { "https" } else { "http" };
        let all = self.members.iter().enumerate();
        let all: Vec<String> = all.map(|(n, m)| format!("m{n}=http://127.0.0.1:{}", m.peer)).collect();
        let Member { client, peer, .. } = self.members[number];
        let (client, peer) = (format!("{scheme}://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let mut command = Command::new("etcd");
        command.args(["--name", &format!("m{number}"), "--data-dir"]).arg(self.data_dir(number));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"]);
        command
            .args(["--logger", "zap", "--log-level", "error", "--log-outputs", "/dev/null"])
            .args(&self.more);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.members[number].child = Some(child.expect("etcd runs: install etcd-server"));
    }

    fn data_dir(&self, number: usize) -> std::path::PathBuf {
        Path::join(self.folder.path(), format!("m{number}"))
    }

    /// Ends a member as a power cut does.
    pub fn kill(&mut self, number: usize) {
        if let Some(mut child) = self.members[number].child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops a member without ending it, or lets it go on: to its peers and clients it hangs.
    pub fn signal(&self, number: usize, signal: &str) {
        let Some(child) = &self.members[number].child else { return };
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Addresses of all members, beginning with one.
    pub fn endpoints(&self, first: usize) -> Vec<String> {
        let scheme = if self.more.iter().any(|flag| flag == "--cert-file") { "https" } else { "http" };
        let count = self.members.len();
        let turned = (0..count).map(|at| &self.members[(first + at) % count]);
        turned.map(|member| format!("{scheme}://127.0.0.1:{}", member.client)).collect()
    }

    /// How a server reaches it, asking one member first.
    pub fn options(&self, first: usize) -> Options {
        Options { endpoints: self.endpoints(first), prefix: PREFIX.into(), tls: None, login: None }
    }

    /// A store in it, once it answers.
    pub async fn store(&self, prefix: &str, first: usize) -> EtcdStore {
        open(Options { prefix: prefix.into(), ..self.options(first) }).await
    }
}

/// A store, once its cluster answers.
pub async fn open(options: Options) -> EtcdStore {
    let begun = Instant::now();
    loop {
        match EtcdStore::open(options.clone()).await {
            Ok(store) => return store,
            Err(OpenError::NoAnswer(error)) if begun.elapsed() < LIMIT => println!("not yet: {error}"),
            Err(error) => panic!("{error}"),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for number in 0..self.members.len() {
            self.kill(number);
        }
    }
}

fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}
