//! Reads a log file from the asked line to its end, and on while the container runs, through rotations.

use crate::logs::{Going, Options, Printer, tail_start};
use crate::runtime::{Runtime, State};
use bytes::Bytes;
use std::io::{self, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::mpsc;

/// Read at once.
const CHUNK: usize = 64 << 10;
/// Chunks waiting for a slow reader; then the file waits.
const QUEUE: usize = 4;
/// How soon a follower sees a new line.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How many looks without news until the container itself is asked for.
const LOOKS_BEFORE_ASKING: u32 = 5;

type Chunk = io::Result<Bytes>;

/// One reader of one log.
pub(super) struct Follower {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) id: String,
    pub(super) path: PathBuf,
    pub(super) options: Options,
}

impl Follower {
    /// Begins; the task ends with the log, or when nobody reads any more.
    pub(super) fn start(self) -> mpsc::Receiver<Chunk> {
        let (send, chunks) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            let end = send.clone();
            tokio::select! {
                () = end.closed() => {}
                read = self.read(&send) => if let Err(error) = read {
                    let _ = send.send(Err(error)).await;
                }
            }
        });
        chunks
    }

    async fn read(self, send: &mpsc::Sender<Chunk>) -> io::Result<()> {
        let Some(mut file) = self.open().await? else { return Ok(()) };
        if let Some(lines) = self.options.tail {
            seek_to_tail(&mut file, lines).await?;
        }
        let mut printer = Printer::new(self.options.clone());
        let mut quiet = 0_u32;
        let mut ended = false;
        loop {
            match copy(&mut file, &mut printer, send).await? {
                Copied::Nothing => {}
                Copied::Some => quiet = 0,
                Copied::Enough => return Ok(()),
            }
            if let Some(next) = self.rotated(&file).await? {
                // Lines may have come between the last read and the rotation.
                if let Copied::Enough = copy(&mut file, &mut printer, send).await? {
                    return Ok(());
                }
                file = next;
                continue;
            }
            // The last lines may have come between the last read and the end of the container.
            if !self.options.follow || ended {
                return Ok(());
            }
            quiet += 1;
            ended = quiet.is_multiple_of(LOOKS_BEFORE_ASKING) && !self.is_running().await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A container that has just started may have no file yet.
    async fn open(&self) -> io::Result<Option<File>> {
        loop {
            match File::open(&self.path).await {
                Ok(file) => return Ok(Some(file)),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Err(_) if self.options.follow && self.is_running().await => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Err(_) => return Ok(None),
            }
        }
    }

    /// The file that has the name now, if it is another than the one that is read to its end.
    async fn rotated(&self, file: &File) -> io::Result<Option<File>> {
        if !self.options.follow {
            return Ok(None);
        }
        let Ok(now) = tokio::fs::metadata(&self.path).await else { return Ok(None) };
        let before = file.metadata().await?;
        if (now.dev(), now.ino()) == (before.dev(), before.ino()) {
            return Ok(None);
        }
        Ok(File::open(&self.path).await.ok())
    }

    async fn is_running(&self) -> bool {
        match self.runtime.container_status(&self.id).await {
            Ok(container) => matches!(container.state, State::Running { .. } | State::Created),
            Err(crate::runtime::RuntimeError::Down { .. }) => true,
            Err(_) => false,
        }
    }
}

enum Copied {
    Nothing,
    Some,
    Enough,
}

async fn copy(file: &mut File, printer: &mut Printer, send: &mpsc::Sender<Chunk>) -> io::Result<Copied> {
    let mut buffer = vec![0; CHUNK];
    let mut copied = Copied::Nothing;
    loop {
        let length = file.read(&mut buffer).await?;
        if length == 0 {
            return Ok(copied);
        }
        copied = Copied::Some;
        let mut text = Vec::new();
        let going = printer.take(buffer.get(..length).unwrap_or_default(), &mut text);
        if !text.is_empty() && send.send(Ok(text.into())).await.is_err() {
            return Ok(Copied::Enough);
        }
        if going == Going::Done {
            return Ok(Copied::Enough);
        }
    }
}

/// Reads backwards, twice as much each time, until the wanted lines are found.
async fn seek_to_tail(file: &mut File, lines: u64) -> io::Result<()> {
    let length = file.metadata().await?.len();
    let mut span = CHUNK as u64;
    loop {
        let from = length.saturating_sub(span);
        file.seek(SeekFrom::Start(from)).await?;
        let mut block = Vec::new();
        (&mut *file).take(length - from).read_to_end(&mut block).await?;
        let start = tail_start(&block, lines).map(|start| start as u64);
        if start.is_some() || from == 0 {
            file.seek(SeekFrom::Start(from + start.unwrap_or(0))).await?;
            return Ok(());
        }
        span = span.saturating_mul(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::simulated::{Simulated, Stages};
    use std::io::Write as _;
    use std::net::Ipv4Addr;

    fn follower(path: &std::path::Path, options: Options) -> Follower {
        let runtime = Arc::new(Simulated::new(Stages::INSTANT, Ipv4Addr::new(10, 0, 0, 0)));
        Follower { runtime, id: "none".into(), path: path.into(), options }
    }

    async fn text(follower: Follower) -> String {
        let mut chunks = follower.start();
        let mut text = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            text.extend_from_slice(&chunk.unwrap());
        }
        String::from_utf8(text).unwrap()
    }

    fn line(number: usize) -> String {
        format!("2026-11-21T02:00:00.000000001Z stdout F {number}\n")
    }

    #[tokio::test]
    async fn the_tail_of_a_large_log_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let log: String = (0..20_000).map(line).collect();
        std::fs::write(&path, log).unwrap();
        let tail = |lines| Options { tail: Some(lines), ..Options::default() };
        assert_eq!(text(follower(&path, tail(2))).await, "19998\n19999\n");
        assert_eq!(text(follower(&path, tail(5000))).await.lines().count(), 5000);
        assert_eq!(text(follower(&path, tail(0))).await, "");
        assert_eq!(text(follower(&path, Options::default())).await.lines().count(), 20_000);
    }

    #[tokio::test]
    async fn following_goes_on_in_the_file_after_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, line(1)).unwrap();
        let mut chunks = follower(&path, Options { follow: true, ..Options::default() }).start();
        assert_eq!(chunks.recv().await.unwrap().unwrap(), "1\n");
        let mut old = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        old.write_all(line(2).as_bytes()).unwrap();
        std::fs::rename(&path, dir.path().join("0.log.aside")).unwrap();
        std::fs::write(&path, line(3)).unwrap();
        assert_eq!(chunks.recv().await.unwrap().unwrap(), "2\n");
        assert_eq!(chunks.recv().await.unwrap().unwrap(), "3\n");
        // The container is unknown to the runtime: it has ended, and so does the log.
        assert!(chunks.recv().await.is_none());
    }
}
