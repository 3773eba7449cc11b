//! One point: a server of its own with an empty data folder, `everynode bench` against it, and what both say.

use super::numbers::{Number, Origin, Step};
use crate::program;
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use std::fs::{File, read_to_string};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Names another binary than the release that is built.
const BINARY: &str = "EVERYNODE_BINARY";
/// Steps that no curve shows.
const SKIPPED: &str = "relabel,join,kill";
/// What the server says when it can be used.
const READY: &str = "everynode server is ready on";
/// A start takes less than a tenth of a second where nothing else runs.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is measured, and on what.
pub struct Subject {
    binary: PathBuf,
    date: String,
    commit: String,
    machine: String,
}

/// What `everynode bench -o json` prints, as far as it is read.
#[derive(Deserialize)]
struct Report {
    steps: Vec<Played>,
}

#[derive(Deserialize)]
struct Played {
    step: String,
    signs: Vec<Sign>,
    processes: Vec<Took>,
}

#[derive(Deserialize)]
struct Sign {
    what: String,
    seconds: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Took {
    cpu_seconds: f64,
    memory: u64,
}

impl Subject {
    /// Builds a release, or takes what is named.
    pub fn build() -> Result<Self> {
        let (binary, commit) = match std::env::var_os(BINARY) {
            Some(binary) => (binary.into(), format!("unknown ({BINARY} was set)")),
            None => {
                program::run(program::cargo().args(["build", "--release", "--package", "everynode"]))?;
                (program::target_dir().join("release/everynode"), commit()?)
            }
        };
        let date = program::output(Command::new("date").args(["-u", "+%F"]))?.trim().to_string();
        Ok(Self { binary, date, commit, machine: machine()? })
    }

    /// Measures it.
    pub fn point(&self, nodes: u32, daemonsets: u32) -> Result<Vec<Number>> {
        let load = read_to_string("/proc/loadavg")?.split(' ').next().unwrap_or_default().to_string();
        let server = Server::start(&self.binary)?;
        let mut bench = Command::new(&self.binary);
        bench.args(["bench", "--output", "json", "--skip", SKIPPED, "--kubeconfig"]).arg(server.kubeconfig());
        for (flag, value) in
            [("--nodes", nodes), ("--daemonsets", daemonsets), ("--process", server.process.id())]
        {
            bench.args([flag, &value.to_string()]);
        }
        let report = program::output(&mut bench).with_context(|| {
            format!("nodes {nodes}, DaemonSets {daemonsets}; the server: {}", server.log())
        })?;
        let report: Report = serde_json::from_str(&report).context("everynode bench --output json")?;
        let number = |step: Step| -> Result<Number> {
            let played = report.steps.iter().find(|played| played.step == step.name());
            let played = played.with_context(|| format!("the bench tells nothing of {}", step.name()))?;
            let sign = played.signs.iter().find(|sign| sign.what == step.sign());
            let Sign { seconds, .. } = sign.with_context(|| format!("the bench saw no {}", step.sign()))?;
            let [Took { cpu_seconds, memory: memory @ 1.. }] = played.processes[..] else {
                bail!("the server has ended: {}", server.log());
            };
            println!(
                "nodes {nodes}, DaemonSets {daemonsets}, {}: {seconds:.3} s, {cpu_seconds:.2} s of processors, {} MB",
                step.words(),
                memory / 1_000_000
            );
            let origin = Origin {
                date: self.date.clone(),
                commit: self.commit.clone(),
                machine: self.machine.clone(),
                load: load.clone(),
            };
            Ok(Number { nodes, daemonsets, step, seconds: *seconds, cpu_seconds, memory, origin })
        };
        Step::ALL.into_iter().map(number).collect()
    }
}

/// A running server; dropping it ends it, and its folder goes.
struct Server {
    process: Child,
    folder: TempDir,
}

impl Server {
    /// Beside what is built: /tmp may be memory, and writes have to reach a disk.
    fn start(binary: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("curves-").tempdir_in(program::target_dir())?;
        let log = File::create(log(&folder))?;
        let mut command = Command::new(binary);
        command.args(["server", "--listen", "127.0.0.1:0", "--data-dir"]).arg(folder.path().join("data"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().with_context(|| format!("cannot start {}", binary.display()))?;
        let mut server = Self { process, folder };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let begun = Instant::now();
        while !self.log().contains(READY) {
            if self.process.try_wait()?.is_some() || begun.elapsed() > START_LIMIT {
                bail!("the server does not become ready: {}", self.log());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("data/kubeconfig")
    }

    /// What it has said so far.
    fn log(&self) -> String {
        read_to_string(log(&self.folder)).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn log(folder: &TempDir) -> PathBuf {
    folder.path().join("server.log")
}

/// What was built, and whether it was changed since.
fn commit() -> Result<String> {
    let git = |arguments: &[&str]| {
        program::output(Command::new("git").current_dir(program::root()).args(arguments))
    };
    let commit = git(&["rev-parse", "--short=7", "HEAD"])?.trim().to_string();
    let changed = git(&["status", "--porcelain", "--", "crates", "Cargo.toml", "Cargo.lock"])?;
    Ok(if changed.is_empty() { commit } else { commit + " with changes" })
}

/// Cores, processor, memory, kernel.
fn machine() -> Result<String> {
    let value = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.map(|rest| rest.trim_start_matches([':', ' ', '\t']).to_string())
    };
    let cores = std::thread::available_parallelism()?;
    let processor = value(&read_to_string("/proc/cpuinfo")?, "model name");
    let memory = value(&read_to_string("/proc/meminfo")?, "MemTotal");
    let kilobytes: Option<u64> = memory.and_then(|text| text.split(' ').next()?.parse().ok());
    let kernel = read_to_string("/proc/sys/kernel/osrelease")?;
    let machine = format!(
        "{cores} cores ({}) and {} GB; Linux {}",
        processor.as_deref().unwrap_or("unknown processor"),
        kilobytes.unwrap_or(0).div_ceil(1 << 20),
        kernel.trim()
    );
    Ok(machine.replace(',', ";"))
}
