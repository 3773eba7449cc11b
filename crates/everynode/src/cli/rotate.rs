//! `everynode rotate-encryption-key`: a new key for the Secrets on the disk or in etcd, with or without running servers.

use super::store::StoreFlags;
use crate::compose::{self, sealing};
use crate::config::{Store, default_data_dir};
use anyhow::{Result, ensure};
use clap::Args;
use std::path::PathBuf;

/// Flags of `everynode rotate-encryption-key`.
#[derive(Debug, Args)]
pub struct Flags {
    /// The data folder of the server.
    #[arg(long, env = "EVERYNODE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// The folder that several servers have in common, as `everynode server` was told.
    #[arg(long, env = "EVERYNODE_PKI_DIR", value_name = "FOLDER")]
    pki_dir: Option<PathBuf>,
    #[command(flatten)]
    store: StoreFlags,
}

/// Makes a key, and ends when every Secret is encrypted with it and the older keys are gone.
pub async fn run(flags: Flags) -> Result<()> {
    let data_dir = flags.data_dir.unwrap_or_else(default_data_dir);
    let common = flags.pki_dir.unwrap_or_else(|| data_dir.join("pki"));
    ensure!(common.exists(), "{}: no server has been started on this folder", common.display());
    let told = match flags.store.config() {
        Store::Embedded => sealing::rotate(&data_dir).await?,
        etcd => compose::rotate(&etcd, &common).await?,
    };
    println!("{told}");
    Ok(())
}
