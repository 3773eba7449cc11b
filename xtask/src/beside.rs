//! What runs beside the end-to-end tests, at the lowest priority: those wait most of the time, and when they do not, they go
//! first.

use crate::program::shown;
use anyhow::{Context as _, Result, bail};
use std::process::{Child, Command};
use std::time::Instant;

/// A program that was started and not yet waited for.
pub struct Beside {
    child: Child,
    what: &'static str,
    shown: String,
}

impl Beside {
    /// Starts it; `what` names it in what is printed.
    pub fn start(what: &'static str, program: &Command) -> Result<Self> {
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        program.get_current_dir().map(|folder| command.current_dir(folder));
        let shown = shown(program);
        eprintln!("beside it: $ {shown}");
        let child = command.spawn().with_context(|| format!("cannot start {shown}"))?;
        Ok(Self { child, what, shown })
    }

    /// Waits for its end; an exit code other than 0 is an error that names the program.
    pub fn end(mut self) -> Result<()> {
        let begun = Instant::now();
        let status = self.child.wait().with_context(|| format!("waiting for {}", self.what))?;
        println!("everynode: waited {} s for {}", begun.elapsed().as_secs(), self.what);
        if !status.success() {
            bail!("{}: {}: {status}; what it found stands above", self.what, self.shown);
        }
        Ok(())
    }
}

impl Drop for Beside {
    /// What fails before its end leaves nothing behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
