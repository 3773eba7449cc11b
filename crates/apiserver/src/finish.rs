//! What is done to every finished answer: indentation for humans (wire 0.7), compression for long ones (0.6).
//!
//! Streams pass untouched; so does what is compressed already.

use crate::reply::pieces::Long;
use crate::reply::{self, Body, BodyError, Reply};
use crate::request::{Request, Verb};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt as _;
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT, VARY};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use std::io::Write as _;

/// Bodies above this are compressed for clients that take it.
const GZIP_ABOVE: u64 = 128 * 1024;

/// Pretty printing (0.7) and compression (0.6) of bodies that are there already, and of long lists; other streams pass.
pub async fn finished(reply: Reply, request: &Request, headers: &HeaderMap) -> Reply {
    use http_body::Body as _;
    let long = reply.extensions().get::<Long>().is_some();
    let size = reply.body().size_hint().exact();
    let is_json = reply
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|media| media.as_bytes().starts_with(b"application/json"));
    if reply.headers().contains_key(CONTENT_ENCODING) || !is_json || (size.is_none() && !long) {
        return reply;
    }
    let zip = size.is_none_or(|size| size > GZIP_ABOVE) && accepts_gzip(headers);
    if request.verb() != Verb::Watch && wants_pretty(request, headers) {
        let reply = pretty(reply).await;
        return if zip { zipped(reply) } else { reply };
    }
    if zip { zipped(reply) } else { reply }
}

async fn pretty(reply: Reply) -> Reply {
    let (head, body) = reply.into_parts();
    let mut bytes = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(&bytes) {
        bytes = Bytes::from(format!("{value:#}\n"));
    }
    Reply::from_parts(head, reply::full(bytes))
}

/// Compressed piece by piece, at the fastest level: the reader is on the same machine or near. Kubernetes: level 1, too.
fn zipped(reply: Reply) -> Reply {
    let (mut head, body) = reply.into_parts();
    head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    let zip = Zip { body, encoder: GzEncoder::new(Vec::new(), Compression::fast()) };
    let frames = futures::stream::unfold(Some(zip), Zip::next);
    Reply::from_parts(head, StreamBody::new(frames.boxed()).boxed_unsync())
}

struct Zip {
    body: Body,
    encoder: GzEncoder<Vec<u8>>,
}

impl Zip {
    /// The next compressed piece, and what is left; nothing is left after the last, or after a failure.
    async fn next(zip: Option<Self>) -> Option<(Result<Frame<Bytes>, BodyError>, Option<Self>)> {
        let mut zip = zip?;
        loop {
            let data = match zip.body.frame().await {
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Some((Err(error), None)),
                None => {
                    let end = zip.encoder.finish().map(|end| Frame::data(end.into()));
                    return Some((end.map_err(Into::into), None));
                }
            };
            if let Err(error) = zip.encoder.write_all(&data) {
                return Some((Err(error.into()), None));
            }
            let ready = std::mem::take(zip.encoder.get_mut());
            if !ready.is_empty() {
                return Some((Ok(Frame::data(ready.into())), Some(zip)));
            }
        }
    }
}

fn wants_pretty(request: &Request, headers: &HeaderMap) -> bool {
    if request.query.has("pretty") {
        return request.query.flag("pretty");
    }
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|start| agent.starts_with(start))
}

/// Whether the client reads gzip.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|entry| entry.trim().split(';').next() == Some("gzip"))
}
