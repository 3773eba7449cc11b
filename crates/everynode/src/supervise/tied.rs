//! A child process that ends with us: it holds the other end of a pipe, and ends when the pipe does.
//!
//! It has a process group of its own, so that Ctrl-C reaches `up` alone, which then ends its children in order.

use super::Event;
use crate::hosts::record::Process;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a child has to end by itself: a server finishes what is in work.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Which child.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The control plane.
    Server,
    /// Simulated nodes from this number on.
    Fleet(u32),
}

/// A running child.
pub struct Tied {
    input: Option<ChildStdin>,
    watch: JoinHandle<()>,
    kill: CancellationToken,
    /// For the record.
    pub process: Option<Process>,
}

impl Tied {
    /// Starts `everynode <arguments>`; standard error goes to `log`. What it prints, and its end, become events.
    pub fn start(who: Who, arguments: &[String], log: &Path, events: Sender<Event>) -> io::Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let mut child = Command::new("/proc/self/exe")
            .arg0("everynode")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take();
        let process = child.id().and_then(Process::of);
        let kill = CancellationToken::new();
        let watch = tokio::spawn(watch(who, child, events, kill.clone()));
        Ok(Self { input, watch, kill, process })
    }

    /// Whether an event is of this process, and not of one before it.
    pub fn is(&self, id: u32) -> bool {
        self.process.is_some_and(|process| process.id == id)
    }

    /// Ends it and waits until it is gone.
    pub async fn end(mut self) {
        drop(self.input.take());
        if tokio::time::timeout(END_LIMIT, &mut self.watch).await.is_err() {
            self.kill.cancel();
            let _ = self.watch.await;
        }
    }
}

async fn watch(who: Who, mut child: Child, events: Sender<Event>, kill: CancellationToken) {
    let id = child.id().unwrap_or_default();
    if let Some(output) = child.stdout.take() {
        let mut lines = BufReader::new(output).lines();
        while let Some(Ok(Some(line))) = kill.run_until_cancelled(lines.next_line()).await {
            let _ = events.send(Event::Said { who: who.clone(), line }).await;
        }
    }
    let ended = match kill.run_until_cancelled(child.wait()).await {
        Some(ended) => ended,
        None => {
            let _ = child.start_kill();
            child.wait().await
        }
    };
    let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
    let _ = events.send(Event::Ended { who, id, how }).await;
}
