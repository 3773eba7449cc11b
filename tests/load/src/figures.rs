//! What is printed: rows of a Markdown table, and what another process holds and takes, by /proc.

use std::time::{Duration, Instant};

/// Prints rows.
pub struct Table {
    /// Which server is measured, when there are several.
    pub of: Option<String>,
}

impl Table {
    /// One row; there is no peer to compare with.
    pub fn row(&self, measure: &str, value: &str) {
        let of = self.of.as_ref().map(|of| format!(", {of}")).unwrap_or_default();
        println!("| {measure}{of} | {value} | {} | - |", aim(measure));
    }

    /// Calls that ran beside each other since the meter was started.
    pub fn calls(&self, measure: &str, times: Vec<Duration>, run: &Run) {
        let pace = times.len() as f64 / run.took.as_secs_f64();
        let cost = run.cost.map(|cost| format!("; {:.0} µs of the server each", micros(cost, times.len())));
        self.row(measure, &format!("{pace:.0} a second; {}{}", spread(times), cost.unwrap_or_default()));
    }

    /// Calls one after the other.
    pub fn times(&self, measure: &str, times: Vec<Duration>, run: &Run) {
        let cost =
            run.cost.map(|cost| format!("; {:.1} ms of the server each", micros(cost, times.len()) / 1e3));
        self.row(measure, &format!("{}{}", spread(times), cost.unwrap_or_default()));
    }
}

fn micros(cost: Duration, calls: usize) -> f64 {
    cost.as_secs_f64() * 1e6 / calls.max(1) as f64
}

/// Issue 4, section 5.
fn aim(measure: &str) -> &'static str {
    let aims = [
        ("durable writes", "5,000 a second"),
        ("watch events to 1000 ", "100,000 a second"),
        ("list of 10000 pods as JSON, 1", "p50 50 ms"),
        ("list of 10000 pods as Table", "p50 50 ms"),
    ];
    aims.iter().find(|(start, _)| measure.starts_with(start)).map_or("-", |(_, aim)| aim)
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: f64| {
        let index = (times.len() as f64 * part) as usize;
        let time = times.get(index).or(times.last()).copied().unwrap_or_default();
        time.as_secs_f64() * 1e3
    };
    format!("p50 {:.1} ms, p99 {:.1} ms", at(0.5), at(0.99))
}

/// What a measurement took.
pub struct Run {
    /// From its begin to its end.
    pub took: Duration,
    /// Of the server's processor time: what a busy machine does not make more of.
    pub cost: Option<Duration>,
}

/// A running measurement.
pub struct Meter<'a> {
    server: &'a Server,
    start: Instant,
    cost: Option<Duration>,
}

impl Meter<'_> {
    /// Since the start.
    pub fn read(&self) -> Run {
        self.until(Instant::now())
    }

    /// The same, with an end of its own.
    pub fn until(&self, end: Instant) -> Run {
        let cost =
            self.server.processor_time().zip(self.cost).map(|(now, before)| now.saturating_sub(before));
        Run { took: end.saturating_duration_since(self.start), cost }
    }
}

/// The process that is looked at, if it is on this machine.
pub struct Server(pub Option<String>);

impl Server {
    /// Starts a measurement.
    pub fn meter(&self) -> Meter<'_> {
        Meter { server: self, start: Instant::now(), cost: self.processor_time() }
    }

    /// Private memory (`RssAnon`) in bytes: what is held, without the pages of the program.
    pub fn memory(&self) -> Option<usize> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.as_ref()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        Some(line.trim().trim_end_matches(" kB").parse::<usize>().ok()? * 1024)
    }

    /// Of all its threads, in user mode and in the kernel; counted in hundredths of a second.
    fn processor_time(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.as_ref()?)).ok()?;
        // Fields 14 and 15; the second is a name in brackets, which may have blanks.
        let (_, fields) = stat.rsplit_once(") ")?;
        let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u64>);
        Some(Duration::from_millis(10 * ticks.sum::<Result<u64, _>>().ok()?))
    }

    /// What each of so many has added.
    pub fn share(&self, before: Option<usize>, count: usize) -> String {
        match (before, self.memory()) {
            (Some(before), Some(now)) => {
                format!("{:.1} kB", now.saturating_sub(before) as f64 / 1e3 / count as f64)
            }
            _ => "-".to_string(),
        }
    }
}
