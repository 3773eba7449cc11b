//! What is answered below `/openapi`? Which document, in which form, and not twice to who has it already.
//!
//! A document of v3 carries its hash in its URL, so that it is cached for ever (wire 1.5.1); that of v2 goes by its
//! ETag. All are kept compressed, and sent so to who takes gzip.
//! Kubernetes: `kube-openapi/pkg/handler`, `kube-openapi/pkg/handler3`.

use super::{Document, Documents, Form, document, index, version_2};
use crate::accept;
use crate::error::ApiError;
use crate::finish::accepts_gzip;
use crate::reply::{self, Reply};
use crate::request::Request;
use http::HeaderMap;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderValue, IF_NONE_MATCH, LOCATION, VARY,
};

/// What kubectl asks for. The `@` is no letter of a media type, so that the answer is called a little differently.
const ASKED: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];

/// GET `/openapi/<rest>`.
pub fn answer(
    defined: &Documents,
    rest: &str,
    request: &Request,
    headers: &HeaderMap,
) -> Result<Reply, ApiError> {
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    let found = match parts.as_slice() {
        ["v2"] => return in_version_2(headers),
        ["v3"] => return Ok(reply::json_bytes(200, index(defined))),
        ["v3", "api", version] => document(defined, "", version),
        ["v3", "apis", group, version] => document(defined, group, version),
        _ => None,
    };
    let Some(found) = found else { return Ok(reply::text(404, "404 page not found\n")) };
    let hash = request.query.get("hash");
    if !hash.is_empty() && hash != found.hash {
        let mut moved = reply::text(301, "");
        let place = HeaderValue::from_str(&format!("{}?hash={}", request.path, found.hash));
        moved.headers_mut().extend(place.ok().map(|place| (LOCATION, place)));
        return Ok(moved);
    }
    let mut reply = sent(&found, "application/json", headers);
    if !hash.is_empty() {
        reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    Ok(reply)
}

fn in_version_2(headers: &HeaderMap) -> Result<Reply, ApiError> {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    for entry in accept::entries(accept) {
        if ASKED.contains(&entry.media.as_str()) {
            return Ok(sent(&version_2(Form::Protobuf), ASKED[1], headers));
        }
        if entry.takes_json() {
            return Ok(sent(&version_2(Form::Json), "application/json", headers));
        }
    }
    let text = format!("only the following media types are accepted: application/json, {}", ASKED[0]);
    Err(ApiError::plain(406, "NotAcceptable", text))
}

/// The document, or 304 for who has it.
fn sent(document: &Document, media: &'static str, headers: &HeaderMap) -> Reply {
    let tag = format!("\"{}\"", document.hash);
    let zipped = accepts_gzip(headers);
    let mut reply = match headers.get(IF_NONE_MATCH) {
        Some(known) if known.as_bytes() == tag.as_bytes() => reply::with_type(304, media, ""),
        _ if zipped => reply::with_type(200, media, document.gzip.clone()),
        _ => reply::with_type(200, media, document.bytes()),
    };
    if zipped && reply.status() == 200 {
        reply.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    reply.headers_mut().extend(HeaderValue::from_str(&tag).ok().map(|tag| (ETAG, tag)));
    reply.headers_mut().insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    #[track_caller]
    fn check(rest: &str, query: &str, headers: &[(http::HeaderName, &str)], expected: (u16, &str)) -> Reply {
        let request = Request::parse(&Method::GET, &format!("/openapi/{rest}"), query);
        let mut map = HeaderMap::new();
        map.extend(headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())));
        let reply =
            answer(&Documents::new(), rest, &request, &map).unwrap_or_else(|error| reply::error(&error));
        let media = reply.headers().get("content-type").map(|value| value.to_str().unwrap());
        assert_eq!((reply.status().as_u16(), media.unwrap_or_default()), expected, "{rest}?{query}");
        reply
    }

    #[test]
    fn a_document_comes_in_the_form_that_is_asked_for_and_once() {
        // Wire 1.5.1, 1.5.4, 1.5.10.
        let json = (200, "application/json");
        let v2 = check("v2", "timeout=32s", &[(ACCEPT, ASKED[0])], (200, ASKED[1]));
        check("v2", "", &[(ACCEPT, "application/json, */*")], json);
        check("v2", "", &[], json);
        check("v2", "", &[(ACCEPT, "text/html")], (406, "application/json"));
        let tag = v2.headers()[ETAG].to_str().unwrap();
        check("v2", "", &[(ACCEPT, ASKED[0]), (IF_NONE_MATCH, tag)], (304, ASKED[1]));
        check("v2", "", &[(IF_NONE_MATCH, tag)], json);
        check("v3", "", &[], json);
        let hash = format!("hash={}", document(&Documents::new(), "apps", "v1").unwrap().hash);
        let reply = check("v3/apis/apps/v1", &hash, &[(http::header::ACCEPT_ENCODING, "gzip")], json);
        assert_eq!(reply.headers()[CONTENT_ENCODING], "gzip");
        assert_eq!(reply.headers()[CACHE_CONTROL], "public, immutable");
        check("v3/apis/apps/v1", "hash=0", &[], (301, "text/plain; charset=utf-8"));
        check("v3/apis/apps/v9", "", &[], (404, "text/plain; charset=utf-8"));
        check("v4", "", &[], (404, "text/plain; charset=utf-8"));
    }
}
