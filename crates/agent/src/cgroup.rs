//! Removes the cgroup of a pod that is gone. The runtime makes it (as the parent of its containers' cgroups) and leaves
//! it behind; an empty cgroup is a folder that can be removed. Works for cgroup v1 (a tree for each controller) and v2.

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
