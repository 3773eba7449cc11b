//! One TLS connection, and requests on it one after the other: HTTP/1.1, bytes in and out.
//!
//! A client that made objects of its answers would use up the core that it shares with the server.

use crate::JSON;
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HOST};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use kube::Config;
use kube::client::ConfigExt as _;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const MERGE: &str = "application/merge-patch+json";

/// A connection to the server.
pub struct Wire {
    requests: SendRequest<Full<Bytes>>,
    host: String,
}

impl Wire {
    /// Connects as the kubeconfig says.
    pub async fn open(config: &Config) -> Result<Self> {
        let host = config.cluster_url.host().context("the kubeconfig names no host")?.to_string();
        let port = config.cluster_url.port_u16().unwrap_or(443);
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        let tls = TlsConnector::from(Arc::new(config.rustls_client_config()?));
        let stream = tls.connect(ServerName::try_from(host.clone())?, stream).await?;
        let (requests, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { requests, host })
    }

    /// Writes, and reads the answer to its end.
    pub async fn write(&mut self, method: Method, path: &str, body: impl Into<Bytes>) -> Result<()> {
        let media = if method == Method::PATCH { MERGE } else { JSON };
        let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, media);
        let answer = self.send(request, body.into()).await?;
        Self::length(answer).await.map(drop)
    }

    /// Reads, and answers how many bytes came.
    pub async fn read(&mut self, path: &str, accept: &str, encoding: &str) -> Result<usize> {
        let mut request = Request::get(path).header(ACCEPT, accept);
        if !encoding.is_empty() {
            request = request.header(ACCEPT_ENCODING, encoding);
        }
        let answer = self.send(request, Bytes::new()).await?;
        Self::length(answer).await
    }

    /// Begins to read what comes in pieces.
    pub async fn stream(&mut self, path: &str) -> Result<Incoming> {
        Ok(self.send(Request::get(path), Bytes::new()).await?.into_body())
    }

    async fn send(&mut self, request: http::request::Builder, body: Bytes) -> Result<Response<Incoming>> {
        let request = request.header(HOST, &self.host).body(Full::new(body))?;
        self.requests.ready().await?;
        let answer = self.requests.send_request(request).await?;
        if !answer.status().is_success() {
            let (head, body) = answer.into_parts();
            let text = body.collect().await?.to_bytes();
            bail!("{}: {}", head.status, String::from_utf8_lossy(&text));
        }
        Ok(answer)
    }

    async fn length(answer: Response<Incoming>) -> Result<usize> {
        let (mut body, mut length) = (answer.into_body(), 0);
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(length)
    }
}
