//! Which spans does a process send? A collector of traces, OTLP over gRPC, that keeps what it gets.

use anyhow::Result;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span as Sent;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::{Request, Response, Status};

/// A collector that listens until it is dropped.
pub struct Collector {
    heard: Heard,
    _runtime: Runtime,
}

/// A span, as far as tests ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// `service.name` of the process that sent it.
    pub service: String,
    /// Its trace, as `traceparent` has it.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// Its parent's; empty if it has none.
    pub parent: String,
    /// What it is called.
    pub name: String,
    /// From when to when, in nanoseconds since 1970.
    pub time: (u64, u64),
    /// What it says besides.
    pub told: BTreeMap<String, String>,
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Span>>>);

impl Collector {
    /// Listens there from now on.
    pub fn listen(address: SocketAddr) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(address))?;
        let heard = Heard::default();
        let service = TowerToHyperService::new(TraceServiceServer::new(heard.clone()));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let connection = Builder::new(TokioExecutor::new()).http2_only();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Self { heard, _runtime: runtime })
    }

    /// What has come so far.
    pub fn spans(&self) -> Vec<Span> {
        self.heard.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Span {
    /// An attribute; empty if it is not there.
    pub fn says(&self, key: &str) -> &str {
        self.told.get(key).map(String::as_str).unwrap_or_default()
    }

    fn of(service: &str, sent: Sent) -> Self {
        Self {
            service: service.to_string(),
            trace: hex(&sent.trace_id),
            id: hex(&sent.span_id),
            parent: hex(&sent.parent_span_id),
            name: sent.name,
            time: (sent.start_time_unix_nano, sent.end_time_unix_nano),
            told: told(&sent.attributes),
        }
    }
}

#[tonic::async_trait]
impl TraceService for Heard {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for of_resource in request.into_inner().resource_spans {
            let resource = told(&of_resource.resource.unwrap_or_default().attributes);
            let service = resource.get("service.name").cloned().unwrap_or_default();
            let spans = of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
            heard.extend(spans.map(|span| Span::of(&service, span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn told(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    attributes
        .iter()
        .map(|pair| (pair.key.clone(), text(pair.value.as_ref().and_then(|v| v.value.as_ref()))))
        .collect()
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(is)) => is.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::ArrayValue(list)) => {
            list.values.iter().map(|value| text(value.value.as_ref())).collect::<Vec<_>>().join("; ")
        }
        _ => String::new(),
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
