//! `everynode controller`: the DaemonSet loop alone, beside a control plane of anybody.

use crate::{compose, config};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

/// Flags of `everynode controller`.
#[derive(Debug, Args)]
pub struct Flags {
    /// The cluster [default: as kubectl finds it, or from inside a pod].
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Run only while holding a lease, so that several can stand by.
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = true,
        default_missing_value = "true")]
    leader_elect: bool,
}

/// Runs until SIGINT or SIGTERM.
pub async fn run(flags: Flags) -> Result<()> {
    let Flags { kubeconfig, leader_elect } = flags;
    compose::controller(config::Controller { kubeconfig, leader_elect }, super::asked_to_end()?).await
}
