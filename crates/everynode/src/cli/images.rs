//! `everynode images`: images that need no registry, on standard output.

use crate::images;
use anyhow::Result;
use clap::Args;
use std::io::Write as _;

/// Flags of `everynode images`.
#[derive(Debug, Args)]
pub struct Flags {
    /// The image of this binary itself instead, for deploy/; from a static build it holds nothing else.
    #[arg(long)]
    own: bool,
}

/// Writes the archive.
pub fn run(flags: &Flags) -> Result<()> {
    let archive = if flags.own { images::own() } else { images::archive() };
    Ok(std::io::stdout().write_all(&archive?)?)
}
