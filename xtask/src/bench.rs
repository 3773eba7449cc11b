//! `cargo xtask bench`: builds a release and lets it measure itself (docs/performance.md).

use crate::{packages, program, sim};
use anyhow::Result;
use std::process::Command;

/// Seeds whose speed is measured: about a minute of the whole.
const SEEDS: &str = "500";

/// Runs the measurements against the release build.
pub fn bench(arguments: &[String]) -> Result<()> {
    packages::for_tests()?;
    // e2e by itself: together they would share other features, and half of what `up` has built would be built again. What
    // load uses everynode uses as well.
    for packages in [&["everynode", "load"][..], &["e2e"]] {
        let named = packages.iter().flat_map(|package| ["--package", package]);
        program::run(program::cargo().args(["build", "--release"]).args(named))?;
    }
    let release = program::target_dir().join("release");
    let mut bench = Command::new(release.join("bench"));
    bench.env("EVERYNODE_BINARY", release.join("everynode")).env("EVERYNODE_LOAD", release.join("load"));
    program::run(bench.args(arguments))?;
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
