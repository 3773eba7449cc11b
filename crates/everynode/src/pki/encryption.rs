//! The keys that Secrets are encrypted with on the disk: `<data-dir>/pki/encryption-keys`, for its owner only.
//!
//! 1. A line is `<id> <32 random bytes in base64>`; the first one seals, all of them open. More than one line means that a
//!    rotation is under way.
//! 2. A file that anybody else may read is refused, and not mended in silence: somebody may have read it.
//! 3. The file is replaced as a whole, and a key leaves it only after nothing in the store needs it any more.
//!
//! Kubernetes: `--encryption-provider-config`, which is off by default there.

use super::{PkiError, hex, write_private};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use store::sealed::Key;

/// Name of the file.
const FILE: &str = "encryption-keys";
/// Of AES-256.
const SECRET: usize = 32;
/// Keys that a file may hold: two in a rotation, and one more for each that was cut off and begun again.
const KEYS: usize = 64;

/// The file.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
}

/// What stands in the file; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    lines: Vec<(u32, [u8; SECRET])>,
}

impl KeyFile {
    /// The file in the folder of the authority.
    pub fn new(dir: &Path) -> Self {
        Self { path: dir.join(FILE) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The keys; none when there is no file yet.
    pub fn read(&self) -> Result<Option<Keys>, PkiError> {
        let failed = |source| PkiError::File { path: self.path.clone(), source };
        let unreadable =
            |reason: &str| PkiError::Unreadable { path: self.path.clone(), reason: reason.into() };
        let file = match std::fs::metadata(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(source)),
        };
        let owner = rustix::process::geteuid();
        if file.permissions().mode() & 0o077 != 0 || (file.uid() != owner.as_raw() && !owner.is_root()) {
            return Err(unreadable(
                "others may read it: `chmod 600` it as its owner, and make a new key with \
                 `everynode rotate-encryption-key`, because somebody may have copied this one",
            ));
        }
        let text = std::fs::read_to_string(&self.path).map_err(failed)?;
        Keys::parse(&text).map(Some).ok_or_else(|| unreadable("a broken line"))
    }

    /// Replaces the file.
    pub fn write(&self, keys: &Keys) -> Result<(), PkiError> {
        write_private(&self.path, &keys.print())
    }
}

impl Keys {
    /// One new key.
    pub fn generate() -> Result<Self, PkiError> {
        let mut bytes = [0; SECRET + 4];
        getrandom::fill(&mut bytes).map_err(|error| PkiError::File {
            path: "/dev/urandom".into(),
            source: std::io::Error::other(error.to_string()),
        })?;
        let (mut id, mut secret) = ([0; 4], [0; SECRET]);
        let (first, rest) = bytes.split_at(4);
        id.copy_from_slice(first);
        secret.copy_from_slice(rest);
        Ok(Self { lines: vec![(u32::from_be_bytes(id), secret)] })
    }

    /// The same, with those keys of `older` behind the own ones that are not among them.
    pub fn before(mut self, older: &Self) -> Self {
        let more: Vec<_> = older.lines.iter().filter(|line| !self.lines.contains(line)).copied().collect();
        self.lines.extend(more);
        self.lines.truncate(KEYS);
        self
    }

    /// Only the first key.
    pub fn newest(&self) -> Self {
        Self { lines: self.lines.iter().take(1).copied().collect() }
    }

    /// Whether older keys are still in it.
    pub fn is_rotating(&self) -> bool {
        self.lines.len() > 1
    }

    /// The id of the first key, as it is printed.
    pub fn id(&self) -> String {
        self.lines.first().map(|(id, _)| hex(&id.to_be_bytes())).unwrap_or_default()
    }

    /// As the store takes them.
    pub fn keys(&self) -> Vec<Key> {
        self.lines.iter().filter_map(|(id, secret)| Key::new(*id, secret)).collect()
    }

    /// The keys of a text; none if it is broken.
    pub fn parse(text: &str) -> Option<Self> {
        let line = |line: &str| {
            let (id, secret) = line.split_once(' ')?;
            let secret = STANDARD.decode(secret.trim()).ok()?.try_into().ok()?;
            Some((u32::from_str_radix(id, 16).ok()?, secret))
        };
        let lines: Option<Vec<_>> = text.lines().take(KEYS).map(line).collect();
        lines.filter(|lines| !lines.is_empty()).map(|lines| Self { lines })
    }

    /// The text of a key file.
    pub fn print(&self) -> String {
        let line = |(id, secret): &(u32, [u8; SECRET])| {
            format!("{} {}\n", hex(&id.to_be_bytes()), STANDARD.encode(secret))
        };
        self.lines.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn keys_come_back_in_their_order_and_for_the_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::new(dir.path());
        assert!(file.read().unwrap().is_none());
        let old = Keys::generate().unwrap();
        let both = Keys::generate().unwrap().before(&old);
        file.write(&both).unwrap();
        assert_eq!(std::fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        let found = file.read().unwrap().unwrap();
        assert!(found == both && found.is_rotating() && found.keys().len() == 2);
        assert!(!found.newest().is_rotating() && found.newest().id() == both.id() && both.id() != old.id());
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::new(dir.path());
        file.write(&Keys::generate().unwrap()).unwrap();
        for (bits, refused) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true), (0o660, true)] {
            mode(file.path(), bits);
            let error = file.read().err().map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(error.contains("others may read it"), refused, "{bits:o} {error}");
            assert_eq!(error.contains("rotate-encryption-key"), refused);
        }
    }

    #[test]
    fn a_broken_file_is_named_and_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::new(dir.path());
        for text in ["", "x", "00000001 AAAA\n", "0000000g AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"] {
            std::fs::write(file.path(), text).unwrap();
            mode(file.path(), 0o600);
            let error = file.read().err().unwrap().to_string();
            assert!(error.contains("encryption-keys") && error.contains("a broken line"), "{error}");
            assert!(!error.contains("AAAA"), "{error}");
        }
    }
}
