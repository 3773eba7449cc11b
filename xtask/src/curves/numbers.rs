//! PURE. What has been measured, as values and as the lines of a file; which of it lies on which curve.

use anyhow::{Context as _, Result, bail};

/// How many DaemonSets there are where nodes grow.
pub const DAEMONSETS_BESIDE: u32 = 1;
/// How many nodes there are where DaemonSets grow.
pub const NODES_BESIDE: u32 = 100;
/// The first line of the file.
const HEAD: &str = "nodes,daemonsets,step,seconds,cpu_seconds,memory_bytes,load_before,date,commit,machine";

/// What grows along a curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// Nodes, with [`DAEMONSETS_BESIDE`].
    Nodes,
    /// DaemonSets, on [`NODES_BESIDE`].
    Daemonsets,
}

/// What is read off a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Seconds until what was asked for is seen.
    Time,
    /// Seconds of processors that the server took meanwhile.
    Cpu,
    /// The server's resident memory at the end.
    Memory,
}

/// A part of a DaemonSet's life, by its name in `everynode bench`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Until all pods are Ready.
    Create,
    /// A new image on all nodes at once, until all pods are new and Ready.
    Rollout,
    /// Until all pods are gone.
    Delete,
}

/// One step of one life.
#[derive(Debug, Clone, PartialEq)]
pub struct Number {
    /// How many nodes there were.
    pub nodes: u32,
    /// How many DaemonSets.
    pub daemonsets: u32,
    /// Which step.
    pub step: Step,
    /// How long it took.
    pub seconds: f64,
    /// Processor time of the server for it.
    pub cpu_seconds: f64,
    /// Resident memory of the server at its end, in bytes.
    pub memory: u64,
    /// Where and when.
    pub origin: Origin,
}

/// Where and when something was measured. No text has a comma or a line break.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The day, UTC.
    pub date: String,
    /// Of what was measured.
    pub commit: String,
    /// What it ran on.
    pub machine: String,
    /// How busy the machine was before: the load average of a minute.
    pub load: String,
}

impl Against {
    /// Both, in the order in which they are told.
    pub const ALL: [Against; 2] = [Against::Nodes, Against::Daemonsets];

    /// For people.
    pub fn noun(self) -> &'static str {
        match self {
            Against::Nodes => "nodes",
            Against::Daemonsets => "DaemonSets",
        }
    }

    /// Where a number lies along this curve; none if it is of another.
    pub fn along(self, number: &Number) -> Option<u32> {
        match self {
            Against::Nodes => (number.daemonsets == DAEMONSETS_BESIDE).then_some(number.nodes),
            Against::Daemonsets => (number.nodes == NODES_BESIDE).then_some(number.daemonsets),
        }
    }
}

impl Measure {
    /// All, in the order in which they are told.
    pub const ALL: [Measure; 3] = [Measure::Time, Measure::Cpu, Measure::Memory];

    /// In seconds or megabytes.
    pub fn of(self, number: &Number) -> f64 {
        match self {
            Measure::Time => number.seconds,
            Measure::Cpu => number.cpu_seconds,
            Measure::Memory => number.memory as f64 / 1e6,
        }
    }
}

impl Step {
    /// All, in the order in which they are played.
    pub const ALL: [Step; 3] = [Step::Create, Step::Rollout, Step::Delete];

    /// As `everynode bench` names it.
    pub fn name(self) -> &'static str {
        match self {
            Step::Create => "create",
            Step::Rollout => "rollout",
            Step::Delete => "delete",
        }
    }

    /// The sign of `everynode bench` that ends it.
    pub fn sign(self) -> &'static str {
        match self {
            Step::Create | Step::Rollout => "pods Ready",
            Step::Delete => "pods gone",
        }
    }

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Step::Create => "create until Ready",
            Step::Rollout => "roll out until Ready",
            Step::Delete => "delete until gone",
        }
    }
}

/// The points of a line, in its order. What is not above 0 was too small to be measured, and cannot be drawn.
pub fn points(numbers: &[Number], against: Against, step: Step, measure: Measure) -> Vec<(f64, f64)> {
    let of_step = numbers.iter().filter(|number| number.step == step);
    let found = of_step.filter_map(|number| Some((f64::from(against.along(number)?), measure.of(number))));
    let mut points: Vec<(f64, f64)> = found.filter(|(_, value)| *value > 0.0).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// What is kept after something was measured: the new in the place of the old, in order.
pub fn merged(mut kept: Vec<Number>, new: Vec<Number>) -> Vec<Number> {
    let place = |number: &Number| (number.nodes, number.daemonsets, number.step);
    kept.retain(|old| new.iter().all(|new| place(new) != place(old)));
    kept.extend(new);
    kept.sort_by_key(place);
    kept
}

/// The file's text.
pub fn to_text(numbers: &[Number]) -> String {
    let line = |number: &Number| {
        let Number { nodes, daemonsets, step, seconds, cpu_seconds, memory, origin } = number;
        let Origin { date, commit, machine, load } = origin;
        let step = step.name();
        format!(
            "{nodes},{daemonsets},{step},{seconds:.3},{cpu_seconds:.2},{memory},{load},{date},{commit},{machine}\n"
        )
    };
    std::iter::once(format!("{HEAD}\n")).chain(numbers.iter().map(line)).collect()
}

/// What [`to_text`] wrote; an error names the line.
pub fn parse(text: &str) -> Result<Vec<Number>> {
    let mut lines = text.lines().enumerate();
    if lines.next().map(|(_, head)| head) != Some(HEAD) {
        bail!("line 1: the columns are not {HEAD}");
    }
    lines.map(|(index, line)| of_line(line).with_context(|| format!("line {}", index + 1))).collect()
}

fn of_line(line: &str) -> Result<Number> {
    let columns: Vec<&str> = line.split(',').collect();
    let [nodes, daemonsets, step, seconds, cpu_seconds, memory, load, date, commit, machine] = columns[..]
    else {
        bail!("{} columns", columns.len());
    };
    let named = |known: &Step| known.name() == step;
    let [date, commit, machine, load] = [date, commit, machine, load].map(str::to_string);
    Ok(Number {
        nodes: nodes.parse().context("nodes")?,
        daemonsets: daemonsets.parse().context("daemonsets")?,
        step: Step::ALL.into_iter().find(named).with_context(|| format!("no such step: {step}"))?,
        seconds: seconds.parse().context("seconds")?,
        cpu_seconds: cpu_seconds.parse().context("cpu_seconds")?,
        memory: memory.parse().context("memory_bytes")?,
        origin: Origin { date, commit, machine, load },
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Numbers of a life whose costs are in proportion to its pods.
    pub fn life(nodes: u32, daemonsets: u32) -> Vec<Number> {
        let pods = f64::from(nodes * daemonsets);
        let of = |(step, share): (Step, f64)| Number {
            nodes,
            daemonsets,
            step,
            seconds: pods * share / 1_000.0,
            cpu_seconds: pods * share / 500.0,
            memory: 25_000_000 + u64::from(nodes * daemonsets) * 10_000,
            origin: Origin {
                date: "2026-11-21".into(),
                commit: "abc1234".into(),
                machine: "2 cores".into(),
                load: "0.10".into(),
            },
        };
        Step::ALL.into_iter().zip([1.0, 1.5, 0.5]).map(of).collect()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let numbers = [life(100, 1), life(300, 1)].concat();
        let text = to_text(&numbers);
        assert_eq!(
            text.lines().nth(1).unwrap(),
            "100,1,create,0.100,0.20,26000000,0.10,2026-11-21,abc1234,2 cores"
        );
        assert_eq!(parse(&text).unwrap(), numbers);
        let refused = |text: &str, expected: &str| {
            assert_eq!(format!("{:#}", parse(text).unwrap_err()), expected);
        };
        refused(&text.replace("rollout", "rolout"), "line 3: no such step: rolout");
        refused(&format!("{HEAD}\n1,2"), "line 2: 2 columns");
        refused("nodes\n", &format!("line 1: the columns are not {HEAD}"));
    }

    #[test]
    fn a_point_that_is_measured_again_replaces_itself_alone() {
        let kept = [life(300, 1), life(100, 1)].concat();
        let mut again = life(100, 1);
        again[0].seconds = 9.0;
        assert_eq!(merged(kept, again.clone()), [again, life(300, 1)].concat());
    }

    #[test]
    fn a_number_lies_on_the_curve_of_what_grows() {
        let mut numbers = [life(300, 1), life(100, 10), life(100, 1), life(300, 10)].concat();
        let line = |numbers: &[Number], against| points(numbers, against, Step::Create, Measure::Time);
        assert_eq!(line(&numbers, Against::Nodes), [(100.0, 0.1), (300.0, 0.3)]);
        assert_eq!(line(&numbers, Against::Daemonsets), [(1.0, 0.1), (10.0, 1.0)]);
        let memory = points(&numbers, Against::Nodes, Step::Delete, Measure::Memory);
        assert_eq!(memory, [(100.0, 26.0), (300.0, 28.0)]);
        numbers[0].seconds = 0.0;
        assert_eq!(line(&numbers, Against::Nodes), [(100.0, 0.1)]);
    }
}
