//! `cargo xtask test`: every check and test of the repository, in the order of their price. What needs only processor time
//! (clippy, hostile input) runs beside the end-to-end tests, which wait most of theirs.
//!
//! The end-to-end tests start servers that run all loops. Those that say most about DaemonSets in the least time run once more,
//! unchanged, with `everynode controller` beside servers without that loop; `--controller apart` runs all of them so.

use crate::beside::Beside;
use crate::program::{self, cargo};
use crate::{fuzz, packages, tidy};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// What runs both ways: suites, and which of their tests; empty for all. They say most about DaemonSets, and take about a
/// minute: rollouts and placement on simulated nodes, and a server that dies under real ones and a controller that does not.
const BOTH_WAYS: &[(&str, &str)] =
    &[("rollout_commands", ""), ("simulated", ""), ("nodes", "a_killed_server")];

/// Where the DaemonSet controller runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Controller {
    /// In the server's process.
    Within,
    /// In one of its own.
    Apart,
}

/// Runs all checks and all tests; the last line counts them.
pub fn test(no_e2e: bool, filter: Option<&str>) -> Result<()> {
    packages::for_tests()?;
    let whole = filter.is_none();
    if whole {
        program::run(cargo().args(["fmt", "--all", "--check"]))?;
        tidy::tidy(false)?;
    }
    if whole && no_e2e {
        program::run(&mut lint())?;
    }
    let mut sums = Sums::default();
    let mut command = cargo();
    command.args(["test", "--workspace", "--exclude", "e2e", "--no-fail-fast"]);
    if let Some(filter) = filter {
        command.args(["--", filter]);
    }
    let mut green = counted(&mut command, &mut sums, || Ok(()))?;
    if !no_e2e {
        let mut beside = Vec::new();
        let begin = || {
            if whole {
                beside.extend([fuzz::beside()?, Beside::start("clippy", &lint())?]);
            }
            Ok(())
        };
        green &= e2e(Part { controller: Controller::Within, suite: None, filter }, &mut sums, begin)?;
        for (suite, tests) in BOTH_WAYS {
            let filter = filter.or((!tests.is_empty()).then_some(*tests));
            let part = Part { controller: Controller::Apart, suite: Some(suite), filter };
            green &= e2e(part, &mut sums, || Ok(()))?;
        }
        beside.into_iter().try_for_each(Beside::end)?;
    }
    judge(green, &sums)
}

/// Runs all end-to-end tests, and nothing else.
pub fn end_to_end(controller: Controller, filter: Option<&str>) -> Result<()> {
    packages::for_tests()?;
    let mut sums = Sums::default();
    let green = e2e(Part { controller, suite: None, filter }, &mut sums, || Ok(()))?;
    judge(green, &sums)
}

fn judge(green: bool, sums: &Sums) -> Result<()> {
    println!("everynode: {} passed, {} failed, {} skipped", sums.passed, sums.failed, sums.ignored);
    if !green || sums.failed > 0 {
        bail!("some tests failed; their names stand above");
    }
    Ok(())
}

fn lint() -> Command {
    let mut command = cargo();
    command.args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    command
}

/// Which of the end-to-end tests, and how. Without a suite or a filter: all of them.
#[derive(Clone, Copy)]
struct Part<'a> {
    controller: Controller,
    suite: Option<&'a str>,
    filter: Option<&'a str>,
}

/// The end-to-end tests run the binary as a user does, so it is built first. They share one machine's
/// containerd, bridges and cores: one at a time.
fn e2e(part: Part<'_>, sums: &mut Sums, begin: impl FnOnce() -> Result<()>) -> Result<bool> {
    let Part { controller, suite, filter } = part;
    program::run(cargo().args(["build", "--package", "everynode"]))?;
    let mut command = cargo();
    command.env("EVERYNODE_BINARY", program::target_dir().join("debug/everynode"));
    let place = match controller {
        Controller::Within => "within",
        Controller::Apart => "apart",
    };
    command.env("EVERYNODE_E2E_CONTROLLER", place);
    command.args(["test", "--package", "e2e", "--no-fail-fast"]);
    command.args(suite.iter().flat_map(|suite| ["--test", suite]));
    command.args(["--", "--test-threads=1"]).args(filter);
    eprintln!("the end-to-end tests, with the DaemonSet controller {place}");
    counted(&mut command, sums, begin)
}

#[derive(Default)]
struct Sums {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Sums {
    /// Reads `test result: ok. 12 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(rest) = line.trim().strip_prefix("test result:") else { return };
        let words: Vec<&str> = rest.split([' ', ';']).filter(|w| !w.is_empty()).collect();
        for pair in words.windows(2) {
            let [number, what] = pair else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match *what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// Runs a test command, shows what it prints, counts its results. False if it failed. `begin` is called with the first line,
/// when everything is built and cargo holds the target folder no longer.
fn counted(command: &mut Command, sums: &mut Sums, begin: impl FnOnce() -> Result<()>) -> Result<bool> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let stdout = child.stdout.take().context("cargo test has no output")?;
    let mut begin = Some(begin);
    let mut begun = Ok(());
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if let Some(begin) = begin.take() {
            begun = begin();
        }
        println!("{line}");
        sums.add(&line);
    }
    let green = child.wait()?.success();
    begun.map(|()| green)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_of_a_test_binary_is_counted() {
        let mut sums = Sums::default();
        sums.add(
            "test result: ok. 12 passed; 1 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        );
        sums.add("test a_name ... ok");
        assert_eq!((sums.passed, sums.failed, sums.ignored), (12, 1, 3));
    }
}
