//! `everynode token`: a text with which a machine may join, shown once.

use crate::config::default_data_dir;
use crate::pki::Authority;
use crate::pki::tokens::Tokens;
use anyhow::{Result, ensure};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use std::path::PathBuf;

/// Flags of `everynode token`.
#[derive(Debug, Args)]
pub struct Flags {
    /// The data folder of the server.
    #[arg(long, env = "EVERYNODE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// The folder that several servers have in common, as `everynode server` was told.
    #[arg(long, env = "EVERYNODE_PKI_DIR", value_name = "FOLDER")]
    pki_dir: Option<PathBuf>,
    /// For how many hours it is good.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=8760))]
    hours: u16,
}

/// Prints a new token; only its hash is kept.
pub fn run(flags: &Flags) -> Result<()> {
    let data_dir = flags.data_dir.clone().unwrap_or_else(default_data_dir);
    let dir = flags.pki_dir.clone().unwrap_or_else(|| data_dir.join("pki"));
    ensure!(dir.exists(), "{}: no server has been started with this folder", dir.display());
    let now = Timestamp::now();
    let authority = Authority::open(&dir, now)?;
    let life = SignedDuration::from_hours(flags.hours.into());
    println!("{}", Tokens::new(&dir).create(&authority, now, life)?);
    Ok(())
}
