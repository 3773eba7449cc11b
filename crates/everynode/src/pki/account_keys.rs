//! The key that signs the tokens of service accounts: made once, kept beside the authority.
//!
//! `sa.key` signs, `sa.pub` is its public half, as kubeadm names them. Every other file `sa*.pub` is a key that is believed
//! besides: to rotate, move `sa.pub` to `sa-old.pub`, remove `sa.key`, start the server again, and remove `sa-old.pub` when
//! the last token of the old key is over.

use super::{PkiError, read, write_private};
use apiserver::service_accounts::Keys;
use rcgen::KeyPair;
use std::path::{Path, PathBuf};

const SIGNING: &str = "sa.key";
const PUBLIC: &str = "sa.pub";

/// The keys in the folder `dir`; makes the signing key if there is none.
pub fn open(dir: &Path) -> Result<Keys, PkiError> {
    let path = dir.join(SIGNING);
    if !path.exists() {
        write_private(&path, &KeyPair::generate()?.serialize_pem())?;
    }
    let signing = read(&path)?;
    let unreadable = |path: &Path, reason: String| PkiError::Unreadable { path: path.to_path_buf(), reason };
    let pair = KeyPair::from_pem(&signing).map_err(|error| unreadable(&path, error.to_string()))?;
    write_private(&dir.join(PUBLIC), &pair.public_key_pem())?;
    let mut believed = Vec::new();
    for path in believed_files(dir)? {
        let text = read(&path)?;
        Keys::new(&signing, [text.as_str()]).map_err(|error| unreadable(&path, error.to_string()))?;
        believed.push(text);
    }
    Keys::new(&signing, believed.iter().map(String::as_str))
        .map_err(|error| unreadable(&path, error.to_string()))
}

/// All `sa*.pub`, in the order of their names.
fn believed_files(dir: &Path) -> Result<Vec<PathBuf>, PkiError> {
    let file = |source| PkiError::File { path: dir.to_path_buf(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(file)? {
        let path = entry.map_err(file)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("sa") && name.ends_with(".pub") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_made_once_for_its_owner_and_an_older_one_stays_believed() {
        let dir = tempfile::tempdir().unwrap();
        let ids = |keys: &Keys| -> Vec<String> {
            let set = keys.set();
            let ids = set["keys"].as_array().unwrap().iter();
            ids.map(|key| key["kid"].as_str().unwrap().to_string()).collect()
        };
        let first = open(dir.path()).unwrap();
        assert_eq!(ids(&open(dir.path()).unwrap()), [first.id()]);
        let mode = std::fs::metadata(dir.path().join(SIGNING)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::rename(dir.path().join(PUBLIC), dir.path().join("sa-old.pub")).unwrap();
        std::fs::remove_file(dir.path().join(SIGNING)).unwrap();
        let second = open(dir.path()).unwrap();
        assert_ne!(first.id(), second.id());
        assert_eq!(ids(&second), [second.id(), first.id()]);
        let signature = first.sign(b"x").unwrap();
        assert!(second.has_signed(first.id(), b"x", &signature));
        std::fs::write(dir.path().join("sa-broken.pub"), "x").unwrap();
        let error = open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("sa-broken.pub: is not what it should be"), "{error}");
    }
}
