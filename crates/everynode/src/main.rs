//! `everynode`: one daemon on every node. Parses, dispatches, and turns the result into an exit code.
//!
//! Under the name `kubectl-everynode` on PATH it is a plugin: `kubectl everynode why ds/x`. Everything is the same but
//! the name in its help.

mod archive;
mod audit_log;
mod cli;
mod compose;
mod config;
mod durations;
mod folder;
mod hosts;
mod images;
mod join_secrets;
mod lookup;
mod pki;
mod supervise;
mod survey;
mod telemetry;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use cli::internal::Internal;
use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

/// The name under which kubectl finds us, and what a user types then.
const PLUGIN: (&str, &str) = ("kubectl-everynode", "kubectl everynode");

/// Worker threads of an agent, however many cores its node has: it waits nearly always, and each thread costs memory (32 of
/// them 2 MB). Two, so that one that is busy does not keep the heart from beating.
const AGENT_THREADS: usize = 2;

/// A fifth of a server's time on creating pods and half of that on deleting them were the system's allocator; and of what is let
/// go, this one gives more back (docs/performance.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// One daemon on every node: the Kubernetes DaemonSet system as one binary.
#[derive(Parser)]
#[command(name = "everynode", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a whole cluster on this machine: a server and its nodes, until Ctrl-C.
    Up(cli::up::Flags),
    /// Add, remove, start, stop or list nodes of a running `everynode up`.
    Node(cli::node::Flags),
    /// Run the control plane: API server, embedded store and loops.
    Server(cli::server::Flags),
    /// Make this machine a node.
    Agent(cli::agent::Flags),
    /// Run only the DaemonSet loop, against any cluster.
    Controller(cli::controller::Flags),
    /// Tell what would change if `everynode controller` took over now. Any cluster, only reading.
    Takeover(cli::takeover::Flags),
    /// Tell, node by node, why a DaemonSet's pod is there, is not ready, or is left out. Any cluster, only reading.
    Why(cli::why::Flags),
    /// Pause, resume, watch or undo a DaemonSet's rollout. Any cluster.
    Rollout(cli::rollout::Flags),
    /// Measure how long a cluster takes for DaemonSets on many nodes, which it plays itself. Any cluster.
    Bench(cli::bench::Flags),
    /// Make, list and delete the tokens with which machines may join.
    Token(cli::token::Flags),
    /// Give the Secrets on the disk a new encryption key; a running server goes on.
    RotateEncryptionKey(cli::rotate::Flags),
    /// Write everything of a cluster into one file, while its server runs or not.
    Backup(cli::backup::Backup),
    /// Make a data folder of a backup.
    Restore(cli::backup::Restore),
    /// Tell whether the store of a data folder is whole. Changes nothing.
    Check(cli::check::Flags),
    /// Write the images that need no registry (hello and pause) as one OCI archive to standard output.
    Images(cli::images::Flags),
    /// Print the version, and the Kubernetes version that the server reports.
    Version,
    #[command(subcommand, hide = true)]
    Internal(Internal),
}

fn main() -> ExitCode {
    // Where a library builds TLS by itself, it takes this provider; a second one is not linked.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let command = command(std::env::args_os().next().as_deref());
    let parsed = Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    telemetry::start(match &parsed.command {
        Command::Controller(flags) => Some(flags.log_format),
        _ => None,
    });
    match run(parsed.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("everynode: {}", telemetry::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// What we are called by, as help says it.
fn command(program: Option<&OsStr>) -> clap::Command {
    let command = Arguments::command();
    let (file, typed) = PLUGIN;
    match program.and_then(|program| Path::new(program).file_name()) {
        Some(name) if name == file => command.bin_name(typed),
        _ => command,
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(flags) => wait(cli::up::run(flags))?,
        Command::Node(flags) => wait(cli::node::run(flags))?,
        Command::Server(flags) => wait(cli::server::run(flags))?,
        Command::Agent(flags) => wait_beside(cli::agent::run(flags))?,
        Command::Controller(flags) => wait(cli::controller::run(flags))?,
        Command::Takeover(flags) => {
            return runtime().build()?.block_on(async { Ok(cli::takeover::run(flags).await) });
        }
        Command::Why(flags) => wait(cli::why::run(flags))?,
        Command::Rollout(flags) => wait(cli::rollout::run(flags))?,
        Command::Bench(flags) => wait(cli::bench::run(flags))?,
        Command::Token(flags) => wait(cli::token::run(flags))?,
        Command::RotateEncryptionKey(flags) => wait(cli::rotate::run(flags))?,
        Command::Backup(flags) => wait(cli::backup::backup(flags))?,
        Command::Restore(flags) => cli::backup::restore(&flags)?,
        Command::Check(flags) => cli::check::run(&flags)?,
        Command::Images(flags) => cli::images::run(&flags)?,
        Command::Version => {
            println!("everynode {} (Kubernetes {})", env!("CARGO_PKG_VERSION"), objects::VERSION);
        }
        Command::Internal(Internal::Host) => return Ok(cli::internal::host()),
        Command::Internal(Internal::Fleet(flags)) => wait(cli::internal::fleet(flags))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn wait(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    runtime().build()?.block_on(command)
}

/// The same on few threads, for what shares a machine with its user's work.
fn wait_beside(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    runtime().worker_threads(AGENT_THREADS).build()?.block_on(command)
}

fn runtime() -> tokio::runtime::Builder {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all();
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_under_both_names() {
        for (program, expected) in
            [("/usr/bin/everynode", "everynode"), ("./kubectl-everynode", "kubectl everynode")]
        {
            let mut command = command(Some(OsStr::new(program)));
            command.clone().debug_assert();
            let help = command.render_help().to_string();
            assert!(help.contains(&format!("Usage: {expected} <COMMAND>")), "{help}");
        }
    }
}
