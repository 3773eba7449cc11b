//! PURE. What a run has measured, as a table and as JSON.

use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;

/// A run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What the server says of its version.
    pub server: String,
    /// How many nodes there were from the start.
    pub nodes: u32,
    /// How many DaemonSets.
    pub daemonsets: u32,
    /// In the order in which they were played.
    pub steps: Vec<Played>,
}

/// One step.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Played {
    /// Its name.
    pub step: &'static str,
    /// What was seen, and when.
    pub signs: Vec<Sign>,
    /// Of the nodes that joined: how long each waited, from its first sign until its last pod was bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<Waits>,
    /// Pods that came or went though they should not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disturbed_pods: Option<u64>,
    /// What the watched processes took for it.
    pub processes: Vec<Took>,
}

/// A goal that was reached.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sign {
    /// Which one.
    pub what: String,
    /// Since the step began.
    pub seconds: f64,
    /// How many things that were.
    pub things: u64,
}

/// Some durations, in milliseconds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waits {
    /// Half are shorter.
    pub p50_ms: f64,
    /// All but one of a hundred are shorter.
    pub p99_ms: f64,
}

/// What processes took for a step.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Took {
    /// How they were named.
    pub process: String,
    /// Seconds of processors.
    pub cpu_seconds: f64,
    /// Resident memory at the end, in bytes.
    pub memory: u64,
}

impl Waits {
    /// None of no durations. They are sorted.
    pub fn of(sorted: &[Duration]) -> Option<Self> {
        let at = |share: f64| {
            let index = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
            sorted.get(index).map(|wait| wait.as_secs_f64() * 1000.0)
        };
        Some(Self { p50_ms: at(0.5)?, p99_ms: at(0.99)? })
    }
}

impl Report {
    /// For people: a line a sign, and the processes on the last line of each step.
    pub fn table(&self) -> String {
        let processes: Vec<&str> =
            self.steps.iter().flat_map(|step| &step.processes).map(|took| took.process.as_str()).collect();
        let mut heads: Vec<String> = ["STEP", "WHAT", "SECONDS", "PER SECOND"].map(String::from).into();
        let mut known: Vec<&str> = Vec::new();
        for process in processes {
            if !known.contains(&process) {
                known.push(process);
                heads.push(format!("CPU S {process}"));
                heads.push(format!("MB {process}"));
            }
        }
        let mut lines = vec![heads];
        self.steps.iter().for_each(|step| lines.extend(step.lines()));
        let title = format!("{} DaemonSets, {} nodes, {}\n\n", self.daemonsets, self.nodes, self.server);
        title + &aligned(&lines)
    }
}

impl Played {
    fn lines(&self) -> Vec<Vec<String>> {
        let mut lines: Vec<Vec<String>> = Vec::new();
        for sign in &self.signs {
            let rate = match sign.seconds > 0.0 {
                true => rate(sign.things as f64 / sign.seconds),
                false => "-".into(),
            };
            let what = format!("{} {}", sign.things, sign.what);
            lines.push(vec![String::new(), what, format!("{:.3}", sign.seconds), rate]);
        }
        if let Some(first) = lines.first_mut() {
            first[0] = self.step.to_string();
        }
        if let Some(last) = lines.last_mut() {
            for took in &self.processes {
                last.push(format!("{:.2}", took.cpu_seconds));
                last.push(format!("{:.1}", took.memory as f64 / 1e6));
            }
        }
        if let Some(Waits { p50_ms, p99_ms }) = self.join {
            let what = "a node until its last pod is bound";
            let text = format!("p50 {p50_ms:.0} ms, p99 {p99_ms:.0} ms");
            lines.push(vec![String::new(), what.into(), text]);
        }
        if let Some(pods) = self.disturbed_pods.filter(|pods| *pods > 0) {
            lines.push(vec![String::new(), format!("{pods} pods came or went for nothing")]);
        }
        lines
    }
}

/// A slow one with a digit more.
fn rate(per_second: f64) -> String {
    if per_second < 10.0 { format!("{per_second:.1}") } else { format!("{per_second:.0}") }
}

/// Columns as wide as their widest word, two spaces apart.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter(|line| line.len() > column + 1).map(|line| line[column].len());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            let last = column + 1 == line.len();
            let width = if last { 0 } else { widths[column] + 2 };
            let _ = write!(text, "{cell:width$}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_a_table() {
        let sign = |what: &str, seconds: f64, things: u64| Sign { what: what.into(), seconds, things };
        let took = |cpu_seconds: f64| Took { process: "etcd".into(), cpu_seconds, memory: 12_345_678 };
        let report = Report {
            server: "v1.33.0".into(),
            nodes: 10,
            daemonsets: 2,
            steps: vec![
                Played {
                    step: "create",
                    signs: vec![sign("pods created", 0.5, 20), sign("pods Ready", 1.25, 20)],
                    join: None,
                    disturbed_pods: None,
                    processes: vec![took(0.5)],
                },
                Played {
                    step: "join",
                    signs: vec![sign("nodes Ready", 0.0, 100)],
                    join: Waits::of(&[Duration::from_millis(4), Duration::from_millis(9)]),
                    disturbed_pods: Some(3),
                    processes: vec![took(1.0)],
                },
            ],
        };
        let expected = "\
2 DaemonSets, 10 nodes, v1.33.0

STEP    WHAT                                SECONDS  PER SECOND  CPU S etcd  MB etcd
create  20 pods created                     0.500    40
        20 pods Ready                       1.250    16          0.50        12.3
join    100 nodes Ready                     0.000    -           1.00        12.3
        a node until its last pod is bound  p50 4 ms, p99 9 ms
        3 pods came or went for nothing
";
        assert_eq!(report.table(), expected);
    }

    #[test]
    fn percentiles_of_nothing_are_none() {
        assert!(Waits::of(&[]).is_none());
        let hundred: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        let Waits { p50_ms, p99_ms } = Waits::of(&hundred).unwrap();
        assert_eq!((p50_ms, p99_ms), (50.0, 99.0));
    }
}
