//! `cargo xtask crash`: kills the embedded store under load, over and over, and reads what is left.

use crate::program::{self, cargo};
use anyhow::Result;
use std::time::Instant;

/// Runs so many rounds; the same seed chooses the same moments.
pub fn crash(rounds: u32, seed: u64) -> Result<()> {
    let begun = Instant::now();
    let mut command = cargo();
    command.args(["test", "--package", "store", "--test", "disk", "--", "crash::killed", "--nocapture"]);
    command.env("STORE_CRASH_ROUNDS", rounds.to_string()).env("STORE_CRASH_SEED", seed.to_string());
    program::run(&mut command)?;
    println!("everynode: {rounds} crashes in {} s, nothing answered was lost", begun.elapsed().as_secs());
    Ok(())
}
