//! A folder that lives as long as its pod; with `medium: Memory` a tmpfs.
//!
//! Kubernetes: pkg/volume/emptydir/empty_dir.go.

use super::VolumeError;
use crate::resources;
use k8s_openapi::api::core::v1::EmptyDirVolumeSource;
use rustix::mount::{MountFlags, UnmountFlags};
use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

/// Makes the folder; what is in it stays.
pub fn prepare(path: &Path, source: &EmptyDirVolumeSource, group: Option<i64>) -> Result<(), VolumeError> {
    let new = !path.exists();
    std::fs::create_dir_all(path).map_err(VolumeError::io(path))?;
    if source.medium.as_deref() == Some("Memory") && !is_mounted(path) {
        let size: BTreeMap<_, _> =
            source.size_limit.clone().map(|limit| (String::new(), limit)).into_iter().collect();
        let options = resources::whole(&size, "").filter(|size| *size > 0).map(|size| format!("size={size}"));
        let options = std::ffi::CString::new(options.unwrap_or_default()).unwrap_or_default();
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        rustix::mount::mount("tmpfs", path, "tmpfs", flags, options.as_c_str())
            .map_err(|error| VolumeError::io(path)(error.into()))?;
    } else if !new {
        return Ok(());
    }
    open_to_all(path, group)
}

/// Everyone may write, files belong to the pod's group.
fn open_to_all(path: &Path, group: Option<i64>) -> Result<(), VolumeError> {
    let mut mode = 0o777;
    if let Some(group) = group.and_then(|group| u32::try_from(group).ok()) {
        chown(path, None, Some(group)).map_err(VolumeError::io(path))?;
        mode |= 0o2000;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(VolumeError::io(path))
}

/// Unmounts every file system below a pod's folder.
pub fn unmount_all(pod_dir: &Path) -> Result<(), VolumeError> {
    // The kernel tells where a mount really is.
    let Ok(pod_dir) = pod_dir.canonicalize() else { return Ok(()) };
    let mut below: Vec<PathBuf> =
        mount_points().into_iter().filter(|point| point.starts_with(&pod_dir)).collect();
    // The deepest first.
    below.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    for point in below {
        rustix::mount::unmount(&point, UnmountFlags::DETACH)
            .map_err(|error| VolumeError::io(&point)(error.into()))?;
    }
    Ok(())
}

fn is_mounted(path: &Path) -> bool {
    path.canonicalize().is_ok_and(|path| mount_points().contains(&path))
}

/// The fifth word of each line of mountinfo; a space in a path stands there as `\040`.
fn mount_points() -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let point = |line: &str| line.split(' ').nth(4).map(|word| PathBuf::from(word.replace("\\040", " ")));
    text.lines().filter_map(point).collect()
}
