//! Clients that others have written, against a cluster with simulated nodes: what they see is compared with what is there, and
//! what they ask and are answered with a recording (`recordings/*.txt`).
//!
//! A recording says what a client needs of a server. When a client's version changes, so may its recording: run with
//! `EVERYNODE_RECORD=1`, and read the difference before it is kept. Clients come from their registries into
//! a folder of the build, once.

mod debian;
mod discovery;
mod helm;
mod node;
mod python;
mod script;

use e2e::{Cluster, Etcd, Kubectl, Recorder, newest_and_oldest};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A debug build on two busy cores.
const LIMIT: Duration = Duration::from_secs(60);

const HELLO: &str = include_str!("../../../../examples/hello.yaml");

/// Nodes that run nothing.
const NODES: &[&str] = &["--runtime", "simulated", "--nodes", "2"];

/// A cluster of two simulated nodes and a DaemonSet on them, and the door through which a client speaks.
struct World {
    cluster: Cluster,
    kubectl: Kubectl,
    recorder: Recorder,
}

impl World {
    fn start() -> Self {
        Self::of(Cluster::start(NODES).unwrap())
    }

    /// The same with its objects in this etcd.
    fn on(etcd: &Etcd) -> Self {
        let world = Self::of(
            Cluster::start_where(&format!("export EVERYNODE_STORE={}", etcd.endpoints()), NODES).unwrap(),
        );
        assert!(!world.cluster.data_dir().join("server/store.db").exists(), "the embedded store is in use");
        world
    }

    fn of(mut cluster: Cluster) -> Self {
        let (_, path) = newest_and_oldest().unwrap().remove(0);
        let kubectl = cluster.kubectl(&path);
        cluster.wait_for_nodes(&kubectl, &["n1", "n2"]);
        kubectl.ok_with(&["apply", "-f", "-"], HELLO);
        kubectl.ok(&["rollout", "status", "ds/hello", "--timeout=60s"]);
        let recorder = Recorder::open(&kubectl).unwrap();
        Self { cluster, kubectl, recorder }
    }

    /// Runs a client's program that must succeed; answers what it printed.
    #[track_caller]
    fn run(&self, command: &mut Command) -> String {
        let answer = e2e::run_to_end(command.env("API", self.recorder.url()), "").unwrap();
        assert_eq!(answer.code, 0, "{command:?}\n{}{}", answer.stdout, answer.stderr);
        answer.stdout
    }

    /// Compares what was asked and answered with the recording of this name.
    #[track_caller]
    fn compare(&self, name: &str) {
        self.compare_but(name, &[]);
    }

    /// The same, less what the client asks in some runs and not in others.
    #[track_caller]
    fn compare_but(&self, name: &str, sometimes: &[String]) {
        let path = source().join("recordings").join(format!("{name}.txt"));
        let lines = self.recorder.lines();
        let seen = sometimes.iter().fold(lines, |seen, line| seen.replacen(line, "", 1));
        if std::env::var_os("EVERYNODE_RECORD").is_some() {
            std::fs::write(&path, seen).unwrap();
            return;
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(seen == kept, "{name} asks or is answered otherwise than recorded; now:\n{seen}");
    }
}

/// Where this test's files are.
fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// A folder that outlives the test, made by `fill` when it is not there.
#[track_caller]
fn installed(name: &str, fill: impl FnOnce(&Path)) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if !folder.is_dir() {
        let half = folder.with_extension("half");
        let _ = std::fs::remove_dir_all(&half);
        std::fs::create_dir_all(&half).unwrap();
        fill(&half);
        std::fs::rename(&half, &folder).unwrap();
    }
    folder
}

/// Runs an installer that must succeed.
#[track_caller]
fn install(command: &mut Command) {
    let answer = e2e::run_to_end(command, "").unwrap();
    assert_eq!(answer.code, 0, "{command:?}\n{}{}", answer.stdout, answer.stderr);
}
