//! A lone `everynode server`, on a port of its own.

use crate::beside::{self, Beside, End};
use crate::{Answer, Kubectl, binary, eventually, run_to_end};
use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A debug build on two busy cores.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A running server; dropping it ends it.
pub struct Server {
    process: Child,
    controller: Option<Beside>,
    folder: TempDir,
    data_dir: PathBuf,
    arguments: Vec<String>,
}

impl Server {
    /// Starts a server on an empty data folder.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// The same with further arguments.
    pub fn start_with(arguments: &[&str]) -> Result<Self> {
        let folder = own_folder()?;
        let data_dir = folder.path().join("data");
        Self::start_in(folder, data_dir, arguments)
    }

    /// The same without these loops, so that objects stay as the test writes them.
    pub fn without(loops: &[&str]) -> Result<Self> {
        Self::start_with(&loops.iter().flat_map(|name| ["--without-loop", name]).collect::<Vec<_>>())
    }

    /// Starts a server on this data folder.
    pub fn start_on(data_dir: &Path) -> Result<Self> {
        Self::start_in(own_folder()?, data_dir.to_path_buf(), &[])
    }

    fn start_in(folder: TempDir, data_dir: PathBuf, arguments: &[&str]) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut all = vec!["--listen".to_string(), format!("127.0.0.1:{port}")];
        all.extend(arguments.iter().map(ToString::to_string));
        let process = spawn(&folder, &data_dir, &all)?;
        let controller = controller(&folder, &data_dir, &all);
        Ok(Self { process, controller, folder, data_dir, arguments: all })
    }

    /// Where everything is kept.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Where it listens.
    pub fn listen(&self) -> &str {
        &self.arguments[1]
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(log(&self.folder)).unwrap_or_default()
    }

    /// A join token, from the command that users take.
    pub fn token(&self) -> Result<String> {
        self.tell(&["token", "create"])
    }

    /// What a command of the binary says about this server's data folder.
    pub fn tell(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(binary());
        let output = command.args(arguments).arg("--data-dir").arg(&self.data_dir).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_string())
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir.join("kubeconfig")
    }

    /// A kubectl of the administrator, with an empty cache.
    pub fn kubectl(&self, path: &Path) -> Kubectl {
        let cache = self.folder.path().join("cache").join(path.file_name().unwrap_or_default());
        Kubectl::new(path.to_path_buf(), self.kubeconfig(), cache)
    }

    /// Waits until it says that it is ready.
    #[track_caller]
    pub fn wait_until_ready(&self, kubectl: &Kubectl) {
        eventually("the server is ready", START_LIMIT, || {
            let answer = kubectl.run(&["get", "--raw", "/readyz"]);
            ensure!(answer.stdout.trim() == "ok", "{}{}\n{}", answer.stdout, answer.stderr, self.log());
            Ok(())
        });
    }

    /// Ends it without warning.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        beside::end(&mut self.controller, End::Killed)
    }

    /// Ends it without warning, and starts it on the same folder and port.
    pub fn kill_and_start_again(&mut self) -> Result<()> {
        self.kill()?;
        self.process = spawn(&self.folder, &self.data_dir, &self.arguments)?;
        self.controller = controller(&self.folder, &self.data_dir, &self.arguments);
        Ok(())
    }

    /// Tries to start a server on this data folder that must end by itself, through `wrapper` if that is not empty.
    pub fn refused(wrapper: &[&str], data_dir: &Path, listen: &str) -> Result<Answer> {
        let command = command(data_dir);
        let mut words =
            wrapper.iter().map(OsStr::new).chain([command.get_program()]).chain(command.get_args());
        let mut wrapped = Command::new(words.next().unwrap_or_default());
        run_to_end(wrapped.args(words).args(["--listen", listen]), "")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let beside = beside::end(&mut self.controller, End::Killed);
        let _ = self.kill();
        beside::assert_good(beside);
    }
}

fn own_folder() -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("everynode-server-").tempdir()?)
}

fn log(folder: &TempDir) -> PathBuf {
    folder.path().join("server.log")
}

fn controller(folder: &TempDir, data_dir: &Path, arguments: &[String]) -> Option<Beside> {
    Beside::of(arguments, data_dir.join("kubeconfig"), folder.path())
}

fn spawn(folder: &TempDir, data_dir: &Path, arguments: &[String]) -> Result<Child> {
    let log = File::options().create(true).append(true).open(log(folder))?;
    let mut command = command(data_dir);
    command.args(arguments).args(beside::besides(arguments)).stdout(Stdio::null()).stderr(log);
    command.spawn().with_context(|| format!("cannot start {}: build it first", binary().display()))
}

fn command(data_dir: &Path) -> Command {
    let mut command = Command::new(binary());
    command.args(["server", "--data-dir"]).arg(data_dir).stdin(Stdio::null());
    command
}
