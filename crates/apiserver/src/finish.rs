//! What is done to every finished answer: indentation for humans (wire 0.7), compression for long ones (0.6).
//!
//! Streams pass untouched; so does what is compressed already.

use crate::reply::{self, Reply};
use crate::request::{Request, Verb};
use bytes::Bytes;
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT, VARY};
use http_body_util::BodyExt as _;
use std::io::Write as _;

/// Bodies above this are compressed for clients that take it.
const GZIP_ABOVE: u64 = 128 * 1024;

/// Pretty printing (0.7) and compression (0.6) of bodies that are there already; streams pass.
pub async fn finished(reply: Reply, request: &Request, headers: &HeaderMap) -> Reply {
    use http_body::Body as _;
    let Some(size) = reply.body().size_hint().exact() else { return reply };
    let is_json = reply
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|media| media.as_bytes().starts_with(b"application/json"));
    if reply.headers().contains_key(CONTENT_ENCODING) {
        return reply;
    }
    let pretty = is_json && request.verb() != Verb::Watch && wants_pretty(request, headers);
    let zip = is_json && size > GZIP_ABOVE && accepts_gzip(headers);
    if !pretty && !zip {
        return reply;
    }
    let (mut head, body) = reply.into_parts();
    let mut bytes = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    if pretty && let Ok(value) = serde_json::from_slice::<serde_json::Value>(&bytes) {
        bytes = Bytes::from(format!("{value:#}\n"));
    }
    if zip && let Some(small) = compressed(&bytes) {
        head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        head.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
        bytes = small;
    }
    Reply::from_parts(head, reply::full(bytes))
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

/// The fastest level: the reader is on the same machine or near.
fn compressed(bytes: &[u8]) -> Option<Bytes> {
    let mut writer =
        flate2::write::GzEncoder::new(Vec::with_capacity(bytes.len() / 8), flate2::Compression::fast());
    writer.write_all(bytes).ok()?;
    writer.finish().ok().map(Bytes::from)
}
