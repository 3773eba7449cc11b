//! `everynode`: one daemon on every node. Parses, dispatches, and turns the result into an exit code.

mod cli;
mod compose;
mod config;
mod folder;
mod hosts;
mod images;
mod pki;
mod supervise;
mod telemetry;

use clap::{Parser, Subcommand};
use cli::internal::Internal;
use std::io::Write as _;
use std::process::ExitCode;

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
    /// Print a token with which a machine may join, once.
    Token(cli::token::Flags),
    /// Write the images that need no registry (hello and pause) as one OCI archive to standard output.
    Images,
    /// Print the version, and the Kubernetes version that the server reports.
    Version,
    #[command(subcommand, hide = true)]
    Internal(Internal),
}

fn main() -> ExitCode {
    telemetry::start();
    // Where a library builds TLS by itself, it takes this provider; a second one is not linked.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("everynode: {}", telemetry::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(flags) => wait(cli::up::run(flags))?,
        Command::Node(flags) => wait(cli::node::run(flags))?,
        Command::Server(flags) => wait(cli::server::run(flags))?,
        Command::Agent(flags) => wait(cli::agent::run(flags))?,
        Command::Controller(flags) => wait(cli::controller::run(flags))?,
        Command::Token(flags) => cli::token::run(&flags)?,
        Command::Images => std::io::stdout().write_all(&images::archive()?)?,
        Command::Version => {
            println!("everynode {} (Kubernetes {})", env!("CARGO_PKG_VERSION"), objects::VERSION);
        }
        Command::Internal(Internal::Host) => return Ok(cli::internal::host()),
        Command::Internal(Internal::Fleet(flags)) => wait(cli::internal::fleet(flags))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn wait(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(command)
}
