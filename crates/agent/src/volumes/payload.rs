//! Writes the files of a volume as a whole: a reader sees all old files or all new ones.
//!
//! ```text
//! <volume>/..2026_11_21_02_00_00.7/app/config   the files, in a folder of their own
//! <volume>/..data -> ..2026_11_21_02_00_00.7    turned over in one rename
//! <volume>/app -> ..data/app                    what users see
//! ```
//!
//! Kubernetes: pkg/volume/util/atomic_writer.go.

use super::{Files, VolumeError};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Component, Path, PathBuf};

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";
/// With an `fsGroup` the group may read; nobody writes here. Kubernetes: volume_linux.go `roMask`.
const GROUP_READS: u32 = 0o440;

/// Writes the files below `volume`, if they differ from what is there.
pub fn write(volume: &Path, files: &Files, group: Option<i64>) -> Result<(), VolumeError> {
    files.keys().try_for_each(|path| check(path))?;
    std::fs::create_dir_all(volume).map_err(VolumeError::io(volume))?;
    let data = volume.join(DATA);
    if is_current(&data, files) {
        return Ok(());
    }
    let old = std::fs::read_link(&data).ok();
    let fresh = fresh_folder(volume)?;
    let folder = volume.join(&fresh);
    write_all(&folder, files, group)?;
    let link = volume.join(NEW_DATA);
    remove_link(&link)?;
    symlink(&fresh, &link).map_err(VolumeError::io(&link))?;
    std::fs::rename(&link, &data).map_err(VolumeError::io(&data))?;
    show(volume, files)?;
    if let Some(old) = old.filter(|old| *old != fresh) {
        let old = volume.join(old);
        std::fs::remove_dir_all(&old).map_err(VolumeError::io(&old))?;
    }
    Ok(())
}

fn check(path: &str) -> Result<(), VolumeError> {
    let mut parts = Path::new(path).components();
    let plain = parts.all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !plain || path.starts_with("..") {
        return Err(VolumeError::Outside { path: path.into() });
    }
    Ok(())
}

fn is_current(data: &Path, files: &Files) -> bool {
    let same = |(path, file): (&String, &super::File)| {
        let path = data.join(path);
        let mode = std::fs::metadata(&path).map(|metadata| metadata.permissions().mode() & 0o777);
        mode.is_ok_and(|mode| mode == file.mode || mode == file.mode | GROUP_READS)
            && std::fs::read(&path).is_ok_and(|content| content == file.content)
    };
    data.exists() && files.iter().all(same) && count(data) == files.len()
}

fn count(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
}

fn fresh_folder(volume: &Path) -> Result<PathBuf, VolumeError> {
    let stamp = Timestamp::now().strftime("..%Y_%m_%d_%H_%M_%S").to_string();
    for number in 0..u32::MAX {
        let name = PathBuf::from(format!("{stamp}.{number}"));
        let folder = volume.join(&name);
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(name),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(VolumeError::io(&folder)(error)),
        }
    }
    Err(VolumeError::Outside { path: volume.display().to_string() })
}

fn write_all(folder: &Path, files: &Files, group: Option<i64>) -> Result<(), VolumeError> {
    permit(folder, 0o755, None, group)?;
    for (path, file) in files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(VolumeError::io(parent))?;
        }
        std::fs::write(&path, &file.content).map_err(VolumeError::io(&path))?;
        let mode = if group.is_some() { file.mode | GROUP_READS } else { file.mode };
        permit(&path, mode, file.owner, group)?;
    }
    Ok(())
}

fn permit(path: &Path, mode: u32, owner: Option<u32>, group: Option<i64>) -> Result<(), VolumeError> {
    let group = group.and_then(|group| u32::try_from(group).ok());
    if owner.is_some() || group.is_some() {
        chown(path, owner, group).map_err(VolumeError::io(path))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(VolumeError::io(path))
}

/// One link for each first part of a path; links to what is no longer there go.
fn show(volume: &Path, files: &Files) -> Result<(), VolumeError> {
    let first = |path: &String| path.split('/').next().unwrap_or_default().to_string();
    let names: BTreeSet<String> = files.keys().map(first).collect();
    for name in &names {
        let link = volume.join(name);
        if std::fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link).map_err(VolumeError::io(&link))?;
        }
    }
    for entry in std::fs::read_dir(volume).map_err(VolumeError::io(volume))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !names.contains(&name) {
            remove_link(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_link(link: &Path) -> Result<(), VolumeError> {
    match std::fs::remove_file(link) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(VolumeError::io(link)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::File;
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        let file = |content: &str| File { content: content.as_bytes().to_vec(), mode: 0o640, owner: None };
        list.iter().map(|(path, content)| ((*path).to_string(), file(content))).collect()
    }

    fn visible(volume: &Path) -> Vec<String> {
        let names = std::fs::read_dir(volume).unwrap().map(|e| e.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.retain(|name| !name.starts_with(".."));
        names.sort();
        names
    }

    #[test]
    fn an_update_replaces_all_files_and_leaves_one_folder() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("v");
        write(&volume, &files(&[("a", "1"), ("d/b", "2")]), None).unwrap();
        let before = std::fs::read_link(volume.join(DATA)).unwrap();
        write(&volume, &files(&[("a", "1"), ("d/b", "2")]), None).unwrap();
        assert_eq!(
            std::fs::read_link(volume.join(DATA)).unwrap(),
            before,
            "nothing changed, nothing written"
        );
        write(&volume, &files(&[("a", "3"), ("c", "4")]), None).unwrap();
        assert_eq!(visible(&volume), ["a", "c"]);
        assert_eq!(std::fs::read_to_string(volume.join("a")).unwrap(), "3");
        assert_eq!(std::fs::metadata(volume.join("a")).unwrap().permissions().mode() & 0o777, 0o640);
        let folders = std::fs::read_dir(&volume).unwrap().flatten();
        assert_eq!(folders.filter(|entry| entry.file_type().unwrap().is_dir()).count(), 1);
    }

    #[test]
    fn a_private_file_is_read_by_the_group_of_the_pod() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("v");
        let (own, group) = (dir.path().metadata().unwrap().uid(), dir.path().metadata().unwrap().gid());
        let file = File { content: vec![1], mode: 0o600, owner: Some(own) };
        let files = Files::from([("token".to_string(), file)]);
        write(&volume, &files, Some(group.into())).unwrap();
        let written = std::fs::metadata(volume.join("token")).unwrap();
        assert_eq!((written.permissions().mode() & 0o777, written.uid(), written.gid()), (0o640, own, group));
        let before = std::fs::read_link(volume.join(DATA)).unwrap();
        write(&volume, &files, Some(group.into())).unwrap();
        assert_eq!(std::fs::read_link(volume.join(DATA)).unwrap(), before);
    }

    #[test]
    fn a_path_cannot_leave_the_volume() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["../x", "/etc/x", "", "a/../../x", "..data"] {
            assert!(write(dir.path(), &files(&[(path, "")]), None).is_err(), "{path:?}");
        }
    }
}
