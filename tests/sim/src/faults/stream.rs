//! What goes wrong on a watch: events come late or twice, the stream breaks or falls silent, and cannot be resumed.
//!
//! Events keep their order and none is left out: who lost some has also lost the stream. What the client has been
//! given is noted, so that a claim can be held against what it knew.

use super::wire::{AnyBody, BodyError};
use super::{Call, Faults};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::json;
use std::time::Duration;
use store::Revision;

/// What happens before an event is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mishap {
    None,
    Late(Duration),
    Twice,
    Cut,
    /// Nothing comes for this long, and then the stream breaks.
    Silent(Duration),
}

impl Faults {
    /// The client's cache of a kind is as this list says.
    pub(super) fn shows(&self, call: &Call, list: &[u8]) {
        if let Some(revision) = revision(list) {
            self.hears(&call.client, &call.plural, revision);
        }
    }

    fn mishap(&self) -> Mishap {
        let mut inner = self.lock();
        if !inner.on {
            return Mishap::None;
        }
        let (dials, chance) = (inner.dials, &mut inner.chance);
        let (name, mishap) = match () {
            () if chance.per_mille(dials.cuts) => ("watch cut", Mishap::Cut),
            () if chance.per_mille(dials.silences) => {
                ("watch silent", Mishap::Silent(chance.within(dials.longest_silence)))
            }
            () if chance.per_mille(dials.events_late) => {
                ("event late", Mishap::Late(chance.within(dials.events_latest)))
            }
            () if chance.per_mille(dials.events_twice) => ("event twice", Mishap::Twice),
            () => return Mishap::None,
        };
        *inner.told.entry(name).or_default() += 1;
        mishap
    }

    fn expires(&self) -> bool {
        let mut inner = self.lock();
        let expires = inner.on && {
            let dials = inner.dials;
            inner.chance.per_mille(dials.expired)
        };
        if expires {
            *inner.told.entry("watch expired").or_default() += 1;
        }
        expires
    }
}

struct Stream {
    body: apiserver::reply::Body,
    call: Call,
    faults: Faults,
    /// The first events are what is there; they count when their end is marked.
    listing: bool,
    again: Option<Bytes>,
    /// What has come and not been passed on.
    piece: Bytes,
    over: bool,
}

/// The body of a watch with its mishaps.
pub(super) fn disturbed(
    body: apiserver::reply::Body,
    call: Call,
    faults: Faults,
    from_start: bool,
) -> AnyBody {
    if !from_start && faults.expires() {
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "too old resource version", "reason": "Expired", "code": 410});
        let line = format!("{}\n", json!({"type": "ERROR", "object": status}));
        let line = http_body_util::Full::new(Bytes::from(line));
        return line.map_err(|never| match never {}).boxed_unsync();
    }
    let stream =
        Stream { body, call, faults, listing: from_start, again: None, piece: Bytes::new(), over: false };
    let frames = futures::stream::unfold(stream, |mut stream| async move {
        let line = stream.next().await?;
        Some((line.map(Frame::data), stream))
    });
    StreamBody::new(frames).boxed_unsync()
}

impl Stream {
    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        if let Some(line) = self.again.take() {
            return Some(Ok(line));
        }
        if self.over {
            return None;
        }
        let line = match self.next_line().await? {
            Ok(line) => line,
            Err(error) => return Some(Err(error)),
        };
        match self.faults.mishap() {
            Mishap::None => {}
            Mishap::Late(time) => tokio::time::sleep(time).await,
            Mishap::Twice => self.again = Some(line.clone()),
            Mishap::Cut => return self.breaks(),
            Mishap::Silent(time) => {
                tokio::time::sleep(time).await;
                return self.breaks();
            }
        }
        let Call { client, plural, .. } = &self.call;
        while self.faults.is_hung(client) || self.faults.holds_back(client, plural) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.note(&line);
        Some(Ok(line))
    }

    /// A piece may be several lines; each has a mishap of its own.
    async fn next_line(&mut self) -> Option<Result<Bytes, BodyError>> {
        if self.piece.is_empty() {
            self.piece = match self.body.frame().await? {
                Ok(frame) => frame.into_data().ok()?,
                Err(error) => return Some(Err(error)),
            };
        }
        let end = self.piece.iter().position(|byte| *byte == b'\n').map_or(self.piece.len(), |at| at + 1);
        Some(Ok(self.piece.split_to(end)))
    }

    fn breaks(&mut self) -> Option<Result<Bytes, BodyError>> {
        self.over = true;
        Some(Err("connection reset by the simulation".into()))
    }

    fn note(&mut self, line: &Bytes) {
        if self.listing {
            self.listing = !contains(line, b"k8s.io/initial-events-end");
        }
        if let Some(revision) = revision(line).filter(|_| !self.listing) {
            self.faults.hears(&self.call.client, &self.call.plural, revision);
        }
    }
}

fn contains(line: &[u8], text: &[u8]) -> bool {
    line.windows(text.len()).any(|window| window == text)
}

/// The first resourceVersion of a line is the event's.
fn revision(line: &[u8]) -> Option<Revision> {
    let key = b"\"resourceVersion\":\"";
    let start = line.windows(key.len()).position(|window| window == key)? + key.len();
    let digits = line.get(start..)?.iter().take_while(|byte| byte.is_ascii_digit());
    String::from_utf8(digits.copied().collect()).ok()?.parse().ok()
}
