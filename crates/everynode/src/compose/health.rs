//! `/metrics`, `/healthz` and `/readyz` over plain HTTP, for Prometheus and kubelet.
//!
//! Nothing secret is in the answers, and nothing can be changed through here. A part of the process that fails ends it
//! ([`controllers::run`]), so that whoever answers is healthy.

use anyhow::{Context as _, Result};
use controllers::metrics::{Metrics, Phase};
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Connections at a time: two scrapers and a kubelet need three.
const CONNECTIONS: usize = 32;
/// How long a client may take for its request.
const REQUEST: Duration = Duration::from_secs(10);
/// A wait after a socket could not be accepted, which then goes on for a while.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// What Prometheus expects of its text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A socket on this address.
pub async fn listen(address: SocketAddr) -> Result<TcpListener> {
    let named = || format!("--metrics-bind-address: cannot listen on {address}");
    TcpListener::bind(address).await.with_context(named)
}

/// Answers for ever.
pub async fn serve(listener: TcpListener, metrics: Metrics) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(AFTER_ERROR).await;
            continue;
        };
        let metrics = metrics.clone();
        connections.spawn(async move {
            let answers = service_fn(move |request: Request<Incoming>| {
                let (status, text) = answer(request.uri().path(), &metrics);
                let response = Response::builder().status(status).header(header::CONTENT_TYPE, TEXT);
                std::future::ready(response.body(Full::new(Bytes::from(text))))
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(REQUEST).keep_alive(false);
            let served = server.serve_connection(TokioIo::new(socket), answers).await;
            served.unwrap_or_else(|error| tracing::debug!(%error, "a scrape was cut off"));
        });
    }
}

fn answer(path: &str, metrics: &Metrics) -> (StatusCode, String) {
    match path {
        "/metrics" => (StatusCode::OK, metrics.text()),
        "/healthz" => (StatusCode::OK, "ok".to_string()),
        "/readyz" => match metrics.phase() {
            Phase::StandingBy | Phase::Working => (StatusCode::OK, "ok".to_string()),
            Phase::Starting | Phase::Reading => {
                (StatusCode::SERVICE_UNAVAILABLE, "the cluster has not been read yet".to_string())
            }
        },
        _ => (StatusCode::NOT_FOUND, "see /metrics, /healthz, /readyz".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_it_has_read_or_stands_by() {
        let metrics = Metrics::default();
        let status = |path: &str| answer(path, &metrics).0.as_u16();
        assert_eq!(
            [status("/healthz"), status("/readyz"), status("/metrics"), status("/")],
            [200, 503, 200, 404]
        );
    }
}
