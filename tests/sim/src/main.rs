//! `cargo xtask sim`: seeds until the time is up, or one seed again.

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use sim::coverage::Table;
use sim::seed::{self, Length, Outcome};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A simulation does little but make and drop small objects.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How often the log says how far the run is, in seeds.
const LOG_EVERY: u64 = 100;

/// Runs simulated clusters from seeds.
#[derive(Parser)]
struct Arguments {
    /// This seed alone, twice, with all that happened.
    #[arg(long)]
    seed: Option<u64>,
    /// The first of the seeds: where a run before this one has ended.
    #[arg(long, alias = "first", default_value_t = 1)]
    from: u64,
    /// How many seeds at most.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// How long at most.
    #[arg(long)]
    minutes: Option<f64>,
    /// Moves of the users of each run; without it each seed has a size of its own.
    #[arg(long)]
    moves: Option<usize>,
    /// Runs at a time.
    #[arg(long, default_value_t = 1)]
    threads: u64,
    /// Goes on after a broken promise.
    #[arg(long)]
    keep_going: bool,
    /// Prints a row of the table in docs/performance.md.
    #[arg(long)]
    row: bool,
    /// Appends to this file how far the run is, and each broken promise with its trace.
    #[arg(long)]
    log: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let length = arguments.moves.map_or(Length::OfSeed, Length::Moves);
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
    first.last.iter().for_each(|line| println!("{line}"));
    println!("{} steps, trace {:016x}\n{}", first.steps, first.hash, Table::of(&first.met));
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
    met: Mutex<Table>,
    log: Log,
}

impl Sum {
    fn met(&self) -> MutexGuard<'_, Table> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn many(arguments: &Arguments, length: Length) -> Result<()> {
    let (sum, began) = (Sum { log: Log::open(arguments.log.as_deref())?, ..Sum::default() }, Instant::now());
    let end = arguments.minutes.map(|minutes| began + Duration::from_secs_f64(minutes * 60.0));
    std::thread::scope(|scope| {
        for _ in 1..arguments.threads {
            scope.spawn(|| work(arguments, length, end, &sum));
        }
        // One thread is this one: a process that never had another allocates faster.
        work(arguments, length, end, &sum);
    });
    let (seeds, steps) = (sum.seeds.load(Ordering::Relaxed), sum.steps.load(Ordering::Relaxed));
    let seconds = began.elapsed().as_secs_f64();
    let (of_steps, of_seeds) = (steps as f64 / seconds, seeds as f64 / seconds);
    let text = format!("{seeds} seeds, {steps} steps in {seconds:.1} s: {of_steps:.0} steps a second");
    match arguments.row {
        false => println!("{}\n{text}", sum.met()),
        true => println!(
            "| simulation on one core, {seeds} seeds | {of_steps:.0} steps/s, {of_seeds:.1} seeds/s | - | - |"
        ),
    }
    sum.log.say(&format!("{}\n{text}; go on with --from {}", sum.met(), arguments.from + seeds));
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
        let seed = arguments.from + number;
        let outcome = seed::run(seed, length);
        let steps = outcome.as_ref().map(|outcome| outcome.steps).unwrap_or_default();
        if let Ok(outcome) = &outcome {
            sum.met().add(&outcome.met);
        }
        let all = sum.steps.fetch_add(steps, Ordering::Relaxed) + steps;
        if number % LOG_EVERY == LOG_EVERY - 1 {
            sum.log.say(&format!("through seed {seed}: {all} steps"));
        }
        if let Some(text) = broken(&outcome) {
            println!("{text}");
            sum.log.say(&text);
            sum.broken.fetch_add(1, Ordering::Relaxed);
            sum.stop.fetch_or(!arguments.keep_going, Ordering::Relaxed);
        }
    }
}

/// How a promise was broken, if one was.
fn broken(outcome: &Result<Outcome>) -> Option<String> {
    match outcome {
        Ok(outcome) if outcome.broken.is_none() => None,
        Ok(outcome) => Some(outcome.to_string()),
        Err(error) => Some(format!("{error:#}")),
    }
}

/// Where a long run says how it goes; nowhere by default.
#[derive(Default)]
struct Log(Option<Mutex<File>>);

impl Log {
    fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let file = File::options().create(true).append(true).open(path);
        Ok(Self(Some(Mutex::new(file.with_context(|| path.display().to_string())?))))
    }

    fn say(&self, text: &str) {
        let Some(file) = &self.0 else { return };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writeln!(file, "{text}") {
            eprintln!("sim: the log: {error}");
        }
    }
}
