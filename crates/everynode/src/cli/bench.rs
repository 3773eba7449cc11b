//! `everynode bench`: how long a cluster takes for DaemonSets on many nodes that only look like nodes.

use super::target::Cluster;
use anyhow::{Context as _, Result};
use bench::processes::Watched;
use bench::{Config, Step};
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

/// Flags of `everynode bench`.
#[derive(Debug, Args)]
pub struct Flags {
    #[command(flatten)]
    cluster: Cluster,
    /// How many hollow nodes register at first.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(bench::MAX_NODES)))]
    nodes: u32,
    /// How many more join later, all at once.
    #[arg(long, default_value_t = 100, value_name = "NODES", value_parser = clap::value_parser!(u32).range(1..=i64::from(bench::MAX_JOINING)))]
    join: u32,
    /// How many DaemonSets want a pod on each.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(bench::MAX_DAEMONSETS)))]
    daemonsets: u32,
    /// Steps to leave out. A killed node is noticed only when the cluster's grace period is over.
    #[arg(long, value_delimiter = ',')]
    skip: Vec<Optional>,
    /// Tell what this process of this machine takes, by its name or number; may be given several times.
    #[arg(long, value_name = "NAME|NUMBER", value_delimiter = ',')]
    process: Vec<Watched>,
    /// Seconds after which a step is given up that shows no progress.
    #[arg(long, default_value_t = 120, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    patience: u64,
    /// Instead of a table.
    #[arg(short, long)]
    output: Option<Output>,
    /// Only remove what an interrupted bench has left.
    #[arg(long)]
    clean: bool,
}

/// How it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// All of it; docs/performance.md describes the fields.
    Json,
}

/// A step that may be left out.
#[derive(Debug, Clone, Copy)]
struct Optional(Step);

impl ValueEnum for Optional {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Optional; 4] =
            [Optional(Step::Rollout), Optional(Step::Relabel), Optional(Step::Join), Optional(Step::Kill)];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()))
    }
}

/// Measures and prints. Ctrl-C ends it after everything is removed again.
pub async fn run(flags: Flags) -> Result<()> {
    let cluster = flags.cluster.config().await?;
    let client = kube::Client::try_from(cluster).context("the kubeconfig cannot be used")?;
    if flags.clean {
        return Ok(bench::clean::clean(&client, None).await?);
    }
    let config = Config {
        client,
        nodes: flags.nodes,
        join: flags.join,
        daemonsets: flags.daemonsets,
        skip: flags.skip.into_iter().map(|Optional(step)| step).collect(),
        processes: flags.process,
        patience: Duration::from_secs(flags.patience),
    };
    let (left, stop) = (super::asked_to_end()?, agent::Shutdown::new());
    let (measured, asked) = (bench::run(&config, stop.clone(), progress()), stop);
    tokio::pin!(measured);
    let report = tokio::select! {
        report = &mut measured => report,
        () = left => {
            asked.cancel();
            measured.await
        }
    };
    end_of_progress();
    let report = report?;
    let text = match flags.output {
        Some(Output::Json) => serde_json::to_string_pretty(&report)? + "\n",
        None => report.table(),
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// Tells how far it is: on a terminal in one line, elsewhere a line for every step.
fn progress() -> impl FnMut(String) {
    let (terminal, mut step) = (std::io::stderr().is_terminal(), String::new());
    move |text| {
        let now = text.split(':').next().unwrap_or_default();
        if terminal {
            // Back to the line's begin, and away with what it said.
            eprint!("\r\x1b[K{text}");
        } else if now != step {
            step = now.to_string();
            eprintln!("{text}");
        }
    }
}

fn end_of_progress() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read() {
        let line =
            "--nodes 1000 --join 1 --daemonsets 10 --skip kill,join --process etcd --process 7 -o json";
        let flags: Flags = crate::cli::parse(line).unwrap();
        let skipped: Vec<Step> = flags.skip.iter().map(|Optional(step)| *step).collect();
        assert_eq!((flags.nodes, flags.join, flags.daemonsets), (1000, 1, 10));
        assert_eq!(flags.output, Some(Output::Json));
        assert_eq!(skipped, [Step::Kill, Step::Join]);
        assert_eq!(flags.process, [Watched::Name("etcd".into()), Watched::Number(7)]);
        let refused = |line: &str, word: &str| {
            let error = crate::cli::parse::<Flags>(line).unwrap_err();
            assert!(error.contains(word), "{error}");
        };
        refused("--nodes 0", "1..=50000");
        refused("--skip create", "relabel");
    }
}
