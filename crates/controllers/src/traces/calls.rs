//! The requests of one look: a span each, which the server can go on with.
//!
//! 1. The first [`MOST`] have one, the others are only counted: a look may write to hundreds of nodes, and what is slow shows
//!    in the first of them.
//! 2. A request with a span carries it: its `traceparent`, and [`Sent`], by which the door ([`crate::calls`]) says what held it
//!    up. One that is sent again is one span.
//!
//! W3C: Trace Context (`traceparent`). OpenTelemetry: conventions of HTTP client spans.

use super::{Open, Span, told};
use daemonset::Action;
use http::{HeaderValue, Request, Response};
use kube::Client;
use kube::client::Body;
use opentelemetry::trace::{SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Spans of requests in one look. With eight looks at a time they fill half of the queue to the collector.
pub(crate) const MOST: usize = 128;

/// The header that tells a server whose child its work is.
const TRACEPARENT: &str = "traceparent";

/// A plan that is carried out: the client for it, and its span.
pub(crate) struct Acting {
    client: Client,
    span: Span,
    sent: Arc<AtomicUsize>,
}

/// Goes with a request, for whoever holds it up.
#[derive(Clone)]
pub(crate) struct Sent(Context);

/// Goes with a request: the words of the plan for it.
#[derive(Clone)]
struct Because(String);

impl Span {
    /// This plan is carried out from now on, with such a client.
    pub(crate) fn acting(&self, client: &Client, actions: &[Action]) -> Acting {
        let (span, sent) = (if actions.is_empty() { Self(None) } else { self.child("act") }, Arc::default());
        let client = match &span.0 {
            Some(open) => traced(open.clone(), Arc::clone(&sent), client.clone()),
            None => client.clone(),
        };
        Acting { client, span, sent }
    }
}

impl Acting {
    /// The client for what is to be done.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Why this request is made.
    pub(crate) fn because<B>(&self, request: &mut Request<B>, action: &Action) {
        if self.span.0.is_some() {
            request.extensions_mut().insert(Because(action.to_string()));
        }
    }

    /// It is over.
    pub(crate) fn came_to<T, E: std::fmt::Display>(self, outcome: &Result<T, E>) {
        let Self { span, sent, .. } = self;
        span.came_to(outcome);
        let sent = sent.load(Ordering::Relaxed);
        span.tell(|| {
            vec![
                KeyValue::new("everynode.requests", told::number(sent)),
                KeyValue::new("everynode.requests.left_out", told::number(sent.saturating_sub(MOST))),
            ]
        });
    }
}

impl Sent {
    /// The span that goes with a request, if there is one.
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Self> {
        request.extensions().get().cloned()
    }

    /// It had to wait for a limit, before it went out or before it goes again.
    pub(crate) fn waited(&self, limit: &'static str, wait: Duration) {
        if !wait.is_zero() {
            let told = vec![
                KeyValue::new("everynode.limit", limit),
                KeyValue::new("everynode.seconds", wait.as_secs_f64()),
            ];
            self.0.span().add_event("waited", told);
        }
    }

    /// How often it was sent again.
    pub(crate) fn repeated(&self, times: u32) {
        if times > 0 {
            self.0.span().set_attribute(KeyValue::new("http.request.resend_count", i64::from(times)));
        }
    }
}

/// The same client, whose requests are children of this span.
fn traced(act: Open, sent: Arc<AtomicUsize>, client: Client) -> Client {
    let namespace = client.default_namespace().to_string();
    let service = tower::service_fn(move |mut request: Request<Body>| {
        let has_span = sent.fetch_add(1, Ordering::Relaxed) < MOST;
        let span = if has_span { begin(&act, &mut request) } else { Span(None) };
        let client = client.clone();
        async move {
            let answer = client.send(request).await;
            end(&span, &answer);
            answer
        }
    });
    Client::new(service, namespace)
}

fn begin(Open { tracer, within }: &Open, request: &mut Request<Body>) -> Span {
    let action = request.extensions_mut().remove().map(|Because(action)| action);
    let (method, path) = (request.method().clone(), request.uri().path());
    let builder = tracer.span_builder(told::request_name(&method, path)).with_kind(SpanKind::Client);
    let span =
        Span::open(tracer.clone(), builder.with_attributes(told::request(&method, path, action)), within);
    if let Some(open) = &span.0 {
        if let Ok(value) = HeaderValue::from_str(&traceparent(open.within.span().span_context())) {
            request.headers_mut().insert(TRACEPARENT, value);
        }
        request.extensions_mut().insert(Sent(open.within.clone()));
    }
    span
}

fn end(Span(open): &Span, answer: &kube::Result<Response<Body>>) {
    let Some(open) = open else { return };
    let span = open.within.span();
    match answer {
        Ok(answer) => {
            let code = answer.status();
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(code.as_u16())));
            if code.is_client_error() || code.is_server_error() {
                span.set_status(Status::error(code.to_string()));
            }
        }
        Err(error) => span.set_status(Status::error(error.to_string())),
    }
}

/// A span as the header has it.
fn traceparent(span: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags())
}
