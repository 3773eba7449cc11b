//! A file system of its own for a test: small, and growing or read-only when the test says so.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A disk of some MiB in memory; dropping it unmounts it. Only root can have one.
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts one of this many MiB; the error says why that is not possible here.
    pub fn mount(mebibytes: u32) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("everynode-disk-").tempdir()?;
        let size = format!("size={mebibytes}m");
        mount(&["-t", "tmpfs", "-o", &size, "tmpfs"], folder.path())?;
        Ok(Self { folder })
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().to_path_buf()
    }

    /// Makes it larger while it is in use.
    pub fn grow(&self, mebibytes: u32) -> Result<()> {
        mount(&["-o", &format!("remount,size={mebibytes}m")], self.folder.path())
    }

    /// Allows no more writes, or allows them again.
    pub fn set_read_only(&self, read_only: bool) -> Result<()> {
        mount(&["-o", if read_only { "remount,ro" } else { "remount,rw" }], self.folder.path())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).output();
    }
}

fn mount(arguments: &[&str], target: &Path) -> Result<()> {
    let output = Command::new("mount").args(arguments).arg(target).output().context("mount")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
