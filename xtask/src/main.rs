//! The commands of this repository: `cargo xtask <command>`.
//!
//! README.md names two of them, `up` and `test`; .ci/run calls `test` and nothing else. A command here starts
//! other programs and reads files; it decides nothing about Kubernetes.

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

mod bench;
mod beside;
mod crash;
mod curves;
mod fuzz;
mod image;
mod packages;
mod program;
mod rules;
mod sim;
mod test;
mod tidy;
mod up;

/// The commands of the everynode repository.
#[derive(Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing, build a release and run a whole cluster: one server and three nodes.
    Up {
        /// Passed on to `everynode up`, for example `--nodes 5` or `--runtime simulated`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Install what is missing and run every check and test of the repository.
    Test {
        /// Leave the end-to-end tests out (they need root and containerd).
        #[arg(long)]
        no_e2e: bool,
        /// Only the end-to-end tests, all of them, with the DaemonSet controller there: `within` the server, or `apart`, as
        /// `everynode controller` beside a server without that loop.
        #[arg(long, value_name = "WHERE", conflicts_with = "no_e2e")]
        controller: Option<test::Controller>,
        /// Only tests whose name contains this text; skips fmt, clippy and tidy.
        filter: Option<String>,
    },
    /// Check the house rules: arrows, purity, orphan files, module docs, proven rules, sizes.
    Tidy {
        /// Write the sizes of today into xtask/sizes.txt, and take proven rules off xtask/rules/open.txt.
        #[arg(long)]
        ratchet: bool,
    },
    /// List each rule of the behaviour specification with the tests that prove it.
    Rules {
        /// One rule (`RU-14`) or one family (`RU`).
        number: Option<String>,
        /// Only rules that nothing proves yet, with what is missing.
        #[arg(long)]
        open: bool,
    },
    /// Measure what docs/performance.md quotes.
    Bench {
        /// Passed on to the measuring program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure what nodes and DaemonSets cost, and draw it into docs/curves.
    Curves(curves::Flags),
    /// Build a static release and write its container image into a file.
    Image {
        /// Where.
        #[arg(long, default_value = "everynode-image.tar")]
        output: std::path::PathBuf,
    },
    /// Kill the embedded store under load, cut its power, and check that no answered write is lost.
    Crash {
        /// How often.
        #[arg(long, default_value_t = 1_000)]
        rounds: u32,
        /// Which moments.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Feed hostile input to all that reads input: `--target T --minutes M --grow`, or `--replay FILE` again.
    Fuzz {
        /// Passed on to the targets; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run simulated clusters: `--seeds N --minutes M`, or `--seed S` again.
    Sim {
        /// Passed on to the simulation; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Up { arguments } => up::up(&arguments),
        Command::Test { controller: Some(controller), filter, .. } => {
            test::end_to_end(controller, filter.as_deref())
        }
        Command::Test { no_e2e, filter, .. } => test::test(no_e2e, filter.as_deref()),
        Command::Tidy { ratchet } => tidy::tidy(ratchet),
        Command::Rules { number, open } => rules::rules(number.as_deref(), open),
        Command::Bench { arguments } => bench::bench(&arguments),
        Command::Curves(flags) => curves::curves(&flags),
        Command::Image { output } => image::image(&output),
        Command::Crash { rounds, seed } => crash::crash(rounds, seed),
        Command::Fuzz { arguments } => fuzz::fuzz(&arguments),
        Command::Sim { arguments } => sim::sim(&arguments),
    }
}
