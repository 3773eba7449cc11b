//! PURE. Is a request made again that the server had no time for, and when?
//!
//! Only after 429, which says that nothing was done. Kubernetes: `client-go/rest` (`withRetry`), which repeats after 5xx with
//! Retry-After as well. Differs: such an answer may come after the deed, and a pod created twice is a second daemon.

use http::{Request, Response, StatusCode, header};
use kube::client::Body;
use std::time::Duration;

/// How often one request is made again. Kubernetes: `maxRetries`.
pub(super) const MOST: u32 = 10;
/// What is waited if the server does not say for how long.
const USUAL: Duration = Duration::from_secs(1);
/// A server that asks for more is not believed: it may have time much sooner.
const LONGEST: Duration = Duration::from_secs(30);

/// How long the server asks to wait, if it had no time.
pub(super) fn wait<B>(answer: &Response<B>) -> Option<Duration> {
    if answer.status() != StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    let said = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Some(said.map_or(USUAL, Duration::from_secs).clamp(USUAL, LONGEST))
}

/// The same request once more; none if its body is a stream.
pub(super) fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut same = Request::new(request.body().try_clone()?);
    *same.method_mut() = request.method().clone();
    *same.uri_mut() = request.uri().clone();
    *same.headers_mut() = request.headers().clone();
    *same.extensions_mut() = request.extensions().clone();
    Some(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_without_time_is_asked_again_and_when_it_says() {
        let check = |code: u16, after: &str, expected: Option<u64>| {
            let mut answer = Response::builder().status(code).body(()).unwrap();
            if !after.is_empty() {
                answer.headers_mut().insert(header::RETRY_AFTER, after.parse().unwrap());
            }
            assert_eq!(wait(&answer), expected.map(Duration::from_secs), "{code} {after}");
        };
        check(200, "", None);
        check(409, "1", None);
        check(503, "1", None);
        check(504, "1", None);
        check(429, "", Some(1));
        check(429, "0", Some(1));
        check(429, "7", Some(7));
        check(429, "3600", Some(30));
        check(429, "Wed, 21 Oct 2015 07:28:00 GMT", Some(1));
    }
}
