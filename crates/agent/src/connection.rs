//! A [`kube::Client`] over TLS whose certificates may change while it lives.
//!
//! kube's own connector reads a client certificate once. An agent renews its certificate before it expires
//! ([`crate::join`]) and must not lose its watches for that, so connections ask a resolver for the certificate at
//! every handshake, and requests after a renewal take new connections: on an old one, servers answer 401 once its
//! certificate has ended. HTTP/1.1, one connection per request that is under way, as kube does it. Where there are several
//! servers, a request goes to the one of [`Servers`], and to the next if that one takes no connection.

use crate::servers::{Servers, Why};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::{Body, ClientBuilder};
use rustls::pki_types::ServerName;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tower::{BoxError, Service};

/// A server that does not take a connection within this is down: so soon that a node's lease is renewed by another one
/// before it runs out.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Where there is another server, one that does not begin its answer within this is left. Below the 10 s that heartbeats
/// wait for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(8);

/// Up to its slash, this is what owns the fields that an agent writes.
const USER_AGENT: &str = concat!("everynode-agent/", env!("CARGO_PKG_VERSION"));

/// A client for these servers, one at a time; `bearer` goes into every request. With each of these renewals, connections that
/// are open carry what was asked on them to its end, and nothing new.
pub fn client(
    servers: &Arc<Servers>,
    tls: Arc<rustls::ClientConfig>,
    bearer: Option<&str>,
    mut renewals: watch::Receiver<()>,
) -> Result<kube::Client, ConnectionError> {
    let authorization = bearer.map(authorization).transpose()?;
    let connect = move || {
        hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .build(Connector { tls: tls.clone() })
    };
    let mut http = connect();
    let servers = servers.clone();
    let service = tower::service_fn(move |mut request: Request<Body>| {
        if renewals.has_changed().unwrap_or_default() {
            renewals.mark_unchanged();
            http = connect();
        }
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        if let Some(value) = &authorization {
            request.headers_mut().insert(header::AUTHORIZATION, value.clone());
        }
        ask(http.clone(), servers.clone(), request)
    });
    Ok(ClientBuilder::new(service, "default").build())
}

/// The renewals of what is never renewed.
pub fn never() -> watch::Receiver<()> {
    watch::channel(()).1
}

type Http = hyper_util::client::legacy::Client<Connector, Body>;

/// Asks one server after the other until one takes the request. What one of them may have begun is not repeated.
async fn ask(http: Http, servers: Arc<Servers>, request: Request<Body>) -> Result<Response<Tied>, AskError> {
    let (parts, mut body) = request.into_parts();
    for left in (0..servers.count()).rev() {
        let turn = servers.turn();
        let again = body.try_clone();
        let mut attempt = Request::from_parts(parts.clone(), body);
        *attempt.uri_mut() = turn.server.uri(&parts.uri)?;
        let limit = if servers.count() > 1 { ANSWER_LIMIT } else { Duration::MAX };
        match tokio::time::timeout(limit, http.request(attempt)).await {
            Ok(Ok(response)) => {
                if response.status() == StatusCode::SERVICE_UNAVAILABLE {
                    servers.leave(&turn, Why::Unready);
                }
                return Ok(response.map(|body| Tied { body, over: Box::pin(turn.over.cancelled_owned()) }));
            }
            Ok(Err(error)) if error.is_connect() => {
                servers.leave(&turn, Why::NoConnection);
                match again {
                    Some(again) if left > 0 => body = again,
                    _ => return Err(error.into()),
                }
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {
                servers.leave(&turn, Why::Silent);
                return Err(AskError::Silent);
            }
        }
    }
    Err(AskError::Silent)
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("no connection, or a broken one")]
    Http(#[from] hyper_util::client::legacy::Error),
    #[error("the request has no address")]
    Address(#[from] http::Error),
    #[error("the server does not answer")]
    Silent,
}

/// What a server sends, until the server is left.
struct Tied {
    body: Incoming,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl hyper::body::Body for Tied {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        self.over.as_mut().poll(cx).map(|()| Some(Err("the server is no longer asked".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn authorization(token: &str) -> Result<HeaderValue, ConnectionError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ConnectionError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Why no client can be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The token cannot stand in a header.
    #[error("the token has characters that no token has")]
    Token,
}

/// Opens a TLS connection to the host of an address.
#[derive(Clone)]
struct Connector {
    tls: Arc<rustls::ClientConfig>,
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.tls.clone();
        Box::pin(async move {
            match tokio::time::timeout(CONNECT_LIMIT, connect(&uri, tls)).await {
                Ok(stream) => stream,
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no connection to {uri}"))),
            }
        })
    }
}

async fn connect(uri: &Uri, tls: Arc<rustls::ClientConfig>) -> io::Result<Stream> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_string();
    let tcp = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(443))).await?;
    tcp.set_nodelay(true)?;
    let name =
        ServerName::try_from(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let stream = tokio_rustls::TlsConnector::from(tls).connect(name, tcp).await?;
    Ok(Stream(TokioIo::new(stream)))
}

/// A connection in the form hyper's pool wants.
struct Stream(TokioIo<tokio_rustls::client::TlsStream<TcpStream>>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
