//! Exec, attach and port-forward: a request becomes a stream between the API server and the runtime's own stream server.
//!
//! As kubelet does: the runtime is asked for an address (CRI's Exec, Attach, PortForward), and the connection is passed on
//! to it with its protocol, byte by byte. Two things a runtime does not know are translated first: WebSocket v5
//! ([`channels`]) and SPDY in WebSocket ([`tunnel`]); in Kubernetes the API server does that. When a client goes, its
//! stream ends and nothing else; the runtime ends one on which nothing was said for 4 hours; the agent's end ends all.
//!
//! Kubernetes: pkg/kubelet/server/server.go `getExec`, kubelet_pods.go `GetExec`, `GetAttach`, `GetPortForward`.

pub mod asked;
pub mod channels;
mod join;
pub mod spdy;
pub mod tunnel;
pub mod websocket;

use super::{Body, Logs, Refusal, whole};
use crate::Shutdown;
use crate::pods::Entry;
use crate::runtime::cri::messages as m;
use crate::runtime::{RuntimeError, State, Streaming};
use asked::{Redirect, Wanted, Way};
use bytes::Bytes;
use channels::ChannelsError;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// Most streams at once on a node: each is a process or more, and a handful of sockets.
const STREAMS: usize = 256;
/// How long the runtime's stream server, on the same machine, has for its answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Most bytes of its refusal that are passed on.
const REFUSAL_MAX: usize = 2048;
/// How SPDY clients negotiate. Kubernetes: `httpstream.HeaderProtocolVersion`.
const PROTOCOLS: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const SPDY: HeaderValue = HeaderValue::from_static("SPDY/3.1");

/// What goes on to the runtime of a request, and back of its 101.
const OF_PROTOCOL: [HeaderName; 7] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_PROTOCOL,
    PROTOCOLS,
];

/// The streams that are open.
#[derive(Clone)]
pub struct Streams {
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    shutdown: Shutdown,
}

impl Streams {
    /// None yet; all end at `shutdown`.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { places: Arc::new(Semaphore::new(STREAMS)), tasks: TaskTracker::new(), shutdown }
    }

    /// Waits until none is open any more.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let full = |_| {
            let text = format!("this node has {STREAMS} open streams, which is the most");
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, text)
        };
        self.places.clone().try_acquire_owned().map_err(full)
    }

    fn spawn<E: Into<Box<dyn StdError + Send + Sync>>>(
        &self,
        place: OwnedSemaphorePermit,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            let _place = place;
            if let Some(Err(error)) = shutdown.run_until_cancelled(work).await {
                let error: Box<dyn StdError + Send + Sync> = error.into();
                tracing::debug!(error = &*error as &dyn StdError, "a stream ended");
            }
        });
    }
}

/// Answers 101 when the stream stands.
pub(super) async fn open(
    served: &Logs,
    mut request: Request<Incoming>,
    wanted: Wanted,
) -> Result<Response<Body>, Refusal> {
    let way = wanted.way(request.headers())?;
    let place = served.streams.place()?;
    let redirect = match &wanted {
        Wanted::Exec { redirect, .. } | Wanted::Attach { redirect, .. } => *redirect,
        Wanted::PortForward { .. } => Redirect::default(),
    };
    let url = served.runtime.open_stream(streaming(served, wanted).await?).await.map_err(refused)?;
    let client = hyper::upgrade::on(&mut request);
    let headers = request.headers();
    match way {
        Way::Verbatim => {
            let (head, runtime) = ask(&url, request.method(), only_protocol(headers)).await?;
            served.streams.spawn(place, async move {
                let (client, runtime) = tokio::try_join!(client, runtime)?;
                join::join(TokioIo::new(client), TokioIo::new(runtime)).await?;
                Ok::<_, Box<dyn StdError + Send + Sync>>(())
            });
            let mut response = Response::new(whole(""));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            *response.headers_mut() = only_protocol(&head);
            Ok(response)
        }
        Way::Channels => {
            let response = websocket::accept(headers, channels::PROTOCOL)?;
            let (_, runtime) = ask(&url, &Method::POST, spdy_headers(channels::RUNTIME_PROTOCOL)).await?;
            served.streams.spawn(place, async move {
                let (client, runtime) = both(client, runtime).await?;
                let client = websocket::open(TokioIo::new(client)).await;
                channels::carry(client, TokioIo::new(runtime), redirect).await
            });
            Ok(response)
        }
        Way::Tunnel => {
            let response = websocket::accept(headers, tunnel::PROTOCOL)?;
            let (_, runtime) = ask(&url, &Method::POST, spdy_headers(tunnel::RUNTIME_PROTOCOL)).await?;
            served.streams.spawn(place, async move {
                let (client, runtime) = both(client, runtime).await?;
                let client = websocket::open(TokioIo::new(client)).await;
                tunnel::carry(client, TokioIo::new(runtime)).await
            });
            Ok(response)
        }
    }
}

async fn both(client: OnUpgrade, runtime: OnUpgrade) -> Result<(Upgraded, Upgraded), ChannelsError> {
    let both = async { tokio::try_join!(client, runtime) };
    both.await.map_err(|error| ChannelsError::Runtime(std::io::Error::other(error)))
}

/// What to ask the runtime for.
async fn streaming(served: &Logs, wanted: Wanted) -> Result<Streaming, Refusal> {
    let name = wanted.pod();
    let entry = served.directory.find(&name.namespace, &name.name);
    let entry = entry.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "pod does not exist"))?;
    Ok(match wanted {
        Wanted::Exec { container, command, redirect, .. } => Streaming::Exec(m::ExecRequest {
            container_id: running(served, &entry, &container).await?,
            cmd: command,
            tty: redirect.tty,
            stdin: redirect.stdin,
            stdout: redirect.stdout,
            stderr: redirect.stderr,
        }),
        Wanted::Attach { container, redirect, .. } => Streaming::Attach(m::AttachRequest {
            container_id: running(served, &entry, &container).await?,
            stdin: redirect.stdin,
            // A running process has a terminal or has none, whatever is asked for.
            tty: has_terminal(&entry, &container),
            stdout: redirect.stdout,
            stderr: redirect.stderr,
        }),
        Wanted::PortForward { pod, ports } => {
            let sandboxes = served.runtime.list_pod_sandbox(Some(uid(&entry))).await.map_err(refused)?;
            let sandbox = sandboxes.into_iter().find(|sandbox| sandbox.ready).ok_or_else(|| {
                let full = format!("{}_{}", pod.name, pod.namespace);
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("pod not found ({full:?})"))
            })?;
            Streaming::PortForward(m::PortForwardRequest { pod_sandbox_id: sandbox.id, port: ports })
        }
    })
}

/// The runtime's id of the container's run that runs now.
async fn running(served: &Logs, entry: &Entry, name: &str) -> Result<String, Refusal> {
    let containers = served.runtime.list_containers(Some(uid(entry))).await.map_err(refused)?;
    let is_meant = |c: &crate::runtime::Container| c.name == name && matches!(c.state, State::Running { .. });
    containers.into_iter().find(is_meant).map(|container| container.id).ok_or_else(|| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("container not found ({name:?})"))
    })
}

fn has_terminal(entry: &Entry, name: &str) -> bool {
    let mut containers = entry.pod.spec.iter().flat_map(crate::sandbox::every_container);
    containers.any(|container| container.name == name && container.tty == Some(true))
}

fn uid(entry: &Entry) -> &str {
    entry.pod.metadata.uid.as_deref().unwrap_or_default()
}

/// Kubernetes: `cri-streaming/pkg/streaming/errors.go` `WriteError`.
fn refused(error: RuntimeError) -> Refusal {
    let status = match error {
        RuntimeError::NotFound { .. } => StatusCode::NOT_FOUND,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refusal::new(status, error.to_string())
}

/// Sends the request to the runtime's stream server; the head of its 101, and the connection behind it.
async fn ask(url: &str, method: &Method, headers: HeaderMap) -> Result<(HeaderMap, OnUpgrade), Refusal> {
    let failed = |why: &dyn std::fmt::Display| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("error dialing backend: {why}"))
    };
    let answer = tokio::time::timeout(ANSWER, answer(url, method, headers)).await;
    let (response, connection) = match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(failed(&error)),
        Err(_) => return Err(failed(&"the container runtime's stream server does not answer")),
    };
    let (head, body) = response.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let upgraded = hyper::upgrade::on(Response::from_parts(head.clone(), body));
        // The end of the HTTP connection hands the stream over.
        connection.detach();
        return Ok((head.headers, upgraded));
    }
    let text = Limited::new(body, REFUSAL_MAX).collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let status = if head.status.is_success() { StatusCode::BAD_GATEWAY } else { head.status };
    Err(Refusal::new(status, String::from_utf8_lossy(&text).trim()))
}

type Answered = (Response<Incoming>, AbortOnDropHandle<()>);

async fn answer(
    url: &str,
    method: &Method,
    headers: HeaderMap,
) -> Result<Answered, Box<dyn StdError + Send + Sync>> {
    let url: Uri = url.parse()?;
    let (Some("http"), Some(place), Some(path)) = (url.scheme_str(), url.authority(), url.path_and_query())
    else {
        return Err(format!("the container runtime's stream server has the address {url}").into());
    };
    let stream = TcpStream::connect((place.host(), place.port_u16().unwrap_or(80))).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to the runtime's stream server ended");
        }
    }));
    let mut request = Request::builder().method(method).uri(path.as_str()).body(Empty::<Bytes>::new())?;
    *request.headers_mut() = headers;
    request.headers_mut().insert(header::HOST, HeaderValue::from_str(place.as_str())?);
    Ok((sender.send_request(request).await?, connection))
}

fn spdy_headers(protocol: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, SPDY);
    headers.insert(PROTOCOLS, HeaderValue::from_static(protocol));
    headers
}

fn only_protocol(headers: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::new();
    for name in &OF_PROTOCOL {
        for value in headers.get_all(name) {
            out.append(name, value.clone());
        }
    }
    out
}
