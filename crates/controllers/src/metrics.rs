//! Numbers for Prometheus: what is counted as it happens, and what is gathered when somebody asks.
//!
//! 1. What there is stands in [`table`]; docs/metrics.md says the same.
//! 2. The number of series is bounded: beyond [`MAX_SERIES`] of a metric all share one, labelled `(other)`.
//! 3. What can be read from the caches is gathered at a scrape ([`Metrics::gather`]) and costs nothing between two.
//!
//! Prometheus: text format 0.0.4.

pub mod table;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use table::{Kind, Metric};

/// Series of one metric. A daemon's label values come from a cluster that may have thousands.
pub const MAX_SERIES: usize = 5_000;

/// What the values of further series are called.
const OTHER: &str = "(other)";

/// Where a process stands that may have to wait for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It has just begun.
    Starting,
    /// Another process leads, and this one would take over.
    StandingBy,
    /// It leads, and reads what is there.
    Reading,
    /// It works.
    Working,
}

/// All numbers of a process. Clones show the same.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Inner>);

#[derive(Default)]
struct Inner {
    counted: Mutex<Samples>,
    gatherers: Mutex<Vec<Gatherer>>,
    phase: AtomicU8,
}

type Gatherer = Box<dyn Fn(&mut Samples) + Send + Sync>;

/// Values of series, by metric and labels.
#[derive(Debug, Clone, Default)]
pub struct Samples(BTreeMap<&'static str, BTreeMap<Vec<String>, Value>>);

#[derive(Debug, Clone)]
enum Value {
    Number(f64),
    /// How many fell into each bucket, and beyond the last; their sum.
    Spread(Vec<u64>, f64),
}

impl Metrics {
    /// One more.
    pub fn count(&self, metric: &'static Metric, labels: &[&str]) {
        self.counted().add(metric, labels, 1.0);
    }

    /// It is this now.
    pub fn set(&self, metric: &'static Metric, labels: &[&str], value: f64) {
        self.counted().set(metric, labels, value);
    }

    /// One of a histogram's.
    pub fn observe(&self, metric: &'static Metric, labels: &[&str], took: Duration) {
        self.counted().observe(metric, labels, took.as_secs_f64());
    }

    /// Has this asked at every scrape.
    pub fn gather(&self, from: impl Fn(&mut Samples) + Send + Sync + 'static) {
        self.0.gatherers.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(from));
    }

    /// Where the process stands.
    pub fn phase(&self) -> Phase {
        let phases = [Phase::Starting, Phase::StandingBy, Phase::Reading, Phase::Working];
        phases[usize::from(self.0.phase.load(Ordering::Relaxed)).min(phases.len() - 1)]
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.0.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Everything, as Prometheus reads it.
    pub fn text(&self) -> String {
        let mut samples = self.counted().clone();
        for gatherer in &*self.0.gatherers.lock().unwrap_or_else(PoisonError::into_inner) {
            gatherer(&mut samples);
        }
        samples.text()
    }

    fn counted(&self) -> MutexGuard<'_, Samples> {
        self.0.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Samples {
    /// It is this now.
    pub fn set(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        *self.of(metric, labels) = Value::Number(value);
    }

    fn add(&mut self, metric: &'static Metric, labels: &[&str], more: f64) {
        if let Value::Number(value) = self.of(metric, labels) {
            *value += more;
        }
    }

    fn observe(&mut self, metric: &'static Metric, labels: &[&str], observed: f64) {
        let Kind::Histogram(buckets) = metric.kind else { return };
        if let Value::Spread(counts, sum) = self.of(metric, labels) {
            let bucket = buckets.iter().position(|bound| observed <= *bound).unwrap_or(buckets.len());
            counts.iter_mut().skip(bucket).take(1).for_each(|count| *count += 1);
            *sum += observed;
        }
    }

    fn of(&mut self, metric: &'static Metric, labels: &[&str]) -> &mut Value {
        let series = self.0.entry(metric.name).or_default();
        let mut key: Vec<String> = labels.iter().map(ToString::to_string).collect();
        if series.len() >= MAX_SERIES && !series.contains_key(&key) {
            key = vec![OTHER.to_string(); labels.len()];
        }
        series.entry(key).or_insert_with(|| match metric.kind {
            Kind::Histogram(buckets) => Value::Spread(vec![0; buckets.len() + 1], 0.0),
            Kind::Counter | Kind::Gauge => Value::Number(0.0),
        })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for metric in table::ALL {
            let Some(series) = self.0.get(metric.name) else { continue };
            let _ = writeln!(text, "# HELP {} {}", metric.name, metric.help);
            let _ = writeln!(text, "# TYPE {} {}", metric.name, metric.kind.as_str());
            for (values, value) in series {
                write_series(&mut text, metric, values, value);
            }
        }
        text
    }
}

fn write_series(text: &mut String, metric: &Metric, values: &[String], value: &Value) {
    let name = metric.name;
    let labels: Vec<String> = metric
        .labels
        .iter()
        .zip(values)
        .map(|(label, value)| {
            format!("{label}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
        })
        .collect();
    let with = |more: Option<String>| {
        let all: Vec<&str> = labels.iter().map(String::as_str).chain(more.as_deref()).collect();
        if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
    };
    let (counts, sum) = match value {
        Value::Number(number) => {
            let _ = writeln!(text, "{name}{} {number}", with(None));
            return;
        }
        Value::Spread(counts, sum) => (counts, sum),
    };
    let Kind::Histogram(buckets) = metric.kind else { return };
    let mut all = 0;
    for (index, count) in counts.iter().enumerate() {
        all += count;
        let bound = buckets.get(index).map_or("+Inf".to_string(), ToString::to_string);
        let _ = writeln!(text, "{name}_bucket{} {all}", with(Some(format!("le=\"{bound}\""))));
    }
    let _ = writeln!(text, "{name}_sum{} {sum}\n{name}_count{} {all}", with(None), with(None));
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("phase", &self.phase()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_histograms_are_written_as_prometheus_reads_them() {
        let metrics = Metrics::default();
        metrics.count(&table::ADDS, &["daemonset"]);
        metrics.count(&table::ADDS, &["daemonset"]);
        metrics.observe(&table::PLANS, &["full"], Duration::from_millis(5));
        metrics.observe(&table::PLANS, &["full"], Duration::from_secs(5));
        metrics.gather(|samples| samples.set(&table::DESIRED, &["a", "q\"\\"], 3.0));
        let text = metrics.text();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            r#"everynode_daemonset_desired{namespace="a",daemonset="q\"\\"} 3"#,
            r#"everynode_plan_duration_seconds_bucket{pass="full",le="0.00001"} 0"#,
            r#"everynode_plan_duration_seconds_bucket{pass="full",le="0.0001"} 0"#,
            r#"everynode_plan_duration_seconds_bucket{pass="full",le="0.001"} 0"#,
            r#"everynode_plan_duration_seconds_bucket{pass="full",le="0.01"} 1"#,
            r#"everynode_plan_duration_seconds_bucket{pass="full",le="0.1"} 1"#,
            r#"everynode_plan_duration_seconds_bucket{pass="full",le="1"} 1"#,
            r#"everynode_plan_duration_seconds_bucket{pass="full",le="+Inf"} 2"#,
            r#"everynode_plan_duration_seconds_sum{pass="full"} 5.005"#,
            r#"everynode_plan_duration_seconds_count{pass="full"} 2"#,
            r#"workqueue_adds_total{name="daemonset"} 2"#,
        ];
        assert_eq!(samples, expected);
        assert!(text.contains("# TYPE everynode_plan_duration_seconds histogram\n"), "{text}");
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let metrics = Metrics::default();
        (0..MAX_SERIES + 10).for_each(|n| metrics.count(&table::FOREIGN, &[&n.to_string(), "pod"]));
        assert_eq!(metrics.counted().0[table::FOREIGN.name].len(), MAX_SERIES + 1);
        assert!(metrics.text().contains(r#"{manager="(other)",what="(other)"} 10"#));
    }

    #[test]
    fn the_page_lists_what_there_is() {
        let page = include_str!("../../../docs/metrics.md");
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        let row = |metric: &&Metric| {
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            format!(
                "| `{}` | {} | {} | {} |",
                metric.name,
                metric.kind.as_str(),
                labels.join(", "),
                metric.help
            )
        };
        let expected: Vec<String> = table::ALL.iter().map(row).collect();
        assert_eq!(rows, expected, "docs/metrics.md should have:\n{}", expected.join("\n"));
    }
}
