//! Nodes on this machine, each a host of its own: network, file system view, processes, container runtime.
//!
//! A node is a network namespace on a bridge ([`network`]) and a process tree in its own mount, process, host name and
//! IPC namespaces, whose first process is [`init`]. `up` holds the other end of that process's input: it ends with `up`,
//! and with it everything in the node. Programs of iproute2 and util-linux make the namespaces. Not `ip netns exec`: it
//! hides `/sys/fs/cgroup`.

pub mod addresses;
pub mod cgroups;
pub mod init;
pub mod leftovers;
pub mod machine;
pub mod names;
pub mod network;
pub mod program;
pub mod protocol;
pub mod record;
pub mod requirements;

use protocol::{Command as Order, Event, MAX_LINE, Spec};
use record::Process;
use std::io;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How long containers have when everything ends.
const END_PATIENCE: Duration = Duration::from_secs(3);
/// A host that was asked to end is killed after this: the patience of [`init`] and some more.
const END_LIMIT: Duration = Duration::from_secs(10);

/// A node's processes.
pub struct Host {
    child: Child,
    orders: ChildStdin,
    /// For the record.
    pub process: Option<Process>,
}

/// What a node tells.
pub struct Events(tokio::io::Lines<BufReader<tokio::io::Take<ChildStdout>>>);

impl Host {
    /// Starts the processes of a node in its network namespace, which exists.
    pub async fn start(netns: &str, spec: &Spec) -> io::Result<(Self, Events)> {
        let mut child = command(netns).spawn()?;
        let pipe = || io::Error::other("a child without pipes");
        let orders = child.stdin.take().ok_or_else(pipe)?;
        let events = child.stdout.take().ok_or_else(pipe)?;
        let process = child.id().and_then(Process::of);
        let mut host = Self { child, orders, process };
        host.send(spec).await?;
        let lines = BufReader::new(events.take(u64::MAX)).lines();
        Ok((host, Events(lines)))
    }

    /// Gives an order.
    pub async fn order(&mut self, order: &Order) -> io::Result<()> {
        self.send(order).await
    }

    /// Asks the node's processes to end, containers within `patience`; its events tell when they are gone.
    pub async fn leave(&mut self, patience: Duration) -> io::Result<()> {
        self.order(&Order::End { patience: patience.as_secs() }).await
    }

    /// Kills the node's processes; its events tell when they are gone.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.start_kill()
    }

    /// Ends the node's processes and waits until they are gone.
    pub async fn end(mut self) -> io::Result<()> {
        let _ = self.leave(END_PATIENCE).await;
        match tokio::time::timeout(END_LIMIT, self.child.wait()).await {
            Ok(ended) => ended.map(drop),
            Err(_) => self.child.kill().await,
        }
    }

    async fn send(&mut self, line: &impl serde::Serialize) -> io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.orders.write_all(text.as_bytes()).await?;
        self.orders.flush().await
    }
}

impl Events {
    /// The next one, or none when the node's first process has ended.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let line = self.0.next_line().await.ok()??;
            match serde_json::from_str(line.get(..line.len().min(MAX_LINE)).unwrap_or_default()) {
                Ok(event) => return Some(event),
                Err(error) => tracing::warn!(%error, "a node said something that is no event"),
            }
        }
    }
}

/// The process group is the node's own, so that Ctrl-C reaches `up` alone.
fn command(netns: &str) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/run/netns/{netns}"))
        .args(["unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "--kill-child"])
        // Also right when the file was replaced or removed while we run.
        .arg(format!("/proc/{}/exe", std::process::id()))
        .args(["internal", "host"])
        .env("PATH", program::path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}
