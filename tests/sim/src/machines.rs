//! The simulated nodes as machines that one can switch off and on: each is a fleet of one (`agent::fleet`).

use crate::clock;
use crate::processes::Around;
use agent::fleet;
use agent::runtime::simulated::Stages;
use k8s_openapi::api::core::v1::Taint;
use std::collections::BTreeMap;
use tokio::task::JoinHandle;

/// All machines by the name of their node.
pub(crate) struct Machines {
    around: Around,
    all: BTreeMap<String, Machine>,
}

struct Machine {
    config: fleet::Config,
    runs: Option<JoinHandle<()>>,
}

/// What a new machine is like.
#[derive(Clone, Default)]
pub(crate) struct Make {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Taint>,
    pub(crate) stages: Option<Stages>,
}

/// The name by which faults know a machine's calls.
pub(crate) fn client_of(node: &str) -> String {
    format!("node {node}")
}

impl Machines {
    pub(crate) fn new(around: Around) -> Self {
        Self { around, all: BTreeMap::new() }
    }

    /// Buys the machine of node `n<number>`, and switches it on.
    pub(crate) fn buy(&mut self, number: u32, make: Make) -> String {
        let name = format!("n{number}");
        let config = fleet::Config {
            first: number,
            labels: make.labels,
            taints: make.taints,
            stages: make.stages.unwrap_or(Stages::INSTANT),
            now: clock::of_nodes,
            ..fleet::Config::new(self.around.client(&client_of(&name)), 1)
        };
        self.all.insert(name.clone(), Machine { config, runs: None });
        self.switch_on(&name);
        name
    }

    /// Switches it on; what ran by the server's account runs on.
    pub(crate) fn switch_on(&mut self, name: &str) {
        let trace = self.around.trace.clone();
        let Some(machine) = self.all.get_mut(name).filter(|machine| machine.runs.is_none()) else { return };
        let run = fleet::run(machine.config.clone(), agent::Shutdown::new());
        machine.runs = Some(tokio::spawn(async move {
            if let Err(error) = run.await {
                trace.broken("nodes never end by themselves", error);
            }
        }));
    }

    /// Switches it off, without a word to the server.
    pub(crate) fn switch_off(&mut self, name: &str) {
        let machine = self.all.get_mut(name).and_then(|machine| machine.runs.take());
        if let Some(run) = machine {
            run.abort();
        }
    }

    /// Sells it.
    pub(crate) fn sell(&mut self, name: &str) {
        self.switch_off(name);
        self.all.remove(name);
    }

    /// All names, and whether the machine runs.
    pub(crate) fn names(&self) -> Vec<(String, bool)> {
        self.all.iter().map(|(name, machine)| (name.clone(), machine.runs.is_some())).collect()
    }
}
