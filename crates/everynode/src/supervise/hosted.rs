//! Nodes that are hosts of their own, and what lies between them: bridge, machine settings, folders.
//!
//! Everything is written into the record before it is made. Short commands (`ip`, `iptables`) run in place: they take
//! milliseconds, and what was begun must not be cut off in the middle.

use super::Event;
use crate::config;
use crate::hosts::addresses::{self, MAX_NODE, Network};
use crate::hosts::machine::Machine;
use crate::hosts::names::Names;
use crate::hosts::protocol::{Command as Order, Event as Told, Spec};
use crate::hosts::record::Process;
use crate::hosts::requirements::Found;
use crate::hosts::{Host, cgroups, network};
use crate::pki::{self, Authority, tokens::Tokens};
use anyhow::{Context as _, Result, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::task::block_in_place;

/// A node's token is used within a second; a busy machine gets some more.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_mins(10);
/// Folders that a node covers with its own: a data folder below one could not be seen from inside.
const COVERED: [&str; 5] = ["/run", "/var/run", "/proc", "/sys", "/var/log"];

/// The nodes of a cluster on this machine.
pub struct Hosts {
    names: Names,
    data_dir: PathBuf,
    plugins: &'static str,
    network: Network,
    server: String,
    /// How long a node's Lease is good.
    lease: Duration,
    machine: Option<Machine>,
    running: BTreeMap<u32, Running>,
}

/// One node.
struct Running {
    host: Host,
    agent: Agent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Agent {
    Starting,
    Runs,
    /// It was asked to end.
    Ending,
    /// It was asked to end, and then to start: it starts when it has ended.
    EndingToStart,
    Ended,
    /// The whole node is asked to end for good.
    Leaving,
}

impl Hosts {
    /// Chooses the addresses. Makes nothing yet.
    pub fn plan(
        names: Names,
        data_dir: &Path,
        found: &Found,
        config: &config::Up,
        last: Option<Network>,
    ) -> Result<Self> {
        if let Some(covered) = COVERED.iter().find(|covered| data_dir.starts_with(covered)) {
            bail!(
                "the data folder {} lies below {covered}, which nodes have for themselves; choose another with \
                   --data-dir",
                data_dir.display()
            );
        }
        let network = addresses::choose(config.bridge, last, &network::taken()?)?;
        let server = format!("https://{}:{}", network.gateway(), config.listen.port());
        Ok(Self {
            names,
            data_dir: data_dir.into(),
            plugins: found.plugins,
            network,
            server,
            lease: config.lease(),
            machine: None,
            running: BTreeMap::new(),
        })
    }

    /// The addresses.
    pub fn network(&self) -> Network {
        self.network
    }

    /// Makes what the nodes stand on.
    pub fn prepare(&mut self, plain_http: &[String]) -> Result<()> {
        block_in_place(|| {
            registries(&self.data_dir.join("registries"), plain_http)?;
            self.machine = Some(Machine::prepare()?);
            Ok(network::make_bridge(&self.names, &self.network)?)
        })
    }

    /// Starts a node. Its agent starts when its runtime is ready: see [`Hosts::told`].
    pub async fn add(&mut self, number: u32, events: &Sender<Event>) -> Result<()> {
        ensure!(number <= MAX_NODE, "on one machine nodes with containers are called n1 to n{MAX_NODE}");
        let others: Vec<u32> = self.running.keys().copied().collect();
        block_in_place(|| network::add_node(&self.names, &self.network, number, &others))?;
        self.start_host(number, events).await
    }

    async fn start_host(&mut self, number: u32, events: &Sender<Event>) -> Result<()> {
        let spec = self.spec(number);
        pki::private_dir(&spec.folder)?;
        let netns = self.names.netns(&spec.node);
        let (host, mut told) =
            Host::start(&netns, &spec).await.with_context(|| format!("{}: cannot be started", spec.node))?;
        let id = host.process.map(|process| process.id).unwrap_or_default();
        let events = events.clone();
        // Ends with the node's first process, whose pipe it reads.
        tokio::spawn(async move {
            while let Some(what) = told.next().await {
                let _ = events.send(Event::Node { number, what }).await;
            }
            let _ = events.send(Event::NodeEnded { number, id }).await;
        });
        self.running.insert(number, Running { host, agent: Agent::Starting });
        Ok(())
    }

    /// What a node has told; answers a line for the user.
    pub async fn told(&mut self, number: u32, what: Told) -> Result<Option<String>> {
        if self.running.get(&number).is_none_or(|running| running.agent == Agent::Leaving) {
            return Ok(None);
        }
        let name = format!("n{number}");
        let again = format!("start it again with: everynode node start {name}{}", self.flag());
        match what {
            Told::RuntimeReady => {
                self.order(number, Order::StartAgent { token: self.token()? }).await?;
                Ok(Some(format!("{name}: containerd is ready, the agent joins")))
            }
            Told::AgentStarted => {
                if self.agent(number) == Some(Agent::Starting) {
                    self.set(number, Agent::Runs);
                }
                Ok(None)
            }
            Told::AgentEnded { .. } if self.agent(number) == Some(Agent::EndingToStart) => {
                self.set(number, Agent::Starting);
                self.order(number, Order::StartAgent { token: self.token()? }).await?;
                Ok(Some(format!("{name}: the agent has ended and starts again")))
            }
            Told::AgentEnded { how, asked } => {
                self.set(number, Agent::Ended);
                let line = match asked {
                    true => format!("{name}: the agent has ended; its containers go on"),
                    false => format!("{name}: the agent has ended ({how}); its containers go on; {again}"),
                };
                Ok(Some(line))
            }
            Told::RuntimeEnded { how } => {
                Ok(Some(format!("{name}: containerd has ended ({how}) and is started again")))
            }
            Told::Failed { why } => bail!("{name}: {why}"),
        }
    }

    /// A node's first process is gone, and all its containers with it; answers a line for the user, if that was not
    /// our wish.
    pub fn ended(&mut self, number: u32, id: u32) -> Option<String> {
        let running = self.running.get(&number)?;
        if running.host.process.is_some_and(|process| process.id != id) {
            return None;
        }
        let agent = running.agent;
        self.running.remove(&number);
        if agent == Agent::Leaving {
            return None;
        }
        let flag = self.flag();
        Some(format!(
            "n{number}: has ended with all its containers; start it again with: everynode node start n{number}{flag}"
        ))
    }

    /// Starts a node's agent, or the whole node if it has ended.
    pub async fn start(&mut self, number: u32, events: &Sender<Event>) -> Result<String> {
        match self.agent(number) {
            None => {
                self.start_host(number, events).await?;
                Ok(format!("n{number} is starting"))
            }
            Some(Agent::Ended) => {
                self.set(number, Agent::Starting);
                self.order(number, Order::StartAgent { token: self.token()? }).await?;
                Ok(format!("the agent of n{number} is starting"))
            }
            Some(Agent::Ending | Agent::EndingToStart) => {
                self.set(number, Agent::EndingToStart);
                Ok(format!("the agent of n{number} starts again when it has ended"))
            }
            Some(Agent::Starting | Agent::Runs) => Ok(format!("the agent of n{number} runs already")),
            Some(Agent::Leaving) => bail!("n{number} is being removed"),
        }
    }

    /// Asks a node's agent to end.
    pub async fn stop(&mut self, number: u32) -> Result<()> {
        self.order(number, Order::StopAgent).await?;
        if let Some(Agent::Runs | Agent::EndingToStart) = self.agent(number) {
            self.set(number, Agent::Ending);
        }
        Ok(())
    }

    /// Whether a node's agent is there.
    pub fn agent_runs(&self, number: u32) -> bool {
        self.running
            .get(&number)
            .is_some_and(|running| matches!(running.agent, Agent::Starting | Agent::Runs))
    }

    /// Whether anything of a node runs.
    pub fn is_there(&self, number: u32) -> bool {
        self.running.contains_key(&number)
    }

    /// Asks a node to end for good, its containers within `patience`.
    pub async fn leave(&mut self, number: u32, patience: Duration) -> Result<()> {
        let Some(running) = self.running.get_mut(&number) else { return Ok(()) };
        running.agent = Agent::Leaving;
        running.host.leave(patience).await.with_context(|| format!("n{number} does not listen"))
    }

    /// Kills all of a node that does not end when asked.
    pub fn kill(&mut self, number: u32) {
        if let Some(running) = self.running.get_mut(&number)
            && let Err(error) = running.host.kill()
        {
            tracing::warn!(node = number, %error, "cannot be killed");
        }
    }

    /// Removes what is left of a node that has ended, with its folder.
    pub fn remove(&mut self, number: u32) -> Result<()> {
        let name = format!("n{number}");
        let others: Vec<u32> = self.running.keys().copied().collect();
        block_in_place(|| {
            network::remove_node(&self.names, &self.network, number, &others)?;
            cgroups::remove(&self.names.cgroup_of(&name)).map_err(anyhow::Error::msg)?;
            remove_folder(&self.data_dir, number)
        })
    }

    /// The processes, for the record.
    pub fn processes(&self) -> impl Iterator<Item = (String, Process)> + '_ {
        self.running
            .iter()
            .filter_map(|(number, running)| Some((format!("node n{number}"), running.host.process?)))
    }

    /// Ends all nodes at once. What is between them is removed with [`Hosts::release`].
    pub async fn end(&mut self) {
        let all = std::mem::take(&mut self.running);
        futures::future::join_all(all.into_values().map(|running| running.host.end())).await;
    }

    /// Gives back what all clusters of this machine share.
    pub fn release(&mut self) -> Result<()> {
        match self.machine.take() {
            Some(machine) => Ok(block_in_place(|| machine.release())?),
            None => Ok(()),
        }
    }

    fn spec(&self, number: u32) -> Spec {
        let node = format!("n{number}");
        let address = self.network.node(number).to_string();
        let cgroup = self.names.cgroup_of(&node);
        let agent = [
            "--server",
            &self.server,
            "--node-name",
            &node,
            "--address",
            &address,
            "--cgroup-parent",
            &cgroup,
            "--node-lease-duration",
            &self.lease.as_secs().to_string(),
        ];
        Spec {
            folder: folder(&self.data_dir, number),
            pods: self.network.pods_of(number).to_string(),
            plugins: self.plugins.into(),
            registries: self.data_dir.join("registries"),
            agent: agent.map(String::from).into(),
            cgroup,
            node,
        }
    }

    /// A fresh join token; a node that has an identity does not look at it.
    fn token(&self) -> Result<String> {
        let (dir, now) = (self.data_dir.join("pki"), Timestamp::now());
        Ok(Tokens::new(&dir).create(&Authority::open(&dir, now)?, now, TOKEN_LIFE)?)
    }

    async fn order(&mut self, number: u32, order: Order) -> Result<()> {
        let Some(running) = self.running.get_mut(&number) else { bail!("n{number} does not run") };
        running.host.order(&order).await.with_context(|| format!("n{number} does not listen"))
    }

    fn agent(&self, number: u32) -> Option<Agent> {
        self.running.get(&number).map(|running| running.agent)
    }

    fn set(&mut self, number: u32, agent: Agent) {
        if let Some(running) = self.running.get_mut(&number) {
            running.agent = agent;
        }
    }

    /// How a command finds this cluster.
    fn flag(&self) -> String {
        super::data_dir_flag(&self.data_dir)
    }
}

/// Removes the folder of a node that is gone.
pub fn remove_folder(data_dir: &Path, number: u32) -> Result<()> {
    let folder = folder(data_dir, number);
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{}: cannot be removed", folder.display()))
        }
        _ => Ok(()),
    }
}

fn folder(data_dir: &Path, number: u32) -> PathBuf {
    data_dir.join(format!("nodes/n{number}"))
}

/// containerd: docs/hosts.md.
fn registries(dir: &Path, plain_http: &[String]) -> Result<()> {
    pki::private_dir(dir)?;
    for registry in plain_http {
        let folder = dir.join(registry);
        pki::private_dir(&folder)?;
        let text = format!(
            "server = \"http://{registry}\"\n[host.\"http://{registry}\"]\ncapabilities = [\"pull\", \"resolve\"]\n"
        );
        pki::write_private(&folder.join("hosts.toml"), &text)?;
    }
    Ok(())
}
