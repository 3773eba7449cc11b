//! PURE. What stands at every key, and the window of changes that watchers may still ask for.
//!
//! 1. Revisions in the window follow each other without a gap: `floor + 1 ..= current`, shorter only where
//!    nothing was written yet.
//! 2. A [`Draft`] decides writes against the history plus the writes decided before it in the same batch, so
//!    of two conflicting writes exactly one wins. Nothing is visible until [`History::apply`].
//! 3. A value is held once: entry, change and every answer share its [`Bytes`]. What stands when its change leaves the window
//!    is kept as how it differs from others ([`crate::alike`]).
//!
//! Kubernetes: the watch cache (storage/cacher/watch_cache.go), of which clients expect minutes (wire 3.3.4).

use crate::alike::{Kindred, Value};
use crate::{EMPTY, Entry, Error, Event, EventKind, Listing, Result, Revision};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most changes that the window holds: with 1,000 nodes' leases and statuses some ten minutes.
pub const WINDOW_EVENTS: usize = 100_000;

/// So many changes are kept however old they are: a quiet cluster may be asked about an hour ago (wire 3.3.4).
pub const WINDOW_EVENTS_KEPT: usize = 10_000;

/// Above [`WINDOW_EVENTS_KEPT`] a change is kept this long: e2e tests watch from a list of minutes ago.
pub const WINDOW_AGE: Duration = Duration::from_secs(10 * 60);

/// Most bytes of overwritten values that only the window keeps alive: bounds the server's memory.
pub const WINDOW_BYTES: usize = 64 << 20;

/// The same of what every watcher has read: it is kept only for one who comes later and asks for the past, and an API
/// server has a history of its own for that.
pub const WINDOW_BYTES_READ: usize = 4 << 20;

/// Fewer values are kept as they were read: there is nothing to gain.
const FEW: usize = 500;

/// What a change costs beside its bytes: the structs, the key, the allocator.
const CHANGE_OVERHEAD: usize = 256;

/// How far back the window reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// See [`WINDOW_EVENTS`].
    pub events: usize,
    /// See [`WINDOW_EVENTS_KEPT`].
    pub events_kept: usize,
    /// See [`WINDOW_AGE`].
    pub age: Duration,
    /// See [`WINDOW_BYTES`].
    pub bytes: usize,
    /// See [`WINDOW_BYTES_READ`].
    pub bytes_read: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            events: WINDOW_EVENTS,
            events_kept: WINDOW_EVENTS_KEPT,
            age: WINDOW_AGE,
            bytes: WINDOW_BYTES,
            bytes_read: WINDOW_BYTES_READ,
        }
    }
}

/// The state and its window.
#[derive(Debug)]
pub struct History {
    entries: BTreeMap<Arc<str>, Version>,
    kindred: Kindred,
    window: VecDeque<Recorded>,
    window_bytes: usize,
    floor: Revision,
    current: Revision,
    /// Up to here every watcher has read.
    read: Revision,
    limits: Limits,
}

/// A value and when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The bytes.
    pub value: Value,
    /// The write that made it.
    pub revision: Revision,
    /// The write that created the key.
    pub created: Revision,
}

/// A decided write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its own revision.
    pub revision: Revision,
    /// What it writes.
    pub key: Arc<str>,
    /// The new version; none deletes.
    pub version: Option<Version>,
    /// What stood there.
    pub previous: Option<Version>,
}

/// A write that waits for its decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The key.
    pub key: Arc<str>,
    /// What to do with it.
    pub intent: Intent,
}

/// What a [`Write`] wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    /// The key must not exist.
    Create(Bytes),
    /// The key must stand at this revision.
    Update(Bytes, Revision),
    /// The key must stand at this revision.
    Delete(Revision),
}

/// A change in the window and when it came in.
#[derive(Debug)]
struct Recorded {
    change: Change,
    at: Instant,
}

impl History {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Self::restored(limits, EMPTY, BTreeMap::new(), EMPTY - 1)
    }

    /// As it was read from a disk, with everything up to `floor` forgotten; [`History::apply`] adds the window.
    pub fn restored(
        limits: Limits,
        current: Revision,
        entries: BTreeMap<Arc<str>, Version>,
        floor: Revision,
    ) -> Self {
        let (window, read, kindred) = (VecDeque::new(), Revision::MAX, Kindred::default());
        let mut history = Self { entries, kindred, window, window_bytes: 0, floor, current, read, limits };
        if history.entries.len() > FEW {
            let Self { entries, kindred, .. } = &mut history;
            entries.iter_mut().for_each(|(key, version)| version.shorten(key, kindred));
        }
        history
    }

    /// The revision of the last applied write.
    pub fn current(&self) -> Revision {
        self.current
    }

    /// The lowest revision to watch after.
    pub fn floor(&self) -> Revision {
        self.floor
    }

    /// What stands at every key, in their order.
    pub fn entries(&self) -> impl Iterator<Item = (&Arc<str>, &Version)> {
        self.entries.iter()
    }

    /// The changes that watchers may still ask for, oldest first.
    pub fn window(&self) -> impl Iterator<Item = &Change> {
        self.window.iter().map(|recorded| &recorded.change)
    }

    /// What stands at a key.
    pub fn get(&self, key: &str) -> Option<Entry> {
        self.entries.get_key_value(key).map(|(key, version)| entry(key, version))
    }

    /// What stands below a prefix, in the order of keys.
    pub fn list(&self, prefix: &str) -> Listing {
        let entries = self
            .entries
            .range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, version)| entry(key, version))
            .collect();
        Listing { revision: self.current, entries }
    }

    /// The next changes below `prefix` after `after`, at most `most`, and the revision up to which they are all.
    /// [`Error::Compacted`] when some are forgotten.
    pub fn events_after(&self, prefix: &str, after: Revision, most: usize) -> Result<(Vec<Event>, Revision)> {
        if after < self.floor {
            return Err(Error::Compacted { oldest: self.floor });
        }
        let start = self.window.partition_point(|recorded| recorded.change.revision <= after);
        let mut events = Vec::new();
        for Recorded { change, .. } in self.window.range(start..) {
            if !change.key.starts_with(prefix) {
                continue;
            }
            events.push(change.event());
            if events.len() == most {
                return Ok((events, change.revision));
            }
        }
        Ok((events, self.current.max(after)))
    }

    /// Every watcher has read up to here; without watchers, everything.
    pub fn note_read(&mut self, up_to: Revision) {
        self.read = up_to;
    }

    /// Makes decided changes visible. Answers the changes that left the window for them.
    pub fn apply(&mut self, changes: Vec<Change>, now: Instant) -> Vec<Change> {
        for change in changes {
            self.current = self.current.max(change.revision);
            match &change.version {
                Some(version) => self.entries.insert(change.key.clone(), version.clone()),
                None => self.entries.remove(&change.key),
            };
            self.window_bytes += change.cost();
            self.window.push_back(Recorded { change, at: now });
        }
        self.trim(now)
    }

    /// Forgets changes below `before`; the last one always stays. Answers what it forgot.
    pub fn compact(&mut self, before: Revision) -> Vec<Change> {
        let before = before.min(self.current);
        let count = self.window.partition_point(|recorded| recorded.change.revision < before);
        let forgotten = self.forget(count);
        self.floor = self.floor.max(before.saturating_sub(1));
        forgotten
    }

    fn trim(&mut self, now: Instant) -> Vec<Change> {
        let mut bytes = self.window_bytes;
        let mut left = self.window.len();
        let leaving = self.window.iter().take_while(|recorded| {
            let old = now.saturating_duration_since(recorded.at) > self.limits.age;
            let is_read = recorded.change.revision <= self.read;
            let leaves = left > self.limits.events
                || bytes > self.limits.bytes
                || (is_read && bytes > self.limits.bytes_read)
                || (old && left > self.limits.events_kept);
            bytes -= recorded.change.cost();
            left -= 1;
            leaves
        });
        let count = leaving.count();
        self.forget(count)
    }

    fn forget(&mut self, count: usize) -> Vec<Change> {
        let forgotten: Vec<Change> = self.window.drain(..count).map(|recorded| recorded.change).collect();
        self.window_bytes -= forgotten.iter().map(Change::cost).sum::<usize>();
        for change in &forgotten {
            let stands = self.entries.get_mut(&change.key);
            if let Some(version) = stands.filter(|version| version.revision == change.revision) {
                version.shorten(&change.key, &mut self.kindred);
            }
        }
        if let Some(last) = forgotten.last() {
            self.floor = last.revision;
        }
        forgotten
    }
}

/// Writes that are decided and not yet visible.
#[derive(Debug)]
pub struct Draft<'a> {
    history: &'a History,
    /// What this draft leaves at the keys that it touches.
    touched: BTreeMap<Arc<str>, Option<Version>>,
    changes: Vec<Change>,
}

impl<'a> Draft<'a> {
    /// An empty one on top of what is visible.
    pub fn new(history: &'a History) -> Self {
        Self { history, touched: BTreeMap::new(), changes: Vec::new() }
    }

    /// Takes a write in, or says why not. A refused write leaves nothing.
    pub fn decide(&mut self, write: &Write) -> Result<Revision> {
        let stands = self.stands(&write.key);
        let revision = self.history.current + self.changes.len() as Revision + 1;
        let version = match &write.intent {
            Intent::Create(value) => {
                absent(&write.key, stands)?;
                Some(Version { value: value.clone().into(), revision, created: revision })
            }
            Intent::Update(value, expected) => {
                let created = unchanged(&write.key, stands, *expected)?.created;
                Some(Version { value: value.clone().into(), revision, created })
            }
            Intent::Delete(expected) => {
                unchanged(&write.key, stands, *expected)?;
                None
            }
        };
        let previous = stands.cloned();
        self.touched.insert(write.key.clone(), version.clone());
        self.changes.push(Change { revision, key: write.key.clone(), version, previous });
        Ok(revision)
    }

    /// What was decided, in the order of revisions.
    pub fn into_changes(self) -> Vec<Change> {
        self.changes
    }

    fn stands(&self, key: &Arc<str>) -> Option<&Version> {
        match self.touched.get(key) {
            Some(touched) => touched.as_ref(),
            None => self.history.entries.get(key),
        }
    }
}

impl Version {
    /// Few will ask for it from now on.
    fn shorten(&mut self, key: &str, kindred: &mut Kindred) {
        if let Some(told) = kindred.told(key, &self.value) {
            self.value = told;
        }
    }
}

impl Change {
    /// As watchers see it.
    pub fn event(&self) -> Event {
        let kind = match &self.version {
            Some(version) => {
                EventKind::Put { value: version.value.bytes(), created: self.previous.is_none() }
            }
            None => EventKind::Delete,
        };
        let previous = self.previous.as_ref().map(|version| version.value.bytes());
        Event { revision: self.revision, key: self.key.clone(), kind, previous }
    }

    /// Bytes that only the window keeps alive because of this change.
    fn cost(&self) -> usize {
        CHANGE_OVERHEAD + self.previous.as_ref().map_or(0, |version| version.value.len())
    }
}

fn absent(key: &str, stands: Option<&Version>) -> Result<()> {
    match stands {
        None => Ok(()),
        Some(version) => Err(Error::Exists { key: key.into(), created: version.created }),
    }
}

fn unchanged<'v>(key: &str, stands: Option<&'v Version>, expected: Revision) -> Result<&'v Version> {
    match stands {
        None => Err(Error::Missing { key: key.into() }),
        Some(version) if version.revision == expected => Ok(version),
        Some(version) => Err(Error::Conflict { key: key.into(), expected, actual: version.revision }),
    }
}

fn entry(key: &Arc<str>, version: &Version) -> Entry {
    Entry {
        key: key.clone(),
        value: version.value.bytes(),
        revision: version.revision,
        created: version.created,
    }
}

#[cfg(test)]
mod tests;
