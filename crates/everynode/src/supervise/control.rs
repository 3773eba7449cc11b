//! How `everynode node …` speaks to a running `everynode up`: a socket in the data folder, which only its owner can enter.
//!
//! One connection carries one request and one reply, a line of JSON each.

use super::Event;
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Longest line; a list of all nodes fits.
const MAX_LINE: u64 = 1 << 20;
/// Connections at once; a person at a keyboard needs one.
const CONNECTIONS: usize = 16;
/// How long a client has to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause after a failed accept, so that it is no busy loop.
const PAUSE: Duration = Duration::from_millis(100);

/// What `up` can be asked for; nodes by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// A further node.
    Add(u32),
    /// End a node for good.
    Remove(u32),
    /// Start a node's agent.
    Start(u32),
    /// Stop a node's agent.
    Stop(u32),
    /// Show all nodes.
    List,
}

/// Text for the user: what was done, or why not.
pub type Reply = Result<String, String>;

/// The socket of a data folder.
fn socket(data_dir: &Path) -> PathBuf {
    data_dir.join("up.sock")
}

/// Asks the `up` that runs on this data folder.
pub async fn ask(data_dir: &Path, request: &Request) -> Result<String> {
    let path = socket(data_dir);
    let stream = match UnixStream::connect(&path).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            bail!("{}: only the user who runs `everynode up` may do this", path.display())
        }
        Err(_) => bail!(
            "no `everynode up` runs on the data folder {}; start it, or name another with --data-dir",
            data_dir.display()
        ),
    };
    let mut stream = BufReader::new(stream);
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(MAX_LINE).read_line(&mut answer).await?;
    let reply: Reply = serde_json::from_str(&answer).context("`everynode up` ended before it was done")?;
    reply.map_err(anyhow::Error::msg)
}

/// Opens the socket of a data folder that we hold the lock of; an old one is a crash's.
pub fn listen(data_dir: &Path) -> Result<UnixListener> {
    let path = socket(data_dir);
    let named = || format!("{}: cannot be made; a shorter --data-dir may help", path.display());
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).with_context(named)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).with_context(named)?;
    Ok(listener)
}

/// Removes the socket.
pub fn remove(data_dir: &Path) {
    let _ = std::fs::remove_file(socket(data_dir));
}

/// Turns connections into events, until it is dropped.
pub async fn serve(listener: UnixListener, events: mpsc::Sender<Event>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => _ = connections.spawn(connection(stream, events.clone())),
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A client that goes away in the middle is not missed.
async fn connection(stream: UnixStream, events: mpsc::Sender<Event>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let read = (&mut stream).take(MAX_LINE);
    tokio::pin!(read);
    if !matches!(tokio::time::timeout(PATIENCE, read.read_line(&mut line)).await, Ok(Ok(_))) {
        return;
    }
    let reply: Reply = match serde_json::from_str(&line) {
        Ok(request) => {
            let (send, receive) = oneshot::channel();
            let _ = events.send(Event::Request(request, send)).await;
            receive.await.unwrap_or_else(|_| Err("`everynode up` is ending".into()))
        }
        Err(error) => Err(format!("not a request: {error}")),
    };
    if let Ok(mut text) = serde_json::to_string(&reply) {
        text.push('\n');
        let _ = stream.write_all(text.as_bytes()).await;
    }
}
