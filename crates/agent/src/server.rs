//! What the API server asks a node for over HTTPS: logs, and the pods that run here.
//!
//! `GET /containerLogs/<namespace>/<pod>/<container>?follow&previous&tailLines&sinceSeconds&sinceTime&timestamps&limitBytes`,
//! `GET /pods`, `GET /metrics/resource` and `/stats/summary` ([`resources`]), `GET /healthz`, and streams: `/exec` and
//! `/attach/<namespace>/<pod>/<container>`, `/portForward/<namespace>/<pod>` ([`streams`]). TLS demands a client
//! certificate of the cluster's CA, and only the API server's is enough: [`Peer`].
//!
//! Kubernetes: pkg/kubelet/server/server.go, kubelet_pods.go `validateContainerLogStatus`.

mod follow;
mod resources;
pub mod streams;

use crate::Shutdown;
use crate::logs::Options;
use crate::pods::{Directory, Entry};
use crate::runtime::Runtime;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use k8s_openapi::List;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A peer that does not finish its handshake within this is dropped.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// More connections than this wait: each follower holds a file.
const MAX_CONNECTIONS: usize = 256;
/// After a failure to accept (no file handles), so that the loop does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What is served.
#[derive(Clone)]
pub struct Logs {
    pub(crate) directory: Directory,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) streams: streams::Streams,
    pub(crate) meter: crate::usage::Meter,
    pub(crate) node_name: String,
}

type Body = BoxBody<Bytes, io::Error>;

/// Serves until `shutdown`.
pub async fn serve(logs: Logs, listener: TcpListener, tls: Arc<rustls::ServerConfig>, shutdown: Shutdown) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "log server: connection not accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let (logs, acceptor) = (logs.clone(), acceptor.clone());
        connections.spawn(async move {
            let _place = place;
            if let Err(error) = connection(logs, acceptor, stream).await {
                tracing::debug!(%error, "log server: connection ended");
            }
        });
    }
    logs.streams.ended().await;
}

async fn connection(logs: Logs, acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<()> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake");
    let stream = tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await.map_err(late)??;
    let (_, session) = stream.get_ref();
    let peer = session.peer_certificates().and_then(|chain| chain.first());
    let peer = peer.map_or(Peer::Other, |certificate| Peer::of(certificate));
    let service = hyper::service::service_fn(move |request| {
        let logs = logs.clone();
        async move {
            let answer = match peer {
                Peer::Node => {
                    Err(Refusal::new(StatusCode::FORBIDDEN, "nodes may not read other nodes' logs"))
                }
                Peer::Other => Err(Refusal::new(StatusCode::FORBIDDEN, "only the API server may ask a node")),
                Peer::Server => route(&logs, request).await,
            };
            Ok::<_, Infallible>(answer.unwrap_or_else(Refusal::into_response))
        }
    });
    let http = hyper::server::conn::http1::Builder::new();
    let connection = http.serve_connection(TokioIo::new(stream), service);
    connection.with_upgrades().await.map_err(io::Error::other)
}

/// The name that Everynode's API server shows to agents.
pub const SERVER_NAME: &str = "everynode-server";
/// The groups of the certificates that other API servers show: kubeadm's from 1.29 on, and all before.
const SERVER_GROUPS: [&str; 2] = ["kubeadm:cluster-admins", "system:masters"];

/// Who asks. A user's certificate is of the same authority, and what its owner may do only the API server knows.
/// Differs: kubelet asks the API server in a SubjectAccessReview whether the user may use `nodes/proxy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Server,
    Node,
    Other,
}

impl Peer {
    fn of(der: &[u8]) -> Self {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Self::Other };
        let subject = certificate.subject();
        let mut groups = subject.iter_organization().filter_map(|group| group.as_str().ok());
        let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
        match groups.next() {
            Some("system:nodes") => Self::Node,
            Some(group) if SERVER_GROUPS.contains(&group) => Self::Server,
            None if name == Some(SERVER_NAME) => Self::Server,
            _ => Self::Other,
        }
    }
}

/// An answer other than 200: plain text, as kubelet gives it.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    text: String,
}

impl Refusal {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(whole(format!("{}\n", self.text)));
        *response.status_mut() = self.status;
        response
    }
}

fn whole(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

async fn route(logs: &Logs, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let path: Vec<String> = request.uri().path().trim_matches('/').split('/').map(decode).collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let query = pairs(request.uri().query().unwrap_or_default());
    if let Some(wanted) = streams::asked::Wanted::parse(&path, &query)
        && matches!(*request.method(), Method::GET | Method::POST)
    {
        return streams::open(logs, request, wanted?).await;
    }
    if request.method() != Method::GET {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "only GET is served"));
    }
    match path.as_slice() {
        ["healthz"] => Ok(Response::new(whole("ok"))),
        ["pods"] => Ok(pods(logs)),
        ["metrics", "resource"] => {
            let measured = logs.meter.measure(&logs.directory).await;
            Ok(typed("text/plain; version=0.0.4; charset=utf-8", resources::text(&measured)))
        }
        ["stats", "summary"] => {
            let measured = logs.meter.measure(&logs.directory).await;
            Ok(typed("application/json", resources::summary(&logs.node_name, &measured).to_string()))
        }
        ["containerLogs", namespace, pod, container] => {
            let query = query.into_iter().collect();
            let bad =
                |error: crate::logs::OptionsError| Refusal::new(StatusCode::BAD_REQUEST, error.to_string());
            let options = Options::parse(&query, Timestamp::now()).map_err(bad)?;
            container_logs(logs, namespace, pod, container, options).await
        }
        _ => Err(Refusal::new(StatusCode::NOT_FOUND, "404 page not found")),
    }
}

fn pods(logs: &Logs) -> Response<Body> {
    let items = logs.directory.all().into_iter().map(|entry| {
        let status = entry.status.borrow().clone();
        Pod { status: Some(status), ..(*entry.pod).clone() }
    });
    let list = List::<Pod> { items: items.collect(), ..List::default() };
    typed("application/json", serde_json::to_vec(&list).unwrap_or_default())
}

fn typed(media: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(whole(text));
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(media));
    response
}

async fn container_logs(
    logs: &Logs,
    namespace: &str,
    pod: &str,
    container: &str,
    options: Options,
) -> Result<Response<Body>, Refusal> {
    let unknown = || Refusal::new(StatusCode::NOT_FOUND, format!("pod {pod:?} does not exist"));
    let entry = logs.directory.find(namespace, pod).ok_or_else(unknown)?;
    let id = which(&entry, pod, container, options.previous)
        .map_err(|text| Refusal::new(StatusCode::BAD_REQUEST, text))?;
    let status = logs.runtime.container_status(&id).await;
    let status =
        status.map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let follower =
        follow::Follower { runtime: logs.runtime.clone(), id, path: status.log_path.into(), options };
    let stream = ReceiverStream::new(follower.start()).map(|chunk| chunk.map(Frame::data));
    let mut response = Response::new(http_body_util::BodyExt::boxed(StreamBody::new(stream)));
    let plain = http::HeaderValue::from_static("text/plain");
    response.headers_mut().insert(http::header::CONTENT_TYPE, plain);
    Ok(response)
}

/// The runtime's id of the run whose log is asked for, with the API's sentences where there is none.
fn which(entry: &Entry, pod: &str, name: &str, previous: bool) -> Result<String, String> {
    let status = entry.status.borrow().clone();
    let lists =
        [status.container_statuses, status.init_container_statuses, status.ephemeral_container_statuses];
    let found = lists.into_iter().flatten().flatten().find(|status| status.name == name);
    let Some(found) = found else {
        let known = entry.pod.spec.as_ref().is_some_and(|spec| {
            crate::sandbox::every_container(spec).any(|container| container.name == name)
        });
        return Err(if known {
            format!("container {name:?} in pod {pod:?} is waiting to start: ContainerCreating")
        } else {
            format!("container {name} is not valid for pod {pod}")
        });
    };
    let id = if previous { last_run(&found) } else { this_run(&found) };
    if let Some(id) = id {
        return Ok(bare(&id).to_string());
    }
    if previous {
        return Err(format!("previous terminated container {name:?} in pod {pod:?} not found"));
    }
    let waiting = found.state.and_then(|state| state.waiting);
    Err(match waiting.and_then(|waiting| waiting.reason).as_deref() {
        Some("ErrImagePull" | "ImagePullBackOff") => {
            format!("container {name:?} in pod {pod:?} is waiting to start: trying and failing to pull image")
        }
        Some(reason) => format!("container {name:?} in pod {pod:?} is waiting to start: {reason}"),
        None => format!("container {name:?} in pod {pod:?} is not available"),
    })
}

fn this_run(status: &ContainerStatus) -> Option<String> {
    let state = status.state.clone().unwrap_or_default();
    if state.running.is_some() {
        return status.container_id.clone();
    }
    if let Some(ended) = state.terminated {
        return ended.container_id;
    }
    last_run(status)
}

fn last_run(status: &ContainerStatus) -> Option<String> {
    status.last_state.as_ref()?.terminated.as_ref()?.container_id.clone()
}

/// `containerd://abc` → `abc`.
fn bare(id: &str) -> &str {
    id.split_once("://").map_or(id, |(_, id)| id)
}

fn pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// `%2F` → `/`, `+` → space; what is no escape stays.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push(hex(*high).unwrap_or(0) * 16 + hex(*low).unwrap_or(0));
                rest = after;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn escapes_in_a_query_are_read() {
        let found = pairs("sinceTime=2026-11-21T02%3A00%3A00%2B01%3A00&follow=true&x&&100%=a+b");
        let expected =
            [("100%", "a b"), ("follow", "true"), ("sinceTime", "2026-11-21T02:00:00+01:00"), ("x", "")];
        let expected: BTreeMap<_, _> =
            expected.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect();
        assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), expected);
    }

    fn entry(state: &str) -> Entry {
        let pod: Pod = serde_json::from_str(
            r#"{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c"},{"name":"new"}]}}"#,
        )
        .unwrap();
        let text = format!(
            r#"{{"containerStatuses":[{{"name":"c","ready":false,"image":"","imageID":"","restartCount":1,
                "containerID":"containerd://now",{state}}}]}}"#
        );
        let status = tokio::sync::watch::Sender::new(serde_json::from_str(&text).unwrap());
        Entry { pod: Arc::new(pod), status: status.subscribe() }
    }

    #[test]
    fn the_asked_run_is_found_or_its_absence_explained() {
        let last = r#""lastState":{"terminated":{"exitCode":1,"containerID":"containerd://old"}}"#;
        let running = format!(r#""state":{{"running":{{}}}},{last}"#);
        let crashed = format!(r#""state":{{"waiting":{{"reason":"CrashLoopBackOff"}}}},{last}"#);
        let pulling = r#""state":{"waiting":{"reason":"ImagePullBackOff"}}"#;
        let check = |state: &str, name: &str, previous, expected: Result<&str, &str>| {
            let found = which(&entry(state), "p", name, previous);
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{state} {previous}");
        };
        check(&running, "c", false, Ok("now"));
        check(&running, "c", true, Ok("old"));
        check(&crashed, "c", false, Ok("old"));
        check(&crashed, "c", true, Ok("old"));
        let text = "container \"c\" in pod \"p\" is waiting to start: trying and failing to pull image";
        check(pulling, "c", false, Err(text));
        check(pulling, "c", true, Err("previous terminated container \"c\" in pod \"p\" not found"));
        let text = "container \"new\" in pod \"p\" is waiting to start: ContainerCreating";
        check(&running, "new", false, Err(text));
        check(&running, "no", false, Err("container no is not valid for pod p"));
    }
}
