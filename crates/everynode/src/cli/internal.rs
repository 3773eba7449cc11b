//! `everynode internal …`: processes that `everynode up` starts, and nobody else.

use crate::{compose, config, hosts};
use anyhow::Result;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Which one.
#[derive(Debug, Subcommand)]
pub enum Internal {
    /// The first process of a node, in namespaces of its own.
    Host,
    /// Simulated nodes in one process.
    Fleet(Fleet),
}

/// Flags of `everynode internal fleet`.
#[derive(Debug, Args)]
pub struct Fleet {
    #[arg(long)]
    kubeconfig: PathBuf,
    #[arg(long)]
    first: u32,
    #[arg(long)]
    nodes: u32,
    /// Seconds.
    #[arg(long)]
    lease: u64,
}

/// Is the first process of a node. No async runtime: it must stay small.
pub fn host() -> ExitCode {
    ExitCode::from(hosts::init::run())
}

/// Runs simulated nodes until standard input ends.
pub async fn fleet(flags: Fleet) -> Result<()> {
    let Fleet { kubeconfig, first, nodes, lease } = flags;
    let config = config::Fleet { kubeconfig, first, nodes, lease: Duration::from_secs(lease) };
    let (left, shutdown) = (super::asked_or_left(true)?, agent::Shutdown::new());
    let fleet = compose::fleet(config, shutdown.clone());
    super::until(left, shutdown, fleet).await
}
