//! One HTTP request of a probe or a hook. Certificates are not verified: the address is a pod's, as kubelet has it.

use super::{bracketed, dial};
use crate::join::believing_anyone;
use crate::probe::Outcome;
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::HTTPGetAction;
use rustls::pki_types::ServerName;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Asks, and judges the status: 200 to 399 is well.
pub(super) async fn ask(host: &str, port: u16, action: &HTTPGetAction, limit: Duration) -> Outcome {
    let https = action.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    let path = action.path.clone().unwrap_or_default();
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    let scheme = if https { "https" } else { "http" };
    let url = format!("{scheme}://{}:{port}{path}", bracketed(host));
    match tokio::time::timeout(limit, status(host, port, https, &path, action)).await {
        Ok(Ok(status)) if (200..400).contains(&status) => Outcome::Success,
        Ok(Ok(status)) => Outcome::Failure(format!("HTTP probe failed with statuscode: {status}")),
        Ok(Err(text)) => Outcome::Failure(format!("Get {url:?}: {text}")),
        Err(_) => Outcome::Failure(format!(
            "Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

async fn status(
    host: &str,
    port: u16,
    https: bool,
    path: &str,
    action: &HTTPGetAction,
) -> Result<u16, String> {
    let stream = TcpStream::connect((host, port)).await.map_err(|error| dial(host, port, &error))?;
    let request = request(host, port, path, action)?;
    if !https {
        return send(stream, request).await;
    }
    let tls = believing_anyone().map_err(|error| error.to_string())?;
    let name = ServerName::try_from(host.to_string()).map_err(|error| error.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(tls);
    let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
    send(stream, request).await
}

fn request(
    host: &str,
    port: u16,
    path: &str,
    action: &HTTPGetAction,
) -> Result<http::Request<Empty<Bytes>>, String> {
    let headers = action.http_headers.as_deref().unwrap_or_default();
    let has = |name: &str| headers.iter().any(|header| header.name.eq_ignore_ascii_case(name));
    let mut request = http::Request::get(path);
    if !has("host") {
        request = request.header(http::header::HOST, format!("{}:{port}", bracketed(host)));
    }
    if !has("user-agent") {
        request = request.header(http::header::USER_AGENT, "kube-probe/1.33");
    }
    for header in headers.iter().filter(|header| !header.value.is_empty()) {
        request = request.header(&header.name, &header.value);
    }
    request.header(http::header::CONNECTION, "close").body(Empty::new()).map_err(|error| error.to_string())
}

async fn send<S>(stream: S, request: http::Request<Empty<Bytes>>) -> Result<u16, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        Ok(answer.status().as_u16())
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection drives the request; should it end first, the answer is ready or there is none.
        _ = connection => answer.await,
    }
}
