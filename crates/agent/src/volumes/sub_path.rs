//! A path in a volume, held fast for a container that mounts only this part of it.
//!
//! 1. The kernel opens it beneath the volume: no link of a container leads out. What is missing is made beneath it, too, with
//!    the volume's permissions, so that who may write the volume may write there.
//! 2. What was opened is bound to a place in the pod's folder, where no container can write, and the runtime gets that place:
//!    what containers change meanwhile does not matter.
//! 3. Places are unbound and never emptied: what is behind one may belong to the node.
//!
//! Kubernetes: pkg/volume/util/subpath/subpath_linux.go. Differs: a link to an absolute path leads out, also where it would lead
//! back into the volume.

use super::VolumeError;
use rustix::fd::{AsRawFd as _, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use std::path::{Component, Path, PathBuf};

/// The folder of all places of a pod.
const FOLDER: &str = "volume-subpaths";
/// The kernel asks for another try when something was renamed meanwhile. Who renames so often does it on purpose.
const TRIES: usize = 32;

/// Which mount of which container.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) pod_dir: &'a Path,
    pub(super) volume: &'a str,
    pub(super) container: &'a str,
    /// Among the container's mounts.
    pub(super) index: usize,
}

/// Binds a path in the volume that lies at `volume` to its place, anew at every start of the container.
pub(super) fn bind(place: Place<'_>, volume: &Path, sub_path: &str) -> Result<PathBuf, VolumeError> {
    let opened = open(volume, sub_path)?;
    let Place { pod_dir, volume, container, index } = place;
    let folder = pod_dir.join(FOLDER).join(volume).join(container);
    std::fs::create_dir_all(&folder).map_err(VolumeError::io(&folder))?;
    let path = folder.join(index.to_string());
    unbind(&path)?;
    let stat = rustix::fs::fstat(&opened).map_err(io(&path))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        std::fs::create_dir(&path).map_err(VolumeError::io(&path))?;
    } else {
        std::fs::File::create_new(&path).map_err(VolumeError::io(&path))?;
    }
    rustix::mount::mount_bind(format!("/proc/self/fd/{}", opened.as_raw_fd()), &path).map_err(io(&path))?;
    Ok(path)
}

/// Unbinds all places of a pod. As long as one is left, nothing of the pod may be removed with what is in it.
pub(super) fn unbind_all(pod_dir: &Path) -> Result<(), VolumeError> {
    let top = pod_dir.join(FOLDER);
    for volume in entries(&top)? {
        for container in entries(&volume)? {
            for place in entries(&container)? {
                unbind(&place)?;
            }
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, VolumeError> {
    let read = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(VolumeError::io(folder))?,
    };
    read.map(|entry| Ok(entry.map_err(VolumeError::io(folder))?.path())).collect()
}

/// Unbinds one place, however often it was bound, and removes what is below: an empty folder or file.
fn unbind(place: &Path) -> Result<(), VolumeError> {
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    loop {
        match rustix::mount::unmount(place, flags) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(()),
            // Nothing is bound here.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(io(place)(error)),
        }
    }
    let removed = match place.is_dir() {
        true => std::fs::remove_dir(place),
        false => std::fs::remove_file(place),
    };
    removed.map_err(VolumeError::io(place))
}

/// Opens a path beneath a volume; makes folders that are missing.
fn open(volume: &Path, sub_path: &str) -> Result<OwnedFd, VolumeError> {
    let outside = || VolumeError::Outside { path: sub_path.into() };
    let mut names = Vec::new();
    for part in Path::new(sub_path).components() {
        match part {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            _ => return Err(outside()),
        }
    }
    let failed = |error| match error {
        Errno::XDEV | Errno::LOOP => outside(),
        error => io(&volume.join(sub_path))(error),
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, volume, flags, Mode::empty()).map_err(io(volume))?;
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&root).map_err(io(volume))?.st_mode);
    let (mut path, mut reached) = (PathBuf::new(), None);
    for name in names {
        path.push(name);
        let next = match beneath(&root, &path) {
            Err(Errno::NOENT) => {
                make(reached.as_ref().unwrap_or(&root), Path::new(name), mode).map_err(failed)?;
                beneath(&root, &path)
            }
            other => other,
        };
        reached = Some(next.map_err(failed)?);
    }
    Ok(reached.unwrap_or(root))
}

fn beneath(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    for _ in 0..TRIES {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Makes a folder. Its mode is set afterwards: the process's mask is not asked.
fn make(parent: &OwnedFd, name: &Path, mode: Mode) -> Result<(), Errno> {
    match rustix::fs::mkdirat(parent, name, mode) {
        // Somebody was faster, or a link leads nowhere: who opens it sees which.
        Err(Errno::EXIST) => return Ok(()),
        made => made?,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    rustix::fs::fchmod(folder, mode)
}

fn io(path: &Path) -> impl FnOnce(Errno) -> VolumeError + '_ {
    move |error| VolumeError::io(path)(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn volume() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("volume");
        std::fs::create_dir(&volume).unwrap();
        (dir, volume)
    }

    #[test]
    fn a_sub_path_stays_inside_its_volume() {
        let (dir, volume) = volume();
        symlink(dir.path(), volume.join("out")).unwrap();
        symlink("..", volume.join("up")).unwrap();
        symlink("nowhere", volume.join("dangling")).unwrap();
        std::fs::write(volume.join("file"), "x").unwrap();
        for path in
            ["..", "a/../..", "/etc", "out", "out/made", "up", "up/made", "dangling", "dangling/x", "file/x"]
        {
            assert!(open(&volume, path).is_err(), "{path}");
        }
        assert!(!dir.path().join("made").exists(), "nothing is made outside");
    }

    #[test]
    fn links_within_the_volume_are_followed_and_folders_made_as_open_as_it() {
        let (_dir, volume) = volume();
        std::fs::set_permissions(&volume, std::fs::Permissions::from_mode(0o2777)).unwrap();
        std::fs::create_dir(volume.join("..data")).unwrap();
        std::fs::write(volume.join("..data/app"), "x").unwrap();
        symlink("..data/app", volume.join("app")).unwrap();
        for path in ["app", "./app", ".", "a/b"] {
            assert!(open(&volume, path).is_ok(), "{path}");
        }
        let mode = std::fs::metadata(volume.join("a/b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o2777);
    }

    /// Binding is for root, as the agent is.
    #[test]
    fn a_place_holds_what_was_there_and_is_unbound_without_emptying_it() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (dir, volume) = volume();
        std::fs::create_dir(volume.join("a")).unwrap();
        std::fs::write(volume.join("a/file"), "kept").unwrap();
        let pod_dir = dir.path().join("pod");
        let place = |index| Place { pod_dir: &pod_dir, volume: "v", container: "c", index };
        let folder = bind(place(0), &volume, "a").unwrap();
        std::fs::rename(volume.join("a"), volume.join("b")).unwrap();
        symlink("/etc", volume.join("a")).unwrap();
        assert_eq!(std::fs::read_to_string(folder.join("file")).unwrap(), "kept");
        let file = bind(place(0), &volume, "b/file").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
        unbind_all(&pod_dir).unwrap();
        assert!(!file.exists());
        assert_eq!(std::fs::read_to_string(volume.join("b/file")).unwrap(), "kept");
        unbind_all(&pod_dir).unwrap();
    }
}
