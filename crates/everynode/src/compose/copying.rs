//! How `everynode backup` reaches a running server: a socket in the data folder, which only its owner can enter.
//!
//! A connection asks for a copy of the store, in a file beside it; the answer is one line. The file goes when the
//! connection is closed, so that nothing is left whatever becomes of the command. One copy at a time.

use crate::archive;
use crate::pki::encryption::KeyFile;
use anyhow::{Context as _, Result, bail, ensure};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::Revision;
use store::sqlite::SqliteStore;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// Longest answer: an error with a path in it.
const MAX_LINE: u64 = 64 << 10;
/// Pause after a failed accept, so that it is no busy loop.
const PAUSE: Duration = Duration::from_millis(100);

fn socket(data_dir: &Path) -> PathBuf {
    data_dir.join("server").join("backup.sock")
}

fn copy(data_dir: &Path) -> PathBuf {
    data_dir.join("server").join("backup.db")
}

/// Makes copies until it is dropped. A socket that cannot be made is told; the server goes on without.
pub async fn serve(data_dir: &Path, store: Arc<SqliteStore>) {
    let path = socket(data_dir);
    // We hold the store: what is there was left by a crash.
    let _ = std::fs::remove_file(&path);
    let _ = std::fs::remove_file(copy(data_dir));
    let bound = UnixListener::bind(&path).and_then(|listener| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map(|()| listener)
    });
    let listener = match bound {
        Ok(listener) => listener,
        Err(error) => {
            let path = path.display().to_string();
            tracing::warn!(path, %error, "no backups while this server runs: its socket cannot be made");
            return std::future::pending().await;
        }
    };
    let _removed = Removed(path);
    loop {
        match listener.accept().await {
            Ok((connection, _)) => {
                if let Err(error) = answer(connection, copy(data_dir), store.clone()).await {
                    tracing::warn!(%error, "a backup was cut off");
                }
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn answer(mut connection: UnixStream, path: PathBuf, store: Arc<SqliteStore>) -> io::Result<()> {
    let removed = Removed(path.clone());
    let copied = tokio::task::spawn_blocking(move || store.backup(&path)).await?;
    let reply: Result<Revision, String> = copied.map_err(|error| crate::telemetry::chain(&error));
    let mut line = serde_json::to_string(&reply)?;
    line.push('\n');
    connection.write_all(line.as_bytes()).await?;
    // Until the command has read the file and goes.
    connection.read_u8().await.map(drop).or_else(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Ok(()),
        _ => Err(error),
    })?;
    drop(removed);
    Ok(())
}

/// A file that goes with this.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Writes a backup of a data folder, whether a server runs on it or not. Answers the revision of its store.
pub async fn backup(data_dir: &Path, pki_dir: Option<&Path>, target: &Path) -> Result<Revision> {
    let file = data_dir.join("server").join("store.db");
    if !file.exists() {
        bail!(
            "{}: there is no store; objects that are in etcd are backed up with `etcdctl snapshot save`",
            file.display()
        );
    }
    let pki: Vec<PathBuf> =
        pki_dir.map(Path::to_path_buf).into_iter().chain([data_dir.join("pki")]).collect();
    let keys = || pki.iter().map(|dir| KeyFile::new(dir).read()).collect::<Result<Vec<_>, _>>();
    let before = keys()?;
    let revision = pack(data_dir, &file, &pki, target).await?;
    // Its Secrets may need a key that has left the file before that was read.
    ensure!(before == keys()?, "the encryption key was rotated meanwhile: make the backup again");
    Ok(revision)
}

async fn pack(data_dir: &Path, file: &Path, pki: &[PathBuf], target: &Path) -> Result<Revision> {
    let copy = copy(data_dir);
    let Ok(connection) = UnixStream::connect(socket(data_dir)).await else {
        let _ = std::fs::remove_file(&copy);
        let removed = Removed(copy.clone());
        // Locked, where a server runs that could not make its socket.
        let revision = store::sqlite::copy(file, &copy)?;
        archive::pack(&copy, pki, target)?;
        drop(removed);
        return Ok(revision);
    };
    let mut connection = BufReader::new(connection);
    let mut line = String::new();
    (&mut connection).take(MAX_LINE).read_line(&mut line).await?;
    let reply: Result<Revision, String> =
        serde_json::from_str(&line).context("the server ended before the copy was made")?;
    let revision = reply.map_err(anyhow::Error::msg)?;
    archive::pack(&copy, pki, target)?;
    Ok(revision)
}
