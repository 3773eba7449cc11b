//! What lies in the folder of manifests?
//!
//! Regular files whose name does not begin with a dot, by name; folders, sockets and the like are left alone. Number and
//! size are bounded, so that no folder can fill the agent's memory.
//!
//! Kubernetes: pkg/kubelet/config/file.go `extractFromDir`.

use super::manifest::Broken;
use super::set::File;
use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::Path;

/// More manifests than a node runs pods by default (110) are a mistake.
pub(super) const MAX_FILES: usize = 128;
/// Larger pods do not fit into an API request either.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// Reads the folder. One that does not exist is empty.
pub(super) fn read(dir: &Path) -> io::Result<Vec<File>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        names.insert(name);
        // One more than is used: the first that is left out can be named.
        if names.len() > MAX_FILES + 1 {
            names.pop_last();
        }
    }
    let files = names.into_iter().enumerate().filter_map(|(number, name)| {
        let content = if number < MAX_FILES { content(&dir.join(&name))? } else { Err(Broken::TooMany) };
        Some(File { name, content })
    });
    Ok(files.collect())
}

/// None: not a file, or gone since the folder was listed.
fn content(path: &Path) -> Option<Result<Vec<u8>, Broken>> {
    let read = || -> io::Result<Option<Vec<u8>>> {
        // Asked before opening: opening a pipe would wait for its writer.
        if !std::fs::metadata(path)?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    };
    match read() {
        Ok(bytes) => bytes.map(|bytes| match u64::try_from(bytes.len()) {
            Ok(length) if length <= MAX_BYTES => Ok(bytes),
            _ => Err(Broken::TooLarge),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(Broken::Unreadable(error.to_string()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<(String, Result<usize, Broken>)> {
        let files = read(dir).unwrap();
        files.into_iter().map(|file| (file.name, file.content.map(|bytes| bytes.len()))).collect()
    }

    #[test]
    fn only_plain_files_are_manifests() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(names(&dir.path().join("none")), []);
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        std::fs::write(dir.path().join(".hidden"), "x").unwrap();
        std::fs::write(dir.path().join("b.yaml"), "xy").unwrap();
        std::os::unix::fs::symlink("b.yaml", dir.path().join("a.yaml")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("c.yaml")).unwrap();
        std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        assert_eq!(names(dir.path()), [("a.yaml".into(), Ok(2)), ("b.yaml".into(), Ok(2))]);
    }

    #[test]
    fn number_and_size_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let large = vec![b'x'; usize::try_from(MAX_BYTES).unwrap() + 1];
        std::fs::write(dir.path().join("0000"), large).unwrap();
        for number in 1..MAX_FILES + 10 {
            std::fs::write(dir.path().join(format!("{number:04}")), "x").unwrap();
        }
        let found = names(dir.path());
        assert_eq!(found.len(), MAX_FILES + 1);
        assert_eq!(found[0], ("0000".into(), Err(Broken::TooLarge)));
        assert_eq!(found[MAX_FILES - 1].1, Ok(1));
        assert_eq!(found[MAX_FILES], ("0128".into(), Err(Broken::TooMany)));
    }
}
