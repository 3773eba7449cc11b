//! `cargo xtask fuzz`: hostile input for hours; and for a minute a target beside the end-to-end tests.

use crate::beside::Beside;
use crate::program;
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;

/// For each target in the tests: a minute at most of what has been seen to pass (`tests/fuzz/src/targets`). All of them
/// together take less than the end-to-end tests beside them.
const IN_THE_TESTS: [&str; 3] = ["--tested", "--seconds", "60"];

/// Builds the targets for speed, but with all checks, and runs them with these arguments.
pub fn fuzz(arguments: &[String]) -> Result<()> {
    program::run(program::cargo().args(["build", "--profile", "sim", "--package", "fuzz"]))?;
    let program = program::target_dir().join("sim/fuzz");
    program::run(Command::new(program).arg("--folder").arg(folder()).args(arguments))
}

/// Where findings lie.
fn folder() -> PathBuf {
    program::target_dir().join("fuzz")
}

/// All targets, one after the other, as the tests of the workspace have built them: built alone they would have other
/// features.
pub fn beside() -> Result<Beside> {
    let program = program::target_dir().join("debug/fuzz");
    let mut command = Command::new(program);
    Beside::start("the fuzz targets", command.args(IN_THE_TESTS).arg("--folder").arg(folder()))
}
