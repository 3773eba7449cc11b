//! A file or folder of the node, with every type Kubernetes has for it.
//!
//! Kubernetes: pkg/volume/hostpath/host_path.go.

use super::VolumeError;
use k8s_openapi::api::core::v1::HostPathVolumeSource;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Checks the path, and makes it where the type asks for that.
pub fn prepare(source: &HostPathVolumeSource) -> Result<(), VolumeError> {
    let path = Path::new(&source.path);
    match source.type_.as_deref().unwrap_or_default() {
        "DirectoryOrCreate" => {
            make(path, |path| std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path))?;
            expect(path, "a directory", std::fs::FileType::is_dir)
        }
        "Directory" => expect(path, "a directory", std::fs::FileType::is_dir),
        "FileOrCreate" => {
            make(path, |path| {
                let mut options = std::fs::OpenOptions::new();
                options.write(true).create_new(true).mode(0o644).open(path).map(drop)
            })?;
            expect(path, "a file", std::fs::FileType::is_file)
        }
        "File" => expect(path, "a file", std::fs::FileType::is_file),
        "Socket" => expect(path, "a socket file", |kind| kind.is_socket()),
        "CharDevice" => expect(path, "a character device", |kind| kind.is_char_device()),
        "BlockDevice" => expect(path, "a block device", |kind| kind.is_block_device()),
        // No type: nothing is checked. The runtime makes a missing folder, as it does for kubelet.
        _ => Ok(()),
    }
}

fn make(path: &Path, create: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), VolumeError> {
    if path.exists() {
        return Ok(());
    }
    create(path).map_err(VolumeError::io(path))
}

fn expect(
    path: &Path,
    expected: &'static str,
    is: impl FnOnce(&std::fs::FileType) -> bool,
) -> Result<(), VolumeError> {
    match std::fs::metadata(path) {
        Ok(metadata) if is(&metadata.file_type()) => Ok(()),
        _ => Err(VolumeError::HostPath { path: path.display().to_string(), expected }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_demands_what_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::write(root.join("file"), "x").unwrap();
        std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        let check = |name: &str, type_: &str| {
            let path = root.join(name).to_string_lossy().into_owned();
            prepare(&HostPathVolumeSource { path, type_: Some(type_.into()) }).is_ok()
        };
        for (name, type_, expected) in [
            ("none", "", true),
            ("none", "Directory", false),
            ("none", "File", false),
            ("file", "File", true),
            ("file", "Directory", false),
            ("file", "DirectoryOrCreate", false),
            ("socket", "Socket", true),
            ("file", "Socket", false),
            ("made/deep", "DirectoryOrCreate", true),
            ("made/deep", "Directory", true),
            ("made/file", "FileOrCreate", true),
            ("made/file", "File", true),
            ("missing/file", "FileOrCreate", false),
            ("file", "CharDevice", false),
        ] {
            assert_eq!(check(name, type_), expected, "{name} {type_}");
        }
    }
}
