//! The shared shape of all loops: a queue of keys, one run per key at a time, retries and wake-ups.
//!
//! 1. A key that is added while it runs, runs once more afterwards; added twice before it runs, it runs once (WE-17).
//! 2. A run gets the key and never the change: the same work after a restart, a missed event or a storm.
//! 3. The queue holds each key at most once, so it is bounded by the number of objects.
//! 4. No chance: the delays are exact, and of two keys that are due the earlier, then the smaller one runs first.
//!
//! Kubernetes: `client-go/util/workqueue`. Differs: an earlier wake-up swallows a later one of the same key, since every
//! run says anew when it wants to look again; and the longest retry delay is [`RETRY_MAX`].

use crate::limits::{Limit, Limits};
use crate::metrics::{Metrics, table};
use futures::StreamExt as _;
use futures::future::{Either, select};
use futures::stream::FuturesUnordered;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt::{Debug, Display};
use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Delay before the first retry; each further one doubles it. Kubernetes: `DefaultControllerRateLimiter`.
pub const RETRY_FIRST: Duration = Duration::from_millis(5);

/// Longest delay before a retry. Differs: upstream waits up to 1,000 s; a cured cause should show within a minute.
pub const RETRY_MAX: Duration = Duration::from_secs(60);

/// Failures in a row of one key that nobody needs to read of.
const QUIET_FAILURES: u32 = 2;

/// What a run wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until somebody adds the key again.
    Rest,
    /// Another look after this time, even if nothing happens.
    After(Duration),
}

impl Next {
    /// The earlier of two wishes.
    pub fn sooner(self, other: Self) -> Self {
        match (self, other) {
            (Self::After(a), Self::After(b)) => Self::After(a.min(b)),
            (Self::Rest, wish) | (wish, Self::Rest) => wish,
        }
    }
}

/// Keys that wait for a run.
#[derive(Debug)]
pub struct Queue<K> {
    inner: Mutex<Inner<K>>,
    /// Tells the worker that an earlier moment is due.
    changed: Notify,
    /// Every added key waits this long, so that a burst of events costs one run.
    coalesce: Duration,
    meter: Option<Meter>,
}

/// Counts what a queue does, under this name.
#[derive(Debug)]
struct Meter {
    name: &'static str,
    metrics: Metrics,
    limits: Limits,
}

#[derive(Debug)]
struct Inner<K> {
    due: BTreeMap<K, Instant>,
    by_time: BTreeSet<(Instant, K)>,
    /// Since when.
    running: BTreeMap<K, Instant>,
    failures: BTreeMap<K, u32>,
}

impl<K: Ord + Clone + Debug> Queue<K> {
    /// An empty queue whose keys wait for `coalesce` before they run.
    pub fn new(coalesce: Duration) -> Self {
        let inner = Inner {
            due: BTreeMap::new(),
            by_time: BTreeSet::new(),
            running: BTreeMap::new(),
            failures: BTreeMap::new(),
        };
        Self { inner: Mutex::new(inner), changed: Notify::new(), coalesce, meter: None }
    }

    /// The same, and counted.
    pub fn measured(self, name: &'static str, metrics: &Metrics, limits: &Limits) -> Self {
        Self { meter: Some(Meter { name, metrics: metrics.clone(), limits: limits.clone() }), ..self }
    }

    /// Wants a run of this key soon.
    pub fn add(&self, key: K) {
        self.add_after(key, self.coalesce);
    }

    /// Wants a run of this key after `delay` at the latest.
    pub fn add_after(&self, key: K, delay: Duration) {
        let at = Instant::now() + delay;
        if let Some(Meter { name, metrics, .. }) = &self.meter {
            metrics.count(&table::ADDS, &[name]);
        }
        if self.lock().want(key, at) {
            self.changed.notify_one();
        }
    }

    /// How many keys wait or run.
    pub fn len(&self) -> usize {
        let inner = self.lock();
        inner.due.keys().chain(inner.running.keys()).collect::<BTreeSet<_>>().len()
    }

    /// How many keys are due and wait.
    pub fn waiting(&self) -> usize {
        let (inner, now) = (self.lock(), Instant::now());
        inner.by_time.iter().take_while(|(at, _)| *at <= now).count()
    }

    /// How long each run that is under way has taken so far.
    pub fn under_way(&self) -> Vec<Duration> {
        self.lock().running.values().map(Instant::elapsed).collect()
    }

    /// The next key that is due. `workers` run at a time: nobody waits for anything else.
    fn take(&self, workers: usize) -> Option<K> {
        let now = Instant::now();
        let (due, key) = self.lock().take(now)?;
        if let Some(Meter { name, metrics, limits }) = &self.meter {
            let waited = now.duration_since(due);
            metrics.observe(&table::QUEUED, &[name], waited);
            limits.waited(Limit::Workers(workers), waited);
        }
        Some(key)
    }

    /// Whether nothing waits or runs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of a run: success forgets the failures, an error comes back later and later.
    fn finish<E: Display>(&self, key: K, outcome: Result<Next, E>) {
        let mut inner = self.lock();
        let began = inner.running.remove(&key);
        inner.line_up(&key, Instant::now());
        if let (Some(Meter { name, metrics, .. }), Some(began)) = (&self.meter, began) {
            metrics.observe(&table::WORKED, &[name], began.elapsed());
            outcome.as_ref().err().iter().for_each(|_| metrics.count(&table::RETRIES, &[name]));
        }
        match outcome {
            Ok(next) => {
                inner.failures.remove(&key);
                if let Next::After(delay) = next {
                    inner.want(key, Instant::now() + delay);
                }
            }
            Err(error) => {
                let failures = inner.failures.entry(key.clone()).or_default();
                let delay = retry_delay(*failures);
                *failures = failures.saturating_add(1);
                // A first failure is most often a write of somebody else in between.
                match *failures > QUIET_FAILURES {
                    true => tracing::warn!(?key, %error, ?delay, "will be tried again"),
                    false => tracing::debug!(?key, %error, ?delay, "will be tried again"),
                }
                inner.want(key, Instant::now() + delay);
            }
        }
    }
}

impl<K: Ord + Clone> Inner<K> {
    /// Notes the earliest wish. True if it is news.
    fn want(&mut self, key: K, at: Instant) -> bool {
        match self.due.get(&key) {
            Some(before) if *before <= at => return false,
            Some(before) => {
                self.by_time.remove(&(*before, key.clone()));
            }
            None => {}
        }
        self.due.insert(key.clone(), at);
        self.by_time.insert((at, key));
        true
    }

    /// What was wanted while it ran waits from now on, behind those who have waited longer.
    fn line_up(&mut self, key: &K, now: Instant) {
        if let Some(at) = self.due.get_mut(key).filter(|at| **at < now) {
            self.by_time.remove(&(*at, key.clone()));
            *at = now;
            self.by_time.insert((now, key.clone()));
        }
    }

    /// The next key that is due and does not run already.
    fn take(&mut self, now: Instant) -> Option<(Instant, K)> {
        let running = &self.running;
        let found =
            self.by_time.iter().take_while(|(at, _)| *at <= now).find(|(_, key)| !running.contains_key(key));
        let (at, key) = found.cloned()?;
        self.by_time.remove(&(at, key.clone()));
        self.due.remove(&key);
        self.running.insert(key.clone(), now);
        Some((at, key))
    }

    /// When the next key that does not run is due.
    fn next_at(&self) -> Option<Instant> {
        self.by_time.iter().find(|(_, key)| !self.running.contains_key(key)).map(|(at, _)| *at)
    }
}

/// The delay after so many failures: 5 ms doubled each time, at most [`RETRY_MAX`].
fn retry_delay(failures: u32) -> Duration {
    RETRY_FIRST.saturating_mul(2u32.saturating_pow(failures)).min(RETRY_MAX)
}

/// Runs `step` for the keys of the queue for ever, at most `workers` at a time.
pub async fn work<K, E, F, Fut>(queue: &Queue<K>, workers: usize, step: F) -> Infallible
where
    K: Ord + Clone + Debug,
    E: Display,
    F: Fn(K) -> Fut,
    Fut: Future<Output = Result<Next, E>>,
{
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < workers {
            let Some(key) = queue.take(workers) else { break };
            let run = step(key.clone());
            running.push(async move { (key, run.await) });
        }
        if let Some((key, outcome)) = next_end(queue, &mut running, workers).await {
            queue.finish(key, outcome);
        }
    }
}

/// Waits for the end of a run, or until another key can start.
async fn next_end<K, T, R>(queue: &Queue<K>, running: &mut FuturesUnordered<R>, workers: usize) -> Option<T>
where
    K: Ord + Clone + Debug,
    R: Future<Output = T>,
{
    let free = running.len() < workers;
    let started = pin!(async {
        if !free {
            return std::future::pending().await;
        }
        let next_at = queue.lock().next_at();
        let due = pin!(async {
            match next_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        });
        select(pin!(queue.changed.notified()), due).await;
    });
    let ended = pin!(async {
        match running.next().await {
            Some(end) => end,
            None => std::future::pending().await,
        }
    });
    match select(ended, started).await {
        Either::Left((end, _)) => Some(end),
        Either::Right(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    type Log = Arc<Mutex<Vec<(u64, &'static str)>>>;

    /// Runs a queue for a simulated minute; each run takes 100 ms and is logged with its start in ms.
    async fn check(
        adds: &[(u64, &'static str)],
        answer: impl Fn(&str, usize) -> Result<Next, String> + Send + Sync + 'static,
        expected: &[(u64, &'static str)],
    ) {
        let queue = Queue::new(Duration::from_millis(20));
        let (start, log) = (Instant::now(), Log::default());
        let step = |key: &'static str| {
            let mut log = log.lock().unwrap();
            log.push((start.elapsed().as_millis() as u64, key));
            let count = log.iter().filter(|(_, other)| *other == key).count();
            let outcome = answer(key, count);
            async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                outcome
            }
        };
        let adding = async {
            for (at, key) in adds {
                tokio::time::sleep_until(start + Duration::from_millis(*at)).await;
                queue.add(*key);
            }
            tokio::time::sleep_until(start + Duration::from_secs(60)).await;
        };
        tokio::select! { _ = work(&queue, 2, step) => {}, () = adding => {} }
        assert_eq!(*log.lock().unwrap(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_one_run_and_a_change_during_a_run_is_one_more() {
        // WE-17.
        check(
            &[(0, "a"), (5, "a"), (10, "a"), (50, "a"), (60, "a")],
            |_, _| Ok(Next::Rest),
            &[(20, "a"), (120, "a")],
        )
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn keys_run_beside_each_other_up_to_the_limit() {
        // WE-18.
        check(&[(0, "a"), (0, "b"), (0, "c")], |_, _| Ok(Next::Rest), &[(20, "a"), (20, "b"), (120, "c")])
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_waits_for_its_own_run_waits_for_no_worker() {
        let queue = Queue::<&str>::new(Duration::ZERO);
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.take(2), Some("a"));
        queue.add("a");
        tokio::time::advance(Duration::from_secs(5)).await;
        queue.finish("a", Ok::<_, String>(Next::Rest));
        let (now, mut inner) = (Instant::now(), queue.lock());
        let waits = [inner.take(now), inner.take(now)].map(|taken| taken.map(|(due, key)| (now - due, key)));
        assert_eq!(waits, [Some((Duration::from_secs(5), "b")), Some((Duration::ZERO, "a"))]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_comes_back_later_and_later_and_success_forgets() {
        // WE-17.
        check(
            &[(0, "a")],
            |_, run| if run < 4 { Err("no".to_string()) } else { Ok(Next::Rest) },
            &[(20, "a"), (125, "a"), (235, "a"), (355, "a")],
        )
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_can_ask_to_look_again() {
        let second = Duration::from_secs(1);
        check(
            &[(0, "a")],
            move |_, run| Ok(if run < 3 { Next::After(second) } else { Next::Rest }),
            &[(20, "a"), (1120, "a"), (2220, "a")],
        )
        .await;
    }

    #[test]
    fn the_retry_delay_doubles_up_to_its_end() {
        let delays: Vec<u64> = [0, 1, 5, 13, 14, 40].map(|n| retry_delay(n).as_millis() as u64).to_vec();
        assert_eq!(delays, [5, 10, 160, 40_960, 60_000, 60_000]);
        assert_eq!(Next::After(RETRY_MAX).sooner(Next::After(RETRY_FIRST)), Next::After(RETRY_FIRST));
        assert_eq!(Next::Rest.sooner(Next::After(RETRY_FIRST)), Next::After(RETRY_FIRST));
    }
}
