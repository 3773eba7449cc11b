//! Logs pass through from a node's agent, as they come, and so do its refusals (wire 6.21).

use crate::authority::Authority;
use crate::harness::{Harness, PATIENCE, config, pod};
use apiserver::Config;
use bytes::Bytes;
use futures::StreamExt as _;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::convert::Infallible;
use std::net::SocketAddr;
use tokio_stream::wrappers::UnboundedReceiverStream;

type Lines = tokio::sync::mpsc::UnboundedReceiver<&'static str>;
type AgentBody = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

/// An agent's log server that serves one connection: its path as the first line, then what it is told.
async fn agent(authority: &Authority, lines: Lines) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = tokio_rustls::TlsAcceptor::from(authority.server());
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let stream = tls.accept(tcp).await.unwrap();
        let lines = std::sync::Mutex::new(Some(lines));
        let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
            let path = request.uri().to_string();
            let lines = lines.lock().unwrap().take();
            async move { Ok::<_, Infallible>(agent_answer(path, lines)) }
        });
        let _ =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    });
    address
}

fn agent_answer(path: String, lines: Option<Lines>) -> http::Response<AgentBody> {
    let Some(lines) = lines.filter(|_| !path.contains("previous=true")) else {
        let refusal =
            Full::from("previous terminated container \"c\" in pod \"p\" not found\n").boxed_unsync();
        return http::Response::builder().status(400).body(refusal).unwrap();
    };
    let first = futures::stream::once(async move { Bytes::from(format!("{path}\n")) });
    let rest = UnboundedReceiverStream::new(lines).map(Bytes::from);
    let frames = first.chain(rest).map(|bytes| Ok(Frame::data(bytes)));
    http::Response::new(StreamBody::new(frames).boxed_unsync())
}

/// A server with one node, whose agent is there, and one pod on it.
pub async fn cluster(authority: &Authority, agent: SocketAddr) -> Harness {
    let api = Harness::with(Config { agent_tls: Some(authority.trusting()), ..config() }).await;
    api.create("/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await;
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": agent.ip().to_string()}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": agent.port()}}}});
    assert_eq!(api.call("PATCH /api/v1/nodes/n1/status", status).await.code, 200);
    api.create("/api/v1/namespaces/default/pods", pod("p", "n1")).await;
    api
}

const LOG: &str = "GET /api/v1/namespaces/default/pods/p/log";

#[tokio::test]
async fn a_followed_log_comes_line_by_line() {
    let authority = Authority::new();
    let (tell, lines) = tokio::sync::mpsc::unbounded_channel();
    let api = cluster(&authority, agent(&authority, lines).await).await;
    let response = api.begin(&format!("{LOG}?follow=true&tailLines=5"), &[], Bytes::new()).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"text/plain".parse().unwrap())
    );
    let mut body = response.into_body();
    let mut next = async || {
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await.expect("a line comes in time")?;
        Some(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap())
    };
    assert_eq!(next().await.unwrap(), "/containerLogs/default/p/c?follow=true&tailLines=5\n");
    tell.send("tick\n").unwrap();
    assert_eq!(next().await.unwrap(), "tick\n");
    drop(tell);
    assert_eq!(next().await, None);
}

#[tokio::test]
async fn a_refusal_of_the_agent_is_passed_on() {
    let authority = Authority::new();
    let (_tell, lines) = tokio::sync::mpsc::unbounded_channel();
    let api = cluster(&authority, agent(&authority, lines).await).await;
    let refused = api.raw(&format!("{LOG}?previous=true"), &[], "").await;
    assert_eq!(
        (refused.code, refused.message()),
        (400, "previous terminated container \"c\" in pod \"p\" not found")
    );
}

#[tokio::test]
async fn an_agent_that_is_not_there_or_not_itself_is_said_so() {
    let authority = Authority::new();
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let api = cluster(&authority, gone).await;
    let refused = api.raw(LOG, &[], "").await;
    let text = format!(
        "Get \"https://{gone}/containerLogs/default/p/c\": dial tcp {gone}: connect: Connection refused"
    );
    assert_eq!(refused.code, 500);
    assert!(refused.message().starts_with(&text), "{}", refused.text);
    let (_tell, lines) = tokio::sync::mpsc::unbounded_channel();
    let stranger = agent(&Authority::new(), lines).await;
    let api = cluster(&authority, stranger).await;
    let refused = api.raw(LOG, &[], "").await;
    assert!(refused.message().contains("invalid peer certificate"), "{}", refused.text);
}

#[tokio::test]
async fn an_unbound_pod_has_no_log_and_a_wrong_container_is_named() {
    let api = Harness::new().await;
    api.create("/api/v1/namespaces/default/pods", pod("p", "")).await;
    let empty = api.raw(LOG, &[], "").await;
    assert_eq!((empty.code, empty.text.as_str()), (204, ""));
    let refused = api.raw(&format!("{LOG}?container=zz"), &[], "").await;
    assert_eq!((refused.code, refused.message()), (400, "container zz is not valid for pod p"));
}
