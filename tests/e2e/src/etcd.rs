//! An etcd cluster of three members on loopback, for servers that share a store.

use anyhow::{Context as _, Result};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const MEMBERS: usize = 3;

/// A running cluster; dropping it ends it.
pub struct Etcd {
    folder: TempDir,
    /// Of its clients and of its peers, for each member.
    ports: Vec<(u16, u16)>,
    members: Vec<Option<Child>>,
}

impl Etcd {
    /// Starts all members.
    pub fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("everynode-etcd-").tempdir()?;
        let held: Vec<_> =
            (0..2 * MEMBERS).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
        let ports: Vec<u16> =
            held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect::<std::io::Result<_>>()?;
        drop(held);
        let ports = ports.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        let mut etcd = Self { folder, ports, members: (0..MEMBERS).map(|_| None).collect() };
        (0..MEMBERS).try_for_each(|member| etcd.run(member))?;
        Ok(etcd)
    }

    /// Starts a member that does not run.
    pub fn run(&mut self, number: usize) -> Result<()> {
        let all = self.ports.iter().enumerate();
        let all: Vec<String> = all.map(|(n, (_, peer))| format!("m{n}=http://127.0.0.1:{peer}")).collect();
        let (client, peer) = self.ports[number];
        let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let mut command = Command::new("etcd");
        command.args(["--name", &format!("m{number}"), "--data-dir"]);
        command.arg(self.folder.path().join(format!("m{number}")));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &all.join(","), "--logger", "zap", "--log-outputs", "/dev/null"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.members[number] = Some(child.context("etcd cannot be started: install etcd-server")?);
        Ok(())
    }

    /// Ends a member without warning.
    pub fn kill(&mut self, number: usize) -> Result<()> {
        if let Some(mut member) = self.members[number].take() {
            member.kill()?;
            member.wait()?;
        }
        Ok(())
    }

    /// What `--store` takes.
    pub fn endpoints(&self) -> String {
        let all: Vec<String> =
            self.ports.iter().map(|(client, _)| format!("http://127.0.0.1:{client}")).collect();
        all.join(",")
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        (0..MEMBERS).for_each(|member| drop(self.kill(member)));
    }
}
