//! A watch: what is there, what has happened since, and then everything that happens, one JSON line each.
//!
//! - The headers leave before the first event.
//! - A bookmark is sent only when every earlier event of this watcher has been sent (3.4.1).
//! - A stream of initial events ends with exactly one marked bookmark (3.5.2).
//! - An event's bytes are made once for all watchers of a form.
//! - A watcher that is too slow is closed (3.3.8).
//!
//! Kubernetes: `storage/cacher/cache_watcher.go`.

use crate::accept::Form;
use crate::cache::collection::{Collection, Snapshot, Subscription, Taken, TooOld};
use crate::cache::item::{Filter, Item};
use crate::cache::ring::{Change, Event, Shape};
use crate::encode;
use crate::error::ApiError;
use crate::options::ListOptions;
use crate::reply::{self, Body, BodyError, Reply};
use crate::resources::KindRef;
use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt as _;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use store::Revision;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often a quiet watcher hears how far it is (3.4.1).
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long before its end a watcher gets a last bookmark.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// Bytes of one piece of the stream, but for a single line that is longer: what a connection writes at once.
const PIECE: usize = 64 * 1024;
/// Without `timeoutSeconds` a watch lives between this and twice this (3.3.6).
const DEFAULT_LIFE: Duration = Duration::from_secs(1800);
/// Longest `timeoutSeconds` that is taken at its word: a day.
const LONGEST_LIFE: Duration = Duration::from_secs(86_400);

/// Where a watch begins (3.3.3, 3.5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Everything that is there, then what follows.
    Now,
    /// Everything that is there, a marked bookmark, then what follows.
    Streamed,
    /// What follows a revision.
    After(Revision),
}

/// Where the options ask a watch to begin.
pub fn start(options: &ListOptions) -> Start {
    match (options.initial_events, options.revision) {
        (Some(true), _) => Start::Streamed,
        (_, Some(revision)) if revision > 0 => Start::After(revision),
        // No initial events and no revision: only what follows (KEP-3157).
        (Some(false), _) => Start::After(Revision::MAX),
        (None, _) => Start::Now,
    }
}

/// What one watcher wants.
pub struct Watcher {
    /// The kind, in the version that is asked for.
    pub kind: KindRef,
    /// The objects.
    pub collection: Arc<Collection>,
    /// Which of them.
    pub filter: Filter,
    /// In which form.
    pub form: Form,
    /// From where on.
    pub start: Start,
    /// Whether bookmarks may be sent.
    pub bookmarks: bool,
    /// `timeoutSeconds`.
    pub timeout_seconds: Option<u64>,
    /// Of the spread of lives that nobody asked for, `0.0 .. 1.0`.
    pub spread: f64,
    /// Ends with the server.
    pub closing: CancellationToken,
    /// This watcher's share of the limit.
    pub permit: OwnedSemaphorePermit,
}

/// The answer to a watch request: 200, and events until it ends.
pub fn answer(watcher: Watcher) -> Reply {
    let stream = match Stream::open(watcher) {
        Ok(stream) => stream,
        Err(text) => return error_event(&text),
    };
    let frames = futures::stream::unfold(stream, |mut stream| async move {
        let line = stream.next().await?;
        Some((Ok::<_, BodyError>(Frame::data(line)), stream))
    });
    with_body(StreamBody::new(frames.boxed()).boxed_unsync())
}

/// 200 with one ERROR event, as Kubernetes answers a watch that cannot begin (3.3.3).
pub fn error_event(error: &ApiError) -> Reply {
    let line = format!("{{\"type\":\"ERROR\",\"object\":{}}}\n", error.status());
    with_body(reply::full(line))
}

fn with_body(body: Body) -> Reply {
    let mut reply = reply::json_bytes(200, Bytes::new());
    *reply.body_mut() = body;
    reply
}

struct Stream {
    kind: KindRef,
    collection: Arc<Collection>,
    subscription: Subscription,
    form: Form,
    /// A Table watcher has not got its columns yet.
    columns: bool,
    initial: std::vec::IntoIter<Arc<Item>>,
    /// The marked bookmark that ends the initial events.
    initial_end: Option<Revision>,
    lines: VecDeque<Bytes>,
    /// Events up to here are known to the client.
    after: Revision,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    closing: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Stream {
    fn open(watcher: Watcher) -> Result<Self, ApiError> {
        let Watcher {
            kind,
            collection,
            filter,
            form,
            start,
            bookmarks,
            timeout_seconds,
            spread,
            closing,
            permit,
        } = watcher;
        let nothing = Snapshot { revision: 0, items: Vec::new() };
        let (snapshot, subscription) = match start {
            Start::Now | Start::Streamed => collection.watch_now(filter),
            Start::After(Revision::MAX) => {
                let (snapshot, subscription) = collection.watch_now(filter);
                (Snapshot { items: Vec::new(), ..snapshot }, subscription)
            }
            Start::After(revision) => {
                let subscription =
                    collection.watch_after(filter, revision).map_err(|e| too_old(revision, e))?;
                (Snapshot { revision, ..nothing }, subscription)
            }
        };
        let now = Instant::now();
        let deadline = now + life(timeout_seconds, spread);
        Ok(Self {
            initial_end: (start == Start::Streamed).then_some(snapshot.revision),
            after: snapshot.revision,
            initial: snapshot.items.into_iter(),
            columns: matches!(form, Form::Table(_)),
            lines: VecDeque::new(),
            next_bookmark: next_bookmark(now, deadline),
            kind,
            collection,
            subscription,
            form,
            bookmarks,
            deadline,
            closing,
            _permit: permit,
        })
    }

    /// The next lines, or none when the watch is over. What is there leaves together: in a storm a piece of its own for every
    /// line would cost connection and client more than the line.
    async fn next(&mut self) -> Option<Bytes> {
        let first = self.next_line().await?;
        let mut piece = BytesMut::new();
        while first.len().max(piece.len()) < PIECE {
            let Some(line) = self.line_at_hand() else { break };
            if piece.is_empty() {
                piece.reserve(PIECE);
                piece.put_slice(&first);
            }
            piece.put_slice(&line);
        }
        Some(if piece.is_empty() { first } else { piece.freeze() })
    }

    /// A line for which nothing has to be waited.
    fn line_at_hand(&mut self) -> Option<Bytes> {
        if let Some(item) = self.initial.next() {
            return Some(self.line(Change::Added, &item, item.revision));
        }
        if let Some(revision) = self.initial_end.take() {
            return Some(self.bookmark(revision, true));
        }
        self.lines.pop_front()
    }

    async fn next_line(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.line_at_hand() {
                return Some(line);
            }
            match self.subscription.take() {
                Taken::Events(events) => events.iter().for_each(|event| self.see(event)),
                Taken::Lost => {
                    tracing::warn!(kind = self.kind.kind, "a watcher was too slow and is closed");
                    return None;
                }
                Taken::UpTo(revision) => {
                    if self.bookmarks && Instant::now() >= self.next_bookmark && revision >= self.after {
                        self.next_bookmark = next_bookmark(Instant::now(), self.deadline);
                        return Some(self.bookmark(revision, false));
                    }
                    self.wait().await?;
                }
            }
        }
    }

    /// Waits for something to do; none when the watch is over.
    async fn wait(&self) -> Option<()> {
        let until = if self.bookmarks { self.next_bookmark.min(self.deadline) } else { self.deadline };
        tokio::select! {
            biased;
            () = self.closing.cancelled() => return None,
            () = self.collection.ended.cancelled() => return None,
            () = self.subscription.changed() => {}
            () = tokio::time::sleep_until(until) => {}
        }
        (Instant::now() < self.deadline).then_some(())
    }

    fn see(&mut self, event: &Arc<Event>) {
        // A watch from a revision in the future stays silent until then (3.3.3).
        if event.revision <= self.after {
            return;
        }
        let Some((change, item)) = event.seen_by(&self.subscription.filter) else { return };
        let line = match self.shares_lines() {
            false => self.line(change, item, event.revision),
            true => {
                let shape = Shape { form: self.form, change };
                event.finished(shape, || self.encoded(change, item, event.revision))
            }
        };
        self.lines.push_back(line);
    }

    /// Whether finished lines are the same for all watchers: not with columns, and only in the stored version.
    fn shares_lines(&self) -> bool {
        !self.columns && self.kind.version == self.collection.kind.version
    }

    fn line(&mut self, change: Change, item: &Item, revision: Revision) -> Bytes {
        let line = self.encoded(change, item, revision);
        self.columns = false;
        line
    }

    fn encoded(&self, change: Change, item: &Item, revision: Revision) -> Bytes {
        let mut out = BytesMut::with_capacity(item.length + 96);
        out.put_slice(b"{\"type\":\"");
        out.put_slice(match change {
            Change::Added => b"ADDED",
            Change::Modified => b"MODIFIED",
            Change::Deleted => b"DELETED",
        });
        out.put_slice(b"\",\"object\":");
        reply::append(&mut out, &self.kind, (&item.value(), revision), self.form, self.columns);
        out.put_slice(b"}\n");
        out.freeze()
    }

    fn bookmark(&mut self, revision: Revision, ends_initial: bool) -> Bytes {
        let kind = self.kind.clone();
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": Value::Null});
        if ends_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.form {
            Form::Object => {
                let api_version = encode::api_version(kind.group, kind.version);
                json!({"kind": kind.kind, "apiVersion": api_version, "metadata": metadata}).to_string()
            }
            Form::Metadata => json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata})
            .to_string(),
            Form::Table(_) => {
                let columns = std::mem::take(&mut self.columns);
                String::from_utf8_lossy(&reply::bookmark_table(&kind, &metadata, columns)).into_owned()
            }
        };
        Bytes::from(format!("{{\"type\":\"BOOKMARK\",\"object\":{object}}}\n"))
    }
}

fn too_old(revision: Revision, error: TooOld) -> ApiError {
    ApiError::expired(format!("too old resource version: {revision} ({})", error.current))
}

fn life(timeout_seconds: Option<u64>, spread: f64) -> Duration {
    match timeout_seconds {
        Some(seconds) => Duration::from_secs(seconds).min(LONGEST_LIFE),
        None => DEFAULT_LIFE + DEFAULT_LIFE.mul_f64(spread),
    }
}

/// A minute from now, or shortly before the end, whichever comes first and still lies ahead.
fn next_bookmark(now: Instant, deadline: Instant) -> Instant {
    let last = deadline.checked_sub(BOOKMARK_BEFORE_END).filter(|at| *at > now);
    let regular = now + BOOKMARK_EVERY;
    last.map_or(regular, |last| regular.min(last))
}
