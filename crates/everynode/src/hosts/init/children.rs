//! The children of a first process: its own, whose end is told, and orphans of others, which are only reaped.
//!
//! One thread waits for all; nobody else may wait in this process. A child is known before its end can be seen, because
//! both are done under one lock.

use rustix::io::Errno;
use rustix::process::{WaitOptions, WaitStatus, wait};
use std::collections::BTreeMap;
use std::io;
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What is called when a child has ended, with its exit in words.
type WhenEnded = Box<dyn FnOnce(Exit) + Send>;

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// With code 0.
    pub success: bool,
    /// In words: `code 1`, `signal 9`.
    pub how: String,
}

/// Our children.
#[derive(Clone, Default)]
pub struct Children {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    known: Mutex<BTreeMap<u32, WhenEnded>>,
    /// Woken by every start.
    started: Condvar,
}

impl Children {
    /// Starts the thread that reaps.
    pub fn new() -> io::Result<Self> {
        let children = Self::default();
        let inner = children.inner.clone();
        std::thread::Builder::new().name("reaper".into()).spawn(move || inner.reap())?;
        Ok(children)
    }

    /// Starts a child; `when_ended` is called once, from the reaping thread.
    pub fn start(
        &self,
        command: &mut Command,
        when_ended: impl FnOnce(Exit) + Send + 'static,
    ) -> io::Result<Child> {
        let mut known = self.inner.lock();
        let child = command.spawn()?;
        known.insert(child.id(), Box::new(when_ended));
        self.inner.started.notify_one();
        Ok(child)
    }

    /// Starts a child and waits for its end.
    pub fn run(&self, command: &mut Command) -> io::Result<Exit> {
        let (send, receive) = std::sync::mpsc::channel();
        let _child = self.start(command, move |exit| {
            let _ = send.send(exit);
        })?;
        receive.recv().map_err(|_| io::Error::other("the reaping thread has ended"))
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, WhenEnded>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reap(&self) {
        loop {
            match wait(WaitOptions::empty()) {
                Ok(Some((id, status))) => {
                    let id = u32::try_from(id.as_raw_nonzero().get()).unwrap_or_default();
                    let ended = self.lock().remove(&id);
                    if let Some(when_ended) = ended {
                        when_ended(exit(status));
                    }
                }
                Ok(None) | Err(Errno::INTR) => {}
                // No child at all: the next start is waited for.
                Err(_) => {
                    let known = self.lock();
                    let _woken = self.started.wait_while(known, |known| known.is_empty());
                }
            }
        }
    }
}

fn exit(status: WaitStatus) -> Exit {
    let how = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".into(),
    };
    Exit { success: status.exit_status() == Some(0), how }
}
