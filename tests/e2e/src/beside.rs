//! The DaemonSet loop in a process of its own, beside any server that a test starts.
//!
//! With `EVERYNODE_E2E_CONTROLLER=apart` every [`crate::Cluster`] and [`crate::Server`] leaves the loop `daemonsets` out, and
//! `everynode controller` does its work: the same tests, unchanged. A test that leaves the loop out itself keeps its meaning, and
//! gets nothing beside.
//!
//! The process is kept as a Deployment keeps it: one that has ended is started again. It may end by itself only for one reason,
//! a lease that it could not renew; every other end fails the test.

use crate::binary;
use anyhow::{Context as _, Result, bail};
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const VARIABLE: &str = "EVERYNODE_E2E_CONTROLLER";
const LOOP: &str = "daemonsets";

/// How often it is asked whether the process runs, and whether there is a cluster yet.
const LOOK: Duration = Duration::from_millis(20);
/// Until a process that has ended is started again: enough that one that cannot run does not fill the log.
const PAUSE: Duration = Duration::from_secs(1);
/// A clean end: what is in work is finished, and the lease given back.
const END_LIMIT: Duration = Duration::from_secs(20);
const SIGTERM: i32 = 15;
/// What a process says that ends because its lease is over.
const LOST: &str = "was lost";

/// A controller that runs until it is told to end.
pub struct Beside {
    orders: Sender<End>,
    thread: Option<JoinHandle<Result<()>>>,
    log: PathBuf,
}

/// How a controller ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Without warning, as in a power cut.
    Killed,
    /// Asked to, as systemd does it.
    Asked,
}

/// What a server that starts with these arguments has to hear besides: nothing, or that its DaemonSet loop runs elsewhere.
pub fn besides(arguments: &[String]) -> &'static [&'static str] {
    if is_apart(arguments) { &["--without-loop", LOOP] } else { &[] }
}

/// Where the loop runs is the environment's to say, unless the test says it.
fn is_apart(arguments: &[String]) -> bool {
    let is_the_tests = arguments.windows(2).any(|pair| pair == ["--without-loop", LOOP]);
    match std::env::var(VARIABLE).as_deref() {
        Ok("apart") => !is_the_tests,
        Ok("within" | "") | Err(_) => false,
        Ok(other) => panic!("{VARIABLE}={other}: neither within nor apart"),
    }
}

impl Beside {
    /// The controller that belongs to a server with these arguments, if one does. It waits for the kubeconfig.
    pub fn of(arguments: &[String], kubeconfig: PathBuf, folder: &Path) -> Option<Self> {
        is_apart(arguments).then(|| {
            let log = folder.join("controller.log");
            let ((orders, told), file) = (channel(), log.clone());
            let thread = std::thread::spawn(move || keep(&kubeconfig, &file, &told));
            Self { orders, thread: Some(thread), log }
        })
    }

    fn end(mut self, how: End) -> Result<()> {
        // Who has ended already hears nothing, and says why below.
        let _ = self.orders.send(how);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let kept = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        if std::thread::panicking() {
            eprintln!("the controller beside says\n{}", said(&self.log, 0));
        }
        kept.with_context(|| format!("the controller beside says\n{}", said(&self.log, 0)))
    }
}

/// Ends a controller, if there is one, and answers with what was wrong with it while it ran.
pub fn end(controller: &mut Option<Beside>, how: End) -> Result<()> {
    controller.take().map_or(Ok(()), |controller| controller.end(how))
}

/// Fails if something was wrong with a controller: for those who end what they have when a test is over.
pub fn assert_good(ended: Result<()>) {
    if let Err(error) = ended {
        assert!(std::thread::panicking(), "{error:#}");
    }
}

/// Runs a controller after the other until one is told to end.
fn keep(kubeconfig: &Path, log: &Path, told: &Receiver<End>) -> Result<()> {
    loop {
        while !kubeconfig.exists() {
            if told_within(told, LOOK).is_some() {
                return Ok(());
            }
        }
        let before = std::fs::metadata(log).map_or(0, |file| file.len());
        let mut process = spawn(kubeconfig, log)?;
        let status = loop {
            match (told_within(told, LOOK), process.try_wait()?) {
                (Some(how), None) => return end_process(&mut process, how),
                (_, Some(status)) => break status,
                (None, None) => {}
            }
        };
        let words = said(log, usize::try_from(before)?);
        if status.code() != Some(1) || !words.contains(LOST) {
            bail!("it has ended by itself ({status})");
        }
        if told_within(told, PAUSE).is_some() {
            return Ok(());
        }
    }
}

/// A test that has gone away wants nothing any more.
fn told_within(told: &Receiver<End>, time: Duration) -> Option<End> {
    match told.recv_timeout(time) {
        Ok(how) => Some(how),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(End::Killed),
    }
}

fn spawn(kubeconfig: &Path, log: &Path) -> Result<Child> {
    let log = File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(binary());
    command.arg("controller").arg("--kubeconfig").arg(kubeconfig);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("cannot start {}: build it first", binary().display()))
}

fn end_process(process: &mut Child, how: End) -> Result<()> {
    if how == End::Asked {
        Command::new("kill").args(["-TERM", &process.id().to_string()]).status()?;
        return match ended_within(process, END_LIMIT)? {
            // One that has only just begun does not listen yet.
            Some(status) if status.success() || status.signal() == Some(SIGTERM) => Ok(()),
            Some(status) => bail!("asked to end, it says {status}"),
            None => kill(process).and_then(|()| bail!("it did not end within {}s", END_LIMIT.as_secs())),
        };
    }
    kill(process)
}

fn kill(process: &mut Child) -> Result<()> {
    process.kill()?;
    process.wait()?;
    Ok(())
}

fn ended_within(process: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        match process.try_wait()? {
            None if Instant::now() < end => std::thread::sleep(LOOK),
            ended => return Ok(ended),
        }
    }
}

/// What a log says from this byte on.
fn said(log: &Path, from: usize) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(bytes.get(from..).unwrap_or_default()).into_owned()
}
