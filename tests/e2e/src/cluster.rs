//! A whole cluster, started by the command that the README names, in a folder and on addresses of its own.

use crate::beside::{self, Beside, End};
use crate::{Answer, Kubectl, eventually, newest_and_oldest, run_to_end, testimony};
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Three containerds and three agents on two busy cores.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Ending is graceful: containers get their grace period.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// The everynode binary under test: `EVERYNODE_BINARY`, else the debug build of this workspace.
pub fn binary() -> PathBuf {
    match std::env::var_os("EVERYNODE_BINARY") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debug/everynode"),
    }
}

/// A running `everynode up`. Dropping it ends it and checks that nothing stays behind.
pub struct Cluster {
    up: Child,
    controller: Option<Beside>,
    folder: TempDir,
    port: u16,
    setup: String,
    arguments: Vec<String>,
}

impl Cluster {
    /// Starts `everynode up` with further arguments; see [`Cluster::wait_for_nodes`].
    pub fn start(arguments: &[&str]) -> Result<Self> {
        Self::start_where("", arguments)
    }

    /// The same on a machine that looks different to it: `setup` is a shell script that runs before in a mount namespace
    /// of its own.
    pub fn start_where(setup: &str, arguments: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("everynode-e2e-").tempdir()?;
        let port = free_port()?;
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let up = spawn(folder.path(), port, setup, &arguments)?;
        let controller = controller(folder.path(), &arguments);
        Ok(Self { up, controller, folder, port, setup: setup.into(), arguments })
    }

    /// Waits until `up` has ended by itself; answers its exit code.
    #[track_caller]
    pub fn wait_for_end(&mut self) -> i32 {
        let up = &mut self.up;
        eventually("everynode up has ended", START_LIMIT, || {
            let status = up.try_wait()?;
            ensure!(status.is_some(), "it runs");
            Ok(status.and_then(|status| status.code()).unwrap_or(-1))
        })
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir().join("kubeconfig")
    }

    /// What `up` has printed so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("up.log")).unwrap_or_default()
    }

    /// The process id of `everynode up`.
    pub fn pid(&self) -> u32 {
        self.up.id()
    }

    /// A kubectl for this cluster with an empty cache.
    pub fn kubectl(&self, path: &Path) -> Kubectl {
        let name = path.file_name().unwrap_or_default();
        let cache = self.folder.path().join("cache").join(name);
        Kubectl::new(path.to_path_buf(), self.kubeconfig(), cache)
    }

    /// Waits until exactly these nodes are Ready.
    #[track_caller]
    pub fn wait_for_nodes(&mut self, kubectl: &Kubectl, names: &[&str]) {
        let output = self.folder.path().join("up.log");
        let up = &mut self.up;
        eventually(&format!("nodes {names:?} are Ready"), START_LIMIT, || {
            let ended = up.try_wait()?;
            if ended.is_some() {
                panic!("everynode up ended:\n{}", std::fs::read_to_string(&output).unwrap_or_default());
            }
            let seen = kubectl.value(
                &["get", "nodes"],
                r#"{range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status}{" "}{end}"#,
            )?;
            let wanted: String = names.iter().map(|n| format!("{n}=True ")).collect();
            ensure!(seen == wanted, "saw {seen}");
            Ok(())
        });
    }

    /// Runs an everynode command against this cluster (`node add n4`, …); it must succeed.
    #[track_caller]
    pub fn everynode(&self, arguments: &[&str]) -> String {
        let Answer { stdout, stderr, code } = self.run(arguments);
        assert_eq!(code, 0, "everynode {}\n{stdout}{stderr}", arguments.join(" "));
        stdout + &stderr
    }

    /// Runs an everynode command that must fail; answers what it complains of.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str]) -> String {
        let Answer { stdout, stderr, code } = self.run(arguments);
        assert_eq!(code, 1, "everynode {}\n{stdout}{stderr}", arguments.join(" "));
        stderr
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Answer {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--data-dir").arg(self.data_dir());
        run_to_end(&mut command, "").unwrap_or_else(|e| panic!("everynode {}: {e:#}", arguments.join(" ")))
    }

    /// Kills the child of `up` whose command line holds this text.
    pub fn kill_child(&self, text: &str) -> Result<()> {
        let parent = self.up.id().to_string();
        let status = Command::new("pkill").args(["-KILL", "-P", &parent, "-f", "--", text]).status()?;
        ensure!(status.success(), "everynode up has no child {text:?}");
        Ok(())
    }

    /// Ends `up` without warning, as a power cut would.
    pub fn kill(&mut self) -> Result<()> {
        self.up.kill()?;
        self.up.wait()?;
        beside::end(&mut self.controller, End::Killed)
    }

    /// Starts `up` again on the same data directory and port.
    pub fn start_again(&mut self) -> Result<()> {
        self.up = spawn(self.folder.path(), self.port, &self.setup, &self.arguments)?;
        self.controller = controller(self.folder.path(), &self.arguments);
        Ok(())
    }

    /// Ends `up` as Ctrl-C does and waits for its end.
    pub fn stop(&mut self) -> Result<()> {
        let beside = beside::end(&mut self.controller, End::Asked);
        self.stop_up().and(beside)
    }

    fn stop_up(&mut self) -> Result<()> {
        if self.up.try_wait()?.is_some() {
            return Ok(());
        }
        Command::new("kill").args(["-INT", &self.up.id().to_string()]).status()?;
        let end = Instant::now() + STOP_LIMIT;
        while self.up.try_wait()?.is_none() {
            ensure!(Instant::now() < end, "everynode up did not end within {}s", STOP_LIMIT.as_secs());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some((_, path)) = newest_and_oldest().ok().and_then(|found| found.into_iter().next())
        {
            testimony::tell(&self.kubectl(&path), &self.output(), &self.data_dir());
        }
        let beside = beside::end(&mut self.controller, End::Asked);
        if let Err(error) = self.stop_up() {
            eprintln!("{error:#}\n{}", self.output());
            let _ = self.up.kill();
            let _ = self.up.wait();
        }
        if std::env::var_os("EVERYNODE_E2E_KEEP").is_some() {
            self.folder.disable_cleanup(true);
            eprintln!("kept {}", self.folder.path().display());
        }
        beside::assert_good(beside);
    }
}

fn spawn(folder: &Path, port: u16, setup: &str, arguments: &[String]) -> Result<Child> {
    let log = File::options().create(true).append(true).open(folder.join("up.log"))?;
    let mut command = match setup {
        "" => Command::new(binary()),
        setup => {
            let mut command = Command::new("unshare");
            let script = format!("set -e\n{setup}\nexec \"$0\" \"$@\"");
            command.args(["--mount", "--propagation", "private", "sh", "-c", &script]).arg(binary());
            command
        }
    };
    command.arg("up").arg("--data-dir").arg(folder.join("data"));
    command.args(["--listen", &format!("127.0.0.1:{port}")]).args(arguments).args(beside::besides(arguments));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("cannot start {}: build it first", binary().display()))
}

fn controller(folder: &Path, arguments: &[String]) -> Option<Beside> {
    Beside::of(arguments, folder.join("data/kubeconfig"), folder)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
