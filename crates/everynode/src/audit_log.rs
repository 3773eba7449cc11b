//! Where audit events go: JSON lines in a file that is renamed when it is full, or on standard output.
//!
//! 1. One thread writes; requests hand their events over a bounded queue and never wait for the disk.
//! 2. An event that finds the queue full, or the disk, is lost. How many were is counted ([`AuditSink::lost`]), said in the log at
//!    once, and said in the next event that is written: `everynode.dev/lost-events`.
//! 3. The file is for its owner only. `audit.log.1` is the newest of the full ones; the oldest goes.
//!
//! Kubernetes: `--audit-log-path`, `--audit-log-maxsize`, `--audit-log-maxbackup`.

use crate::config::AuditLog;
use anyhow::{Context as _, Result};
use apiserver::{AuditEvent, AuditSink};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Events that wait for the disk: some 8 MB, a second of the greatest storm.
const QUEUE: usize = 8_192;
/// Bytes of one file, about 100,000 events. Kubernetes: `--audit-log-maxsize`, 100 MB.
const FILE_BYTES: u64 = 64 << 20;
/// Full files that are kept: half a gigabyte.
const FULL_FILES: u32 = 8;
/// A failing disk is told of once in this time.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The sink of a server. Dropping the last of it writes what waits.
pub struct Log {
    queue: Option<SyncSender<AuditEvent>>,
    lost: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// Opens what a flag names; none when nothing is to be recorded.
pub fn open(to: &AuditLog, data_dir: &Path) -> Result<Option<Arc<dyn AuditSink>>> {
    let output: Output = match to {
        AuditLog::Off => return Ok(None),
        AuditLog::Standard => Output::Standard,
        AuditLog::Default => Output::File(Rotated::open(&data_dir.join("audit.log"), FILE_BYTES)?),
        AuditLog::File(path) => Output::File(Rotated::open(path, FILE_BYTES)?),
    };
    Ok(Some(Arc::new(Log::start(output)?)))
}

enum Output {
    Standard,
    File(Rotated),
}

impl Log {
    fn start(output: Output) -> Result<Self> {
        let (queue, events) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer { output, lost: lost.clone(), said: 0, told: None, line: Vec::new() };
        let thread =
            std::thread::Builder::new().name("audit-log".into()).spawn(move || writer.run(&events))?;
        Ok(Self { queue: Some(queue), lost, thread: Some(thread) })
    }
}

impl AuditSink for Log {
    fn record(&self, event: AuditEvent) {
        let Some(queue) = &self.queue else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(event)
            && self.lost.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::error!(queue = QUEUE, "audit events are lost: the disk does not keep up");
        }
    }

    fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported where it happened.
            let _ = thread.join();
        }
    }
}

struct Writer {
    output: Output,
    lost: Arc<AtomicU64>,
    /// Lost events that were said in an event.
    said: u64,
    told: Option<Instant>,
    /// The last event as a line; its room is used again.
    line: Vec<u8>,
}

impl Writer {
    /// Writes until nobody can record any more. Flushes whenever nothing waits.
    fn run(mut self, events: &Receiver<AuditEvent>) {
        while let Ok(event) = events.recv() {
            self.write(event);
            while let Ok(event) = events.try_recv() {
                self.write(event);
            }
            if let Err(error) = self.output.flush() {
                self.tell(&error);
            }
        }
    }

    fn write(&mut self, mut event: AuditEvent) {
        let lost = self.lost.load(Ordering::Relaxed);
        if lost > self.said {
            event.annotations.insert("everynode.dev/lost-events", (lost - self.said).to_string());
        }
        self.line.clear();
        // Writing texts and numbers to memory cannot fail.
        let _ = serde_json::to_writer(&mut self.line, &event);
        self.line.push(b'\n');
        match self.output.line(&self.line) {
            Ok(()) => self.said = lost,
            Err(error) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                self.tell(&error);
            }
        }
    }

    fn tell(&mut self, error: &std::io::Error) {
        if self.told.is_none_or(|told| told.elapsed() > TOLD_EVERY) {
            self.told = Some(Instant::now());
            let lost = self.lost.load(Ordering::Relaxed);
            tracing::error!(%error, lost, "audit events are lost: the audit log cannot be written");
        }
    }
}

impl Output {
    fn line(&mut self, line: &[u8]) -> std::io::Result<()> {
        match self {
            Output::Standard => std::io::stdout().lock().write_all(line),
            Output::File(file) => file.line(line),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Output::Standard => std::io::stdout().lock().flush(),
            Output::File(file) => file.file.flush(),
        }
    }
}

/// A file that makes room for the next one when it is full.
struct Rotated {
    path: PathBuf,
    file: BufWriter<File>,
    bytes: u64,
    limit: u64,
}

impl Rotated {
    fn open(path: &Path, limit: u64) -> Result<Self> {
        let (file, bytes) = append(path).with_context(|| {
            format!("{}: the audit log cannot be written; choose another with --audit-log", path.display())
        })?;
        Ok(Self { path: path.into(), file: BufWriter::new(file), bytes, limit })
    }

    fn line(&mut self, line: &[u8]) -> std::io::Result<()> {
        let length = line.len() as u64;
        if self.bytes > 0 && self.bytes + length > self.limit {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.bytes += length;
        Ok(())
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        self.file.flush()?;
        for number in (1..FULL_FILES).rev() {
            let _ = std::fs::rename(self.full(number), self.full(number + 1));
        }
        std::fs::rename(&self.path, self.full(1))?;
        let (file, bytes) = append(&self.path)?;
        (self.file, self.bytes) = (BufWriter::new(file), bytes);
        Ok(())
    }

    fn full(&self, number: u32) -> PathBuf {
        let mut name = self.path.as_os_str().to_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn append(path: &Path) -> std::io::Result<(File, u64)> {
    let file = File::options().append(true).create(true).mode(0o600).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::os::unix::fs::PermissionsExt as _;

    fn event(n: usize) -> AuditEvent {
        let mut event = AuditEvent::default();
        event.annotations.insert("n", n.to_string());
        event
    }

    fn numbers(path: &Path) -> Vec<Value> {
        lines(path).into_iter().map(|line| line["annotations"].clone()).collect()
    }

    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn events_are_lines_of_a_file_for_its_owner_that_goes_on_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        for n in 0..2 {
            let log = open(&AuditLog::Default, dir.path()).unwrap().unwrap();
            log.record(event(n));
        }
        assert_eq!(numbers(&path), [json!({"n": "0"}), json!({"n": "1"})]);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(open(&AuditLog::Off, dir.path()).unwrap().is_none());
        let error = open(&AuditLog::File(dir.path().join("no/a.log")), dir.path()).err().unwrap().to_string();
        assert!(error.contains("no/a.log") && error.contains("--audit-log"), "{error}");
    }

    #[test]
    fn a_full_file_makes_room_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let mut file = Rotated::open(&path, 10).unwrap();
        for n in 0..20 {
            file.line(format!("line {n:02}\n").as_bytes()).unwrap();
        }
        file.file.flush().unwrap();
        let mut found: Vec<String> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        assert_eq!(found, ["a", "a.1", "a.2", "a.3", "a.4", "a.5", "a.6", "a.7", "a.8"]);
        let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!([text("a"), text("a.1"), text("a.8")], ["line 19\n", "line 18\n", "line 11\n"]);
    }

    #[test]
    fn what_a_full_disk_refuses_is_counted_and_said() {
        // Every write to this device fails with "no space left".
        let Ok(full) = Rotated::open(Path::new("/dev/full"), FILE_BYTES) else { return };
        let lost = Arc::new(AtomicU64::new(0));
        let mut writer =
            Writer { output: Output::File(full), lost: lost.clone(), said: 0, told: None, line: Vec::new() };
        for _ in 0..3 {
            let mut long = event(0);
            long.annotations.insert("long", "x".repeat(20_000));
            writer.write(long);
        }
        assert!(lost.load(Ordering::Relaxed) >= 2 && writer.told.is_some());
        let dir = tempfile::tempdir().unwrap();
        writer.output = Output::File(Rotated::open(&dir.path().join("a"), FILE_BYTES).unwrap());
        let count = lost.load(Ordering::Relaxed).to_string();
        writer.write(AuditEvent::default());
        writer.write(AuditEvent::default());
        writer.output.flush().unwrap();
        let said = json!({"everynode.dev/lost-events": count});
        assert_eq!(numbers(&dir.path().join("a")), [said, json!({})]);
    }
}
