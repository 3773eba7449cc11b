//! How a cluster starts, with a line for each step, and what it says when it stands.

use super::{
    Event, Fleets, Hosts, Nodes, READY_LIMIT, Up, control, data_dir_flag, hosted, names_of, readiness, say,
};
use crate::config::Runtime;
use crate::hosts::addresses::MAX_NODE;
use crate::hosts::leftovers;
use crate::hosts::program;
use crate::hosts::requirements::{self, Found};
use crate::pki;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Receiver;
use tokio::task::block_in_place;

/// How many nodes there are at first.
const NODES: u32 = 3;
/// The server is ready in 0.3 s; a slow disk may need longer.
const SERVER_LIMIT: Duration = Duration::from_secs(30);
/// The first example, for those who have the binary alone.
const HELLO: &str = include_str!("../../../../examples/hello.yaml");
/// Where it lies in a clone.
const HELLO_PATH: &str = "examples/hello.yaml";

impl Up {
    /// Starts everything and waits until every node is Ready.
    pub(super) async fn start(&mut self, events: &mut Receiver<Event>) -> Result<()> {
        let begun = Instant::now();
        let found = self.runtime()?;
        let before = std::mem::take(&mut self.record.nodes);
        self.record.nodes = self.wanted(&before, found.is_some())?;
        self.clean()?;
        self.prepare(found.as_ref())?;
        self.start_server()?;
        self.until("the server", SERVER_LIMIT, events, |up| up.server_was_ready).await?;
        say(format!("server: ready on https://{}", self.config.listen));
        for number in before.difference(&self.record.nodes).copied().collect::<Vec<_>>() {
            self.forget(number).await?;
            block_in_place(|| hosted::remove_folder(self.data_dir(), number))?;
        }
        self.start_nodes().await?;
        let (watch, socket) =
            (readiness::watch(self.kubeconfig(), self.events.clone()), control::listen(self.data_dir())?);
        self.tasks.spawn(watch);
        self.wait_for_nodes(events).await?;
        let events = self.events.clone();
        self.tasks.spawn(async move {
            control::serve(socket, events).await;
            Ok(())
        });
        self.summary(begun.elapsed())
    }

    /// What real containers need, if they are possible and wanted; says it where they are not possible.
    fn runtime(&self) -> Result<Option<Found>> {
        match (self.config.runtime, requirements::check()) {
            (Some(Runtime::Simulated), _) => Ok(None),
            (_, Ok(found)) => Ok(Some(found)),
            (Some(Runtime::Cri), Err(missing)) => bail!("--runtime cri is not possible: {missing}"),
            (None, Err(missing)) => {
                say(format!("no real containers, because {missing}; the nodes are simulated"));
                Ok(None)
            }
        }
    }

    fn wanted(&self, before: &BTreeSet<u32>, real: bool) -> Result<BTreeSet<u32>> {
        let wanted: BTreeSet<u32> = match self.config.nodes {
            Some(nodes) => (1..=nodes).collect(),
            None if before.is_empty() => (1..=NODES).collect(),
            None => before.clone(),
        };
        let last = wanted.last().copied().unwrap_or_default();
        ensure!(
            !real || last <= MAX_NODE,
            "at most {MAX_NODE} nodes with containers fit on one machine; \
                 --runtime simulated takes more"
        );
        Ok(wanted)
    }

    /// Removes what an `up` that was killed has left.
    fn clean(&mut self) -> Result<()> {
        let processes = block_in_place(|| leftovers::end_processes(&self.record));
        let things = match program::is_there("ip") && rustix::process::geteuid().is_root() {
            true => block_in_place(|| leftovers::remove_things(&self.names)),
            false => leftovers::Cleaned::default(),
        };
        let left: Vec<String> = processes.left.into_iter().chain(things.left).collect();
        ensure!(
            left.is_empty(),
            "an earlier run has left something that cannot be removed: {}",
            left.join("; ")
        );
        let removed = processes.removed.len() + things.removed.len();
        if removed > 0 {
            say(format!("removed what an earlier run has left ({removed} things)"));
        }
        control::remove(self.data_dir());
        Ok(())
    }

    fn prepare(&mut self, found: Option<&Found>) -> Result<()> {
        pki::private_dir(&self.data_dir().join("logs"))?;
        let Some(found) = found else {
            self.record.network = None;
            self.nodes = Nodes::Simulated(Fleets::new(self.data_dir(), self.config.lease()));
            return self.write_record();
        };
        self.record.stopped.clear();
        let mut hosts =
            Hosts::plan(self.names.clone(), self.folder.path(), found, &self.config, self.record.network)?;
        self.record.network = Some(hosts.network());
        self.record.write(self.folder.path())?;
        let prepared = hosts.prepare(&self.config.plain_http);
        // Also half a network is taken back at the end.
        self.nodes = Nodes::Hosts(hosts);
        prepared?;
        self.write_record()
    }

    async fn start_nodes(&mut self) -> Result<()> {
        let Nodes::Hosts(hosts) = &mut self.nodes else {
            say(format!("nodes: {} simulated", self.record.nodes.len()));
            return self.set_fleets().await;
        };
        for number in &self.record.nodes {
            hosts.add(*number, &self.events).await?;
            say(format!("n{number}: starting as {}", hosts.network().node(*number)));
        }
        self.write_record()
    }

    async fn wait_for_nodes(&mut self, events: &mut Receiver<Event>) -> Result<()> {
        let limit = READY_LIMIT
            + Duration::from_millis(100) * u32::try_from(self.record.nodes.len()).unwrap_or(u32::MAX);
        self.until("the nodes", limit, events, |up| up.not_ready().is_empty()).await.with_context(|| {
            format!(
                "not Ready: {}; see the logs below {}/nodes",
                names_of(&self.not_ready()),
                self.data_dir().display()
            )
        })
    }

    fn not_ready(&self) -> BTreeSet<u32> {
        let is_ready = |number: &&u32| {
            self.ready.contains(&format!("n{number}")) || self.record.stopped.contains(number)
        };
        self.record.nodes.iter().filter(|number| !is_ready(number)).copied().collect()
    }

    /// Handles events until something is so.
    async fn until(
        &mut self,
        what: &str,
        limit: Duration,
        events: &mut Receiver<Event>,
        is_so: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        let wait = async {
            while !is_so(self) {
                self.next(events).await?;
            }
            Ok(())
        };
        match tokio::time::timeout(limit, wait).await {
            Ok(done) => done,
            Err(_) => Err(anyhow!("{what}: not ready after {} s", limit.as_secs())),
        }
    }

    fn summary(&self, took: Duration) -> Result<()> {
        let nodes = self.record.nodes.len();
        let kind = match &self.nodes {
            Nodes::Hosts(_) => "each a host of its own with its own containerd",
            _ => "simulated",
        };
        say(format!(
            "\neverynode is up after {:.1} s: one server, {nodes} nodes ({kind})",
            took.as_secs_f32()
        ));
        if let Nodes::Hosts(hosts) = &self.nodes {
            for number in &self.record.nodes {
                say(format!("  n{number}  {}", hosts.network().node(*number)));
            }
        }
        let kubeconfig = self.kubeconfig();
        say(format!("kubeconfig: {}", kubeconfig.display()));
        let example = self.example()?;
        say("try next, in another terminal:");
        say(format!("  export KUBECONFIG={}", kubeconfig.display()));
        say(format!("  kubectl apply -f {example}"));
        say("  kubectl get daemonsets,pods -o wide");
        let next = self.record.nodes.last().copied().unwrap_or_default() + 1;
        say(format!("a further node: everynode node add n{next}{}", data_dir_flag(self.data_dir())));
        if !program::is_there("kubectl") {
            say(
                "no kubectl is on PATH: apt-get install kubernetes-client, or https://kubernetes.io/docs/tasks/tools/",
            );
        }
        say("Ctrl-C ends everything; what was applied is kept for the next start");
        Ok(())
    }

    /// Path of the first example; written beside the kubeconfig where we are not in a clone.
    fn example(&self) -> Result<String> {
        if std::fs::read_to_string(HELLO_PATH).is_ok_and(|text| text == HELLO) {
            return Ok(HELLO_PATH.into());
        }
        let path = self.data_dir().join("hello.yaml");
        pki::write_private(&path, HELLO)?;
        Ok(path.display().to_string())
    }
}

/// Why a server has ended before it was ready: the last line of its log that is an error.
pub(super) fn last_words(log: &Path, how: &str) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    match text.lines().rev().find_map(|line| line.strip_prefix("everynode: ")) {
        Some(line) => line.to_string(),
        None => format!("{how}; its log is {}", log.display()),
    }
}
