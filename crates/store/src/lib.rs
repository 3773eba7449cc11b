//! Revisions, compare-and-swap and watch over bytes. This crate knows no Kubernetes.
//!
//! 1. One counter for the whole store: every successful write takes the next [`Revision`]; the first write of
//!    an empty store gets a revision above [`EMPTY`], and a revision never comes back, not even after a crash.
//! 2. A write that was answered is durable as far as its backend promises; a read that starts afterwards sees it.
//! 3. A watch delivers every change of its prefix above its start, once and in order, or says
//!    [`Error::Compacted`]; it never skips.
//!
//! Backends: [`memory`] for tests and simulation, [`sqlite`] embedded in the server, [`etcd`] behind several servers.
//! The first two keep what they serve in a [`history::History`]. All pass the one suite in `conformance` and the check
//! of recorded histories in `linear` (feature `conformance`).
//! [`sealed`] goes over any of them and encrypts what is confidential.
//! Kubernetes: staging/src/k8s.io/apiserver/pkg/storage/interfaces.go, and etcd's revisions below it.

pub mod alike;
pub mod etcd;
pub mod history;
pub mod memory;
pub mod sealed;
pub mod sqlite;
pub mod watch;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "conformance")]
pub mod linear;

pub use watch::{Batch, Watch};

use bytes::Bytes;
use futures::future::BoxFuture;
use std::path::PathBuf;
use std::sync::Arc;

/// A point in the life of the whole store; higher is later.
pub type Revision = u64;

/// The revision of a store that was never written. Not 0, which clients of Kubernetes read as "any".
pub const EMPTY: Revision = 1;

/// Longest value. The API server takes bodies of 3 MiB and may add fields; above this nobody sent it in good faith.
pub const MAX_VALUE: usize = 8 << 20;

/// Longest key. Kubernetes' longest names (group, namespace, name) stay below 800 bytes.
pub const MAX_KEY: usize = 2048;

/// What every backend answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Revisions, compare-and-swap and watch.
///
/// Every future may be dropped. A dropped write may still happen, as with a connection that broke.
pub trait Store: Send + Sync + 'static {
    /// The entry at `key`, or none.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>>;

    /// Every entry whose key begins with `prefix`, in the order of keys, as of one revision.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Listing>>;

    /// Writes a key that does not exist. [`Error::Exists`] when it does.
    fn create<'a>(&'a self, key: &'a str, value: Bytes) -> BoxFuture<'a, Result<Revision>>;

    /// Replaces the value that was written at `expected`. [`Error::Conflict`], [`Error::Missing`].
    fn update<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: Revision,
    ) -> BoxFuture<'a, Result<Revision>>;

    /// Removes the value that was written at `expected`; the removal has a revision of its own.
    /// [`Error::Conflict`], [`Error::Missing`].
    fn delete<'a>(&'a self, key: &'a str, expected: Revision) -> BoxFuture<'a, Result<Revision>>;

    /// The revision of the last write that reads can see.
    fn current(&self) -> BoxFuture<'_, Result<Revision>>;

    /// Every change below `prefix` with a revision above `after`. [`Error::Compacted`] when some of them are
    /// forgotten already. An `after` in the future is allowed and waits.
    fn watch<'a>(&'a self, prefix: &'a str, after: Revision) -> BoxFuture<'a, Result<Watch>>;

    /// Forgets changes below `before`; what they left behind stays. A `before` in the future means: all but the
    /// last change.
    fn compact(&self, before: Revision) -> BoxFuture<'_, Result<()>>;
}

/// What stands at a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: Arc<str>,
    /// Its bytes, shared with the history and every other reader.
    pub value: Bytes,
    /// When it was last written: what [`Store::update`] expects.
    pub revision: Revision,
    /// When the key was created.
    pub created: Revision,
}

/// A consistent answer of [`Store::list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The revision of the whole store at which this was true; a watch after it misses nothing.
    pub revision: Revision,
    /// In the order of keys.
    pub entries: Vec<Entry>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The write that made it.
    pub revision: Revision,
    /// What was written.
    pub key: Arc<str>,
    /// How.
    pub kind: EventKind,
    /// The value before; none for a creation.
    pub previous: Option<Bytes>,
}

/// How a key changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// It has this value now.
    Put {
        /// The new bytes.
        value: Bytes,
        /// Whether the key did not exist before.
        created: bool,
    },
    /// It is gone.
    Delete,
}

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// [`Store::create`] of a key that exists.
    #[error("key {key:?} exists already, since revision {created}")]
    Exists {
        /// The key.
        key: String,
        /// When the one that exists was created.
        created: Revision,
    },
    /// Somebody else wrote in between.
    #[error("key {key:?} was written at revision {actual}, not at {expected}")]
    Conflict {
        /// The key.
        key: String,
        /// What the caller had seen.
        expected: Revision,
        /// What stands there.
        actual: Revision,
    },
    /// Nothing at this key.
    #[error("key {key:?} does not exist")]
    Missing {
        /// The key.
        key: String,
    },
    /// The history does not reach back that far; list again.
    #[error("changes after the asked revision are forgotten; the oldest revision to watch after is {oldest}")]
    Compacted {
        /// The lowest `after` that [`Store::watch`] takes.
        oldest: Revision,
    },
    /// Above [`MAX_KEY`] or [`MAX_VALUE`].
    #[error("key {key:?}: {size} bytes are more than the store's limit of {limit}")]
    TooLarge {
        /// The key, or its beginning.
        key: String,
        /// Bytes of the key or value.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// A sealed value that cannot be opened; see [`sealed`].
    #[error("the value at {key:?} cannot be read: {reason}")]
    Unreadable {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: Arc<str>,
    },
    /// The disk has no room. Nothing was written; writes work again once there is room.
    #[error("{}: no space left on the disk; nothing was written: free some space and try again", file.display())]
    Full {
        /// The store's file.
        file: PathBuf,
    },
    /// A write could not be made durable, so it is unknown what is on the disk. Every later write gets this same
    /// answer until the process is started again and has read the file anew; reads go on.
    #[error("{}: the store has stopped, {reason}", file.display())]
    Stopped {
        /// The store's file.
        file: PathBuf,
        /// What happened, and what to do.
        reason: Arc<str>,
    },
    /// Nobody is there to answer, or the one who is does not let us. Nothing was written.
    #[error("the store does not answer; nothing was written: {reason}")]
    Unavailable {
        /// Who said what last.
        reason: Arc<str>,
    },
    /// A write was sent and its answer is lost: it may have happened, or happen yet. Only a later read tells.
    #[error("the answer of the store is lost; the write may have taken effect: {reason}")]
    Unknown {
        /// Who said what last.
        reason: Arc<str>,
    },
    /// The store's own room is used up. Nothing was written.
    #[error("{reason}")]
    Exhausted {
        /// Whose, and what to do.
        reason: Arc<str>,
    },
}

/// Refuses keys and values above their limits, before anything waits in a queue.
pub(crate) fn check_size(key: &str, value: &[u8]) -> Result<()> {
    let too_large = |size, limit| Error::TooLarge { key: key.chars().take(80).collect(), size, limit };
    if key.len() > MAX_KEY {
        return Err(too_large(key.len(), MAX_KEY));
    }
    if value.len() > MAX_VALUE {
        return Err(too_large(value.len(), MAX_VALUE));
    }
    Ok(())
}
