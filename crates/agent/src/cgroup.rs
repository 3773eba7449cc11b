//! The cgroup of a pod: what the pod uses, and its removal.
//!
//! The runtime makes it (as the parent of its containers' cgroups) and leaves it behind; an empty cgroup is a folder that
//! can be removed. Works for cgroup v1 (a tree for each controller) and v2.

use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// Removes the cgroup in every tree. What is still in use stays: it is looked at again when the pod is cleaned up again.
pub fn remove(cgroup: &str) {
    for tree in trees(Path::new(ROOT)) {
        let folder = tree.join(cgroup.trim_start_matches('/'));
        if folder.is_dir()
            && let Err(error) = remove_tree(&folder)
        {
            tracing::debug!(path = %folder.display(), %error, "cgroup not removed");
        }
    }
}

/// What a pod uses of its node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of memory, less what the kernel can take back at once.
    pub memory: u64,
    /// Processes and threads.
    pub processes: u64,
    /// Nanoseconds of processor time since it was made.
    pub processor: u64,
}

/// What the cgroup counts; what cannot be read is nothing.
#[must_use]
pub fn usage(cgroup: &str) -> Usage {
    usage_of(cgroup).unwrap_or_default()
}

/// The same; none for a cgroup that does not exist.
#[must_use]
pub fn usage_of(cgroup: &str) -> Option<Usage> {
    let folders = trees(Path::new(ROOT)).into_iter().map(|tree| tree.join(cgroup.trim_start_matches('/')));
    let found = folders.filter(|folder| folder.is_dir()).map(|folder| usage_in(&folder));
    found.reduce(|one, other| Usage {
        memory: one.memory.max(other.memory),
        processes: one.processes.max(other.processes),
        processor: one.processor.max(other.processor),
    })
}

/// The file names of v2, and of v1 in whose trees only one of each exists.
fn usage_in(folder: &Path) -> Usage {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    let number = |name: &str| read(name).trim().parse::<u64>().ok();
    let cached = |key: &str| {
        let stat = read("memory.stat");
        let value = stat.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
        value.unwrap_or_default()
    };
    let used = number("memory.current").or_else(|| number("memory.usage_in_bytes")).unwrap_or_default();
    // `total_` in v1, where the file of the pod has both.
    let reclaimable = cached("inactive_file ").max(cached("total_inactive_file "));
    // v2 counts microseconds, v1 nanoseconds.
    let of_v2 =
        || read("cpu.stat").lines().find_map(|line| line.strip_prefix("usage_usec ")?.trim().parse().ok());
    let processor = number("cpuacct.usage").or_else(|| of_v2().map(|micro: u64| micro.saturating_mul(1000)));
    Usage {
        memory: used.saturating_sub(reclaimable),
        processes: number("pids.current").unwrap_or_default(),
        processor: processor.unwrap_or_default(),
    }
}

fn trees(root: &Path) -> Vec<PathBuf> {
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_path_buf()];
    }
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// The files in a cgroup vanish with it; only folders are removed, the deepest first.
fn remove_tree(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    std::fs::remove_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], memory: u64, processes: u64, processor: u64) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        assert_eq!(usage_in(folder.path()), Usage { memory, processes, processor }, "{files:?}");
    }

    #[test]
    fn both_versions_of_cgroups_are_read_and_what_is_missing_is_nothing() {
        let v2 = [
            ("memory.current", "1000\n"),
            ("memory.stat", "anon 5\ninactive_file 300\n"),
            ("pids.current", "7\n"),
            ("cpu.stat", "usage_usec 5000\nuser_usec 4000\n"),
        ];
        check(&v2, 700, 7, 5_000_000);
        let stat = "inactive_file 10\ntotal_inactive_file 400\n";
        check(&[("memory.usage_in_bytes", "1000\n"), ("memory.stat", stat)], 600, 0, 0);
        check(&[("cpuacct.usage", "123\n"), ("cpu.stat", "nr_periods 0\n")], 0, 0, 123);
        check(&[("pids.current", "max\n")], 0, 0, 0);
        check(&[], 0, 0, 0);
    }
}
