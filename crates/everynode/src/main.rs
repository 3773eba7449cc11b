//! `everynode`: one daemon on every node. Parses, dispatches, and turns the result into an exit code.

mod cli;
mod images;
mod pki;

use clap::{Parser, Subcommand};
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
    /// Run the API server on the embedded store.
    Server(cli::server::Flags),
    /// Print a token with which a machine may join, once.
    Token(cli::token::Flags),
    /// Write the images that need no registry (hello and pause) as one OCI archive to standard output.
    Images,
    /// Print the version, and the Kubernetes version that the server reports.
    Version,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("EVERYNODE_LOG").unwrap_or_else(|_| "warn".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("everynode: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Server(flags) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(cli::server::run(flags))
        }
        Command::Token(flags) => cli::token::run(&flags),
        Command::Images => Ok(std::io::stdout().write_all(&images::archive()?)?),
        Command::Version => {
            println!("everynode {} (Kubernetes {})", env!("CARGO_PKG_VERSION"), objects::VERSION);
            Ok(())
        }
    }
}
