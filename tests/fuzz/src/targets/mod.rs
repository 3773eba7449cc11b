//! The targets: one file each, one function of bytes each.

pub mod bodies;
pub mod frames;
pub mod patches;
pub mod quantities;
pub mod schemas;
pub mod selectors;
pub mod urls;

use crate::memory::Account;
use std::path::{Path, PathBuf};

/// Something that reads input.
#[derive(Debug)]
pub struct Target {
    /// As the command line names it, and its corpus.
    pub name: &'static str,
    /// What it asks.
    pub question: &'static str,
    /// How many inputs of [`TESTED_SEED`] the tests play: so many have been seen to pass, and a core plays them within a
    /// minute without optimization. Raise it after a run of more.
    pub tested: u64,
    /// Texts that mean something to it.
    pub words: &'static [&'static str],
    /// Runs it on one input. Panics when a promise is broken.
    pub run: fn(&[u8], &mut Account),
}

impl Target {
    /// The folder of its kept inputs.
    pub fn corpus(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name)
    }
}

/// The seed of the tests: what lands is not refused by chance for what it has not touched. Other seeds are for hours.
pub const TESTED_SEED: u64 = 1;

/// All of them.
pub static ALL: &[Target] = &[
    urls::TARGET,
    bodies::JSON,
    bodies::YAML,
    bodies::PROTOBUF,
    patches::JSON,
    patches::MERGE,
    patches::STRATEGIC,
    patches::APPLY,
    schemas::TARGET,
    selectors::TARGET,
    quantities::TARGET,
    frames::WEBSOCKET,
    frames::SPDY,
];
