//! A real, unmodified kubectl with a cache directory of its own.
//!
//! A `kubectl` on PATH may be a dispatcher that picks another one by the server's version (wire 0.4), so the
//! tests name theirs by file.

use crate::program::{Answer, run_to_end};
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The kubectls of this machine: (minor, path), newest first. Looks beside the one on PATH for `kubectl.1.NN`;
/// else the one on PATH itself.
pub fn kubectls() -> Result<Vec<(u32, PathBuf)>> {
    let on_path = std::env::var_os("PATH")
        .and_then(|path| std::env::split_paths(&path).map(|dir| dir.join("kubectl")).find(|p| p.is_file()))
        .context("no kubectl on PATH: install kubernetes-client or put one from dl.k8s.io there")?;
    let real = on_path.canonicalize()?;
    let mut found = Vec::new();
    for entry in real.parent().context("kubectl has no folder")?.read_dir()? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(minor) = name.strip_prefix("kubectl.1.").and_then(|m| m.parse().ok()) {
            found.push((minor, path));
        }
    }
    if found.is_empty() {
        found.push((client_minor(&on_path)?, on_path));
    }
    found.sort_by(|a, b| b.cmp(a));
    Ok(found)
}

/// The oldest that Google still ships beside its newest; up to 1.28 kubectl reads OpenAPI v2.
const OLDEST: u32 = 27;
/// The minor after the one that the server reports: clients may be one ahead.
const NEWEST: u32 = 34;

/// Two kubectls that differ on the wire (wire 6.0.2): up to 1.31 bodies are JSON, from 1.32 on some are protobuf. The
/// only one there is, where there is one.
pub fn newest_and_oldest() -> Result<Vec<(u32, PathBuf)>> {
    let mut usable = kubectls()?;
    usable.retain(|(minor, _)| (OLDEST..=NEWEST).contains(minor));
    if usable.len() > 2 {
        usable.drain(1..usable.len() - 1);
    }
    ensure!(!usable.is_empty(), "no kubectl between 1.{OLDEST} and 1.{NEWEST} on this machine");
    Ok(usable)
}

fn client_minor(path: &Path) -> Result<u32> {
    let output = Command::new(path).args(["version", "--client", "-o", "json"]).output()?;
    let version: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let minor = version["clientVersion"]["minor"].as_str().unwrap_or_default();
    minor.trim_end_matches('+').parse().with_context(|| format!("kubectl says minor {minor:?}"))
}

/// One kubectl, pointed at one cluster.
#[derive(Clone)]
pub struct Kubectl {
    path: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
    namespace: Option<String>,
    environment: Vec<(String, String)>,
}

impl Kubectl {
    /// A kubectl whose discovery cache lies in `cache`.
    pub fn new(path: PathBuf, kubeconfig: PathBuf, cache: PathBuf) -> Self {
        Self { path, kubeconfig, cache, namespace: None, environment: Vec::new() }
    }

    /// The same kubectl with other credentials.
    pub fn with_kubeconfig(&self, kubeconfig: PathBuf) -> Self {
        Self { kubeconfig, ..self.clone() }
    }

    /// The same kubectl, which looks into this namespace.
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.into()), ..self.clone() }
    }

    /// The same kubectl with one more variable in its environment.
    pub fn with_environment(&self, name: &str, value: impl ToString) -> Self {
        let mut other = self.clone();
        other.environment.push((name.into(), value.to_string()));
        other
    }

    /// Runs a plugin from this folder: `kubectl NAME …`. kubectl takes no flags of its own before the name, so the plugin
    /// finds the cluster in the environment.
    pub fn plugin(&self, folder: &Path, arguments: &[&str]) -> Answer {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = [folder.to_path_buf()].into_iter().chain(std::env::split_paths(&path));
        let output = std::env::join_paths(folders).map_err(anyhow::Error::from).and_then(|path| {
            let mut command = Command::new(&self.path);
            command.env("PATH", path).env("KUBECONFIG", &self.kubeconfig).args(arguments);
            run_to_end(&mut command, "")
        });
        output.unwrap_or_else(|error| panic!("kubectl {}: {error:#}", arguments.join(" ")))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.arg("--kubeconfig").arg(&self.kubeconfig).arg("--cache-dir").arg(&self.cache);
        command.args(self.namespace.iter().flat_map(|namespace| ["--namespace", namespace]));
        command.args(arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Answer {
        self.run_with_input(arguments, "")
    }

    /// Runs a command with standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Answer {
        match run_to_end(&mut self.command(arguments), input) {
            Ok(answer) => answer,
            Err(error) => panic!("kubectl {}: {error:#}", arguments.join(" ")),
        }
    }

    /// Runs a command in a terminal of this many rows and columns; what it says there is its standard output.
    pub fn in_terminal(&self, (rows, columns): (u16, u16), arguments: &[&str]) -> Answer {
        let command = self.command(arguments);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let quoted = words.map(|word| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''")));
        let line = format!("stty rows {rows} cols {columns}; {}", quoted.collect::<Vec<_>>().join(" "));
        let answer = run_to_end(Command::new("script").args(["-qec", &line, "/dev/null"]), "");
        answer.unwrap_or_else(|error| panic!("kubectl {}: {error:#}", arguments.join(" ")))
    }

    /// Runs a command that must succeed and returns its standard output.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        self.checked(arguments, self.run(arguments))
    }

    /// Like [`Kubectl::ok`] with standard input, usually a manifest.
    #[track_caller]
    pub fn ok_with(&self, arguments: &[&str], input: &str) -> String {
        self.checked(arguments, self.run_with_input(arguments, input))
    }

    #[track_caller]
    fn checked(&self, arguments: &[&str], answer: Answer) -> String {
        let Answer { stdout, stderr, code } = answer;
        assert_eq!(code, 0, "kubectl {}\n{stdout}{stderr}", arguments.join(" "));
        stdout
    }

    /// Runs a command that must fail and returns its standard error.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str]) -> String {
        self.fails_with(arguments, "")
    }

    /// Like [`Kubectl::fails`] with standard input.
    #[track_caller]
    pub fn fails_with(&self, arguments: &[&str], input: &str) -> String {
        let answer = self.run_with_input(arguments, input);
        assert_ne!(answer.code, 0, "kubectl {} succeeded:\n{}", arguments.join(" "), answer.stdout);
        answer.stderr
    }

    /// One value by JSONPath, or the complaint of kubectl.
    pub fn value(&self, arguments: &[&str], path: &str) -> Result<String> {
        let format = format!("jsonpath={path}");
        let mut all = arguments.to_vec();
        all.extend(["-o", format.as_str()]);
        let answer = self.run(&all);
        if answer.code != 0 {
            bail!("{}", answer.stderr.trim());
        }
        Ok(answer.stdout)
    }

    /// Starts a command that goes on (`-w`, `logs -f`); it ends with the returned value.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("kubectl {}: {e}", arguments.join(" ")));
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Running { child, lines, seen: Vec::new(), what: arguments.join(" ") }
    }
}

/// A kubectl that runs until it is dropped.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    what: String,
}

impl Running {
    /// Waits until a line for which `wanted` holds has been printed, and returns it.
    #[track_caller]
    pub fn line(&mut self, limit: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if wanted(&line) {
                        return line;
                    }
                }
                Err(_) => panic!("kubectl {}: no such line; it said:\n{}", self.what, self.seen.join("\n")),
            }
        }
    }

    /// All lines so far.
    pub fn seen(&mut self) -> &[String] {
        self.seen.extend(self.lines.try_iter());
        &self.seen
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
