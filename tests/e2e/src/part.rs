//! One process of the binary beside a server: a controller, simulated nodes.

use crate::{binary, eventually};
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Whoever is asked to end finishes what is in work.
const END_LIMIT: Duration = Duration::from_secs(20);

/// A running process; dropping it ends it.
pub struct Part {
    process: Child,
    /// Simulated nodes end when their input does.
    _input: Option<ChildStdin>,
    folder: TempDir,
}

impl Part {
    /// Starts `everynode <arguments> --kubeconfig <kubeconfig>`.
    pub fn start(arguments: &[&str], kubeconfig: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("everynode-part-").tempdir()?;
        let log = File::create(log(&folder))?;
        let mut command = Command::new(binary());
        command.args(arguments).arg("--kubeconfig").arg(kubeconfig);
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let mut process = command
            .spawn()
            .with_context(|| format!("cannot start {}: build it first", binary().display()))?;
        Ok(Self { _input: process.stdin.take(), process, folder })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its resident memory in bytes.
    pub fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS: it has ended")?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes * 1024)
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(log(&self.folder)).unwrap_or_default()
    }

    /// Fails if it has ended.
    pub fn still_runs(&mut self) -> Result<()> {
        match self.process.try_wait()? {
            Some(status) => bail!("has ended ({status}):\n{}", self.log()),
            None => Ok(()),
        }
    }

    /// Ends it without warning.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Asks it to end, as systemd does, and answers its exit code.
    #[track_caller]
    pub fn stop(&mut self) -> i32 {
        let id = self.pid().to_string();
        let process = &mut self.process;
        assert!(Command::new("kill").args(["-TERM", &id]).status().is_ok_and(|status| status.success()));
        eventually("it has ended", END_LIMIT, || {
            let status = process.try_wait()?;
            ensure!(status.is_some(), "still runs");
            Ok(status.and_then(|status| status.code()).unwrap_or(-1))
        })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn log(folder: &TempDir) -> PathBuf {
    folder.path().join("log")
}
