//! One watcher's place among the events of a collection, and what it takes from there.
//!
//! Nobody waits for a watcher: it pulls, and one that is too slow is told that it has lost some.

use super::{Collection, Narrow};
use crate::cache::item::{Aim, Filter};
use crate::cache::ring::Event;
use std::sync::Arc;
use store::Revision;
use tokio::sync::Notify;

/// Most events handed to a watcher at once: the lock is held for less than a millisecond.
const TAKE: usize = 500;

/// One watcher's place. Dropping it ends the watch.
pub struct Subscription {
    pub(super) collection: Arc<Collection>,
    /// What it asked for.
    pub filter: Filter,
    pub(super) id: u64,
    pub(super) place: Place,
}

/// Where a watcher looks.
pub(super) enum Place {
    Broad { cursor: u64, notify: Arc<Notify> },
    Narrow { aim: Aim, narrow: Arc<Narrow> },
}

/// What [`Subscription::take`] found.
pub enum Taken {
    /// Events to look at, in order.
    Events(Vec<Arc<Event>>),
    /// Nothing is left: everything up to this revision has been taken.
    UpTo(Revision),
    /// Some events are lost, because the watcher was too slow.
    Lost,
}

impl Subscription {
    /// The next events, without waiting.
    pub fn take(&mut self) -> Taken {
        let state = self.collection.read();
        let events: Vec<Arc<Event>> = match &mut self.place {
            Place::Broad { cursor, .. } => {
                let Some(events) = state.ring.from(*cursor) else { return Taken::Lost };
                let events: Vec<_> = events.take(TAKE).cloned().collect();
                *cursor += events.len() as u64;
                events
            }
            Place::Narrow { narrow, .. } => {
                let mut queue = narrow.queue();
                if queue.overflown {
                    return Taken::Lost;
                }
                let count = queue.events.len().min(TAKE);
                queue.events.drain(..count).collect()
            }
        };
        if events.is_empty() { Taken::UpTo(state.revision) } else { Taken::Events(events) }
    }

    /// Waits until there may be something to take.
    pub async fn changed(&self) {
        match &self.place {
            Place::Broad { notify, .. } => notify.notified().await,
            Place::Narrow { narrow, .. } => narrow.notify.notified().await,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.collection.write();
        match &self.place {
            Place::Broad { .. } => drop(state.broad.remove(&self.id)),
            Place::Narrow { aim, .. } => {
                let empty = state.narrow.get_mut(aim).is_some_and(|watchers| {
                    watchers.remove(&self.id);
                    watchers.is_empty()
                });
                if empty {
                    state.narrow.remove(aim);
                }
            }
        }
    }
}
