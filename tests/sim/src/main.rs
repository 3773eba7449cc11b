//! `cargo xtask sim`: seeds until the time is up, or one seed again.

use anyhow::{Result, bail};
use clap::Parser;
use sim::seed::{self, Length, Outcome};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Runs simulated clusters from seeds.
#[derive(Parser)]
struct Arguments {
    /// This seed alone, twice, with its whole end printed.
    #[arg(long)]
    seed: Option<u64>,
    /// The first of the seeds.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// How many seeds at most.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// How long at most.
    #[arg(long)]
    minutes: Option<f64>,
    /// Moves of the users of each run.
    #[arg(long, default_value_t = Length::default().moves)]
    moves: usize,
    /// Runs at a time.
    #[arg(long, default_value_t = 1)]
    threads: u64,
    /// Goes on after a broken promise.
    #[arg(long)]
    keep_going: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let length = Length { moves: arguments.moves };
    let outcome = match arguments.seed {
        Some(seed) => again(seed, length),
        None => many(&arguments, length),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn again(seed: u64, length: Length) -> Result<()> {
    let (first, second) = (seed::run(seed, length)?, seed::run(seed, length)?);
    if first.broken.is_none() {
        first.last.iter().for_each(|line| println!("{line}"));
    }
    println!("{first}\nfaults: {:?}", first.faults);
    match (first.hash == second.hash, &first.broken) {
        (false, _) => {
            let lines = first.last.iter().zip(&second.last).find(|(a, b)| a != b);
            bail!("the two runs were not the same: {lines:#?}")
        }
        (true, Some(broken)) => bail!("{broken}"),
        (true, None) => Ok(()),
    }
}

/// What all threads count.
#[derive(Default)]
struct Sum {
    seeds: AtomicU64,
    steps: AtomicU64,
    broken: AtomicU64,
    stop: AtomicBool,
}

fn many(arguments: &Arguments, length: Length) -> Result<()> {
    let (sum, began) = (Sum::default(), Instant::now());
    let end = arguments.minutes.map(|minutes| began + Duration::from_secs_f64(minutes * 60.0));
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| work(arguments, length, end, &sum));
        }
    });
    let (seeds, steps) = (sum.seeds.load(Ordering::Relaxed), sum.steps.load(Ordering::Relaxed));
    let seconds = began.elapsed().as_secs_f64();
    println!("{seeds} seeds, {steps} steps in {seconds:.1} s: {:.0} steps a second", steps as f64 / seconds);
    match sum.broken.load(Ordering::Relaxed) {
        0 => Ok(()),
        broken => bail!("{broken} seeds broke a promise"),
    }
}

fn work(arguments: &Arguments, length: Length, end: Option<Instant>, sum: &Sum) {
    while !sum.stop.load(Ordering::Relaxed) && end.is_none_or(|end| Instant::now() < end) {
        let number = sum.seeds.fetch_add(1, Ordering::Relaxed);
        if number >= arguments.seeds {
            sum.seeds.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let outcome = seed::run(arguments.first + number, length);
        let steps = outcome.as_ref().map(|outcome| outcome.steps).unwrap_or_default();
        sum.steps.fetch_add(steps, Ordering::Relaxed);
        if is_broken(&outcome) {
            sum.broken.fetch_add(1, Ordering::Relaxed);
            sum.stop.fetch_or(!arguments.keep_going, Ordering::Relaxed);
        }
    }
}

fn is_broken(outcome: &Result<Outcome>) -> bool {
    match outcome {
        Ok(outcome) if outcome.broken.is_none() => false,
        Ok(outcome) => {
            println!("{outcome}");
            true
        }
        Err(error) => {
            println!("{error:#}");
            true
        }
    }
}
