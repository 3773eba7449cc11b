//! A [`kube::Client`] over TLS whose certificates may change while it lives.
//!
//! kube's own connector reads a client certificate once. An agent renews its certificate before it expires
//! ([`crate::join`]) and must not lose its watches for that, so connections ask a resolver for the certificate at
//! every handshake. HTTP/1.1, one connection per request that is under way, as kube does it.

use http::{HeaderValue, Uri, header};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use rustls::pki_types::ServerName;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tower::Service;

/// A server that does not take a connection within this is down. Kubernetes: client-go's dial timeout.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Up to its slash, this is what owns the fields that an agent writes.
const USER_AGENT: &str = concat!("everynode-agent/", env!("CARGO_PKG_VERSION"));

/// A client for the server at `url`; `bearer` goes into every request.
pub fn client(
    url: &str,
    tls: Arc<rustls::ClientConfig>,
    bearer: Option<&str>,
) -> Result<kube::Client, ConnectionError> {
    let uri: Uri = url.parse().map_err(|source| ConnectionError::Url { url: url.into(), source })?;
    let authorization = bearer.map(authorization).transpose()?;
    let config = kube::Config::new(uri);
    let connector = Connector { tls };
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(connector);
    let service = tower::ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .map_request(move |mut request: http::Request<Body>| {
            request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
            if let Some(value) = &authorization {
                request.headers_mut().insert(header::AUTHORIZATION, value.clone());
            }
            request
        })
        .service(http);
    Ok(ClientBuilder::new(service, "default").build())
}

fn authorization(token: &str) -> Result<HeaderValue, ConnectionError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ConnectionError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Why no client can be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The address cannot be read.
    #[error("{url:?} is not the address of a server, such as https://10.0.0.1:6443")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        #[source]
        source: http::uri::InvalidUri,
    },
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
