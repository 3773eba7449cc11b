//! `everynode rollout status`: kubectl's lines, and below them the nodes that hang, with the reason.
//!
//! Asked again every second, so that the right to read is enough. A node is named when its trouble does not pass by
//! itself; when nothing has moved for [`LOST`], every node that wants a ready pod and has none is named.

use super::super::target::{Opened, Target};
use crate::lookup::Lookup;
use anyhow::{Result, bail};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use why::progress::{Patience, Progress, hanging, progress};

/// Between two looks at the DaemonSet.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks at nodes and pods, which cost lists.
const LOOK_AROUND: Duration = Duration::from_secs(5);
/// After so long without a change even what passes by itself is said.
const LOST: Duration = Duration::from_secs(20);

/// Flags of `everynode rollout status`.
#[derive(Debug, Args)]
pub struct Flags {
    #[command(flatten)]
    target: Target,
    /// Wait until it is done.
    #[arg(short, long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    watch: bool,
    /// Give up after this, for example 60s or 5m; 0s never.
    #[arg(long, default_value = "0s")]
    timeout: SignedDuration,
}

/// Prints until it is done.
pub async fn run(flags: Flags) -> Result<()> {
    let Opened { client, namespace, name } = flags.target.open().await?;
    let lookup = Lookup::new(client, namespace.clone(), name.clone());
    let limit = Duration::try_from(flags.timeout).ok().filter(|limit| !limit.is_zero());
    let follow = Follow { lookup, resume: format!("everynode rollout resume ds/{name} -n {namespace}") };
    let following = follow.follow(flags.watch);
    match limit {
        None => following.await,
        Some(limit) => match tokio::time::timeout(limit, following).await {
            Ok(result) => result,
            Err(_) => bail!("timed out waiting for the condition"),
        },
    }
}

struct Follow {
    lookup: Lookup,
    resume: String,
}

impl Follow {
    async fn follow(&self, watch: bool) -> Result<()> {
        let mut last = String::new();
        let (mut moved, mut looked) = (Instant::now(), None::<Instant>);
        let mut named = BTreeSet::new();
        let mut uid = None;
        loop {
            let daemon_set = self.lookup.subject().await?.object;
            let known = uid.get_or_insert_with(|| daemon_set.metadata.uid.clone());
            if *known != daemon_set.metadata.uid || daemon_set.metadata.deletion_timestamp.is_some() {
                bail!("object has been deleted");
            }
            let (text, paused) = match progress(&daemon_set)? {
                Progress::Done(text) => {
                    println!("{text}");
                    return Ok(());
                }
                Progress::Waiting { text, paused: false } => (text, String::new()),
                Progress::Waiting { text, paused: true } => {
                    (text, format!("\nPaused; go on with: {}", self.resume))
                }
            };
            let line = format!("{text}{paused}");
            if line != last {
                println!("{line}");
                (last, moved) = (line, Instant::now());
            }
            if !watch {
                return self.look_around(Patience::Lost, &mut named).await;
            }
            if looked.is_none_or(|looked| looked.elapsed() >= LOOK_AROUND) {
                looked = Some(Instant::now());
                let patience = if moved.elapsed() < LOST { Patience::Ordinary } else { Patience::Lost };
                self.look_around(patience, &mut named).await?;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Names the nodes that hang; each once for each trouble.
    async fn look_around(&self, patience: Patience, named: &mut BTreeSet<(String, String)>) -> Result<()> {
        let report = self.lookup.all().await?.why(Timestamp::now());
        for line in hanging(&report, patience) {
            if named.insert((line.node.clone(), line.reason.trouble().to_string())) {
                println!("  {}: {}", line.node, line.message);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_kubectls() {
        let check = |line: &str, watch: bool, seconds: i64| {
            let flags: Flags = crate::cli::parse(line).unwrap();
            assert_eq!((flags.watch, flags.timeout.as_secs()), (watch, seconds), "{line}");
        };
        check("ds/x", true, 0);
        check("ds/x -w", true, 0);
        check("ds/x --watch=false --timeout=90s", false, 90);
        check("ds x --timeout 1m30s", true, 90);
        assert!(crate::cli::parse::<Flags>("ds/x --timeout soon").unwrap_err().contains("--timeout"));
    }
}
