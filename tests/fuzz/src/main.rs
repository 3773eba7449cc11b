//! `cargo xtask fuzz`: targets until their time is up, or one input again.

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use fuzz::engine::{self, Orders};
use fuzz::supervise::{self, Session};
use fuzz::targets::{self, TESTED_SEED, Target};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// Feeds hostile input to everything that reads input.
#[derive(Parser)]
struct Arguments {
    /// Only this one; `--list` names them.
    #[arg(long)]
    target: Option<String>,
    /// Name the targets.
    #[arg(long)]
    list: bool,
    /// How long, for each target.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// The same in seconds.
    #[arg(long)]
    seconds: Option<f64>,
    /// How many inputs at most, for each target.
    #[arg(long, default_value_t = u64::MAX)]
    inputs: u64,
    /// Where all chance comes from; another one each time without it.
    #[arg(long)]
    seed: Option<u64>,
    /// What the tests play: the inputs of one seed that have been seen to pass.
    #[arg(long, conflicts_with_all = ["inputs", "seed"])]
    tested: bool,
    /// Run this input alone.
    #[arg(long)]
    replay: Option<PathBuf>,
    /// Keep in tests/fuzz/corpus what shows something new.
    #[arg(long)]
    grow: bool,
    /// Remove from tests/fuzz/corpus what shows nothing that a smaller input does not show.
    #[arg(long)]
    shrink: bool,
    /// Where findings go.
    #[arg(long, default_value = "target/fuzz")]
    folder: PathBuf,
    /// In this process.
    #[arg(long, hide = true)]
    alone: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fuzz: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let chosen = chosen(arguments.target.as_deref())?;
    if arguments.list {
        chosen.iter().for_each(|target| println!("{:<12} {}", target.name, target.question));
        return Ok(());
    }
    if arguments.shrink {
        return chosen.iter().try_for_each(|target| supervise::shrink(target));
    }
    let seconds = arguments.seconds.unwrap_or(arguments.minutes * 60.0);
    let time = Duration::try_from_secs_f64(seconds).context("the time")?;
    let seed = match arguments.tested {
        true => TESTED_SEED,
        false => arguments.seed.unwrap_or_else(seed_of_now),
    };
    match (&chosen[..], &arguments.replay) {
        ([target], Some(path)) => {
            let input = std::fs::read(path).with_context(|| path.display().to_string())?;
            engine::each(target, vec![(path.clone(), input)], |_, features| {
                println!("{} kinds of answers", features.len());
                Ok(())
            })
        }
        (_, Some(_)) => bail!("--replay wants a --target"),
        ([target], None) if arguments.alone => {
            let keep = arguments.grow.then(|| target.corpus());
            let current = arguments.folder.join(format!("{}.current", target.name));
            engine::run(target, Orders { seed, time, inputs: arguments.inputs, current, keep })
        }
        (chosen, None) => {
            let session = Session {
                time,
                inputs: (!arguments.tested).then_some(arguments.inputs),
                seed,
                folder: arguments.folder.clone(),
                grow: arguments.grow,
            };
            match supervise::run(chosen, &session)? {
                true => Ok(()),
                false => bail!("promises were broken; how to see it again stands above"),
            }
        }
    }
}

fn chosen(name: Option<&str>) -> Result<Vec<&'static Target>> {
    let chosen: Vec<_> = targets::ALL.iter().filter(|t| name.is_none_or(|name| t.name == name)).collect();
    if chosen.is_empty() {
        bail!("there is no target {}; --list names them", name.unwrap_or_default());
    }
    Ok(chosen)
}

fn seed_of_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
