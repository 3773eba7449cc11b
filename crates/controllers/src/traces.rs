//! One change from the event to the writes, as spans of OpenTelemetry: which there are, and which is whose child.
//!
//! `sync ns/name`, a look at a DaemonSet, begins with the event that woke it. Below it stand `queued` (until the look began),
//! `plan`, and `act` with one span for each request ([`calls`]), which says to the server whose child it is (`traceparent`).
//!
//! 1. Without a collector nothing is made or kept: an event costs a branch, and so does each step of a look.
//! 2. Nothing here is decided by: spans say what [`told`] reads off a plan, and no plan knows of them.
//! 3. Spans are bounded: those of requests by [`calls::MOST`], what a plan tells by [`told::REASONS`].
//! 4. Nothing here waits. Who takes the spans, and drops them when nobody does, is the process's (`everynode/telemetry`).
//!
//! W3C: Trace Context, level 1. Kubernetes: `component-base/tracing` (its servers go on with such traces).

pub(crate) mod calls;
mod told;
pub(crate) mod wakes;

use crate::caches::Whole;
use daemonset::Plan;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use objects::key::ObjectKey;
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::SystemTime;
use wakes::Wake;

/// Where spans go; by default nowhere.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<BoxedTracer>>);

/// A span that is open, or none. Dropping it ends it.
pub(crate) struct Span(Option<Open>);

/// What the children of a span need.
#[derive(Clone)]
struct Open {
    tracer: Arc<BoxedTracer>,
    within: Context,
}

impl Traces {
    /// To this one, or nowhere.
    pub fn to(tracer: Option<Arc<BoxedTracer>>) -> Self {
        Self(tracer)
    }

    /// Whether anybody wants to know.
    pub(crate) fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// A look begins, woken by this; without it, by time alone.
    pub(crate) fn look(&self, key: &ObjectKey, woken: Option<Wake>, now: Timestamp) -> Span {
        let Some(tracer) = &self.0 else { return Span(None) };
        let now = SystemTime::from(now);
        let since = woken.as_ref().map_or(now, |wake| wake.at);
        let look =
            tracer.span_builder(format!("sync {key}")).with_kind(SpanKind::Internal).with_start_time(since);
        let look = Span::open(tracer.clone(), look.with_attributes(told::look(key)), &Context::new());
        look.tell(|| told::wake(woken.as_ref()));
        if let (Some(open), Some(_)) = (&look.0, woken) {
            let queued = open.tracer.span_builder("queued").with_start_time(since);
            Span::open(open.tracer.clone(), queued, &open.within).end_at(now);
        }
        look
    }
}

impl Span {
    /// None if the sampler does not want it, and then no children either.
    fn open(tracer: Arc<BoxedTracer>, span: SpanBuilder, parent: &Context) -> Self {
        let within = parent.with_span(tracer.build_with_context(span, parent));
        let wanted = within.span().is_recording();
        Self(wanted.then_some(Open { tracer, within }))
    }

    /// A part of this one begins.
    pub(crate) fn child(&self, name: &'static str) -> Self {
        let Some(Open { tracer, within }) = &self.0 else { return Self(None) };
        Self::open(tracer.clone(), tracer.span_builder(name), within)
    }

    /// What is looked at.
    pub(crate) fn subject(&self, subject: &Whole<DaemonSet>) {
        self.tell(|| vec![told::generation(&subject.object.metadata)]);
    }

    /// What was planned, and by which pass.
    pub(crate) fn planned(&self, pass: &'static str, plan: &Plan) {
        self.tell(|| told::plan(pass, plan));
    }

    /// Whether it has achieved what it should.
    pub(crate) fn came_to<T, E: Display>(&self, outcome: &Result<T, E>) {
        if let (Some(open), Err(error)) = (&self.0, outcome) {
            open.within.span().set_status(Status::error(error.to_string()));
        }
    }

    fn tell(&self, what: impl FnOnce() -> Vec<KeyValue>) {
        if let Some(open) = &self.0 {
            open.within.span().set_attributes(what());
        }
    }

    fn end_at(mut self, end: SystemTime) {
        if let Some(open) = self.0.take() {
            open.within.span().end_with_timestamp(end);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        // Others may still hold its context.
        if let Some(open) = &self.0 {
            open.within.span().end();
        }
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.are_on() { "Traces(on)" } else { "Traces(off)" })
    }
}

#[cfg(test)]
mod tests;
