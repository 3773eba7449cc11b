//! What all clusters of this machine share: folders that must exist as mount points, and packet forwarding.
//!
//! Every running `up` holds a shared lock. What was changed is written down before it is changed; the last `up` to end
//! takes it back. Everything here lies in `/run/everynode` and so is forgotten when the machine restarts, as forwarding
//! is.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const DIR: &str = "/run/everynode";
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Folders that a node has for itself; each must exist on the machine to be mounted over. `/var/lib/docker` is there for
/// log collectors, whose usual manifests mount its containers' folder: a node must neither make it on the machine nor see
/// the machine's.
pub const NODE_FOLDERS: [&str; 7] = [
    "/var/log",
    "/etc/kubernetes",
    "/etc/cni/net.d",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/var/lib/docker",
];

/// Why the machine cannot be made ready.
#[derive(Debug, thiserror::Error)]
#[error("{path}: cannot be used", path = path.display())]
pub struct MachineError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A machine that is ready for nodes. Dropping it without [`Machine::release`] leaves it so.
pub struct Machine {
    dir: PathBuf,
    users: File,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Changes {
    /// In the order they were made.
    folders: Vec<PathBuf>,
    /// Forwarding was off.
    forwarding: bool,
}

impl Machine {
    /// Makes mount points and switches forwarding on.
    pub fn prepare() -> Result<Self, MachineError> {
        let machine = Self::join(Path::new(DIR))?;
        machine.make(&NODE_FOLDERS.map(Path::new), Path::new(FORWARDING))?;
        Ok(machine)
    }

    /// Takes everything back if no other `up` runs here.
    pub fn release(self) -> Result<(), MachineError> {
        self.leave(Path::new(FORWARDING))
    }

    fn join(dir: &Path) -> Result<Self, MachineError> {
        loop {
            std::fs::create_dir_all(dir).map_err(at(dir))?;
            let path = dir.join("users");
            let users = File::options().create(true).append(true).open(&path).map_err(at(&path))?;
            users.lock_shared().map_err(at(&path))?;
            // The last user may have removed the file between open and lock.
            let same =
                |there: std::fs::Metadata| users.metadata().is_ok_and(|ours| ours.ino() == there.ino());
            if std::fs::metadata(&path).is_ok_and(same) {
                return Ok(Self { dir: dir.to_path_buf(), users });
            }
        }
    }

    fn make(&self, folders: &[&Path], forwarding: &Path) -> Result<(), MachineError> {
        let _one_at_a_time = self.lock_changes()?;
        let mut changes = self.changes();
        for folder in folders {
            for missing in missing(folder) {
                changes.folders.push(missing.clone());
                self.write(&changes)?;
                std::fs::create_dir(&missing).map_err(at(&missing))?;
            }
        }
        if std::fs::read_to_string(forwarding).map_err(at(forwarding))?.trim() == "0" {
            changes.forwarding = true;
            self.write(&changes)?;
            std::fs::write(forwarding, "1").map_err(at(forwarding))?;
        }
        Ok(())
    }

    fn leave(self, forwarding: &Path) -> Result<(), MachineError> {
        let _one_at_a_time = self.lock_changes()?;
        // The lock is turned into an exclusive one only when nobody else holds it.
        if self.users.unlock().is_err() || self.users.try_lock().is_err() {
            return Ok(());
        }
        let changes = self.changes();
        if changes.forwarding {
            std::fs::write(forwarding, "0").map_err(at(forwarding))?;
        }
        for folder in changes.folders.iter().rev() {
            // One that somebody has put something into stays.
            let _ = std::fs::remove_dir(folder);
        }
        std::fs::remove_dir_all(&self.dir).map_err(at(&self.dir))
    }

    fn lock_changes(&self) -> Result<File, MachineError> {
        let path = self.dir.join("changing");
        let file = File::options().create(true).append(true).open(&path).map_err(at(&path))?;
        file.lock().map_err(at(&path))?;
        Ok(file)
    }

    fn changes(&self) -> Changes {
        let bytes = std::fs::read(self.dir.join("changes.json")).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    fn write(&self, changes: &Changes) -> Result<(), MachineError> {
        let path = self.dir.join("changes.json");
        let text = serde_json::to_string(changes).map_err(io::Error::other).map_err(at(&path))?;
        std::fs::write(&path, text).map_err(at(&path))
    }
}

/// The folders that must be made for this one to exist, outermost first.
fn missing(folder: &Path) -> Vec<PathBuf> {
    let mut missing: Vec<PathBuf> =
        folder.ancestors().take_while(|path| !path.exists()).map(Path::to_path_buf).collect();
    missing.reverse();
    missing
}

fn at(path: &Path) -> impl Fn(io::Error) -> MachineError {
    move |source| MachineError { path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_user_takes_back_what_the_first_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (state, deep, forwarding) =
            (dir.path().join("state"), dir.path().join("etc/cni/net.d"), dir.path().join("forward"));
        std::fs::write(&forwarding, "0\n").unwrap();
        let start = || {
            let machine = Machine::join(&state).unwrap();
            machine.make(&[&deep], &forwarding).unwrap();
            machine
        };
        let read = || std::fs::read_to_string(&forwarding).unwrap().trim().to_string();
        let (one, two) = (start(), start());
        assert!(deep.is_dir());
        one.leave(&forwarding).unwrap();
        assert_eq!((deep.is_dir(), read()), (true, "1".into()));
        two.leave(&forwarding).unwrap();
        assert_eq!((dir.path().join("etc").exists(), read(), state.exists()), (false, "0".into(), false));
    }

    #[test]
    fn after_a_crash_the_next_user_knows_what_was_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (state, folder, forwarding) =
            (dir.path().join("state"), dir.path().join("kubelet"), dir.path().join("forward"));
        std::fs::write(&forwarding, "0\n").unwrap();
        let machine = Machine::join(&state).unwrap();
        machine.make(&[&folder], &forwarding).unwrap();
        drop(machine);
        let machine = Machine::join(&state).unwrap();
        machine.make(&[&folder], &forwarding).unwrap();
        machine.leave(&forwarding).unwrap();
        assert!(!folder.exists());
    }
}
