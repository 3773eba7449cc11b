//! `everynode controller`: the DaemonSet loop alone, beside a control plane of anybody.

use super::health;
use crate::config::{self, Leading};
use crate::telemetry::{process, traces};
use anyhow::{Context as _, Result};
use controllers::calls::{self, Door};
use controllers::limits::Limits;
use controllers::metrics::Metrics;
use controllers::traces::Traces;
use controllers::{Loop, Loops, leader};
use std::convert::Infallible;
use std::path::Path;

/// Runs until `end`, or until something fails.
pub async fn controller(config: config::Controller, end: impl Future<Output = ()>) -> Result<()> {
    let (client, host) = client(config.kubeconfig.as_deref()).await?;
    let listener = match config.metrics {
        Some(address) => Some(health::listen(address).await?),
        None => None,
    };
    let metrics = Metrics::default();
    metrics.gather(process::gather);
    let limits = Limits::new(metrics.clone());
    let (tracer, sending) = traces::open(config.collector, "everynode-controller", &metrics)?;
    // A rehearsal disturbs nobody, and nobody it.
    let election = config.leading.filter(|_| !config.dry_run).map(election);
    let door = Door {
        rehearses: config.dry_run,
        term: election.as_ref().map(|election| election.term.clone()),
        pace: config.pace,
        host,
        metrics: metrics.clone(),
        limits: limits.clone(),
    };
    let settings = controllers::Config {
        election,
        manager: Some(controllers::MANAGER),
        scope: config.scope,
        rehearse: config.dry_run.then_some(say as fn(&str)),
        workers: config.workers,
        metrics: metrics.clone(),
        limits,
        traces: Traces::to(tracer),
        ..Default::default()
    };
    let answers = async move {
        match listener {
            Some(listener) => health::serve(listener, metrics).await,
            None => std::future::pending::<Infallible>().await,
        }
    };
    let work = async {
        tokio::select! {
            ended = controllers::run(calls::behind(door, client), Loops::of([Loop::DaemonSets]), settings, end) => Ok(ended?),
            never = answers => match never {},
        }
    };
    traces::beside(sending, work).await
}

/// A line of a rehearsal.
fn say(line: &str) {
    println!("{line}");
}

/// The cluster's client, and what metrics call the server.
async fn client(kubeconfig: Option<&Path>) -> Result<(kube::Client, String)> {
    let mut config = match kubeconfig {
        Some(path) => super::kubeconfig(path).await?,
        None => kube::Config::infer()
            .await
            .context("no cluster: name a kubeconfig with --kubeconfig or KUBECONFIG")?,
    };
    // A create that may have been done must not be repeated by anybody who cannot ask whether it was, and nothing goes out
    // behind the door: see `controllers::calls`.
    config.default_retry = false;
    let host = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
    Ok((super::as_controllers(config)?, host))
}

fn election(leading: Leading) -> leader::Election {
    let Leading { namespace, name, times } = leading;
    leader::Election { times, ..super::election((&namespace, &name)) }
}
