//! Runs a program of the system and says what went wrong in its own words.
//!
//! Linking, mounting and packet rules are done by iproute2, util-linux and iptables: their interfaces are stable, an
//! operator can repeat by hand what we do, and no code of ours needs `unsafe` for it.

use std::io;
use std::process::{Command, Stdio};

/// Where administrators' programs are, which the PATH of a plain shell may lack.
const MORE_PATH: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It cannot be started.
    #[error("{program}: cannot be started")]
    Start {
        /// Its name.
        program: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It said no.
    #[error("`{command}` failed: {said}")]
    Failed {
        /// The whole command.
        command: String,
        /// What it printed, on one line.
        said: String,
    },
}

/// A command with administrators' programs on its path and an empty standard input.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", path()).stdin(Stdio::null());
    command
}

/// The search path with administrators' folders at its end.
pub fn path() -> String {
    match std::env::var("PATH") {
        Ok(path) if !path.is_empty() => format!("{path}:{MORE_PATH}"),
        _ => MORE_PATH.into(),
    }
}

/// Whether a program is on the search path.
pub fn is_there(program: &str) -> bool {
    path().split(':').any(|dir| std::path::Path::new(dir).join(program).is_file())
}

/// Runs a program to its end and answers what it printed.
pub fn run(program: &str, arguments: &[&str]) -> Result<String, ProgramError> {
    let output = command(program)
        .args(arguments)
        .output()
        .map_err(|source| ProgramError::Start { program: program.into(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let said = if said.is_empty() { output.status.to_string() } else { said.join("; ") };
    Err(ProgramError::Failed { command: format!("{program} {}", arguments.join(" ")), said })
}
