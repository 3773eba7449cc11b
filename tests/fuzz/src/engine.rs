//! Runs one target in this process: changes inputs, and keeps those that show something new.
//!
//! The process has no way back from a panic: it ends, and its last input lies in a file. So does the process of a
//! stack that overflows, or of memory that is refused.

use crate::chance::Chance;
use crate::memory::Account;
use crate::novelty;
use crate::server;
use crate::targets::Target;
use anyhow::{Context as _, Result};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The stack of a thread of tokio's, in which the product handles requests.
const STACK: usize = 2 << 20;
/// Longest input. What is longer says the same more often; what has to be large says how large in a byte.
const INPUT_MAX: usize = 4 << 10;
/// Times that a pool's inputs are preferred to new ones.
const FRESH_IN: usize = 16;
/// How often the numbers are told.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// What to run.
#[derive(Debug, Clone)]
pub struct Orders {
    /// Where all chance comes from.
    pub seed: u64,
    /// How long at most.
    pub time: Duration,
    /// How many inputs at most, besides those of the corpus.
    pub inputs: u64,
    /// Where each input is written before it runs.
    pub current: PathBuf,
    /// Where inputs are kept that show something new; none are without it.
    pub keep: Option<PathBuf>,
}

/// Runs a target until its time is up, beginning with its corpus.
///
/// # Errors
/// When files cannot be read or written.
pub fn run(target: &'static Target, orders: Orders) -> Result<()> {
    on_a_small_stack(move || {
        let ended = Run::begin(target, orders)?.go();
        server::close();
        ended
    })
}

/// Runs a target on each of these inputs, and gives what it showed. The path of one that breaks a promise is told on the
/// way out.
///
/// # Errors
/// Those of `then`, and when there can be no thread.
///
/// # Panics
/// When an input breaks a promise.
pub fn each(
    target: &'static Target,
    inputs: Vec<(PathBuf, Vec<u8>)>,
    mut then: impl FnMut(&Path, BTreeSet<u64>) -> Result<()> + Send + 'static,
) -> Result<()> {
    on_a_small_stack(move || {
        for (path, input) in inputs {
            let told = Told(&path);
            let features = features(target, &input);
            std::mem::forget(told);
            then(&path, features)?;
        }
        server::close();
        Ok(())
    })
}

struct Told<'a>(&'a Path);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        eprintln!("the input is {}", self.0.display());
    }
}

/// One after the other: memory is counted for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

fn on_a_small_stack<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(work).context("a thread")?;
    match thread.join() {
        Ok(ended) => ended,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn features(target: &Target, input: &[u8]) -> BTreeSet<u64> {
    let mut account = Account::open();
    account.send(input.len());
    (target.run)(input, &mut account);
    account.close();
    novelty::take()
}

/// The inputs that a folder keeps, by name.
///
/// # Errors
/// When it cannot be read; one that is not there has none.
pub fn kept(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut inputs = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        inputs.push((path, bytes));
    }
    inputs.sort();
    Ok(inputs)
}

struct Run {
    target: &'static Target,
    orders: Orders,
    chance: Chance,
    current: File,
    pool: Vec<Vec<u8>>,
    seen: BTreeSet<u64>,
    executions: u64,
    told: Instant,
}

impl Run {
    fn begin(target: &'static Target, orders: Orders) -> Result<Self> {
        let current = File::create(&orders.current).with_context(|| orders.current.display().to_string())?;
        let mut run = Self {
            chance: Chance::of_seed(orders.seed),
            target,
            orders,
            current,
            pool: Vec::new(),
            seen: BTreeSet::new(),
            executions: 0,
            told: Instant::now(),
        };
        for (_, input) in kept(&target.corpus())? {
            run.try_input(input, false)?;
        }
        Ok(run)
    }

    fn go(mut self) -> Result<()> {
        let end = Instant::now() + self.orders.time;
        let last = self.executions.saturating_add(self.orders.inputs);
        while Instant::now() < end && self.executions < last {
            let input = self.next();
            self.try_input(input, true)?;
        }
        self.tell();
        Ok(())
    }

    fn next(&mut self) -> Vec<u8> {
        if self.pool.is_empty() || self.chance.below(FRESH_IN) == 0 {
            let length = self.chance.below(256);
            return self.chance.bytes(length);
        }
        // The last ones are the newest, and the least tried.
        let newest = self.chance.below(4) == 0;
        let from = if newest { self.pool.len().saturating_sub(16) } else { 0 };
        let at = from + self.chance.below(self.pool.len() - from);
        let other = self.chance.below(self.pool.len());
        let mut input = self.pool[at].clone();
        for _ in 0..=self.chance.below(5) {
            change(&mut self.chance, &mut input, &self.pool[other], self.target.words);
        }
        input.truncate(INPUT_MAX);
        input
    }

    fn try_input(&mut self, input: Vec<u8>, keep: bool) -> Result<()> {
        self.executions += 1;
        self.write_current(&input)?;
        let features = features(self.target, &input);
        if self.told.elapsed() >= TELL_EVERY {
            self.tell();
        }
        let before = self.seen.len();
        self.seen.extend(features);
        if self.seen.len() > before {
            if let Some(folder) = self.orders.keep.as_deref().filter(|_| keep) {
                let path = folder.join(name(&input));
                std::fs::write(&path, &input).with_context(|| path.display().to_string())?;
            }
            self.pool.push(input);
        }
        Ok(())
    }

    /// The number of the input first, so that whoever watches sees the same input once more as another.
    fn write_current(&mut self, input: &[u8]) -> Result<()> {
        self.current.set_len(0)?;
        self.current.rewind()?;
        let number = self.executions.to_le_bytes();
        self.current.write_all(&[&number[..], input].concat()).context("the current input")
    }

    fn tell(&mut self) {
        println!("{} {} {}", self.executions, self.pool.len(), self.seen.len());
        self.told = Instant::now();
    }
}

/// The name of an input in a folder: two of one name are the same.
pub fn name(input: &[u8]) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// One change.
fn change(chance: &mut Chance, input: &mut Vec<u8>, other: &[u8], words: &[&str]) {
    let at = chance.below(input.len() + 1);
    let length = 1 + chance.below(8);
    let end = (at + length).min(input.len());
    match chance.below(8) {
        0 if at < input.len() => input[at] ^= 1 << chance.below(8),
        1 if at < input.len() => input[at] = chance.number() as u8,
        2 if at < input.len() => input[at] = input[at].wrapping_add(1 + chance.below(4) as u8),
        3 => _ = input.drain(at..end),
        4 => {
            let again = input[at..end].to_vec();
            input.splice(at..at, again);
        }
        5 if !words.is_empty() => {
            let word = words[chance.below(words.len())];
            input.splice(at..end, word.bytes());
        }
        6 => {
            let from = chance.below(other.len() + 1);
            let to = (from + 1 + chance.below(64)).min(other.len());
            input.splice(at..end, other[from..to].iter().copied());
        }
        _ => {
            let new = chance.bytes(length);
            input.splice(at..at, new);
        }
    }
}
