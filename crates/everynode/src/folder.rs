//! The data folder of a cluster: for its owner only, of a version that we can read, used by one `up` at a time.
//!
//! Nothing is written into a folder before it is known to be ours: empty, or with our version in it.

use crate::pki::{PkiError, cure, private_dir, write_private};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Version of the folder's layout. A later program that changes it raises it and converts, or refuses.
const VERSION: &str = "1";

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be made, entered or written.
    #[error("data folder {path}: {source}; {}choose another with --data-dir", first_try(source),
        path = path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Something else wrote it.
    #[error("data folder {path} has version {found} and this everynode knows version {VERSION}; use the everynode that \
             made it, or another --data-dir", path = path.display())]
    Version {
        /// The folder.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// It is full of other things.
    #[error("data folder {path} is not empty and was not made by everynode; choose another with --data-dir",
        path = path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// Another `up` runs on it.
    #[error("data folder {path}: another everynode up{process} runs on it; end it, or choose another with --data-dir",
        path = path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// ` (process 17)`, where that is known.
        process: String,
    },
}

/// A folder that nobody else uses as long as this lives.
pub struct Locked {
    path: PathBuf,
    _lock: File,
}

impl Locked {
    /// Its absolute path, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes the folder, or checks that it is ours; answers its absolute path.
pub fn open(path: &Path) -> Result<PathBuf, FolderError> {
    let unusable = |source: io::Error| FolderError::Unusable { path: path.to_path_buf(), source };
    private_dir(path).map_err(|error| unusable(io_error(error)))?;
    let path = path.canonicalize().map_err(unusable)?;
    let version = path.join("version");
    match std::fs::read_to_string(&version) {
        Ok(found) if found.trim() == VERSION => {}
        Ok(found) => {
            return Err(FolderError::Version { path, found: found.trim().chars().take(40).collect() });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if has_entries(&path).map_err(unusable)? {
                return Err(FolderError::Foreign { path });
            }
            write_private(&version, &format!("{VERSION}\n")).map_err(|error| unusable(io_error(error)))?;
        }
        Err(source) => return Err(FolderError::Unusable { path, source }),
    }
    Ok(path)
}

/// The same, and keeps every other `up` out.
pub fn lock(path: &Path) -> Result<Locked, FolderError> {
    let path = open(path)?;
    let file = path.join("up.lock");
    let unusable = |source: io::Error| FolderError::Unusable { path: path.clone(), source };
    let mut lock =
        File::options().create(true).truncate(false).read(true).write(true).open(&file).map_err(unusable)?;
    if lock.try_lock().is_err() {
        let process = std::fs::read_to_string(&file).unwrap_or_default();
        let process = match process.trim() {
            "" => String::new(),
            id => format!(" (process {id})"),
        };
        return Err(FolderError::InUse { path, process });
    }
    lock.set_len(0).map_err(unusable)?;
    io::Write::write_all(&mut lock, format!("{}\n", std::process::id()).as_bytes()).map_err(unusable)?;
    Ok(Locked { path, _lock: lock })
}

/// `lost+found` is in every new file system.
fn has_entries(path: &Path) -> io::Result<bool> {
    let ours = |name: &std::ffi::OsStr| name == "lost+found" || name == "version.new";
    Ok(std::fs::read_dir(path)?.flatten().any(|entry| !ours(&entry.file_name())))
}

fn first_try(source: &io::Error) -> String {
    cure(source).map(|cure| format!("{cure}, or ")).unwrap_or_default()
}

fn io_error(error: PkiError) -> io::Error {
    match error {
        PkiError::File { source, .. } => source,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prepare: impl Fn(&Path), expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        prepare(&path);
        let before = std::fs::read_dir(&path).map(Iterator::count).unwrap_or_default();
        let error = open(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert_eq!(std::fs::read_dir(&path).map(Iterator::count).unwrap_or_default(), before);
    }

    #[test]
    fn a_folder_that_is_not_ours_is_refused_and_left_alone() {
        check(|path| std::fs::write(path, "").unwrap(), "choose another with --data-dir");
        let with = |name: &'static str, text: &'static str| {
            move |path: &Path| {
                std::fs::create_dir(path).unwrap();
                std::fs::write(path.join(name), text).unwrap();
            }
        };
        check(with("version", "2\n"), "has version 2 and this everynode knows version 1");
        check(with("holiday.jpg", "x"), "is not empty and was not made by everynode");
    }

    #[test]
    fn a_folder_is_made_once_and_used_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let first = lock(&path).unwrap();
        let error = lock(&path).err().unwrap().to_string();
        assert!(error.contains(&format!("another everynode up (process {})", std::process::id())), "{error}");
        drop(first);
        lock(&path).unwrap();
    }
}
