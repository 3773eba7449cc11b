//! Sockets: TLS, HTTP/1.1 and 2 on one port, and a graceful end.
//!
//! The TLS configuration comes from outside: who is trusted is not decided here. A client certificate is asked for and not
//! required (0.6). On shutdown no connection is taken any more, watches end, what is in work is finished; what is not
//! done after [`LINGER`] is cut.

use crate::ApiServer;
use crate::authn;
use crate::handle::{Identity, handle};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
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
/// Pause after a failed accept, so that a lack of file descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    let acceptor = TlsAcceptor::from(tls);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
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
                let Ok(place) = places.clone().try_acquire_owned() else {
                    tracing::warn!(%peer, limit = CONNECTIONS, "a connection was refused: too many");
                    continue;
                };
                let work = connection(server.clone(), acceptor.clone(), stream, peer, graceful.watcher());
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
    graceful: hyper_util::server::graceful::Watcher,
) {
    // Watch events are small and must not wait for more.
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!(%peer, "a TLS handshake took too long"),
    };
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let user = certificate.and_then(|certificate| authn::certificate_user(certificate));
    let service = service_fn(move |request| {
        let (server, identity) = (server.clone(), Identity::Connection(user.clone()));
        async move { Ok::<_, Infallible>(handle(&server, identity, request).await) }
    });
    let builder = builder();
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    if let Err(error) = graceful.watch(connection).await {
        tracing::debug!(%peer, %error, "a connection ended");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_LIST_BYTES)
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER);
    builder
}
