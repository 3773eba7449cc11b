//! What is in a backup, and how it becomes a data folder again.
//!
//! One tar file for its owner only: a mark with a version, a copy of the store, and the pki folder (the authority, the keys
//! of Secrets and of service accounts, join tokens): whoever has it has the cluster. It is written beside its name and
//! renamed when it is on the disk; a restored folder likewise. Nothing in a file decides where something is written.

use crate::folder;
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use store::Revision;

/// The first entry, and what it says. A later layout takes the next number.
const MARK: (&str, &[u8]) = ("everynode-backup", b"1\n");
/// The last entry: without it the file was cut off.
const END: &str = "everynode-backup-end";
/// The copy of the store.
const STORE: &str = "store.db";
/// Before the names of the pki folder's files.
const PKI: &str = "pki/";
/// Longest file of a pki folder: ten thousand join tokens are a megabyte.
const PKI_FILE_MAX: u64 = 16 << 20;

/// Writes a backup of a copied store and of pki folders; of two files of one name the first folder's counts.
pub fn pack(store: &Path, pki: &[PathBuf], target: &Path) -> Result<()> {
    let draft = beside(target, ".new");
    let _ = std::fs::remove_file(&draft);
    let written = pack_draft(store, pki, &draft).and_then(|()| {
        std::fs::rename(&draft, target)?;
        sync_folder_of(target)
    });
    written
        .inspect_err(|_| drop(std::fs::remove_file(&draft)))
        .with_context(|| format!("{}", target.display()))
}

fn pack_draft(store: &Path, pki: &[PathBuf], draft: &Path) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    let mut archive = tar::Builder::new(file);
    archive.append_data(&mut header(MARK.1.len() as u64), MARK.0, MARK.1)?;
    let mut store = File::open(store)?;
    archive.append_data(&mut header(store.metadata()?.len()), STORE, &mut store)?;
    let mut files = BTreeMap::new();
    for folder in pki.iter().rev() {
        for entry in std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.insert(entry.file_name(), entry.path());
            }
        }
    }
    for (name, path) in files {
        let bytes = std::fs::read(&path).with_context(|| format!("{}", path.display()))?;
        let name = format!("{PKI}{}", name.to_string_lossy());
        archive.append_data(&mut header(bytes.len() as u64), name, &bytes[..])?;
    }
    archive.append_data(&mut header(0), END, &b""[..])?;
    archive.into_inner()?.sync_all()?;
    Ok(())
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o600);
    header.set_size(size);
    header
}

/// Makes a data folder of a backup; answers the revision at which its store begins. A folder with anything in it is refused.
pub fn unpack(file: &Path, data_dir: &Path) -> Result<Revision> {
    let is_empty = match std::fs::read_dir(data_dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(error).with_context(|| format!("{}", data_dir.display())),
    };
    ensure!(
        is_empty,
        "{}: is not empty; a backup becomes a folder of its own: move this one away, or name another",
        data_dir.display()
    );
    let draft = beside(data_dir, ".restoring");
    let _ = std::fs::remove_dir_all(&draft);
    let made = unpack_draft(file, &draft).and_then(|revision| {
        std::fs::rename(&draft, data_dir).with_context(|| format!("{}", data_dir.display()))?;
        sync_folder_of(data_dir)?;
        Ok(revision)
    });
    made.inspect_err(|_| drop(std::fs::remove_dir_all(&draft)))
}

fn unpack_draft(file: &Path, draft: &Path) -> Result<Revision> {
    let named = || format!("{}", file.display());
    let not_ours = || format!("{}: not a backup of everynode", file.display());
    folder::open(draft)?;
    let [server, pki] = ["server", "pki"].map(|name| draft.join(name));
    DirBuilder::new().mode(0o700).create(&server)?;
    DirBuilder::new().mode(0o700).create(&pki)?;
    let mut archive = tar::Archive::new(File::open(file).with_context(named)?);
    let mut entries = archive.entries().with_context(not_ours)?;
    let mut mark = entries.next().with_context(not_ours)?.with_context(not_ours)?;
    let mut says = String::new();
    mark.by_ref().take(80).read_to_string(&mut says).with_context(not_ours)?;
    ensure!(mark.path().is_ok_and(|path| path == Path::new(MARK.0)), not_ours());
    ensure!(
        says.as_bytes() == MARK.1,
        "{}: a backup in layout {}, this version reads 1; use the everynode that made it",
        file.display(),
        says.trim()
    );
    let copy = server.join("copy.db");
    let cut_off = || format!("{}: was cut off", file.display());
    let mut is_whole = false;
    for entry in entries {
        let mut entry = entry.with_context(cut_off)?;
        let name = entry.path().with_context(named)?.to_string_lossy().into_owned();
        if name == END {
            is_whole = true;
            break;
        }
        let target = match name.strip_prefix(PKI) {
            _ if name == STORE => copy.clone(),
            Some(name) if is_plain(name) && entry.size() <= PKI_FILE_MAX => pki.join(name),
            _ => bail!("{}: has an entry that no backup has: {name:?}", file.display()),
        };
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
        let copied = std::io::copy(&mut entry, &mut out).with_context(named)?;
        ensure!(copied == entry.size(), cut_off());
        out.flush().and_then(|()| out.sync_all()).with_context(named)?;
    }
    ensure!(is_whole && copy.exists(), cut_off());
    let revision = store::sqlite::restore(&copy, &server.join(STORE)).with_context(named)?;
    std::fs::remove_file(&copy)?;
    Ok(revision)
}

/// A name, and no way to anywhere else.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    name.into()
}

/// A rename is on the disk when its folder is.
fn sync_folder_of(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use store::Store as _;
    use store::sqlite::SqliteStore;

    /// A folder with a store of one entry at its revision, and a backup of it.
    async fn packed(dir: &Path) -> (PathBuf, Revision) {
        let (pki, store) = (dir.join("pki"), dir.join("store.db"));
        std::fs::create_dir(&pki).unwrap();
        std::fs::write(pki.join("ca.key"), "secret").unwrap();
        let open = SqliteStore::open(&store).unwrap();
        let revision = open.create("/registry/core/configmaps/default/a", "{}".into()).await.unwrap();
        open.backup(&dir.join("copy.db")).unwrap();
        let file = dir.join("backup.tar");
        pack(&dir.join("copy.db"), &[pki], &file).unwrap();
        (file, revision)
    }

    #[tokio::test]
    async fn a_backup_becomes_a_folder_whose_revisions_are_ahead() {
        let dir = tempfile::tempdir().unwrap();
        let (file, revision) = packed(dir.path()).await;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let data = dir.path().join("data");
        let begins = unpack(&file, &data).unwrap();
        assert!(begins >= revision + store::sqlite::AHEAD);
        assert_eq!(std::fs::read_to_string(data.join("pki/ca.key")).unwrap(), "secret");
        assert_eq!(std::fs::metadata(data.join("pki/ca.key")).unwrap().permissions().mode() & 0o777, 0o600);
        let store = SqliteStore::open(&data.join("server/store.db")).unwrap();
        assert_eq!(store.list("").await.unwrap().entries.len(), 1);
        folder::open(&data).unwrap();
        let again = unpack(&file, &data).unwrap_err().to_string();
        assert!(again.contains("is not empty"), "{again}");
    }

    #[tokio::test]
    async fn what_is_no_backup_or_was_cut_off_leaves_no_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (file, _) = packed(dir.path()).await;
        let bytes = std::fs::read(&file).unwrap();
        let data = dir.path().join("data");
        let check = |bytes: &[u8], expected: &str| {
            let file = dir.path().join("broken.tar");
            std::fs::write(&file, bytes).unwrap();
            let error = format!("{:#}", unpack(&file, &data).unwrap_err());
            assert!(error.contains(expected) && error.contains("broken.tar"), "{error}");
            assert!(!data.exists() && !dir.path().join("data.restoring").exists());
        };
        check(b"dear diary", "not a backup of everynode");
        for length in [1024, bytes.len() / 2, bytes.len() - 2048] {
            check(&bytes[..length], "was cut off");
        }
        let mut flipped = bytes.clone();
        let at = flipped.windows(9).position(|window| window == b"/registry").unwrap();
        flipped[at + 1] ^= 0x40;
        check(&flipped, "damaged");
        let mut foreign = tar::Builder::new(Vec::new());
        foreign.append_data(&mut header(2), MARK.0, MARK.1).unwrap();
        foreign.append_data(&mut header(1), "pki/.hidden", &b"x"[..]).unwrap();
        check(&foreign.into_inner().unwrap(), "an entry that no backup has");
    }
}
