//! A container runtime that is missing, ends at once, or is away for a while: always named, never a reason to lose or restart
//! anything.

use e2e::{Cluster, assert_says, eventually, eventually_equal, newest_and_oldest};
use std::path::PathBuf;
use std::time::Duration;

/// A debug build on two busy cores.
const LIMIT: Duration = Duration::from_secs(90);

const HELLO: &str = include_str!("../../../examples/hello.yaml");

fn containerd() -> PathBuf {
    let folders = ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/usr/local/sbin"];
    let found =
        folders.iter().map(|folder| PathBuf::from(folder).join("containerd")).find(|path| path.is_file());
    found.expect("containerd is not installed").canonicalize().unwrap()
}

/// A script that puts this text in the place of containerd.
fn instead_of_containerd(folder: &tempfile::TempDir, text: &str) -> String {
    let script = folder.path().join("containerd");
    std::fs::write(&script, text).unwrap();
    format!("chmod 755 {0}\nmount --bind {0} {1}", script.display(), containerd().display())
}

#[test]
fn without_containerd_the_nodes_are_simulated_and_the_reason_is_said() {
    let missing = format!("mount --bind /dev/null {}", containerd().display());
    let reason = "containerd is not installed (Debian: apt-get install containerd)";
    let mut asked_for = Cluster::start_where(&missing, &["--runtime", "cri"]).unwrap();
    assert_eq!(asked_for.wait_for_end(), 1);
    assert_says(&asked_for.output(), &format!("--runtime cri is not possible: {reason}"));
    drop(asked_for);

    let mut cluster = Cluster::start_where(&missing, &["--nodes", "1"]).unwrap();
    let (_, path) = newest_and_oldest().unwrap().remove(0);
    let kubectl = cluster.kubectl(&path);
    cluster.wait_for_nodes(&kubectl, &["n1"]);
    assert_says(&cluster.output(), &format!("no real containers, because {reason}; the nodes are simulated"));
}

#[test]
fn a_containerd_that_ends_at_once_ends_the_start_with_its_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let setup = instead_of_containerd(&folder, "#!/bin/sh\necho 'my state is broken' >&2\nexit 7\n");
    let mut cluster = Cluster::start_where(&setup, &["--runtime", "cri", "--nodes", "1"]).unwrap();
    assert_eq!(cluster.wait_for_end(), 1);
    let log = cluster.data_dir().canonicalize().unwrap().join("nodes/n1/var/log/containerd.log");
    let expected = format!("n1: containerd has ended (code 7): my state is broken; see {}", log.display());
    assert_says(&cluster.output(), &expected);
    assert_says(&std::fs::read_to_string(log).unwrap(), "my state is broken");
    e2e::assert_clean(&cluster.data_dir());
}

/// Like a containerd that cannot start for a while after a crash.
#[test]
fn while_containerd_is_away_the_node_says_so_and_its_containers_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (real, away) = (folder.path().join("real"), folder.path().join("away"));
    std::fs::copy(containerd(), &real).unwrap();
    let script = format!("#!/bin/sh\n[ -e {} ] && exit 7\nexec {} \"$@\"\n", away.display(), real.display());
    let setup = instead_of_containerd(&folder, &script);
    let mut cluster = Cluster::start_where(&setup, &["--runtime", "cri", "--nodes", "1"]).unwrap();
    let (_, path) = newest_and_oldest().unwrap().remove(0);
    let kubectl = cluster.kubectl(&path);
    cluster.wait_for_nodes(&kubectl, &["n1"]);
    kubectl.ok_with(&["apply", "-f", "-"], HELLO);
    kubectl.ok(&["rollout", "status", "ds/hello", "--timeout=90s"]);
    let container = || {
        let path = "{.items[*].status.containerStatuses[0].containerID} {.items[*].status.containerStatuses[0].restartCount}";
        kubectl.value(&["get", "pods", "-l", "app=hello"], path).unwrap()
    };
    let ready = |of: &str| {
        let path = format!("{{.status.conditions[?(@.type==\"Ready\")].{of}}}");
        kubectl.value(&["get", "node", "n1"], &path).unwrap_or_default()
    };
    let before = container();

    std::fs::write(&away, "").unwrap();
    assert_eq!(e2e::kill_in_nodes(&cluster.data_dir(), "real"), 1);
    eventually_equal("n1 is not Ready", LIMIT, "False".to_string(), || ready("status"));
    assert_eq!(ready("reason"), "KubeletNotReady");
    assert_says(&ready("message"), "containerd.sock");
    eventually("up tells of it", LIMIT, || {
        anyhow::ensure!(cluster.output().contains("n1: containerd has ended (code 7) and is started again"));
        Ok(())
    });
    assert_eq!(container(), before);

    std::fs::remove_file(&away).unwrap();
    eventually_equal("n1 is Ready", LIMIT, "True".to_string(), || ready("status"));
    assert_eq!(container(), before);
    kubectl.ok(&["delete", "pod", "-l", "app=hello"]);
    kubectl.ok(&["rollout", "status", "ds/hello", "--timeout=90s"]);
}
