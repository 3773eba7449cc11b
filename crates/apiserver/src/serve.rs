//! Sockets: TLS, HTTP/1.1 and 2 on one port, and a graceful end.
//!
//! The TLS configuration comes from outside: who is trusted is not decided here. A client certificate is asked for and not
//! required (0.6). Whoever holds a connection and asks for nothing, or takes nothing, is cut ([`Bounds`]). On shutdown no connection is taken any more, watches end, what is in work is finished; what is not
//! done after [`LINGER`] is cut.

mod stall;

use crate::ApiServer;
use crate::audit::Peer;
use crate::authn;
use crate::error::ApiError;
use crate::handle::{Identity, handle};
use crate::reply;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use stall::Stall;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Most connections at once: one for each of 1,000 agents, kubectl's, and room to spare.
const CONNECTIONS: usize = 8192;
/// How long a client has for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client has for its headers; also how long an idle HTTP/1.1 connection is kept.
const HEADERS: Duration = Duration::from_secs(90);
/// Largest head of an HTTP/1.1 request. Go's server takes 1 MiB; selectors of kubectl stay far below this.
const HEAD_BYTES: usize = 256 * 1024;
/// Largest header list of an HTTP/2 request.
const HEADER_LIST_BYTES: u32 = 256 * 1024;
/// Requests at once on one HTTP/2 connection; many watches share one.
const STREAMS: u32 = 1000;
/// How often a silent HTTP/2 client is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long it has for its answer.
const PING_ANSWER: Duration = Duration::from_secs(20);
/// How long requests in work have at the end.
const LINGER: Duration = Duration::from_secs(5);
/// How long a client has from its TLS handshake to its first request: until then nothing else times it.
const FIRST_REQUEST: Duration = Duration::from_secs(30);
/// How long a connection goes on, with refusals, once something was asked on it after the end of its client's certificate:
/// answers get out, and the next connection shows the new one. Go's server lets such connections be, and Go's clients
/// close them themselves.
const OUTLIVED: Duration = Duration::from_secs(1);
/// How long a write to a client may wait for it to read on.
const STALL: Duration = Duration::from_secs(60);
/// Of the connections, how many one address may have: the others are for everybody else.
const PER_ADDRESS: usize = CONNECTIONS / 2;
/// Pause after a failed accept, so that a lack of file descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a listener bears.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections at once.
    pub connections: usize,
    /// Of these, from one address.
    pub per_address: usize,
    /// From the connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// From then to the first request.
    pub first_request: Duration,
    /// For the head of a request, and for an idle HTTP/1.1 connection.
    pub headers: Duration,
    /// For a write that waits for the client.
    pub stall: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            per_address: PER_ADDRESS,
            handshake: HANDSHAKE,
            first_request: FIRST_REQUEST,
            headers: HEADERS,
            stall: STALL,
        }
    }
}

/// Why serving ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The server's own background work has ended.
    #[error("the API server cannot go on: {0}")]
    Ended(String),
}

/// Serves until `shutdown` is ready, or until the server itself fails.
pub async fn serve(
    server: ApiServer,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    serve_within(server, listener, tls, Bounds::default(), shutdown).await
}

/// The same with bounds of its own.
pub async fn serve_within(
    server: ApiServer,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    bounds: Bounds,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let acceptor = TlsAcceptor::from(tls);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Places::default());
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    let mut ended = std::pin::pin!(server.ended());
    let result = loop {
        tokio::select! {
            () = &mut shutdown => break Ok(()),
            why = &mut ended => break Err(ServeError::Ended(why)),
            Some(done) = connections.join_next() => if let Err(error) = done {
                tracing::error!(%error, "a connection's task has failed");
            },
            (stream, peer) = accept(&listener) => {
                let Some(place) = places.enter(peer.ip(), &bounds) else {
                    tracing::warn!(%peer, limit = bounds.connections, "a connection was refused: too many");
                    continue;
                };
                let work =
                    connection(server.clone(), acceptor.clone(), stream, peer, bounds, graceful.watcher());
                connections.spawn(async move {
                    work.await;
                    drop(place);
                });
            }
        }
    };
    drop(listener);
    server.close();
    let finished = async { tokio::join!(graceful.shutdown(), server.streams_ended()) };
    if tokio::time::timeout(LINGER, finished).await.is_err() {
        tracing::warn!(open = connections.len(), "some requests were not finished in time and are cut");
    }
    connections.shutdown().await;
    result
}

/// Open connections by address.
#[derive(Debug, Default)]
struct Places(Mutex<BTreeMap<IpAddr, usize>>);

/// A place for one connection.
struct Held(Arc<Places>, IpAddr);

impl Places {
    fn enter(self: &Arc<Self>, address: IpAddr, bounds: &Bounds) -> Option<Held> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, own) = (open.values().sum::<usize>(), open.get(&address).copied().unwrap_or_default());
        if all >= bounds.connections || own >= bounds.per_address {
            return None;
        }
        open.insert(address, own + 1);
        Some(Held(self.clone(), address))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&self.1) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(open.remove(&self.1)),
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    server: ApiServer,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    bounds: Bounds,
    graceful: hyper_util::server::graceful::Watcher,
) {
    // Watch events are small and must not wait for more.
    let _ = stream.set_nodelay(true);
    let stream = Stall::new(stream, bounds.stall);
    let stream = match tokio::time::timeout(bounds.handshake, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!(%peer, "a TLS handshake took too long"),
    };
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let user = certificate.and_then(|certificate| authn::certificate_user(certificate));
    let until = certificate.and_then(|certificate| authn::certificate_end(certificate));
    let asked = Arc::new(Notify::new());
    let first = asked.clone();
    let outlived = Arc::new(Notify::new());
    let over = outlived.clone();
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        asked.notify_one();
        request.extensions_mut().insert(Peer(peer));
        let (server, identity) = (server.clone(), Identity::Connection(user.clone()));
        // The handshake has looked at the certificate once; a connection may outlive it.
        let is_over = until.is_some_and(|end| server.inner.now() > end);
        if is_over {
            outlived.notify_one();
        }
        async move {
            Ok::<_, Infallible>(match is_over {
                true => reply::error(&ApiError::unauthorized()),
                false => handle(&server, identity, request).await,
            })
        }
    });
    let builder = builder(bounds.headers);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    let silent = async {
        if tokio::time::timeout(bounds.first_request, first.notified()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    let ended = async {
        over.notified().await;
        tokio::time::sleep(OUTLIVED).await;
    };
    tokio::select! {
        ended = graceful.watch(connection) => if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a connection ended");
        },
        () = silent => tracing::debug!(%peer, "a connection was cut: it asked for nothing"),
        () = ended => tracing::debug!(%peer, "a connection was cut: its certificate has ended"),
    }
}

fn builder(headers: Duration) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(headers).max_buf_size(HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_LIST_BYTES)
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER);
    builder
}
