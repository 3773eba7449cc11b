//! `everynode backup` and `everynode restore`: a whole cluster in one file, and back.

use crate::config::default_data_dir;
use crate::{archive, compose};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

/// Flags of `everynode backup`.
#[derive(Debug, Args)]
pub struct Backup {
    /// The file to write; one of this name is replaced when the new one is whole. It holds all keys of the cluster.
    file: PathBuf,
    /// The data folder of the server, which may run.
    #[arg(long, env = "EVERYNODE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// The folder that several servers have in common, as `everynode server` was told.
    #[arg(long, env = "EVERYNODE_PKI_DIR", value_name = "FOLDER")]
    pki_dir: Option<PathBuf>,
}

/// Flags of `everynode restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// A file of `everynode backup`.
    file: PathBuf,
    /// The data folder to make; it must not exist, or be empty.
    #[arg(long, env = "EVERYNODE_DATA_DIR")]
    data_dir: PathBuf,
}

/// Writes the file.
pub async fn backup(flags: Backup) -> Result<()> {
    let data_dir = flags.data_dir.unwrap_or_else(default_data_dir);
    let revision = compose::backup(&data_dir, flags.pki_dir.as_deref(), &flags.file).await?;
    println!("{}: all objects as of revision {revision}, and all keys; keep it safe", flags.file.display());
    Ok(())
}

/// Makes the folder.
pub fn restore(flags: &Restore) -> Result<()> {
    let revision = archive::unpack(&flags.file, &flags.data_dir)?;
    println!("{}: restored; its revisions begin at {revision}", flags.data_dir.display());
    println!("  everynode server --data-dir {}", flags.data_dir.display());
    Ok(())
}
