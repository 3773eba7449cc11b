//! What spans there are after a look, before a server that answers everything.

use super::*;
use crate::calls::{Door, Pace};
use daemonset::Action;
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use opentelemetry::trace::{SpanId, TracerProvider as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanProcessor};
use serde_json::json;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Keeps what has ended.
#[derive(Debug, Clone, Default)]
struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Ended {
    fn on_start(&self, _: &mut opentelemetry_sdk::trace::Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Ended {
    fn spans(&self) -> Vec<SpanData> {
        self.0.lock().unwrap().clone()
    }

    fn named(&self, name: &str) -> SpanData {
        self.spans().into_iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name}"))
    }

    /// `name < parent` of each, in the order of their ends.
    fn tree(&self) -> Vec<String> {
        let all = self.spans();
        let name = |id: SpanId| {
            all.iter().find(|span| span.span_context.span_id() == id).map_or("", |span| span.name.as_ref())
        };
        all.iter().map(|span| format!("{} < {}", span.name, name(span.parent_span_id))).collect()
    }
}

fn traces(sampler: Sampler) -> (Traces, Ended) {
    let ended = Ended::default();
    let provider =
        SdkTracerProvider::builder().with_span_processor(ended.clone()).with_sampler(sampler).build();
    (Traces::to(Some(Arc::new(BoxedTracer::new(Box::new(provider.tracer("test")))))), ended)
}

/// A server that answers with these codes, and then with 200, and notes the `traceparent` of what it was asked.
fn server(codes: &'static [u16]) -> (Client, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::<Mutex<Vec<String>>>::default();
    let noted = heard.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let mut noted = noted.lock().unwrap();
        let code = codes.get(noted.len()).copied().unwrap_or(200);
        let header = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
        noted.push(header.unwrap_or_default().to_string());
        async move {
            Ok::<_, std::convert::Infallible>(
                Response::builder().status(code).body(Body::from(b"{}".to_vec())).unwrap(),
            )
        }
    });
    (Client::new(service, "default"), heard)
}

fn wake() -> Wake {
    Wake {
        at: SystemTime::UNIX_EPOCH + Duration::from_secs(10),
        kind: "DaemonSet",
        object: ObjectKey::new("a", "x"),
        version: "7".to_string(),
        change: "MODIFIED",
        more: 2,
    }
}

/// A look with this many writes of pods through a client.
async fn look(traces: &Traces, client: &Client, writes: usize) {
    let key = ObjectKey::new("a", "x");
    let look = traces.look(&key, Some(wake()), Timestamp::from_second(11).unwrap());
    drop(look.child("plan"));
    let action = Action::CreatePod { node: "n1".to_string(), pod: json!({}) };
    let acting = look.acting(client, std::slice::from_ref(&action));
    for _ in 0..writes {
        let mut request = Request::post("/api/v1/namespaces/a/pods").body(Vec::new()).unwrap();
        acting.because(&mut request, &action);
        let _ = acting.client().request_text(request).await;
    }
    acting.came_to(&Err::<(), _>("not all"));
}

#[tokio::test]
async fn a_look_is_one_trace_from_the_event_to_each_write() {
    let (traces, ended) = traces(Sampler::AlwaysOn);
    let (client, heard) = server(&[]);
    look(&traces, &client, 2).await;
    let expected = [
        "queued < sync a/x",
        "plan < sync a/x",
        "POST pods < act",
        "POST pods < act",
        "act < sync a/x",
        "sync a/x < ",
    ];
    assert_eq!(ended.tree(), expected);
    let (root, queued, post) = (ended.named("sync a/x"), ended.named("queued"), ended.named("POST pods"));
    let second = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!((second(root.start_time), second(queued.start_time), second(queued.end_time)), (10, 10, 11));
    let told = |span: &SpanData, key: &str| {
        span.attributes.iter().find(|pair| pair.key.as_str() == key).map(|pair| pair.value.to_string())
    };
    assert_eq!(told(&root, "everynode.wake.by").as_deref(), Some("DaemonSet a/x"));
    assert_eq!(told(&root, "everynode.wake.more").as_deref(), Some("2"));
    assert_eq!(told(&post, "everynode.action").as_deref(), Some("create pod on n1"));
    assert_eq!(told(&post, "http.response.status_code").as_deref(), Some("200"));
    assert_eq!(ended.named("act").status, Status::error("not all"));
    let header = format!("00-{}-{}-01", root.span_context.trace_id(), post.span_context.span_id());
    assert_eq!(heard.lock().unwrap()[0], header);
}

#[tokio::test]
async fn a_look_with_many_writes_has_a_bounded_number_of_spans() {
    let (traces, ended) = traces(Sampler::AlwaysOn);
    let (client, heard) = server(&[]);
    look(&traces, &client, super::calls::MOST + 3).await;
    assert_eq!(ended.spans().len(), super::calls::MOST + 4);
    let act = ended.named("act").attributes;
    let expected = [("everynode.requests", super::calls::MOST + 3), ("everynode.requests.left_out", 3)];
    assert_eq!(act, expected.map(|(key, count)| KeyValue::new(key, told::number(count))));
    let heard = heard.lock().unwrap();
    assert_eq!(heard.iter().filter(|header| header.is_empty()).count(), 3);
}

#[tokio::test]
async fn without_a_collector_or_a_sampler_that_wants_it_nothing_is_made_or_sent() {
    let (unwanted, ended) = traces(Sampler::AlwaysOff);
    for traces in [Traces::default(), unwanted] {
        let (client, heard) = server(&[]);
        look(&traces, &client, 1).await;
        assert_eq!(*heard.lock().unwrap(), [""]);
    }
    assert!(ended.spans().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_holds_a_request_up_stands_in_its_span() {
    let (traces, ended) = traces(Sampler::AlwaysOn);
    let (client, heard) = server(&[200, 429]);
    let pace = Some(Pace { qps: 1.0, burst: 1 });
    let client = crate::calls::behind(Door { pace, ..Door::default() }, client);
    look(&traces, &client, 2).await;
    let posts: Vec<SpanData> = ended.spans().into_iter().filter(|span| span.name == "POST pods").collect();
    let waits = |span: &SpanData| -> Vec<String> {
        let words = |event: &opentelemetry::trace::Event| {
            event.attributes.iter().map(|pair| pair.value.to_string()).collect::<Vec<_>>().join(" ")
        };
        span.events.events.iter().map(words).collect()
    };
    assert_eq!(waits(&posts[0]), [""; 0]);
    assert_eq!(waits(&posts[1]), ["rate 1", "server 1"]);
    assert!(posts[1].attributes.contains(&KeyValue::new("http.request.resend_count", 1)));
    let heard = heard.lock().unwrap();
    assert_eq!((heard.len(), &heard[1]), (3, &heard[2]), "one span, however often it is sent");
}
