//! `cargo xtask sim`: builds the simulation for speed, but with all checks, and runs it.

use crate::program;
use anyhow::Result;
use std::process::Command;

/// Runs `tests/sim` with these arguments.
pub fn sim(arguments: &[String]) -> Result<()> {
    program::run(program::cargo().args(["build", "--profile", "sim", "--package", "sim"]))?;
    program::run(Command::new(program::target_dir().join("sim/sim")).args(arguments))
}
