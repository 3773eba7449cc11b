//! `everynode takeover check`: what would change if `everynode controller` took over now? Only reading.
//!
//! Exit code 0: nothing; 1: something; 2: it could not be read.

use super::target::Cluster;
use crate::survey::{self, Finding, Verdict};
use anyhow::{Context as _, Result};
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use objects::selector::Selector;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

/// Lines that the text shows of a DaemonSet; the rest is counted. JSON has all.
const LINES: usize = 20;

/// Something would change.
const CHANGES: u8 = 1;
/// The question has no answer.
const UNREAD: u8 = 2;

/// Subcommands of `everynode takeover`.
#[derive(Debug, Args)]
pub struct Flags {
    #[command(subcommand)]
    command: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Tell, per DaemonSet, that taking over changes nothing, or what would change and why. Exit code 0: nothing changes,
    /// 1: something would, 2: the cluster could not be read.
    Check(Check),
}

#[derive(Debug, Args)]
struct Check {
    /// Only this namespace [default: all].
    #[arg(short, long)]
    namespace: Option<String>,
    /// All namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Only DaemonSets whose labels match.
    #[arg(short = 'l', long, value_parser = Selector::parse)]
    selector: Option<Selector>,
    #[command(flatten)]
    cluster: Cluster,
    /// Instead of text.
    #[arg(short, long)]
    output: Option<Output>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// All of it; docs/takeover.md describes the fields.
    Json,
}

/// Asks, prints, and answers the exit code.
pub async fn run(flags: Flags) -> ExitCode {
    let Question::Check(check) = flags.command;
    match answer(check).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("everynode: {}", crate::telemetry::chain(error.as_ref()));
            UNREAD.into()
        }
    }
}

async fn answer(check: Check) -> Result<ExitCode> {
    let config = check.cluster.config().await?;
    let client = kube::Client::try_from(config).context("the kubeconfig cannot be used")?;
    let only = check.selector.as_ref().map(ToString::to_string);
    let findings =
        survey::read(&client, check.namespace.as_deref(), only.as_deref(), Timestamp::now()).await?;
    let text = match check.output {
        Some(Output::Json) => {
            serde_json::to_string_pretty(&serde_json::json!({ "daemonSets": findings }))? + "\n"
        }
        None => text(&findings),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    let is_quiet = findings.iter().all(|finding| finding.verdict == Verdict::NothingChanges);
    Ok(if is_quiet { ExitCode::SUCCESS } else { CHANGES.into() })
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { namespace, name, verdict, changes, later, unannounced, disputed, standstill } in findings {
        let said = verdict.as_str();
        let _ = match standstill {
            None => writeln!(text, "{namespace}/{name}: {said}"),
            Some(why) => writeln!(text, "{namespace}/{name}: {said}: {why}"),
        };
        let lines =
            [("unexpected", unannounced), ("unexpected", disputed), ("first", changes), ("later", later)];
        let lines: Vec<String> = lines
            .iter()
            .flat_map(|(word, all)| all.iter().map(move |line| format!("  {word}: {line}")))
            .collect();
        lines.iter().take(LINES).for_each(|line| _ = writeln!(text, "{line}"));
        if let Some(more) = lines.len().checked_sub(LINES).filter(|more| *more > 0) {
            let _ = writeln!(text, "  … and {more} more; -o json has all");
        }
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let _ = writeln!(
        text,
        "DaemonSets: {}, nothing changes: {}, would change: {}, would be left alone: {}",
        findings.len(),
        count(Verdict::NothingChanges),
        count(Verdict::WouldChange),
        count(Verdict::WouldBeLeftAlone),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_kubectls() {
        let Question::Check(check) =
            crate::cli::parse::<Flags>("check -A -l a=b --kubeconfig /k -o json").unwrap().command;
        assert!(check.all_namespaces && check.output == Some(Output::Json));
        assert_eq!(check.selector.unwrap().to_string(), "a=b");
        assert!(crate::cli::parse::<Flags>("check -A -n x").unwrap_err().contains("--namespace"));
        assert!(crate::cli::parse::<Flags>("check -l a==").is_ok());
        assert!(crate::cli::parse::<Flags>("check -l =a=").unwrap_err().contains("--selector"));
    }

    #[test]
    fn a_long_story_is_cut() {
        let finding = Finding {
            namespace: "a".into(),
            name: "d".into(),
            verdict: Verdict::WouldChange,
            standstill: None,
            changes: (0..LINES).map(|n| format!("create pod on n{n:02}")).collect(),
            later: vec!["n9: later".into()],
            unannounced: Vec::new(),
            disputed: Vec::new(),
        };
        let text = text(&[finding]);
        assert_eq!(text.lines().count(), 1 + LINES + 1 + 1, "{text}");
        assert!(text.contains("  first: create pod on n00\n") && text.contains("… and 1 more"), "{text}");
    }
}
