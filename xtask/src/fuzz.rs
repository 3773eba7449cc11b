//! `cargo xtask fuzz`: hostile input for hours; and for a minute a target beside the end-to-end tests.

use crate::program;
use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Instant;

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

/// All targets, one after the other, in one process at the lowest priority: the end-to-end tests wait most of the time,
/// and when they do not, they go first.
pub struct Beside(Child);

impl Beside {
    /// Starts them, as the tests of the workspace have built them: built alone they would have other features.
    pub fn start() -> Result<Self> {
        let program = program::target_dir().join("debug/fuzz");
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(program).args(IN_THE_TESTS).arg("--folder").arg(folder());
        Ok(Self(command.spawn().context("cannot start the fuzz targets")?))
    }

    /// Waits for the last of them.
    pub fn end(mut self) -> Result<()> {
        let begun = Instant::now();
        let status = self.0.wait().context("waiting for the fuzz targets")?;
        println!("everynode: waited {} s for the fuzz targets", begun.elapsed().as_secs());
        if !status.success() {
            bail!("hostile input broke a promise; how to see it again stands above");
        }
        Ok(())
    }
}

impl Drop for Beside {
    /// What fails before its end leaves nothing behind.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
