//! A program that must end by itself, and what it has said by then.

use anyhow::{Context, Result, bail};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// No single command of a test may take longer.
const LIMIT: Duration = Duration::from_secs(120);

/// What a command said.
#[derive(Debug)]
pub struct Answer {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit code; -1 if a signal ended it.
    pub code: i32,
}

/// Runs a command to its end with this standard input; one that does not end is killed, and that is an error.
pub fn run_to_end(command: &mut Command, input: &str) -> Result<Answer> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().with_context(|| format!("{} cannot be started", command.get_program().display()))?;
    let watchdog = Watchdog::over(child.id());
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input closes the pipe; that is its right.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    if watchdog.stop() {
        bail!("did not end within {}s\n{stdout}{stderr}", LIMIT.as_secs());
    }
    Ok(Answer { stdout, stderr, code: output.status.code().unwrap_or(-1) })
}

/// Fails unless this was said; `a|b` is either.
#[track_caller]
pub fn assert_says(said: &str, expected: &str) {
    assert!(expected.split('|').any(|text| said.contains(text)), "{expected:?} is not in {said}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

struct Watchdog {
    done: Sender<()>,
    thread: JoinHandle<bool>,
}

impl Watchdog {
    fn over(process: u32) -> Self {
        let (done, waiting) = channel();
        let thread = std::thread::spawn(move || {
            let too_late = waiting.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout);
            if too_late {
                let _ = Command::new("kill").args(["-9", &process.to_string()]).status();
            }
            too_late
        });
        Self { done, thread }
    }

    /// True if it had to bite.
    fn stop(self) -> bool {
        let _ = self.done.send(());
        self.thread.join().unwrap_or(false)
    }
}
