//! `everynode up`: starts a server and its nodes, watches over them, and ends everything.
//!
//! ```text
//! up ──► server            started again at once when it ends; containers are not touched
//!    ──► host n1, n2, …    see `hosts`; or one process with simulated nodes
//!    ◄── everynode node …  over a socket in the data folder
//! ```
//!
//! 1. One loop, one queue of events: whatever happens is handled by one owner, in order.
//! 2. Every child ends when we do, however we end; what cannot end by itself is in the record ([`Record`]), and the next
//!    start removes it.
//! 3. The end is the same on every path: [`Up::end`], also when the start fails in the middle.

pub mod control;
mod hosted;
mod leaving;
mod readiness;
mod requests;
mod simulated;
mod start;
mod tied;

use crate::config;
use crate::folder::{self, Locked};
use crate::hosts::leftovers::{self, Cleaned};
use crate::hosts::names::Names;
use crate::hosts::protocol::Event as Told;
use crate::hosts::record::Record;
use anyhow::{Context as _, Result, anyhow, bail};
use control::{Reply, Request};
use hosted::Hosts;
use leaving::Leaving;
use simulated::Fleets;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tied::{Tied, Who};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Events that may wait; their senders then wait, too.
const QUEUE: usize = 1024;
/// A server or fleet that ends at once is not started in a busy loop.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a node has to become Ready: three containerds on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// What has happened.
pub enum Event {
    /// A child has printed a line.
    Said {
        /// Which child.
        who: Who,
        /// The line.
        line: String,
    },
    /// A child is gone.
    Ended {
        /// Which child.
        who: Who,
        /// Its process.
        id: u32,
        /// Its exit status.
        how: String,
    },
    /// A child shall be started again.
    Again(Who),
    /// A node has told something.
    Node {
        /// Which node.
        number: u32,
        /// What it told.
        what: Told,
    },
    /// A node's first process is gone.
    NodeEnded {
        /// Which node.
        number: u32,
        /// Its process.
        id: u32,
    },
    /// A Node object has changed.
    Ready {
        /// Its name.
        node: String,
        /// Its condition.
        ready: bool,
    },
    /// Somebody asks.
    Request(Request, oneshot::Sender<Reply>),
}

/// Runs a cluster until `end`.
pub async fn run(config: config::Up, end: impl Future<Output = ()>) -> Result<()> {
    if config.listen.port() == 0 {
        bail!(
            "--listen {}: a port other than 0 is needed, so that nodes find the server again",
            config.listen
        );
    }
    let folder = folder::lock(&config.data_dir)?;
    let (mut up, mut events) = Up::new(config, folder)?;
    let worked = tokio::select! {
        worked = up.work(&mut events) => worked,
        () = end => {
            say("ending");
            Ok(())
        }
    };
    // Children still have something to say while they end.
    let drain = async { while events.recv().await.is_some() {} };
    let ended = tokio::select! {
        ended = up.end() => ended,
        () = drain => Ok(()),
    };
    worked.and(ended)
}

/// One line for the user.
fn say(text: impl AsRef<str>) {
    println!("{}", text.as_ref());
}

/// ` --data-dir …`, where a command needs it to find this cluster.
fn data_dir_flag(data_dir: &Path) -> String {
    match data_dir == config::default_data_dir() {
        true => String::new(),
        false => format!(" --data-dir {}", data_dir.display()),
    }
}

/// A cluster.
struct Up {
    config: config::Up,
    folder: Locked,
    names: Names,
    record: Record,
    nodes: Nodes,
    server: Option<Tied>,
    server_since: Instant,
    server_was_ready: bool,
    /// Names of nodes whose objects are Ready.
    ready: BTreeSet<String>,
    /// Who waits for a node to become Ready.
    waiting: Vec<Waiting>,
    /// Nodes that are on their way out.
    leaving: BTreeMap<u32, Leaving>,
    /// Whether the start is over.
    stands: bool,
    /// The socket and the watch; they run as long as we do.
    tasks: JoinSet<Result<()>>,
    events: mpsc::Sender<Event>,
}

/// What nodes are.
enum Nodes {
    /// Not decided yet.
    None,
    Hosts(Hosts),
    Simulated(Fleets),
}

struct Waiting {
    number: u32,
    reply: oneshot::Sender<Reply>,
    until: Instant,
}

impl Up {
    fn new(config: config::Up, folder: Locked) -> Result<(Self, mpsc::Receiver<Event>)> {
        let data_dir = folder.path();
        let names = Names::of(data_dir, data_dir == Path::new(config::ROOT_DATA_DIR));
        let record = Record::read(data_dir)?;
        let (events, receiver) = mpsc::channel(QUEUE);
        let up = Self {
            config,
            names,
            record,
            folder,
            nodes: Nodes::None,
            server: None,
            server_since: Instant::now(),
            server_was_ready: false,
            ready: BTreeSet::new(),
            waiting: Vec::new(),
            leaving: BTreeMap::new(),
            stands: false,
            tasks: JoinSet::new(),
            events,
        };
        Ok((up, receiver))
    }

    fn data_dir(&self) -> &Path {
        self.folder.path()
    }

    fn kubeconfig(&self) -> PathBuf {
        self.data_dir().join("kubeconfig")
    }

    /// Starts everything and watches over it; ends only with an error.
    async fn work(&mut self, events: &mut mpsc::Receiver<Event>) -> Result<()> {
        self.start(events).await?;
        self.stands = true;
        loop {
            self.next(events).await?;
        }
    }

    /// Handles the next event, or looks at the clock.
    async fn next(&mut self, events: &mut mpsc::Receiver<Event>) -> Result<()> {
        tokio::select! {
            Some(event) = events.recv() => self.handle(event).await,
            Some(task) = self.tasks.join_next() => task?.and_then(|()| bail!("a task of up has ended")),
            () = tokio::time::sleep(PAUSE), if !self.waiting.is_empty() || !self.leaving.is_empty() => {
                self.give_up_waiting();
                self.insist_on_leaving();
                Ok(())
            }
        }
    }

    async fn handle(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Said { who: Who::Server, line } => {
                self.server_was_ready |= line.starts_with("ready ");
                Ok(())
            }
            Event::Said { .. } => Ok(()),
            Event::Ended { who: Who::Server, id, how } => self.server_ended(id, &how),
            Event::Ended { who: who @ Who::Fleet(_), id, how } => {
                let Nodes::Simulated(fleets) = &mut self.nodes else { return Ok(()) };
                if let Some((first, count)) = fleets.ended(id) {
                    say(format!(
                        "simulated nodes n{first} to n{}: ended ({how}); starting them again",
                        first + count - 1
                    ));
                    self.later(Event::Again(who));
                }
                Ok(())
            }
            Event::Again(Who::Server) => self.start_server(),
            Event::Again(Who::Fleet(_)) => self.set_fleets().await,
            Event::Node { number, what } => self.told(number, what).await,
            Event::NodeEnded { number, id } => {
                let Nodes::Hosts(hosts) = &mut self.nodes else { return Ok(()) };
                hosts.ended(number, id).into_iter().for_each(say);
                self.go_on_leaving(number).await;
                Ok(())
            }
            Event::Ready { node, ready } => {
                self.node_is(node, ready);
                Ok(())
            }
            Event::Request(request, reply) => {
                self.answer(request, reply).await;
                Ok(())
            }
        }
    }

    fn server_ended(&mut self, id: u32, how: &str) -> Result<()> {
        if !self.server.as_ref().is_some_and(|server| server.is(id)) {
            return Ok(());
        }
        self.server = None;
        if !self.server_was_ready {
            return Err(anyhow!("the server: {}", start::last_words(&self.server_log(), how)));
        }
        say(format!("the server has ended ({how}) and is started again; containers go on"));
        if self.server_since.elapsed() < PAUSE {
            self.later(Event::Again(Who::Server));
            return Ok(());
        }
        self.start_server()
    }

    fn start_server(&mut self) -> Result<()> {
        let log = self.server_log();
        let server = Tied::start(Who::Server, &self.server_arguments(), &log, self.events.clone())
            .with_context(|| format!("the server cannot be started (its log is {})", log.display()))?;
        self.server = Some(server);
        self.server_since = Instant::now();
        self.write_record()
    }

    fn server_log(&self) -> PathBuf {
        self.data_dir().join("logs/server.log")
    }

    fn server_arguments(&self) -> Vec<String> {
        let mut arguments = vec!["server".into(), "--tied".into(), "--data-dir".into()];
        arguments.push(self.data_dir().to_string_lossy().into_owned());
        let mut listen = vec![self.config.listen];
        if let Nodes::Hosts(hosts) = &self.nodes {
            let inner = SocketAddr::new(hosts.network().gateway().into(), self.config.listen.port());
            match self.config.listen.ip().is_unspecified() {
                true => arguments.extend(["--san".into(), inner.ip().to_string()]),
                false => listen.push(inner),
            }
        }
        for address in listen {
            arguments.extend(["--listen".into(), address.to_string()]);
        }
        if let Some(seconds) = self.config.node_grace {
            arguments.extend(["--node-grace".into(), seconds.to_string()]);
        }
        let life = |life: Duration| format!("--cluster-signing-duration={}s", life.as_secs_f64());
        arguments.extend(self.config.signing.map(life));
        arguments.extend(self.config.collector.iter().map(|to| format!("--otlp-endpoint={}", to.url)));
        let without = self.config.without_loops.iter();
        arguments.extend(without.map(|which| format!("--without-loop={}", which.name())));
        arguments
    }

    /// A failed node ends everything at the start, and is only told of later.
    async fn told(&mut self, number: u32, what: Told) -> Result<()> {
        let Nodes::Hosts(hosts) = &mut self.nodes else { return Ok(()) };
        let failed = matches!(what, Told::Failed { .. });
        match hosts.told(number, what).await {
            Ok(line) => line.into_iter().for_each(say),
            Err(error) if failed && !self.stands => return Err(error),
            Err(error) => {
                say(format!("{error:#}"));
                self.finish_waiting(number, &Err(format!("{error:#}")));
            }
        }
        Ok(())
    }

    fn node_is(&mut self, node: String, ready: bool) {
        if !ready {
            self.ready.remove(&node);
            return;
        }
        if let Ok(number) = config::node_number(&node) {
            self.finish_waiting(number, &Ok(format!("{node} is Ready")));
        }
        self.ready.insert(node);
    }

    async fn set_fleets(&mut self) -> Result<()> {
        let running: BTreeSet<u32> = self.record.nodes.difference(&self.record.stopped).copied().collect();
        if let Nodes::Simulated(fleets) = &mut self.nodes {
            fleets.set(&running, &self.events).await?;
        }
        self.write_record()
    }

    /// Sends an event after a pause.
    fn later(&mut self, event: Event) {
        let events = self.events.clone();
        tokio::spawn(async move {
            tokio::time::sleep(PAUSE).await;
            let _ = events.send(event).await;
        });
    }

    fn write_record(&mut self) -> Result<()> {
        let server =
            self.server.as_ref().and_then(|server| server.process).map(|p| ("server".to_string(), p));
        self.record.processes = match &self.nodes {
            Nodes::None => server.into_iter().collect(),
            Nodes::Hosts(hosts) => hosts.processes().chain(server).collect(),
            Nodes::Simulated(fleets) => fleets.processes().chain(server).collect(),
        };
        Ok(self.record.write(self.folder.path())?)
    }

    /// Ends everything and removes what is left of it.
    async fn end(&mut self) -> Result<()> {
        self.tasks.shutdown().await;
        control::remove(self.data_dir());
        self.waiting.clear();
        self.leaving.clear();
        match &mut self.nodes {
            Nodes::None => {}
            Nodes::Hosts(hosts) => hosts.end().await,
            Nodes::Simulated(fleets) => fleets.end().await,
        }
        if let Some(server) = self.server.take() {
            server.end().await;
        }
        let Nodes::Hosts(hosts) = &mut self.nodes else { return self.write_record() };
        let Cleaned { left, .. } = tokio::task::block_in_place(|| leftovers::remove_things(&self.names));
        hosts.release()?;
        self.write_record()?;
        match left.is_empty() {
            true => Ok(()),
            false => bail!("not everything could be removed: {}", left.join("; ")),
        }
    }
}

fn names_of(nodes: &BTreeSet<u32>) -> String {
    let names: Vec<String> = nodes.iter().map(|number| format!("n{number}")).collect();
    names.join(", ")
}
