//! Plays the steps: acts, listens, and notes when each goal is reached.

use crate::Config;
use crate::clean::{self, CleanError};
use crate::goal::Goal;
use crate::hands::{self, Asked, HandsError};
use crate::manifests::{self, LABEL, NAMESPACE};
use crate::nodes::Nodes;
use crate::processes::{self, Usage, Watched};
use crate::report::{Played, Report, Sign, Took, Waits};
use crate::seen::{DaemonSet, Node, Pod, Seen};
use crate::steps::{self, Stage, Step};
use crate::watch::{Told, follow};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// News that wait while others are counted. More would be memory for nothing: a watch waits as well.
const NEWS_WAITING: usize = 10_000;
/// News that are counted before goals are looked at again.
const NEWS_AT_ONCE: usize = 1_000;
/// How often somebody who looks on is told.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Another one is at work, or was killed.
    #[error(
        "namespace {NAMESPACE} is there: another bench runs, or has left something; `everynode bench --clean` removes it"
    )]
    Leftovers,
    /// The server did not even tell its version.
    #[error("the server does not answer")]
    NoServer(#[source] Box<kube::Error>),
    /// A request failed.
    #[error("step {step}")]
    Hands {
        /// Of which step.
        step: Step,
        /// Why.
        #[source]
        source: HandsError,
    },
    /// The cluster stands still.
    #[error("step {step}: {now} of {wanted} {goal}, and nothing has changed for {} s", patience.as_secs())]
    Stuck {
        /// In which step.
        step: Step,
        /// What was waited for.
        goal: Goal,
        /// How many there are.
        now: u64,
        /// How many there have to be.
        wanted: u64,
        /// How long it was waited for.
        patience: Duration,
    },
    /// The hollow nodes ended.
    #[error("step {step}: {why}")]
    Nodes {
        /// In which step.
        step: Step,
        /// What they say.
        why: String,
    },
    /// Somebody wishes the end.
    #[error("interrupted in step {0}")]
    Interrupted(Step),
    /// It could not be cleaned up.
    #[error(transparent)]
    Clean(#[from] CleanError),
}

/// Plays all steps and cleans up, also after a failure. `tell` is told now and then how far it is.
pub async fn run(
    config: &Config,
    stop: agent::Shutdown,
    tell: impl FnMut(String),
) -> Result<Report, BenchError> {
    let client = &config.client;
    let version = client.apiserver_version().await;
    let version = version.map_err(|error| BenchError::NoServer(Box::new(error)))?;
    if clean::exists(client, &format!("/api/v1/namespaces/{NAMESPACE}")).await {
        return Err(BenchError::Leftovers);
    }
    let mut bench = Bench::new(config, tell);
    let played = bench.play(&stop).await;
    (bench.tell)("cleaning up".into());
    let cleaned = clean::clean(client, Some(bench.nodes)).await;
    let steps = played?;
    cleaned?;
    let (nodes, daemonsets) = (config.nodes, config.daemonsets);
    Ok(Report { server: version.git_version, nodes, daemonsets, steps })
}

enum News {
    Node(Told<Node>),
    Pod(Told<Pod>),
    Set(Told<DaemonSet>),
}

struct Bench<'a, T> {
    config: &'a Config,
    tell: T,
    stage: Stage,
    nodes: Nodes,
    seen: Seen,
    news: mpsc::Receiver<News>,
    /// The watches; they end with the bench.
    _watches: JoinSet<()>,
}

impl<'a, T: FnMut(String)> Bench<'a, T> {
    fn new(config: &'a Config, tell: T) -> Self {
        let (client, stage) = (&config.client, Stage::new(config.nodes, config.join, config.daemonsets));
        let (listener, news) = mpsc::channel(NEWS_WAITING);
        let mut watches = JoinSet::new();
        let nodes = format!("/api/v1/nodes?labelSelector={LABEL}");
        let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods?");
        let sets = format!("{}?", hands::sets_path());
        watches.spawn(follow(client.clone(), nodes, listener.clone(), News::Node));
        watches.spawn(follow(client.clone(), pods, listener.clone(), News::Pod));
        watches.spawn(follow(client.clone(), sets, listener, News::Set));
        let nodes = Nodes::new(client.clone(), &stage);
        Self { config, tell, stage, nodes, seen: Seen::default(), news, _watches: watches }
    }

    async fn play(&mut self, stop: &agent::Shutdown) -> Result<Vec<Played>, BenchError> {
        let namespace = Asked::post("/api/v1/namespaces", manifests::namespace());
        let failed = |source| BenchError::Hands { step: Step::Nodes, source };
        hands::one(&self.config.client, &namespace).await.map_err(failed)?;
        let mut played = Vec::new();
        for step in steps::of(self.config) {
            played.push(self.step(step, stop).await?);
        }
        Ok(played)
    }

    async fn step(&mut self, step: Step, stop: &agent::Shutdown) -> Result<Played, BenchError> {
        let before: Vec<_> = self.config.processes.iter().map(processes::usage).collect();
        self.seen.forget_arrivals();
        let changes = self.seen.changes;
        self.stage = self.stage.after(step);
        let signs = self.reach(step, stop).await?;
        let took = |(watched, before): (&Watched, _)| {
            let Usage { cpu_seconds, memory } = processes::between(before, &processes::usage(watched));
            Took { process: watched.to_string(), cpu_seconds, memory }
        };
        Ok(Played {
            step: step.name(),
            signs,
            join: (step == Step::Join).then(|| Waits::of(&self.seen.waits())).flatten(),
            disturbed_pods: (step == Step::Relabel).then(|| self.seen.changes - changes),
            processes: self.config.processes.iter().zip(&before).map(took).collect(),
        })
    }

    /// Does what the step does, and listens until its goals are reached.
    async fn reach(&mut self, step: Step, stop: &agent::Shutdown) -> Result<Vec<Sign>, BenchError> {
        let goals = self.stage.goals(step);
        let mut reached: Vec<Option<Duration>> = vec![None; goals.len()];
        let asked = hands::of(step, &self.stage, &self.nodes.names());
        let client = self.config.client.clone();
        let (began, mut acting) = (Instant::now(), JoinSet::new());
        acting.spawn(async move { hands::make(&client, asked).await });
        self.nodes.act(step, &self.stage);
        let mut ticks = interval(TELL_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut patience = Patience::new(self.config.patience);
        while reached.iter().any(Option::is_none) {
            tokio::select! {
                () = stop.cancelled() => return Err(BenchError::Interrupted(step)),
                why = self.nodes.ended() => return Err(BenchError::Nodes { step, why }),
                Some(done) = acting.join_next() => match done {
                    Ok(made) => made.map_err(|source| BenchError::Hands { step, source })?,
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                Some(news) = self.news.recv() => self.hear(news, began),
                _ = ticks.tick() => self.look_on(step, &goals, &mut patience)?,
            }
            // What was asked for and is not yet answered cannot have been reached.
            if acting.is_empty() {
                self.note(&goals, &mut reached, began.elapsed());
            }
        }
        let touched = self.stage.touched(step);
        let sign = |(goal, at): (&Goal, Option<Duration>)| Sign {
            what: goal.to_string(),
            seconds: at.unwrap_or_default().as_secs_f64(),
            things: goal.things(touched, self.stage.daemonsets),
        };
        Ok(goals.iter().zip(reached).map(sign).collect())
    }

    fn note(&self, goals: &[Goal], reached: &mut [Option<Duration>], now: Duration) {
        for (goal, reached) in goals.iter().zip(reached) {
            if reached.is_none() && goal.progress(&self.seen, self.stage.daemonsets).is_reached() {
                *reached = Some(now);
            }
        }
    }

    fn hear(&mut self, first: News, began: Instant) {
        let at = began.elapsed();
        let mut next = Some(first);
        for _ in 0..NEWS_AT_ONCE {
            let Some(news) = next else { return };
            count(&mut self.seen, news, at);
            next = self.news.try_recv().ok();
        }
        if let Some(last) = next {
            count(&mut self.seen, last, at);
        }
    }

    fn look_on(&mut self, step: Step, goals: &[Goal], patience: &mut Patience) -> Result<(), BenchError> {
        let progress = |goal: &Goal| goal.progress(&self.seen, self.stage.daemonsets);
        let open = goals.iter().find(|goal| !progress(goal).is_reached());
        let Some((goal, missing)) = open.map(|goal| (*goal, progress(goal))) else { return Ok(()) };
        let all: Vec<u64> = goals.iter().map(|goal| progress(goal).now).collect();
        let (now, wanted) = (missing.now, missing.wanted);
        (self.tell)(match goal {
            Goal::Gone => format!("{step}: {now} pods left"),
            _ => format!("{step}: {now} of {wanted} {goal}"),
        });
        match patience.is_over(all) {
            true => Err(BenchError::Stuck { step, goal, now, wanted, patience: patience.limit }),
            false => Ok(()),
        }
    }
}

fn count(seen: &mut Seen, news: News, at: Duration) {
    match news {
        News::Node(Told::All(nodes)) => seen.only_nodes(&nodes, at),
        News::Node(Told::Is(node)) => seen.node(&node, at),
        News::Node(Told::Gone(node)) => seen.node_gone(&node),
        News::Pod(Told::All(pods)) => seen.only_pods(&pods, at),
        News::Pod(Told::Is(pod)) => seen.pod(&pod, at),
        News::Pod(Told::Gone(pod)) => seen.pod_gone(&pod),
        News::Set(Told::All(sets)) => seen.only_sets(&sets),
        News::Set(Told::Is(set)) => seen.set(&set),
        News::Set(Told::Gone(set)) => seen.set_gone(&set),
    }
}

/// How long nothing has changed.
struct Patience {
    limit: Duration,
    seen: Vec<u64>,
    since: Instant,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { limit, seen: Vec::new(), since: Instant::now() }
    }

    fn is_over(&mut self, seen: Vec<u64>) -> bool {
        if seen != self.seen {
            (self.seen, self.since) = (seen, Instant::now());
        }
        self.since.elapsed() > self.limit
    }
}
