//! `cargo xtask image`: the container image of everynode, in one file and without docker.
//!
//! A release is built statically, and makes the image of itself (`everynode images --own`): one layer with one file, no
//! shell, as nobody. `ctr images import` and `skopeo copy oci-archive:` read it.

use crate::program::{self, cargo};
use anyhow::{Context as _, Result};
use std::fs::File;
use std::path::Path;
use std::process::Command;

/// Named although it is the host's own: without it the flags would also reach build scripts.
fn target() -> Result<String> {
    let told = program::output(Command::new("rustc").arg("-vV"))?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_string())
}

/// Builds it, and writes the image.
pub fn image(output: &Path) -> Result<()> {
    let target = target()?;
    program::run(
        cargo()
            .args(["build", "--release", "--package", "everynode", "--bin", "everynode", "--target", &target])
            .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static"),
    )?;
    let built = program::target_dir().join(&target).join("release/everynode");
    let file = File::create(output).with_context(|| output.display().to_string())?;
    program::run(Command::new(built).args(["images", "--own"]).stdout(file))?;
    println!("{}: ctr -n k8s.io images import {}", output.display(), output.display());
    Ok(())
}
