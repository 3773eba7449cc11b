//! The node's own view of the file system: everything is the machine's, except what a node keeps for itself.
//!
//! We are in a mount namespace of our own. It is cut off from the machine's (nothing we mount is seen outside), and then
//! made shared again within itself, as container runtimes expect for mount propagation. `/run` comes last, because the
//! folders that are mounted may lie anywhere.

use super::super::machine::NODE_FOLDERS;
use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_bind,
    mount_change, move_mount, open_tree, unmount,
};
use std::ffi::CStr;
use std::io;
use std::path::{Path, PathBuf};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The name servers behind systemd's stub on 127.0.0.53, which a node cannot reach.
const BEHIND_THE_STUB: &str = "/run/systemd/resolve/resolv.conf";
const CGROUPS: &str = "/sys/fs/cgroup";

/// Why a node has no file system of its own.
#[derive(Debug, thiserror::Error)]
#[error("{what}: cannot be mounted")]
pub struct MountError {
    what: String,
    #[source]
    source: io::Error,
}

/// Mounts everything for the node whose folder this is.
pub fn mount_all(folder: &Path) -> Result<(), MountError> {
    let all = |flags| mount_change("/", flags | MountPropagationFlags::REC);
    all(MountPropagationFlags::PRIVATE).map_err(at("/"))?;
    all(MountPropagationFlags::SHARED).map_err(at("/"))?;
    for target in NODE_FOLDERS {
        let source = inside(folder, target);
        std::fs::create_dir_all(&source).map_err(|error| failed(&source, error))?;
        mount_bind(&source, target).map_err(at(target))?;
    }
    let name_servers = name_servers();
    fresh("tmpfs", "/run", Some(c"mode=755"))?;
    restore_name_servers(&name_servers).map_err(|error| failed(Path::new(RESOLV_CONF), error))?;
    fresh("proc", "/proc", None)?;
    fresh_sys()
}

/// Where the node keeps what it sees at `target`.
pub fn inside(folder: &Path, target: &str) -> PathBuf {
    folder.join(target.trim_start_matches('/'))
}

/// Whether containers' file systems can be stacked in this folder.
pub fn overlay_works(folder: &Path) -> bool {
    let probe = folder.join("overlay-probe");
    let part = |name: &str| probe.join(name);
    let made =
        ["lower", "upper", "work", "merged"].iter().all(|name| std::fs::create_dir_all(part(name)).is_ok());
    let options = format!(
        "lowerdir={},upperdir={},workdir={}\0",
        part("lower").display(),
        part("upper").display(),
        part("work").display()
    );
    let options = CStr::from_bytes_with_nul(options.as_bytes()).ok();
    let works = made && mount("overlay", part("merged"), "overlay", MountFlags::empty(), options).is_ok();
    if works {
        let _ = unmount(part("merged"), UnmountFlags::empty());
    }
    let _ = std::fs::remove_dir_all(&probe);
    works
}

/// A fresh `/sys` shows the node's own network devices; the cgroup trees below it are taken over.
fn fresh_sys() -> Result<(), MountError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE;
    let cgroups = open_tree(CWD, CGROUPS, flags).map_err(at(CGROUPS))?;
    fresh("sysfs", "/sys", None)?;
    move_mount(cgroups, "", CWD, CGROUPS, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(at(CGROUPS))
}

fn fresh(kind: &str, target: &str, data: Option<&CStr>) -> Result<(), MountError> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount(kind, target, kind, flags, data).map_err(at(target))
}

/// The machine's name servers, as a node can use them.
fn name_servers() -> Vec<u8> {
    let own = std::fs::read(RESOLV_CONF).unwrap_or_default();
    match String::from_utf8_lossy(&own).contains("127.0.0.53") {
        true => std::fs::read(BEHIND_THE_STUB).unwrap_or(own),
        false => own,
    }
}

/// Where `/etc/resolv.conf` led into the `/run` that is covered now, it is written there again.
fn restore_name_servers(text: &[u8]) -> io::Result<()> {
    let target = match std::fs::read_link(RESOLV_CONF) {
        Ok(link) => Path::new("/etc").join(link),
        Err(_) => return Ok(()),
    };
    if Path::new(RESOLV_CONF).exists() {
        return Ok(());
    }
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(target, text)
}

fn at(what: &str) -> impl Fn(rustix::io::Errno) -> MountError {
    move |errno| MountError { what: what.into(), source: errno.into() }
}

fn failed(path: &Path, source: io::Error) -> MountError {
    MountError { what: path.display().to_string(), source }
}
