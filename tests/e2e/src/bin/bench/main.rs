//! `cargo xtask bench`: measures the release binary as a user meets it and prints a Markdown table.
//!
//! docs/performance.md quotes it and says how to read it. Everything is seen from outside, through kubectl and /proc.

mod clock;
mod load;
mod processes;
mod real;
mod server;
mod thousand;

use anyhow::{Context, Result};
use e2e::newest_and_oldest;

/// One line of the table.
struct Row {
    measure: String,
    value: String,
    /// What we want to reach, or a dash.
    aim: &'static str,
    /// What the standard control plane needs on a like machine, or a dash.
    peer: &'static str,
}

impl Row {
    fn new(measure: impl Into<String>, value: impl Into<String>, peer: &'static str) -> Self {
        Self { measure: measure.into(), value: value.into(), aim: "-", peer }
    }

    fn aim(self, aim: &'static str) -> Self {
        Self { aim, ..self }
    }
}

fn main() -> Result<()> {
    let (minor, kubectl) = newest_and_oldest()?.swap_remove(0);
    println!("{}; kubectl 1.{minor}; the last column is the standard control plane\n", machine()?);
    println!("| measure | value | aim | peer |\n|---|---|---|---|");
    print(server::measure(&kubectl)?);
    print(real::measure(&kubectl)?);
    print(thousand::measure(&kubectl)?);
    print(load::measure(&kubectl)?);
    Ok(())
}

fn print(rows: Vec<Row>) {
    for Row { measure, value, aim, peer } in rows {
        println!("| {measure} | {value} | {aim} | {peer} |");
    }
}

/// How many cores, how much memory, how busy.
fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let memory = processes::kilobytes(&memory, "MemTotal:").context("/proc/meminfo has no MemTotal")?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load = load.split_whitespace().next().unwrap_or_default();
    Ok(format!("{cores} cores, {} GB of memory, load {load} at the start", memory / 1_000_000))
}
