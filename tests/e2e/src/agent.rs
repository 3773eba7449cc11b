//! A machine that joins over the network: `everynode agent` with a simulated runtime and a folder of its own.

use crate::binary;
use anyhow::{Context as _, Result};
use std::fs::File;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running agent; dropping it ends it.
pub struct Agent {
    process: Child,
    folder: TempDir,
    name: String,
}

impl Agent {
    /// Starts one as the node `name`; `servers` is what `--server` takes.
    pub fn start(name: &str, servers: &str, token: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("everynode-agent-").tempdir()?;
        let process = spawn(&folder, name, &["--server", servers, "--token", token])?;
        Ok(Self { process, folder, name: name.into() })
    }

    /// Ends it without warning, and starts it again with what it remembers.
    pub fn kill_and_start_again(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        self.process = spawn(&self.folder, &self.name, &[])?;
        Ok(())
    }

    /// A file of its identity.
    pub fn identity(&self, file: &str) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.path().join("data/pki").join(file))?)
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("agent.log")).unwrap_or_default()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(folder: &TempDir, name: &str, arguments: &[&str]) -> Result<Child> {
    let log = File::options().create(true).append(true).open(folder.path().join("agent.log"))?;
    let mut command = Command::new(binary());
    command.args(["agent", "--runtime", "simulated", "--log-port", "0", "--pod-manifest-path", ""]);
    command.args(["--node-name", name, "--data-dir"]).arg(folder.path().join("data"));
    command.arg("--log-dir").arg(folder.path().join("log")).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().with_context(|| format!("cannot start {}: build it first", binary().display()))
}
