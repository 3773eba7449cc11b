//! `cargo xtask bench`: builds a release and lets it measure itself (docs/performance.md).

use crate::{packages, program, sim};
use anyhow::Result;
use std::process::Command;

/// Seeds whose speed is measured: about a minute of the whole.
const SEEDS: &str = "500";

/// Runs the measurements against the release build.
pub fn bench(arguments: &[String]) -> Result<()> {
    packages::for_tests()?;
    // One build each: together they would share other features, and half of what `up` has built would be built again.
    for package in ["everynode", "e2e"] {
        program::run(program::cargo().args(["build", "--release", "--package", package]))?;
    }
    let release = program::target_dir().join("release");
    let mut bench = Command::new(release.join("bench"));
    program::run(bench.env("EVERYNODE_BINARY", release.join("everynode")).args(arguments))?;
    // The heart alone, at a size that no machine at hand can run: rows of the same table.
    program::run(program::cargo().args([
        "run",
        "--release",
        "--quiet",
        "--package",
        "daemonset",
        "--example",
        "figures",
    ]))?;
    sim::sim(&["--seeds", SEEDS, "--row"].map(String::from))
}
