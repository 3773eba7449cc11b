//! One run from one seed: a world, users, faults, and then rest.

use crate::beginning::Beginning;
use crate::chance::Chance;
use crate::clock;
use crate::coverage::Coverage;
use crate::faults::Dials;
use crate::rest;
use crate::trace::{Broken, Trace};
use crate::users;
use crate::world::{Plan, World};
use anyhow::{Context as _, Result};
use std::fmt;
use std::time::Duration;

/// How large a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Length {
    /// As its seed says: most are small, since these find most and are read quickly.
    #[default]
    OfSeed,
    /// A large one with so many moves.
    Moves(usize),
}

/// How much there is of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Machines at the beginning; users buy two more at most.
    pub(crate) machines: usize,
    /// DaemonSets.
    pub(crate) sets: usize,
    /// Moves of the users.
    pub(crate) moves: usize,
}

impl Size {
    fn of(length: Length, mut chance: Chance) -> Self {
        let (large, small) = (chance.percent(3), chance.percent(75));
        match length {
            Length::Moves(moves) => Self { machines: 4, sets: 3, moves },
            Length::OfSeed if large => {
                Self { machines: chance.between(4, 8), sets: 3, moves: chance.between(40, 100) }
            }
            Length::OfSeed if small => {
                let (machines, sets) = (chance.between(1, 3), chance.between(1, 2));
                Self { machines, sets, moves: chance.between(3, 12) }
            }
            Length::OfSeed => {
                let (machines, sets) = (chance.between(2, 5), chance.between(1, 3));
                Self { machines, sets, moves: chance.between(10, 40) }
            }
        }
    }
}

/// The longest that a cluster may need to come to rest: longer than the longest back-off of a failed daemon, and than
/// the eviction of pods from nodes that have died.
const REST_WITHIN: Duration = Duration::from_secs(3600);
/// How often it is asked.
const REST_LOOK: Duration = Duration::from_secs(5);
/// So many answers in a row must be good: rest lasts.
const REST_LOOKS: usize = 4;

/// Lines that a broken promise shows in a run of many seeds: in most cases enough to see what led to it.
const SHOWN: usize = 400;

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// Writes that were looked at.
    pub steps: u64,
    /// Over all lines of the trace: equal for equal runs.
    pub hash: u64,
    /// The first promise that was broken.
    pub broken: Option<Broken>,
    /// The last lines of the trace.
    pub last: Vec<String>,
    /// What it has met.
    pub met: Coverage,
}

/// Runs a seed on this thread.
pub fn run(seed: u64, length: Length) -> Result<Outcome> {
    Beginning::prepare()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.context("the runtime")?;
    runtime.block_on(play(seed, length))
}

async fn play(seed: u64, length: Length) -> Result<Outcome> {
    clock::begin();
    let chance = Chance::of_seed(seed);
    let mut of_plan = chance.branch("plan");
    // Every eighth run goes without faults: users alone must be able to break nothing.
    let is_calm = seed.is_multiple_of(8);
    let dials = if is_calm { Dials::default() } else { Dials::swarm(&mut of_plan) };
    let two_leaders = !is_calm && of_plan.percent(20);
    let beginning = if of_plan.percent(5) { Beginning::Empty } else { Beginning::Furnished };
    // One of three seeds has its controller of DaemonSets in a process like that of `everynode controller`.
    let is_apart = chance.branch("apart").percent(33);
    let plan = Plan { dials, two_leaders, is_apart, beginning, ..Plan::default() };
    let size = Size::of(length, chance.branch("size"));
    let trace = Trace::default();
    trace.say(format_args!("seed {seed}: {size:?} {plan:?}"));
    let mut world = World::begin(&chance, plan, trace.clone()).await?;
    world.faults.turn(true);
    users::play(&mut world, chance.branch("users"), size).await;
    world.faults.turn(false);
    users::leave(&mut world).await;
    come_to_rest(&world).await?;
    let (last, hash, steps) = trace.end();
    Ok(Outcome {
        seed,
        steps,
        hash,
        broken: trace.first_broken(),
        last,
        met: trace.coverage(&world.faults.told()),
    })
}

/// Waits until nothing is left to be done, for a while.
pub(crate) async fn come_to_rest(world: &World) -> Result<()> {
    world.trace.say("the users go home, and nothing goes wrong any more");
    let end = tokio::time::Instant::now() + REST_WITHIN;
    let mut good = 0;
    while good < REST_LOOKS {
        tokio::time::sleep(REST_LOOK).await;
        world.observed().await?;
        if world.trace.first_broken().is_some() {
            return Ok(());
        }
        let complaints = rest::complaints(&world.observer.truth());
        good = if complaints.is_empty() { good + 1 } else { 0 };
        if tokio::time::Instant::now() > end {
            world.trace.broken("the cluster comes to rest", complaints.join("; "));
        }
    }
    world.trace.say("the cluster is at rest");
    Ok(())
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, steps, hash, .. } = self;
        match &self.broken {
            None => write!(f, "seed {seed}: {steps} steps, trace {hash:016x}"),
            Some(broken) => {
                let unshown = self.last.len().saturating_sub(SHOWN);
                self.last.iter().skip(unshown).try_for_each(|line| writeln!(f, "{line}"))?;
                writeln!(f, "seed {seed}, step {steps}: {broken}")?;
                write!(f, "again: cargo xtask sim --seed {seed}")
            }
        }
    }
}
