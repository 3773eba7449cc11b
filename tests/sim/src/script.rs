//! A cluster played by hand: commands, and what they made the cluster do, in one file.
//!
//! A line that begins with `> ` is a command ([`verbs`]); `#` begins a comment; what is indented was recorded. Playing a
//! script gives the same file again, or it has found a difference. Pods are called `a-1`, `a-2`, … in the order in which
//! they were made, templates `v1`, `v2`, …; so a script reads the same whatever the seed. All promises of
//! [`crate::invariants`] hold in a script too.

mod names;
mod shown;
mod verbs;

use crate::chance::Chance;
use crate::clock;
use crate::trace::Trace;
use crate::world::{Plan, World};
use anyhow::{Context as _, Result};
use controllers::Loop;
use names::Names;
use std::fmt::Write as _;

/// The seed of all scripts: it decides on names and uids alone.
const SEED: u64 = 1;

/// Plays a script; gives the same text with the output of today.
pub fn play(text: &str) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.context("the runtime")?.block_on(Player::play(text))
}

/// Plays one script.
struct Player {
    world: World,
    names: Names,
    out: String,
}

impl Player {
    async fn play(text: &str) -> Result<String> {
        clock::begin();
        let (chance, trace) = (Chance::of_seed(SEED), Trace::default());
        let plan = Plan {
            without: without(text),
            two_leaders: text.contains("\n> two leaders\n"),
            is_apart: text.contains("\n> apart\n"),
            ..Plan::default()
        };
        let world = World::begin(&chance, plan, trace).await?;
        let mut player = Self { world, names: Names::default(), out: String::new() };
        // What every cluster does at its beginning is nobody's story.
        verbs::pass(&mut player, std::time::Duration::from_secs(1)).await?;
        player.world.trace.take();
        for line in text.lines().filter(|line| !line.starts_with("  ")) {
            player.line(line).await.with_context(|| line.to_string())?;
        }
        Ok(player.out)
    }

    async fn line(&mut self, line: &str) -> Result<()> {
        writeln!(self.out, "{line}")?;
        if let Some(command) = line.strip_prefix("> ") {
            let answer = verbs::perform(self, command).await?;
            self.record();
            answer.iter().try_for_each(|line| self.show(line))?;
        }
        Ok(())
    }

    /// Writes down what has happened since the last time; whether anything has.
    fn record(&mut self) -> bool {
        let lines = self.world.trace.take();
        for line in &lines {
            // Writing to a string cannot fail.
            let _ = self.show(line);
        }
        !lines.is_empty()
    }

    fn show(&mut self, line: &str) -> Result<()> {
        let line = self.names.plain(line);
        Ok(writeln!(self.out, "  {line}")?)
    }
}

/// The loops that the script wants to do without.
fn without(text: &str) -> std::collections::BTreeSet<Loop> {
    let named = text.lines().filter_map(|line| line.strip_prefix("> without "));
    let names: Vec<&str> = named.flat_map(str::split_whitespace).collect();
    Loop::ALL.into_iter().filter(|which| names.contains(&which.name())).collect()
}
