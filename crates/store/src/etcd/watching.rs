//! A watch on etcd that outlives the member it hangs on.
//!
//! 1. It asks for all keys of the store, also for a narrow prefix: so everything up to the last event's revision was
//!    delivered, and no other sign is needed for [`crate::Watch::up_to`].
//! 2. After any failure it begins anew behind the last revision that it has seen, at the next member. Nothing is
//!    lost or doubled, since etcd sends the events of a revision together.
//! 3. It is stuck when another answer has shown a newer write of ours and nothing comes for [`STALL`]: the member may
//!    be frozen or cut off. A watch that nothing is waited for is left to the connection's own pings.
//! 4. An event without the value before it stands at the edge of what etcd has forgotten: [`Error::Compacted`].
//!
//! Nothing runs beside the reader: whoever does not poll does not receive.

use super::Inner;
use super::keys::{number, own, revision};
use super::messages as m;
use crate::watch::{Batch, Source};
use crate::{Error, Event, EventKind, Result, Revision};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Streaming;

/// Silence of a member, once it is known that it should have told something. An etcd that is well takes
/// milliseconds, one that elects a leader a second.
const STALL: Duration = Duration::from_millis(1_500);
/// Between two attempts to begin a watch anew.
const PAUSE: Duration = Duration::from_millis(200);
/// For the one question how far back etcd remembers.
const OLDEST_LIMIT: Duration = Duration::from_secs(3);

/// A place in the store's history.
pub(super) struct Watching {
    store: Arc<Inner>,
    prefix: Box<str>,
    up_to: Revision,
    known: watch::Receiver<Revision>,
    /// Since when something should have come.
    behind: Option<Instant>,
    state: State,
}

type Opened = (Streaming<m::WatchResponse>, usize);

enum State {
    /// Kept here and not in the waiting call, so that a dropped wait costs no time.
    Opening(BoxFuture<'static, Result<Opened, Retry>>),
    Open(Box<Opened>),
    Over,
}

/// Why a watch was not opened.
enum Retry {
    Final(Error),
    Later(String),
}

/// What one step has brought.
enum Step {
    Events(Batch),
    Nothing,
    Over(Error),
}

impl Source for Watching {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Batch>>> {
        Box::pin(async move {
            loop {
                match self.step().await? {
                    Step::Events(batch) => return Some(Ok(batch)),
                    Step::Nothing => {}
                    Step::Over(error) => {
                        self.state = State::Over;
                        return Some(Err(error));
                    }
                }
            }
        })
    }

    fn up_to(&self) -> Revision {
        self.up_to
    }
}

impl Watching {
    pub(super) fn new(store: Arc<Inner>, prefix: &str, after: Revision) -> Self {
        let known = store.known.subscribe();
        let state = State::Opening(open(store.clone(), after, None).boxed());
        Self { store, prefix: prefix.into(), up_to: after, known, behind: None, state }
    }

    async fn step(&mut self) -> Option<Step> {
        match &mut self.state {
            State::Over => None,
            State::Opening(opening) => Some(match opening.await {
                Ok(opened) => {
                    self.behind = None;
                    self.state = State::Open(Box::new(opened));
                    Step::Nothing
                }
                Err(Retry::Final(error)) => Step::Over(error),
                Err(Retry::Later(reason)) => self.reopen(&reason),
            }),
            State::Open(opened) => {
                let (stream, turn) = (&mut opened.0, opened.1);
                let heard = tokio::select! {
                    biased;
                    message = stream.message() => Some(message),
                    () = stalled(&mut self.known, self.up_to, &mut self.behind) => None,
                };
                Some(match heard {
                    Some(Ok(Some(message))) => self.hear(message),
                    Some(Ok(None)) => self.reopen("the stream has ended"),
                    Some(Err(status)) => {
                        self.store.members.pass_on(turn);
                        self.reopen(status.message())
                    }
                    None => {
                        self.store.members.pass_on(turn);
                        self.reopen("no event of a write that is known")
                    }
                })
            }
        }
    }

    fn reopen(&mut self, reason: &str) -> Step {
        tracing::info!(reason, after = self.up_to, "the watch on etcd begins anew");
        let not_before = Instant::now() + PAUSE;
        self.state = State::Opening(open(self.store.clone(), self.up_to, Some(not_before)).boxed());
        Step::Nothing
    }

    fn hear(&mut self, message: m::WatchResponse) -> Step {
        self.behind = None;
        if message.compact_revision > 0 {
            return Step::Over(Error::Compacted { oldest: revision(message.compact_revision) });
        }
        if message.canceled {
            return self.reopen(&message.cancel_reason);
        }
        let mut events = Vec::new();
        for event in message.events {
            let written = event.kv.as_ref().map_or(0, |kv| revision(kv.mod_revision));
            // A member that fell back may repeat; one write of ours is one event.
            if written <= self.up_to {
                continue;
            }
            match self.event(event) {
                Some(Ok(event)) => events.extend(event.key.starts_with(&*self.prefix).then_some(event)),
                Some(Err(error)) => return Step::Over(error),
                None => {}
            }
            self.up_to = written;
        }
        self.store.saw(self.up_to);
        match events.is_empty() {
            true => Step::Nothing,
            false => Step::Events(Batch { events, up_to: self.up_to }),
        }
    }

    /// None for a key that is no text, which nobody writes through us.
    fn event(&self, event: m::Event) -> Option<Result<Event>> {
        let kv = event.kv?;
        let key = self.store.keys.own(&kv.key)?.into();
        let written = revision(kv.mod_revision);
        let created = kv.create_revision == kv.mod_revision;
        let previous = event.prev_kv.map(|kv| own(&kv.value));
        let deleted = event.kind == m::event_type::DELETE;
        if previous.is_none() && (deleted || !created) {
            return Some(Err(Error::Compacted { oldest: written }));
        }
        let kind = match deleted {
            true => EventKind::Delete,
            false => EventKind::Put { value: own(&kv.value), created },
        };
        Some(Ok(Event { revision: written, key, kind, previous }))
    }
}

/// Ready when a newer write of ours has been known for [`STALL`] and the member says nothing.
async fn stalled(known: &mut watch::Receiver<Revision>, up_to: Revision, behind: &mut Option<Instant>) {
    if known.wait_for(|known| *known > up_to).await.is_err() {
        return std::future::pending().await;
    }
    let since = *behind.get_or_insert_with(Instant::now);
    sleep_until(since + STALL).await;
}

async fn open(store: Arc<Inner>, after: Revision, not_before: Option<Instant>) -> Result<Opened, Retry> {
    if let Some(not_before) = not_before {
        sleep_until(not_before).await;
        // What happened meanwhile may be forgotten already.
        match store.reaches_back_to(after).await {
            Ok(()) => {}
            Err(error @ Error::Compacted { .. }) => return Err(Retry::Final(error)),
            Err(error) => return Err(Retry::Later(error.to_string())),
        }
    }
    let stopped = store.stopped.borrow().clone();
    if let Some(error) = stopped {
        return Err(Retry::Final(error));
    }
    let start = number(after).saturating_add(1);
    store.members.watch(create(&store, start)).await.map_err(Retry::Later)
}

fn create(store: &Inner, start_revision: i64) -> m::WatchCreate {
    let (key, range_end) = store.keys.range("");
    m::WatchCreate { key, range_end, start_revision, prev_kv: true, fragment: true }
}

/// How far back etcd remembers, asked by a watch from a revision that it has forgotten. When it does not say, the
/// newest revision, which is always remembered.
pub(super) async fn oldest(store: &Inner, forgotten: i64) -> Revision {
    let answer = timeout(OLDEST_LIMIT, async {
        let (mut stream, _) = store.members.watch(create(store, forgotten)).await.ok()?;
        while let Ok(Some(message)) = stream.message().await {
            if message.compact_revision > 0 {
                return Some(revision(message.compact_revision));
            }
        }
        None
    });
    answer.await.ok().flatten().unwrap_or_else(|| *store.known.borrow())
}
