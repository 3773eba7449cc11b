//! Runs targets in processes of their own, one after the other, and says what became of them.
//!
//! What ends a process is a finding: its last input is saved with the command that shows it again, and the target goes
//! on with another seed. An input that takes too much of the processor's time (not of the clock's: other programs may
//! have it) is a finding, too.

use crate::engine;
use crate::targets::Target;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Most time of the processor for one input. The slowest that is right takes a second without optimization.
const PROCESSOR_MAX: Duration = Duration::from_secs(30);
/// Clock ticks a second in `/proc/<pid>/stat`: Linux shows 100 on every architecture that we know.
const TICKS: u64 = 100;
/// How often a process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A target that breaks so often is left alone for this run.
const FINDINGS_MAX: usize = 5;

/// How long, and where findings go.
#[derive(Debug, Clone)]
pub struct Session {
    /// For each target.
    pub time: Duration,
    /// Most inputs of each target; none: those that have been seen to pass.
    pub inputs: Option<u64>,
    /// Of the first process; the next has the next.
    pub seed: u64,
    /// Where the current input and findings lie.
    pub folder: PathBuf,
    /// Keep what is new in the corpus.
    pub grow: bool,
}

/// Runs these targets. False if one of them broke a promise.
///
/// # Errors
/// When processes cannot be started, or files written.
pub fn run(targets: &[&'static Target], session: &Session) -> Result<bool> {
    std::fs::create_dir_all(&session.folder).with_context(|| session.folder.display().to_string())?;
    let mut green = true;
    for target in targets {
        green &= of(target, session)?;
    }
    Ok(green)
}

fn of(target: &'static Target, session: &Session) -> Result<bool> {
    let begun = Instant::now();
    let (mut numbers, mut findings) = (Numbers::default(), 0);
    while let Some(left) = session.time.checked_sub(begun.elapsed()) {
        let seed = session.seed.wrapping_add(findings as u64);
        let mut process = Process::start(target, session, seed, left)?;
        let ended = process.end()?;
        numbers = numbers.with(process.numbers()?);
        let Some(why) = ended else { break };
        let path = process.save(target, session)?;
        println!(
            "fuzz {}: {why}\n  again: cargo xtask fuzz --target {} --replay {}",
            target.name,
            target.name,
            path.display()
        );
        findings += 1;
        if findings == FINDINGS_MAX {
            break;
        }
    }
    println!(
        "fuzz {}: {} inputs in {} s, {} kept, {} kinds of answers, {findings} findings (--seed {})",
        target.name,
        numbers.executions,
        begun.elapsed().as_secs(),
        numbers.pool,
        numbers.features,
        session.seed
    );
    Ok(findings == 0)
}

/// What a process has told last.
#[derive(Debug, Clone, Copy, Default)]
struct Numbers {
    executions: u64,
    pool: u64,
    features: u64,
}

impl Numbers {
    fn with(self, later: Self) -> Self {
        Self { executions: self.executions + later.executions, ..later }
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ').map(str::parse);
        let mut next = || words.next()?.ok();
        Some(Self { executions: next()?, pool: next()?, features: next()? })
    }
}

struct Process {
    child: Child,
    current: PathBuf,
    output: PathBuf,
}

impl Process {
    fn start(target: &Target, session: &Session, seed: u64, time: Duration) -> Result<Self> {
        let at = |ending: &str| session.folder.join(format!("{}.{ending}", target.name));
        let (current, output) = (at("current"), at("output"));
        let mut command = Command::new(std::env::current_exe().context("the path of this program")?);
        command.args(["--target", target.name, "--alone", "--seed", &seed.to_string()]);
        command.arg("--seconds").arg(time.as_secs_f64().to_string()).arg("--folder").arg(&session.folder);
        command.arg("--inputs").arg(session.inputs.unwrap_or(target.tested).to_string());
        command.args(session.grow.then_some("--grow")).env("RUST_BACKTRACE", "0");
        let file = File::create(&output).with_context(|| output.display().to_string())?;
        let child = command.stdout(Stdio::from(file)).spawn().context("cannot start a process")?;
        Ok(Self { child, current, output })
    }

    /// Waits for the end. Says why, if it is a bad one.
    fn end(&mut self) -> Result<Option<String>> {
        let mut looked = (self.number(), self.processor());
        loop {
            if let Some(status) = self.child.try_wait().context("waiting for a process")? {
                return Ok((!status.success()).then(|| format!("the process ended: {status}")));
            }
            std::thread::sleep(LOOK_EVERY);
            let now = (self.number(), self.processor());
            if now.0 != looked.0 {
                looked = now;
            } else if now.1.saturating_sub(looked.1) > PROCESSOR_MAX {
                self.child.kill().context("ending a process")?;
                self.child.wait().context("waiting for a process")?;
                return Ok(Some(format!("one input took more than {} s", PROCESSOR_MAX.as_secs())));
            }
        }
    }

    /// The number of the input that runs.
    fn number(&self) -> Vec<u8> {
        std::fs::read(&self.current).map(|bytes| bytes.into_iter().take(8).collect()).unwrap_or_default()
    }

    /// Time of the processor that the process has had (proc(5): utime and stime).
    fn processor(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let after_name = text.rsplit(") ").next().unwrap_or_default();
        let ticks: u64 =
            after_name.split(' ').skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 1000 / TICKS)
    }

    fn numbers(&self) -> Result<Numbers> {
        let file = File::open(&self.output).with_context(|| self.output.display().to_string())?;
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        Ok(lines.filter_map(|line| Numbers::parse(&line)).last().unwrap_or_default())
    }

    /// The last input, in a file of its own.
    fn save(&self, target: &Target, session: &Session) -> Result<PathBuf> {
        let bytes = std::fs::read(&self.current).with_context(|| self.current.display().to_string())?;
        let Some((_, input)) = bytes.split_at_checked(8) else {
            bail!("{} holds no input", self.current.display())
        };
        let path = session.folder.join(format!("{}-{}", target.name, engine::name(input)));
        std::fs::write(&path, input).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

/// Leaves of a target's corpus the smallest inputs that together show all that it shows.
///
/// # Errors
/// When files cannot be read or removed.
pub fn shrink(target: &'static Target) -> Result<()> {
    let mut inputs = engine::kept(&target.corpus())?;
    inputs.sort_by_key(|(path, input)| (input.len(), path.clone()));
    let (all, mut seen, mut left) = (inputs.len(), BTreeSet::new(), 0);
    engine::each(target, inputs, move |path, features| {
        if features.is_subset(&seen) {
            remove(path)?;
        } else {
            seen.extend(features);
            left += 1;
            println!("fuzz {}: {left} of {all} inputs show {} kinds of answers", target.name, seen.len());
        }
        Ok(())
    })
}

fn remove(path: &Path) -> Result<()> {
    std::fs::remove_file(path).with_context(|| path.display().to_string())
}
