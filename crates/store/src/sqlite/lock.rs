//! Who has the file: invariant 1 of [`super`], before anything in it is read.

use super::file::with_suffix;
use super::refusal::{OpenError, io_error};
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Takes the lock.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let beside = with_suffix(path, "-lock");
    let failed = |source| io_error(path, source);
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(beside)
        .map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { file: path.into() }),
        Err(TryLockError::Error(source)) => Err(io_error(path, source)),
    }
}

/// Refuses a file that a server has open. Nothing is made for it.
pub(super) fn unused(path: &Path) -> Result<(), OpenError> {
    if !path.exists() {
        return Err(OpenError::NoFile { file: path.into() });
    }
    match File::open(with_suffix(path, "-lock")).map(|lock| lock.try_lock()) {
        Ok(Err(TryLockError::WouldBlock)) => Err(OpenError::Locked { file: path.into() }),
        _ => Ok(()),
    }
}
