//! A lone `everynode server`, in a folder and on a port of its own.

use crate::{Kubectl, binary, eventually};
use anyhow::{Context, Result, ensure};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A debug build on two busy cores.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A running server; dropping it ends it.
pub struct Server {
    process: Child,
    folder: TempDir,
    listen: String,
}

impl Server {
    /// Starts a server on an empty data folder.
    pub fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("everynode-server-").tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let listen = format!("127.0.0.1:{port}");
        let process =
            command(&folder.path().join("data"), &listen).spawn().context("cannot start everynode")?;
        Ok(Self { process, folder, listen })
    }

    /// Where everything is kept.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Where it listens.
    pub fn listen(&self) -> &str {
        &self.listen
    }

    /// A kubectl of the administrator, with an empty cache.
    pub fn kubectl(&self, path: &Path) -> Kubectl {
        let cache = self.folder.path().join("cache").join(path.file_name().unwrap_or_default());
        Kubectl::new(path.to_path_buf(), self.data_dir().join("kubeconfig"), cache)
    }

    /// Waits until it says that it is ready.
    #[track_caller]
    pub fn wait_until_ready(&self, kubectl: &Kubectl) {
        eventually("the server is ready", START_LIMIT, || {
            let answer = kubectl.run(&["get", "--raw", "/readyz"]);
            ensure!(answer.stdout.trim() == "ok", "{}{}", answer.stdout, answer.stderr);
            Ok(())
        });
    }

    /// Ends it without warning, and starts it on the same folder and port.
    pub fn kill_and_start_again(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        self.process = command(&self.data_dir(), &self.listen).spawn()?;
        Ok(())
    }

    /// Tries to start another server; it must end by itself.
    pub fn another(data_dir: &Path, listen: &str) -> Result<Output> {
        Ok(command(data_dir, listen)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?
            .wait_with_output()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(data_dir: &Path, listen: &str) -> Command {
    let mut command = Command::new(binary());
    command.args(["server", "--listen", listen, "--data-dir"]).arg(data_dir);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
