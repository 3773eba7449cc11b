//! Cgroups of nodes that are gone: ends what is still in them and removes the folders. Works for cgroup v1 (a tree for
//! each controller, also beside a v2 tree) and v2. Making them is the runtime's work.

use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const ROOT: &str = "/sys/fs/cgroup";
/// A killed process leaves its cgroup a moment later.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Removes a cgroup (`/everynode/<cluster>`) with everything below it. Says what could not be removed.
pub fn remove(cgroup: &str) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    for tree in trees(Path::new(ROOT)) {
        let folder = tree.join(cgroup.trim_start_matches('/'));
        while folder.is_dir() {
            let Err(error) = remove_tree(&folder) else { break };
            if Instant::now() > end {
                return Err(format!("{}: cannot be removed: {error}", folder.display()));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
    Ok(())
}

/// Removes a cgroup that nobody uses any more; one in use stays.
pub fn remove_if_empty(cgroup: &str) {
    for tree in trees(Path::new(ROOT)) {
        let _ = std::fs::remove_dir(tree.join(cgroup.trim_start_matches('/')));
    }
}

fn trees(root: &Path) -> Vec<PathBuf> {
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_path_buf()];
    }
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink()).collect()
}

/// Files in a cgroup vanish with it; only folders are removed, the deepest first.
fn remove_tree(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    std::fs::remove_dir(folder).inspect_err(|_| end_all(folder))
}

fn end_all(folder: &Path) {
    let processes = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    for id in processes.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw) {
        let _ = kill_process(id, Signal::KILL);
    }
}
