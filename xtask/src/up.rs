//! `cargo xtask up`: from a fresh clone to a running cluster.

use crate::{packages, program};
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Installs, builds a release and becomes `everynode up`, so that Ctrl-C reaches it directly.
pub fn up(arguments: &[String]) -> Result<()> {
    packages::for_up()?;
    eprintln!("building a release (some minutes the first time)");
    program::run(program::cargo().args(["build", "--release", "--package", "everynode"]))?;
    let binary = program::target_dir().join("release/everynode");
    let failure = Command::new(&binary).arg("up").args(arguments).exec();
    Err(failure).with_context(|| format!("cannot start {}", binary.display()))
}
