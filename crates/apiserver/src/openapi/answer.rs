//! `GET /openapi/v3…` becomes a response.
//!
//! A document is asked for with its hash, and then never changes: clients may keep it for ever. A wrong hash leads to
//! the right URL; without one, nothing may be kept (wire 1.5.1).

use super::{document, index, path_of};
use crate::reply::{self, Reply};
use crate::request::Request;
use http::StatusCode;
use http::header::{CACHE_CONTROL, ETAG, HeaderName, HeaderValue, LOCATION};

/// Answers for the path behind `/openapi/v3/`.
pub fn answer(path: &str, request: &Request) -> Reply {
    if path.is_empty() {
        return reply::with_type(200, "application/json", index());
    }
    let found = match path.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => document("", version).map(|d| (d, path_of("", version))),
        ["apis", group, version] => document(group, version).map(|d| (d, path_of(group, version))),
        _ => None,
    };
    let Some((document, path)) = found else { return reply::text(404, "404 page not found\n") };
    let asked = request.query.get("hash");
    if !asked.is_empty() && asked != document.hash {
        let mut moved = reply::text(301, "");
        *moved.status_mut() = StatusCode::MOVED_PERMANENTLY;
        set(&mut moved, LOCATION, format!("/openapi/v3/{path}?hash={}", document.hash));
        return moved;
    }
    let mut found = reply::with_type(200, "application/json", document.bytes());
    set(&mut found, ETAG, format!("\"{}\"", document.hash));
    if !asked.is_empty() {
        set(&mut found, CACHE_CONTROL, "public, immutable, max-age=31536000".to_string());
    }
    found
}

fn set(reply: &mut Reply, name: HeaderName, value: String) {
    // Hashes and group names are ASCII; what is not cannot stand in a header and is left out.
    if let Ok(value) = HeaderValue::from_str(&value) {
        reply.headers_mut().insert(name, value);
    }
}
