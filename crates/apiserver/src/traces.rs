//! A request that is a part of a trace: a span for what the server did, and one for each write to the store.
//!
//! 1. Only a sampled `traceparent` has a span here: the heartbeats of a thousand nodes are nobody's change. Without a collector,
//!    or without the header, a request pays a branch.
//! 2. While its answer is made, the request's span is OpenTelemetry's current context, and at no other time. So the store hears
//!    whose write it is ([`Traced`]), and no verb has to pass it on.
//!
//! W3C: Trace Context, level 1. Kubernetes: `apiserver/pkg/endpoints/filters/traces.go`.

use crate::request::{Request, Route, Target};
use bytes::Bytes;
use futures::future::{BoxFuture, Either};
use http::HeaderMap;
use opentelemetry::context::FutureExt as _;
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use std::future::Future;
use std::sync::Arc;
use store::{Entry, Listing, Result, Revision, Store, Watch};

/// The header that says whose child a request is.
const TRACEPARENT: &str = "traceparent";

/// Takes spans.
pub type Tracer = Option<Arc<BoxedTracer>>;

/// The span of a request, if it is a part of a trace that somebody wants.
pub(crate) struct Span(Option<Context>);

impl Span {
    /// Begins with the request.
    pub(crate) fn of(tracer: &Tracer, request: &Request, headers: &HeaderMap) -> Self {
        Self(tracer.as_ref().and_then(|tracer| {
            let parent = parent(headers.get(TRACEPARENT)?.to_str().ok()?).filter(SpanContext::is_sampled)?;
            let parent = Context::new().with_remote_span_context(parent);
            let span = tracer.span_builder(name(request)).with_kind(SpanKind::Server).with_attributes([
                KeyValue::new("http.request.method", request.method.to_string()),
                KeyValue::new("url.path", request.path.clone()),
            ]);
            let within = parent.with_span(tracer.build_with_context(span, &parent));
            within.span().is_recording().then_some(within)
        }))
    }

    /// Work that is done for the request.
    pub(crate) fn around<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        match &self.0 {
            Some(within) => Either::Left(work.with_context(within.clone())),
            None => Either::Right(work),
        }
    }

    /// Ends with the answer's head.
    pub(crate) fn answered(self, code: u16) {
        let Some(within) = self.0 else { return };
        let span = within.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(code)));
        if code >= 500 {
            span.set_status(Status::error(code.to_string()));
        }
        span.end();
    }
}

/// A store whose writes are children of the request that they are made for.
struct Traced {
    below: Arc<dyn Store>,
    tracer: Arc<BoxedTracer>,
}

/// The same store, and traced if anybody wants to know.
pub(crate) fn store(below: Arc<dyn Store>, tracer: &Tracer) -> Arc<dyn Store> {
    match tracer {
        Some(tracer) => Arc::new(Traced { below, tracer: tracer.clone() }),
        None => below,
    }
}

impl Traced {
    fn write<'a>(
        &'a self,
        name: &'static str,
        key: &str,
        write: BoxFuture<'a, Result<Revision>>,
    ) -> BoxFuture<'a, Result<Revision>> {
        let parent = Context::current();
        if !parent.has_active_span() {
            return write;
        }
        let span = self
            .tracer
            .span_builder(name)
            .with_attributes([KeyValue::new("everynode.store.key", key.to_string())]);
        let within = parent.with_span(self.tracer.build_with_context(span, &parent));
        Box::pin(async move {
            let outcome = write.await;
            if let Err(error) = &outcome {
                within.span().set_status(Status::error(error.to_string()));
            }
            within.span().end();
            outcome
        })
    }
}

impl Store for Traced {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        self.below.get(key)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Listing>> {
        self.below.list(prefix)
    }

    fn create<'a>(&'a self, key: &'a str, value: Bytes) -> BoxFuture<'a, Result<Revision>> {
        self.write("store create", key, self.below.create(key, value))
    }

    fn update<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: Revision,
    ) -> BoxFuture<'a, Result<Revision>> {
        self.write("store update", key, self.below.update(key, value, expected))
    }

    fn delete<'a>(&'a self, key: &'a str, expected: Revision) -> BoxFuture<'a, Result<Revision>> {
        self.write("store delete", key, self.below.delete(key, expected))
    }

    fn current(&self) -> BoxFuture<'_, Result<Revision>> {
        self.below.current()
    }

    fn watch<'a>(&'a self, prefix: &'a str, after: Revision) -> BoxFuture<'a, Result<Watch>> {
        self.below.watch(prefix, after)
    }

    fn compact(&self, before: Revision) -> BoxFuture<'_, Result<()>> {
        self.below.compact(before)
    }
}

/// What a request is called: its route, so that there are few.
fn name(request: &Request) -> String {
    let Route::Resource(Target { group, version, namespace, plural, name, subresource, .. }) = &request.route
    else {
        return request.method.to_string();
    };
    let mut path =
        if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let parts = [
        ("/namespaces/{namespace}", !namespace.is_empty()),
        ("/", true),
        (plural, true),
        ("/{name}", !name.is_empty()),
        ("/", !subresource.is_empty()),
        (subresource, true),
    ];
    parts.into_iter().filter(|(_, is_there)| *is_there).for_each(|(part, _)| path.push_str(part));
    format!("{} {path}", request.method)
}

/// `00-<trace>-<span>-<flags>`; a later version may say more behind that.
fn parent(header: &str) -> Option<SpanContext> {
    let mut words = header.split('-');
    let (version, trace, span, flags) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let is_hex = |word: &str, digits: usize| {
        word.len() == digits
            && word.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let is_whole = [(version, 2), (trace, 32), (span, 16), (flags, 2)]
        .iter()
        .all(|(word, digits)| is_hex(word, *digits));
    if !is_whole || version == "ff" || (version == "00" && words.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let found = SpanContext::new(trace, span, flags & TraceFlags::SAMPLED, true, TraceState::NONE);
    found.is_valid().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    #[test]
    fn only_a_whole_header_is_believed() {
        let check = |header: &str, expected: Option<bool>| {
            assert_eq!(parent(header).map(|found| found.is_sampled()), expected, "{header}");
        };
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        check(&format!("00-{trace}-{span}-01"), Some(true));
        check(&format!("00-{trace}-{span}-00"), Some(false));
        check(&format!("01-{trace}-{span}-03-more"), Some(true));
        check(&format!("00-{trace}-{span}-01-more"), None);
        check(&format!("ff-{trace}-{span}-01"), None);
        check(&format!("00-{}-{span}-01", "0".repeat(32)), None);
        check(&format!("00-{}-{span}-01", trace.to_uppercase()), None);
        check(&format!("00-{trace}-{span}"), None);
        check("", None);
    }

    #[test]
    fn a_request_is_called_by_its_route() {
        let check = |method: Method, path: &str, expected: &str| {
            assert_eq!(name(&Request::parse(&method, path, "")), expected);
        };
        check(
            Method::PATCH,
            "/api/v1/namespaces/a/pods/x/status",
            "PATCH /api/v1/namespaces/{namespace}/pods/{name}/status",
        );
        check(
            Method::POST,
            "/apis/apps/v1/namespaces/a/daemonsets",
            "POST /apis/apps/v1/namespaces/{namespace}/daemonsets",
        );
        check(Method::GET, "/api/v1/nodes/n1", "GET /api/v1/nodes/{name}");
        check(Method::GET, "/version", "GET");
    }
}
