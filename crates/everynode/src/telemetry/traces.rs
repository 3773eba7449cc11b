//! Spans on their way to a collector, which may be away.
//!
//! 1. Nobody waits: a span that ends goes into a queue of [`QUEUE`], and is dropped where that is full.
//! 2. One task sends them, [`BATCH`] at a time. What the collector does not take within the SDK's time limit
//!    (`OTEL_EXPORTER_OTLP_TIMEOUT`, 10 s, some tries among it) is dropped.
//! 3. What is dropped is counted (`everynode_trace_spans_dropped_total`), and said in one line when it begins and one when
//!    it is over.
//! 4. At the end of a process what is left is sent, for at most [`FLUSH`].
//!
//! OpenTelemetry: "Batching processor" of its SDK specification, and its default sizes. The SDK's own would not tell how
//! many it drops, and has a thread of its own.

use super::collector::Collector;
use anyhow::{Context as _, Result};
use apiserver::Tracer;
use controllers::metrics::{Metrics, table};
use futures::future::{Either, select};
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, Key, KeyValue};
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Spans that wait: some megabytes at most. OpenTelemetry: `maxQueueSize`.
const QUEUE: usize = 2048;
/// Spans of one message. OpenTelemetry: `maxExportBatchSize`.
const BATCH: usize = 512;
/// How long spans wait for others that go with them. OpenTelemetry: `scheduledDelayMillis` is 5 s; a person who has just
/// changed something looks sooner.
const TOGETHER: Duration = Duration::from_secs(1);
/// How long a process that ends goes on sending: the lease is given back by then.
const FLUSH: Duration = Duration::from_secs(3);

/// The way out of spans.
pub struct Sending {
    collector: String,
    queue: mpsc::Receiver<SpanData>,
    exporter: SpanExporter,
    dropped: Arc<AtomicU64>,
    closing: CancellationToken,
}

/// What happens to the spans of this process, called `service` unless the environment says otherwise: where they begin, and
/// what has to run beside the work ([`beside`]).
pub fn open(
    collector: Option<Collector>,
    service: &'static str,
    metrics: &Metrics,
) -> Result<(Tracer, Option<Sending>)> {
    let Some(collector) = collector else { return Ok((None, None)) };
    let (into, queue) = mpsc::channel(QUEUE);
    let dropped = Arc::<AtomicU64>::default();
    let counted = dropped.clone();
    metrics.gather(move |samples| {
        samples.set(&table::SPANS_DROPPED, &[], counted.load(Ordering::Relaxed) as f64);
    });
    let resource = resource(service);
    let mut exporter = exporter(&collector)?;
    exporter.set_resource(&resource);
    let provider = SdkTracerProvider::builder()
        .with_span_processor(Ends { into, dropped: dropped.clone() })
        .with_resource(resource)
        .build();
    let tracer = BoxedTracer::new(Box::new(provider.tracer("everynode")));
    let closing = CancellationToken::new();
    Ok((
        Some(Arc::new(tracer)),
        Some(Sending { collector: collector.url, queue, exporter, dropped, closing }),
    ))
}

/// Does the work to its end, and sends spans beside it.
pub async fn beside<T>(sending: Option<Sending>, work: impl Future<Output = T>) -> T {
    let Some(mut sending) = sending else { return work.await };
    let closing = sending.closing.clone();
    match select(pin!(work), pin!(sending.send())).await {
        Either::Left((result, sent)) => {
            closing.cancel();
            if tokio::time::timeout(FLUSH, sent).await.is_err() {
                tracing::warn!("the last traces were not taken by the collector in time");
            }
            result
        }
        Either::Right(((), work)) => work.await,
    }
}

fn exporter(Collector { url, ca }: &Collector) -> Result<SpanExporter> {
    let mut builder = SpanExporter::builder().with_tonic().with_endpoint(url);
    if url.starts_with("https:") {
        let tls = match ca {
            None => ClientTlsConfig::new().with_native_roots(),
            Some(path) => {
                let pem = std::fs::read(path).with_context(|| {
                    format!("{}: OTEL_EXPORTER_OTLP_CERTIFICATE cannot be read", path.display())
                })?;
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
            }
        };
        builder = builder.with_tls_config(tls);
    }
    builder.build().with_context(|| format!("--otlp-endpoint {url}: traces cannot be sent there"))
}

/// Who we are; what the environment says comes first (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`).
fn resource(service: &'static str) -> Resource {
    let said = Resource::builder().build();
    let instance = format!("{}_{}", rustix::system::uname().nodename().to_string_lossy(), std::process::id());
    let ours = [
        KeyValue::new("service.name", service),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance),
    ];
    let is_said =
        |key: &Key| said.get(key).is_some_and(|value| !value.as_str().starts_with("unknown_service"));
    Resource::builder().with_attributes(ours.into_iter().filter(|pair| !is_said(&pair.key))).build()
}

/// Where spans end.
#[derive(Debug)]
struct Ends {
    into: mpsc::Sender<SpanData>,
    dropped: Arc<AtomicU64>,
}

impl SpanProcessor for Ends {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.into.try_send(span) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Sending {
    /// Ends when it is closed and nothing is left.
    async fn send(&mut self) {
        let (mut losses, mut before) = (Losses::default(), 0);
        while let Some(batch) = self.batch().await {
            let count = batch.len() as u64;
            let outcome = self.exporter.export(batch).await.map_err(|error| error.to_string());
            if outcome.is_err() {
                self.dropped.fetch_add(count, Ordering::Relaxed);
            }
            let dropped = self.dropped.load(Ordering::Relaxed);
            let collector = &self.collector;
            match losses.after(outcome, dropped - before) {
                Some(News::Begin(error)) => tracing::warn!(
                    %collector, %error, "traces are dropped; the work goes on, and they are sent again as soon as that is possible"
                ),
                Some(News::End(spans)) => {
                    tracing::warn!(%collector, spans, "traces are taken again; so many were dropped")
                }
                None => {}
            }
            before = dropped;
        }
    }

    /// The next spans, those of [`TOGETHER`] in one; none when it is closed and nothing is left.
    async fn batch(&mut self) -> Option<Vec<SpanData>> {
        let mut batch = Vec::new();
        self.more(&mut batch).await?;
        let others = async { while batch.len() < BATCH && self.more(&mut batch).await.is_some() {} };
        let _ = tokio::time::timeout(TOGETHER, others).await;
        Some(batch)
    }

    /// Adds what is there, or waits for it.
    async fn more(&mut self, batch: &mut Vec<SpanData>) -> Option<()> {
        let room = BATCH - batch.len();
        let count = tokio::select! {
            biased;
            count = self.queue.recv_many(batch, room) => count,
            () = self.closing.cancelled() => {
                self.queue.close();
                self.queue.recv_many(batch, room).await
            }
        };
        (count > 0).then_some(())
    }
}

/// How many spans were dropped since the last that was not.
#[derive(Debug, Default)]
struct Losses(u64);

/// What is worth a line.
#[derive(Debug, PartialEq, Eq)]
enum News {
    /// Spans begin to be dropped, and why.
    Begin(String),
    /// It is over, after so many.
    End(u64),
}

impl Losses {
    /// After a message, and so many that were dropped since the one before.
    fn after(&mut self, sent: Result<(), String>, dropped: u64) -> Option<News> {
        let why = match sent {
            Err(error) => Some(error),
            Ok(()) => (dropped > 0).then(|| "spans come faster than it takes them".to_string()),
        };
        let was_good = self.0 == 0;
        self.0 += dropped;
        match why {
            Some(why) => was_good.then_some(News::Begin(why)),
            None => (!was_good).then(|| News::End(std::mem::take(&mut self.0))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};
    use std::time::SystemTime;

    fn span() -> SpanData {
        SpanData {
            span_context: SpanContext::NONE,
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "a".into(),
            start_time: SystemTime::UNIX_EPOCH,
            end_time: SystemTime::UNIX_EPOCH,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: Status::Unset,
            instrumentation_scope: Default::default(),
        }
    }

    #[tokio::test]
    async fn a_full_queue_drops_and_counts_and_lets_nobody_wait() {
        let (into, mut queue) = mpsc::channel(2);
        let ends = Ends { into, dropped: Arc::default() };
        (0..5).for_each(|_| ends.on_end(span()));
        assert_eq!(ends.dropped.load(Ordering::Relaxed), 3);
        queue.close();
        ends.on_end(span());
        assert_eq!(ends.dropped.load(Ordering::Relaxed), 3, "what comes after the end is nobody's loss");
    }

    /// Nobody listens on port 9 of loopback.
    #[tokio::test(start_paused = true)]
    async fn work_ends_in_time_though_the_collector_is_away() {
        let collector = Collector { url: "http://127.0.0.1:9".to_string(), ca: None };
        let (_, sending) = open(Some(collector), "test", &Metrics::default()).unwrap();
        let sending = sending.unwrap();
        let (into, queue) = mpsc::channel(QUEUE);
        let sending = Sending { queue, ..sending };
        let dropped = sending.dropped.clone();
        let work = async {
            into.send(span()).await.unwrap();
            tokio::time::sleep(Duration::from_secs(60)).await;
            into.send(span()).await.unwrap();
            7
        };
        let start = tokio::time::Instant::now();
        assert_eq!(beside(Some(sending), work).await, 7);
        assert!(start.elapsed() <= Duration::from_secs(60) + FLUSH, "{:?}", start.elapsed());
        assert!(dropped.load(Ordering::Relaxed) >= 1);
    }

    #[test]
    fn a_line_is_said_when_spans_begin_to_be_dropped_and_one_when_that_is_over() {
        let mut losses = Losses::default();
        let failed = || Err("no".to_string());
        assert_eq!(losses.after(Ok(()), 0), None);
        assert_eq!(losses.after(failed(), 512), Some(News::Begin("no".to_string())));
        assert_eq!(losses.after(failed(), 600), None);
        assert_eq!(losses.after(Ok(()), 3), None);
        assert_eq!(losses.after(Ok(()), 0), Some(News::End(1115)));
        assert_eq!(losses.after(Ok(()), 0), None);
        assert!(matches!(losses.after(Ok(()), 1), Some(News::Begin(_))));
    }

    #[test]
    fn what_the_environment_does_not_say_we_say() {
        let resource = resource("everynode-test");
        assert_eq!(resource.get(&"service.version".into()).unwrap().as_str(), env!("CARGO_PKG_VERSION"));
        assert!(!resource.get(&"service.name".into()).unwrap().as_str().starts_with("unknown"));
    }
}
