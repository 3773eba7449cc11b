//! `everynode node …`: asks a running `everynode up` to add, remove, start or stop a node.

use crate::config;
use crate::supervise::control::{self, Request};
use anyhow::Result;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Flags of `everynode node`.
#[derive(Debug, Args)]
pub struct Flags {
    #[command(subcommand)]
    what: What,
    /// The data folder of the running `everynode up`.
    #[arg(long, env = "EVERYNODE_DATA_DIR", global = true)]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Start a further node, and wait until it is Ready.
    Add {
        /// n4, …
        #[arg(value_parser = config::node_number)]
        node: u32,
    },
    /// End a node for good: its containers within their grace period, its Node object and its pods.
    Remove {
        /// n4, …
        #[arg(value_parser = config::node_number)]
        node: u32,
    },
    /// Start a node's agent again.
    Start {
        /// n2, …
        #[arg(value_parser = config::node_number)]
        node: u32,
    },
    /// End a node's agent; its containers go on.
    Stop {
        /// n2, …
        #[arg(value_parser = config::node_number)]
        node: u32,
    },
    /// Show the nodes.
    List,
}

/// Asks, and prints what comes back.
pub async fn run(flags: Flags) -> Result<()> {
    let request = match flags.what {
        What::Add { node } => Request::Add(node),
        What::Remove { node } => Request::Remove(node),
        What::Start { node } => Request::Start(node),
        What::Stop { node } => Request::Stop(node),
        What::List => Request::List,
    };
    let data_dir = flags.data_dir.unwrap_or_else(config::default_data_dir);
    println!("{}", control::ask(&data_dir, &request).await?);
    Ok(())
}
