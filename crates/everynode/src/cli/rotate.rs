//! `everynode rotate-encryption-key`: a new key for the Secrets on the disk, with or without a running server.

use crate::compose::sealing;
use crate::config::default_data_dir;
use anyhow::{Result, ensure};
use clap::Args;
use std::path::PathBuf;

/// Flags of `everynode rotate-encryption-key`.
#[derive(Debug, Args)]
pub struct Flags {
    /// The data folder of the server.
    #[arg(long, env = "EVERYNODE_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

/// Makes a key, and ends when every Secret is encrypted with it and the older keys are gone.
pub async fn run(flags: Flags) -> Result<()> {
    let data_dir = flags.data_dir.unwrap_or_else(default_data_dir);
    ensure!(
        data_dir.join("pki").exists(),
        "{}: no server has been started on this data folder",
        data_dir.display()
    );
    println!("{}", sealing::rotate(&data_dir).await?);
    Ok(())
}
