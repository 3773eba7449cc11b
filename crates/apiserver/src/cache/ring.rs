//! The last events of one kind: what a watch replays, and what an exact list rolls back.
//!
//! - Events stand in the order of their revisions.
//! - [`Ring::oldest`] is a promise: every event with a higher revision is here.
//! - An event's bytes are made once per form and type, for all watchers that are not far behind, and then let go.
//!
//! Kubernetes: `storage/cacher/watch_cache.go`.

use super::item::{Filter, Item};
use crate::accept::Form;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::Revision;
use tokio::time::Instant;

/// Most events kept per kind: the rollout of 1,000 nodes writes about 8,000 pod events.
pub const RING_EVENTS: usize = 10_000;
/// How long events are kept at least, as long as they fit: clients come back after minutes (3.3.4).
pub const RING_AGE: Duration = Duration::from_secs(600);

/// A change of one object.
#[derive(Debug)]
pub struct Event {
    /// The write that made it.
    pub revision: Revision,
    /// The object after; none when it is gone.
    pub item: Option<Arc<Item>>,
    /// The object before; none when it is new.
    pub previous: Option<Arc<Item>>,
    /// Finished bytes by form and type; none when the event is too old for them.
    finished: Mutex<Option<Vec<(Shape, Bytes)>>>,
}

/// Newest events whose finished bytes are held, and whose states are whole: as many as a watcher takes at once, so that all
/// who are not behind share them. Held any longer they would be most of what the ring holds.
pub const FINISHED_EVENTS: usize = 500;

/// What finished bytes depend on beside the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The form of the object.
    pub form: Form,
    /// What the watcher sees.
    pub change: Change,
}

/// What a watcher sees of an event (3.3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new, or begins to match.
    Added,
    /// It still matches.
    Modified,
    /// It is gone, or matches no longer; carries the state before.
    Deleted,
}

impl Event {
    /// A change that this write made.
    pub fn new(revision: Revision, item: Option<Arc<Item>>, previous: Option<Arc<Item>>) -> Self {
        Self { revision, item, previous, finished: Mutex::new(Some(Vec::new())) }
    }

    /// Its bytes, made by the first who asks.
    pub fn finished(&self, shape: Shape, make: impl FnOnce() -> Bytes) -> Bytes {
        let mut finished = self.finished_bytes();
        let Some(held) = finished.as_mut() else {
            drop(finished);
            return make();
        };
        if let Some((_, bytes)) = held.iter().find(|(of, _)| *of == shape) {
            return bytes.clone();
        }
        let bytes = make();
        held.push((shape, bytes.clone()));
        bytes
    }

    fn finished_bytes(&self) -> MutexGuard<'_, Option<Vec<(Shape, Bytes)>>> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a watcher with this filter sees; nothing when the event does not concern it.
    pub fn seen_by(&self, filter: &Filter) -> Option<(Change, &Arc<Item>)> {
        let before = self.previous.as_ref().filter(|item| filter.matches(item));
        let after = self.item.as_ref().filter(|item| filter.matches(item));
        match (before, after) {
            (None, Some(item)) => Some((Change::Added, item)),
            (Some(_), Some(item)) => Some((Change::Modified, item)),
            (Some(item), None) => Some((Change::Deleted, item)),
            (None, None) => None,
        }
    }
}

/// The events of one kind.
#[derive(Debug)]
pub struct Ring {
    events: VecDeque<(Instant, Arc<Event>)>,
    /// How many events have left: the sequence number of the first one here.
    first: u64,
    /// Every event above this revision is here.
    oldest: Revision,
}

impl Ring {
    /// An empty one, for a collection that was listed at `oldest`.
    pub fn new(oldest: Revision) -> Self {
        Self { events: VecDeque::new(), first: 0, oldest }
    }

    /// Takes an event, and lets go of what is too old or too much. Answers the event that few will ask for from now on.
    pub fn push(&mut self, event: Arc<Event>, now: Instant) -> Option<Arc<Event>> {
        self.events.push_back((now, event));
        let late = self.events.len().checked_sub(FINISHED_EVENTS + 1);
        let late = late.and_then(|late| self.events.get(late)).map(|(_, event)| event.clone());
        if let Some(event) = &late {
            *event.finished_bytes() = None;
        }
        while let Some((at, event)) = self.events.front() {
            if self.events.len() <= RING_EVENTS && now.duration_since(*at) <= RING_AGE {
                break;
            }
            self.oldest = event.revision;
            self.first += 1;
            self.events.pop_front();
        }
        late
    }

    /// Lets go of everything: what happened up to `revision` is unknown. Whoever held a place has lost it.
    pub fn forget(&mut self, revision: Revision) {
        self.first = self.end() + 1;
        self.events.clear();
        self.oldest = revision;
    }

    /// The lowest revision that a watch may start after.
    pub fn oldest(&self) -> Revision {
        self.oldest
    }

    /// The sequence number that the next event will have.
    pub fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// The sequence number of the first event above a revision.
    pub fn after(&self, revision: Revision) -> u64 {
        self.first + self.events.partition_point(|(_, event)| event.revision <= revision) as u64
    }

    /// Events from a sequence number on; none when some of them have left already.
    pub fn from(&self, sequence: u64) -> Option<impl DoubleEndedIterator<Item = &Arc<Event>>> {
        let skip = sequence.checked_sub(self.first)?;
        let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(self.events.len());
        Some(self.events.range(skip..).map(|(_, event)| event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(revision: Revision) -> Arc<Event> {
        Arc::new(Event::new(revision, None, None))
    }

    #[test]
    fn what_has_left_is_not_promised_and_the_rest_is_found_by_revision() {
        let now = Instant::now();
        let mut ring = Ring::new(5);
        for revision in 1..=RING_EVENTS as Revision + 3 {
            ring.push(event(5 + revision * 2), now);
        }
        // Three have left: 7, 9 and 11.
        assert_eq!((ring.oldest(), ring.after(0), ring.after(13)), (11, 3, 4));
        assert!(ring.from(2).is_none());
        let first =
            ring.from(ring.after(11)).and_then(|mut events| events.next().map(|event| event.revision));
        assert_eq!(first, Some(13));
        assert_eq!(ring.from(ring.end()).map(Iterator::count), Some(0));
    }

    #[test]
    fn finished_bytes_are_made_once_and_held_for_a_while() {
        let shape = |change| Shape { form: Form::Object, change };
        let made = std::cell::Cell::new(0);
        let make = || {
            made.set(made.get() + 1);
            Bytes::from_static(b"x")
        };
        let (now, mut ring, first) = (Instant::now(), Ring::new(0), event(1));
        ring.push(first.clone(), now);
        for change in [Change::Added, Change::Added, Change::Deleted, Change::Added] {
            first.finished(shape(change), make);
        }
        assert_eq!(made.get(), 2);
        for number in 0..FINISHED_EVENTS as Revision {
            ring.push(event(number + 2), now);
        }
        first.finished(shape(Change::Added), make);
        first.finished(shape(Change::Added), make);
        assert_eq!(made.get(), 4, "who comes late makes them again");
    }

    #[test]
    fn old_events_leave_also_when_there_are_few() {
        let now = Instant::now();
        let mut ring = Ring::new(0);
        ring.push(event(1), now);
        ring.push(event(2), now + RING_AGE + Duration::from_secs(1));
        assert_eq!((ring.oldest(), ring.end()), (1, 2));
        assert!(ring.from(0).is_none());
    }
}
