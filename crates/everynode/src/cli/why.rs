//! `everynode why ds/NAME`: one line a node, and why it is so.

use super::target::{Opened, Target};
use crate::lookup::Lookup;
use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use std::io::Write as _;
use why::table;

/// Flags of `everynode why`.
#[derive(Debug, Args)]
pub struct Flags {
    #[command(flatten)]
    target: Target,
    /// Tell only about this node, and what would let a pod in.
    #[arg(long)]
    node: Option<String>,
    /// Instead of a table.
    #[arg(short, long)]
    output: Option<Output>,
}

/// How it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// All of it; docs/why.md describes the fields.
    Json,
}

/// Asks, and prints what comes of it.
pub async fn run(flags: Flags) -> Result<()> {
    let Opened { client, namespace, name } = flags.target.open().await?;
    let found = Lookup::new(client, namespace, name).all().await?;
    if let Some(reason) = &found.unread_events {
        eprintln!("everynode: events cannot be read, reasons may be less exact: {reason}");
    }
    let now = Timestamp::now();
    let mut report = found.why(now);
    let node = flags.node.as_deref();
    // Where nothing is planned there are no lines, and the report says why.
    if let Some(node) = node.filter(|_| report.standstill.is_none()) {
        report = report.only(node).with_context(|| format!("nodes {node:?} not found"))?;
    }
    let text = match flags.output {
        Some(Output::Json) => serde_json::to_string_pretty(&report)? + "\n",
        None => {
            let remedies = node.and_then(|_| report.nodes.first()).map(table::remedy);
            table::table(&report, now) + &remedies.unwrap_or_default()
        }
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read() {
        let flags: Flags = crate::cli::parse("ds/x --node n1 -o json").unwrap();
        assert_eq!((flags.node.as_deref(), flags.output), (Some("n1"), Some(Output::Json)));
        assert!(crate::cli::parse::<Flags>("ds/x -o wide").unwrap_err().contains("json"));
        assert!(crate::cli::parse::<Flags>("").unwrap_err().contains("ds/NAME"));
    }
}
