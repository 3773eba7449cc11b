//! The first process of a node: `everynode internal host`, already in namespaces of its own.
//!
//! ```text
//! up ──spec, commands──► host (process 1) ──► containerd   started again when it ends
//!    ◄──────events─────        │          └─► agent        started and stopped on command, never by itself
//!                              └ reaps orphans
//! ```
//!
//! 1. When it ends, the kernel ends every process of the node and takes its mounts away: nothing can be left behind.
//! 2. It ends at once when `up` dies, and gracefully when asked: the agent first, then containers, then the rest.
//! 3. It runs no async runtime: three threads (input, reaper, this one), one queue.

mod children;
mod mounts;
mod runtime;

use super::program;
use super::protocol::{Command as Order, Event, MAX_LINE, Spec};
use children::{Children, Exit};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long the agent has to end.
const AGENT_PATIENCE: Duration = Duration::from_secs(10);
/// How long the agent has to end when the node does, and again the runtime.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// How long containerd may take to answer on a busy machine.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(120);
/// A containerd that ends at once is not started in a busy loop.
const RUNTIME_PAUSE: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Logs of containerd and the agent begin anew above this at a start; the last one is kept beside it.
const LOG_BYTES: u64 = 16 << 20;

/// Is the first process of a node until it ends; the answer is the exit code.
pub fn run() -> u8 {
    let (send, receive) = channel();
    let spec = match first_line() {
        Ok(spec) => spec,
        Err(why) => return fail(format!("no specification: {why}")),
    };
    match Host::start(spec, send, &receive) {
        Ok(host) => host.run(&receive),
        Err(why) => fail(why),
    }
}

fn fail(why: String) -> u8 {
    tell(&Event::Failed { why });
    1
}

enum Happened {
    Order(Order),
    /// `up` is gone.
    InputEnded,
    AgentEnded(Exit),
    RuntimeEnded(Exit),
}

struct Host {
    spec: Spec,
    children: Children,
    queue: Sender<Happened>,
    agent: Option<Agent>,
    /// When containerd was last started.
    runtime_since: Instant,
}

struct Agent {
    id: u32,
    /// When it was asked to end.
    asked: Option<Instant>,
}

impl Host {
    fn start(spec: Spec, queue: Sender<Happened>, happened: &Receiver<Happened>) -> Result<Self, String> {
        let chain = |error: &dyn std::error::Error| crate::telemetry::chain(error);
        mounts::mount_all(&spec.folder).map_err(|error| chain(&error))?;
        rustix::system::sethostname(spec.node.as_bytes()).map_err(|error| format!("host name: {error}"))?;
        runtime::write_files(&spec).map_err(|error| format!("files of the runtime: {error}"))?;
        let children = Children::new().map_err(|error| format!("no thread: {error}"))?;
        let mut host = Self { spec, children, queue, agent: None, runtime_since: Instant::now() };
        host.start_runtime()?;
        host.wait_for_runtime(happened)?;
        host.read_orders().map_err(|error| format!("no thread: {error}"))?;
        tell(&Event::RuntimeReady);
        Ok(host)
    }

    fn run(mut self, queue: &Receiver<Happened>) -> u8 {
        loop {
            let happened = match queue.recv_timeout(LOOK_AGAIN.saturating_mul(10)) {
                Ok(happened) => happened,
                Err(RecvTimeoutError::Timeout) => {
                    self.insist();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return 1,
            };
            match happened {
                Happened::InputEnded => return 1,
                Happened::Order(Order::End { patience }) => {
                    self.end(queue, Duration::from_secs(patience));
                    return 0;
                }
                Happened::Order(Order::StartAgent { token }) => self.start_agent(&token),
                Happened::Order(Order::StopAgent) => self.stop_agent(),
                Happened::AgentEnded(exit) => self.agent_ended(exit),
                Happened::RuntimeEnded(exit) => {
                    tell(&Event::RuntimeEnded { how: exit.how });
                    if self.runtime_since.elapsed() < RUNTIME_PAUSE {
                        std::thread::sleep(RUNTIME_PAUSE);
                    }
                    if let Err(why) = self.start_runtime() {
                        return fail(why);
                    }
                }
            }
        }
    }

    fn start_runtime(&mut self) -> Result<(), String> {
        let queue = self.queue.clone();
        let mut command = logged("containerd", "/var/log/containerd.log").map_err(|e| e.to_string())?;
        command.args(["--config", runtime::CONFIG]);
        self.runtime_since = Instant::now();
        let ended = move |exit| _ = queue.send(Happened::RuntimeEnded(exit));
        self.children.start(&mut command, ended).map_err(|error| format!("containerd: {error}"))?;
        Ok(())
    }

    /// Until it has taken the images; before that no pod could start. One that ends instead would end again.
    fn wait_for_runtime(&self, happened: &Receiver<Happened>) -> Result<(), String> {
        let log = self.spec.folder.join("var/log/containerd.log");
        let end = Instant::now() + RUNTIME_PATIENCE;
        let mut said = String::from("no answer");
        while Instant::now() < end {
            if std::os::unix::net::UnixStream::connect(runtime::SOCKET).is_ok() {
                match self.import() {
                    Ok(()) => return Ok(()),
                    Err(why) => said = why,
                }
            }
            if let Ok(Happened::RuntimeEnded(exit)) = happened.recv_timeout(LOOK_AGAIN) {
                let words = last_line("/var/log/containerd.log");
                return Err(format!("containerd has ended ({}): {words}; see {}", exit.how, log.display()));
            }
        }
        Err(format!("containerd is not ready ({said}); see {}", log.display()))
    }

    fn import(&self) -> Result<(), String> {
        let mut command = logged("ctr", "/run/everynode/import.log").map_err(|error| error.to_string())?;
        command.args(["--address", runtime::SOCKET, "--namespace", "k8s.io"]);
        command.args(["images", "import", runtime::IMAGES]);
        let exit = self.children.run(&mut command).map_err(|error| error.to_string())?;
        if exit.success {
            let _ = std::fs::remove_file(runtime::IMAGES);
            return Ok(());
        }
        Err(format!("import of images: {}", last_line("/run/everynode/import.log")))
    }

    fn read_orders(&self) -> io::Result<()> {
        let queue = self.queue.clone();
        let read = move || {
            let mut input = io::stdin().lock();
            while let Some(order) = next_line(&mut input) {
                if queue.send(Happened::Order(order)).is_err() {
                    return;
                }
            }
            let _ = queue.send(Happened::InputEnded);
        };
        std::thread::Builder::new().name("orders".into()).spawn(read).map(drop)
    }

    fn start_agent(&mut self, token: &str) {
        if self.agent.is_some() {
            return;
        }
        match self.spawn_agent(token) {
            Ok(id) => {
                self.agent = Some(Agent { id, asked: None });
                tell(&Event::AgentStarted);
            }
            Err(error) => tell(&Event::AgentEnded { how: error.to_string(), asked: false }),
        }
    }

    fn spawn_agent(&self, token: &str) -> io::Result<u32> {
        let queue = self.queue.clone();
        // Our own program, also when its file has been replaced since.
        let mut command = logged("/proc/self/exe", "/var/log/everynode-agent.log")?;
        command.arg0("everynode").arg("agent").args(&self.spec.agent).env("EVERYNODE_TOKEN", token);
        let ended = move |exit| _ = queue.send(Happened::AgentEnded(exit));
        Ok(self.children.start(&mut command, ended)?.id())
    }

    fn stop_agent(&mut self) {
        if let Some(agent) = &mut self.agent {
            agent.asked.get_or_insert_with(Instant::now);
            signal(agent.id, Signal::TERM);
        }
    }

    /// An agent that does not end when asked is killed.
    fn insist(&self) {
        if let Some(Agent { id, asked: Some(asked) }) = &self.agent
            && asked.elapsed() > AGENT_PATIENCE
        {
            signal(*id, Signal::KILL);
        }
    }

    fn agent_ended(&mut self, exit: Exit) {
        let asked = self.agent.take().is_some_and(|agent| agent.asked.is_some());
        tell(&Event::AgentEnded { how: exit.how, asked });
    }

    /// The agent first, so that it reports nothing of the rest; then the containers, which may need their time; then
    /// everybody.
    fn end(&mut self, queue: &Receiver<Happened>, patience: Duration) {
        self.stop_agent();
        let end = Instant::now() + END_PATIENCE;
        while self.agent.is_some() && Instant::now() < end {
            if let Ok(Happened::AgentEnded(exit)) = queue.recv_timeout(LOOK_AGAIN) {
                self.agent_ended(exit);
            }
        }
        let cgroup = self.spec.cgroup.clone();
        end_all(|| others().filter(|id| is_in_cgroup(*id, &cgroup)), patience);
        end_all(others, END_PATIENCE);
    }
}

/// Asks processes to end and waits until they have.
fn end_all<I: Iterator<Item = u32>>(processes: impl Fn() -> I, patience: Duration) {
    let end = Instant::now() + patience;
    processes().for_each(|id| signal(id, Signal::TERM));
    while processes().next().is_some() && Instant::now() < end {
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Whether a process is in a cgroup or below it, in any hierarchy: a container's are, those of the runtime are not.
fn is_in_cgroup(id: u32, cgroup: &str) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{id}/cgroup")).unwrap_or_default();
    text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|path| Path::new(path).starts_with(cgroup))
}

/// Every process of the node but this one; we are process 1 and `/proc` shows only the node's.
fn others() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|id| *id > 1)
}

fn signal(id: u32, signal: Signal) {
    if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ = kill_process(id, signal);
    }
}

/// A command whose output goes to a log file.
fn logged(name: &str, log: &str) -> io::Result<Command> {
    if std::fs::metadata(log).is_ok_and(|file| file.len() > LOG_BYTES) {
        std::fs::rename(log, format!("{log}.1"))?;
    }
    let log = File::options().create(true).append(true).open(log)?;
    let mut command = program::command(name);
    command.stdout(log.try_clone()?).stderr(log).stdin(Stdio::null()).current_dir("/");
    Ok(command)
}

fn last_line(log: &str) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_string()
}

fn first_line() -> Result<Spec, String> {
    next_line(&mut io::stdin().lock()).ok_or_else(|| "the input is not one line of JSON".into())
}

/// The next line, if there is one and it is what it should be.
fn next_line<T: serde::de::DeserializeOwned>(input: &mut impl io::BufRead) -> Option<T> {
    let mut line = String::new();
    input.by_ref().take(MAX_LINE as u64).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

/// Tells `up`; when it is gone the input ends, too.
fn tell(event: &Event) {
    if let Ok(line) = serde_json::to_string(event) {
        let mut output = io::stdout().lock();
        let _ = writeln!(output, "{line}").and_then(|()| output.flush());
    }
}
