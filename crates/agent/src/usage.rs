//! What do the node and its containers use, and how fast do they use processor time?
//!
//! Nothing is measured before somebody asks: a rate needs two looks, and the last question's look serves as the first
//! one for a minute. Who asks for the first time waits a second. What cannot be read has no numbers; it is never zero.
//! Kubernetes: `pkg/kubelet/stats` and cAdvisor, which look all the time.

use crate::pods::{Directory, Entry};
use crate::{Config, cgroup, register, sandbox};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The first of two looks may be this old: a rate of longer ago is history.
const LONGEST: Duration = Duration::from_secs(60);
/// Two looks are at least this far apart: processor time is counted in steps of 10 ms.
const SHORTEST: Duration = Duration::from_secs(1);
/// A measurement serves all who ask within this time.
const FRESH: Duration = Duration::from_secs(5);
/// Linux counts in hundredths of a second wherever programs can see it (`USER_HZ`).
const TICK_NANOSECONDS: u64 = 10_000_000;

/// Looks at the cgroups of this node when asked.
#[derive(Clone)]
pub struct Meter {
    config: Config,
    last: Arc<Mutex<Option<Measured>>>,
}

/// Two looks at the same node.
#[derive(Clone)]
pub struct Measured {
    before: Arc<Look>,
    /// The newer one.
    pub now: Arc<Look>,
}

/// One look.
#[derive(Debug)]
pub struct Look {
    at: Instant,
    /// When, for people.
    pub time: Timestamp,
    /// The whole machine.
    pub node: Option<Used>,
    /// Everything that runs.
    pub containers: BTreeMap<Place, Used>,
}

/// Which container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// Its uid.
    pub uid: String,
    /// The container's name.
    pub container: String,
    /// The runtime's id: a new run begins to count again.
    pub id: String,
}

/// What has been used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Nanoseconds of processor time since the start.
    pub processor: u64,
    /// Bytes of memory, less what the kernel can take back at once.
    pub memory: u64,
    /// Seconds since 1970 at which it started; of a node unknown.
    pub started: Option<i64>,
}

impl Meter {
    /// A meter that has not looked yet.
    pub fn new(config: Config) -> Self {
        Self { config, last: Arc::default() }
    }

    /// The newest measurement, not older than five seconds. Those who ask at once share it.
    pub async fn measure(&self, directory: &Directory) -> Measured {
        let mut last = self.last.lock().await;
        let age = |look: &Look| look.at.elapsed();
        if let Some(known) = last.as_ref().filter(|known| age(&known.now) < FRESH) {
            return known.clone();
        }
        let before = match last.take() {
            Some(known) if age(&known.now) < LONGEST => known.now,
            _ => {
                let look = Arc::new(self.look(directory));
                tokio::time::sleep(SHORTEST).await;
                look
            }
        };
        let measured = Measured { before, now: Arc::new(self.look(directory)) };
        *last = Some(measured.clone());
        measured
    }

    fn look(&self, directory: &Directory) -> Look {
        let containers = directory.all().into_iter().flat_map(|entry| self.containers(&entry));
        let containers = containers.collect();
        Look { at: Instant::now(), time: Timestamp::now(), node: machine(), containers }
    }

    fn containers(&self, entry: &Entry) -> Vec<(Place, Used)> {
        let meta = &entry.pod.metadata;
        let uid = meta.uid.clone().unwrap_or_default();
        let spec = entry.pod.spec.clone().unwrap_or_default();
        let pod = sandbox::cgroup(&self.config, &spec, &uid);
        let status = entry.status.borrow().clone();
        let lists =
            [status.container_statuses, status.init_container_statuses, status.ephemeral_container_statuses];
        let running = lists.into_iter().flatten().flatten().filter_map(|status| {
            let since = status.state?.running?.started_at;
            let id = status.container_id?;
            let id = id.split_once("://").map_or(id.as_str(), |(_, id)| id).to_string();
            let used = cgroup::usage_of(&format!("{pod}/{id}"))?;
            let place = Place {
                namespace: meta.namespace.clone().unwrap_or_default(),
                pod: meta.name.clone().unwrap_or_default(),
                uid: uid.clone(),
                container: status.name,
                id,
            };
            let started = since.map(|time| time.0.as_second());
            Some((place, Used { processor: used.processor, memory: used.memory, started }))
        });
        running.collect()
    }
}

impl Measured {
    /// Seconds between the looks.
    pub fn window(&self) -> Duration {
        self.now.at.saturating_duration_since(self.before.at)
    }

    /// Nanoseconds of processor time that the machine spends in a second.
    pub fn node_rate(&self) -> Option<u64> {
        rate(self.before.node?, self.now.node?, self.window())
    }

    /// The same of one container; none for one that was not there at the first look.
    pub fn rate(&self, place: &Place) -> Option<u64> {
        rate(*self.before.containers.get(place)?, *self.now.containers.get(place)?, self.window())
    }
}

fn rate(before: Used, now: Used, window: Duration) -> Option<u64> {
    let spent = u128::from(now.processor.checked_sub(before.processor)?) * 1_000_000_000;
    u64::try_from(spent.checked_div(window.as_nanos())?).ok()
}

/// The whole machine, as kubelet tells it of the root cgroup.
fn machine() -> Option<Used> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let memory = |name: &str| register::memory(name);
    let used = memory("MemTotal")?.checked_sub(memory("MemFree")?)?;
    let used = used.saturating_sub(memory("Inactive(file)").unwrap_or_default());
    Some(Used { processor: busy(&stat)?, memory: used.saturating_mul(1024), started: None })
}

/// Processor time of all processors that was not idle. `user nice system idle iowait irq softirq steal …`.
fn busy(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let busy = ticks.iter().take(8).enumerate().filter(|(place, _)| ![3, 4].contains(place));
    (ticks.len() >= 8).then(|| busy.map(|(_, ticks)| ticks.saturating_mul(TICK_NANOSECONDS)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Look {
        /// A look at second 1 of 1970.
        pub(crate) fn of(node: Option<Used>, containers: BTreeMap<Place, Used>) -> Self {
            let time = Timestamp::from_second(1).unwrap();
            Self { at: Instant::now(), time, node, containers }
        }
    }

    impl Measured {
        /// Two looks, two seconds apart.
        pub(crate) fn of(before: Look, now: Look) -> Self {
            let now = Look { at: before.at + Duration::from_secs(2), ..now };
            Self { before: Arc::new(before), now: Arc::new(now) }
        }
    }

    #[test]
    fn idle_time_is_not_busy() {
        assert_eq!(busy("cpu  1 2 3 1000 500 4 5 6 7 8\ncpu0 1 1\n"), Some(21 * TICK_NANOSECONDS));
        assert_eq!(busy("cpu  1 2\n"), None);
        assert_eq!(busy(""), None);
    }

    #[test]
    fn a_rate_needs_two_looks_at_the_same_run() {
        let used = |processor| Used { processor, ..Used::default() };
        let second = Duration::from_secs(1);
        let check =
            |before, now, window, expected| assert_eq!(rate(used(before), used(now), window), expected);
        check(1_000, 251_000_000, second, Some(250_999_000));
        check(0, 500_000_000, second * 10, Some(50_000_000));
        check(5, 4, second, None);
        check(0, 1, Duration::ZERO, None);
    }
}
