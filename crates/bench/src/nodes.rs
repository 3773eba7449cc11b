//! The hollow nodes: one fleet, of which some are there and some are not.

use crate::manifests::LABEL;
use crate::steps::{Stage, Step};
use agent::fleet::{self, FleetError};
use k8s_openapi::api::core::v1::Taint;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What their names begin with.
const PREFIX: &str = "everynode-bench-";

/// Nodes that can be made to come and go.
pub struct Nodes {
    present: watch::Sender<BTreeSet<u32>>,
    task: JoinSet<Result<(), FleetError>>,
    shutdown: agent::Shutdown,
}

impl Nodes {
    /// A fleet of which nobody is there yet.
    pub fn new(client: kube::Client, stage: &Stage) -> Self {
        let (present, seen) = watch::channel(BTreeSet::new());
        let mut config = fleet::Config::new(client, stage.nodes + stage.joining);
        config.prefix = PREFIX.into();
        config.labels = BTreeMap::from([(LABEL.to_string(), "true".to_string())]);
        // Keeps pods of others away, but for those that tolerate everything.
        config.taints = vec![Taint { key: LABEL.into(), effect: "NoSchedule".into(), ..Taint::default() }];
        config.present = Some(seen);
        let shutdown = agent::Shutdown::new();
        let mut task = JoinSet::new();
        task.spawn(fleet::run(config, shutdown.clone()));
        Self { present, task, shutdown }
    }

    /// Makes those be there that are there after a step.
    pub fn act(&self, step: Step, stage: &Stage) {
        self.present.send_if_modified(|present| {
            let before = present.len();
            match step {
                Step::Nodes => present.extend(1..=stage.nodes),
                Step::Join => present.extend(stage.nodes + 1..=stage.nodes + stage.joining),
                Step::Kill => present.retain(|number| !stage.victims().contains(number)),
                Step::Return => present.extend(stage.victims()),
                Step::Create | Step::Rollout | Step::Relabel | Step::Delete => {}
            }
            present.len() != before
        });
    }

    /// The names of those that are there.
    pub fn names(&self) -> Vec<String> {
        self.present.borrow().iter().map(|number| format!("{PREFIX}{number}")).collect()
    }

    /// Ready only when the fleet has ended by itself, with why.
    pub async fn ended(&mut self) -> String {
        match self.task.join_next().await {
            Some(Ok(Err(error))) => error.to_string(),
            Some(Err(error)) => error.to_string(),
            Some(Ok(Ok(()))) => "the hollow nodes ended".to_string(),
            None => std::future::pending().await,
        }
    }

    /// Ends all; the Node objects stay.
    pub async fn end(mut self) {
        self.shutdown.cancel();
        while self.task.join_next().await.is_some() {}
    }
}
