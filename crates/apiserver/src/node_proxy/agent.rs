//! Where a node's agent is, and one request to it over a connection of its own.
//!
//! The address is the node's InternalIP with `status.daemonEndpoints.kubeletEndpoint.Port`; the agent must show a
//! certificate for that address, and is shown the server's (wire A.9). Nothing of the user's request goes there but what
//! the callers put in: no bearer token ever reaches a node.

use crate::Inner;
use crate::error::ApiError;
use crate::reply::BodyError;
use crate::resources::find;
use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// How long an agent has to take the connection, shake hands, and begin its answer.
const CONNECT: Duration = Duration::from_secs(10);
const FIRST_BYTE: Duration = Duration::from_secs(30);
/// Most bytes of an agent's refusal that are passed on.
const REFUSAL_MAX: usize = 2048;

/// A node's agent.
pub struct Agent {
    /// Where it listens.
    pub address: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
}

/// What an agent has begun to answer. The connection ends when this is dropped, but not a stream that it became.
pub struct Answer {
    /// Head and body.
    pub response: http::Response<Incoming>,
    /// Keeps the connection.
    pub connection: AbortOnDropHandle<()>,
}

impl Agent {
    /// The agent of a node.
    pub async fn of(server: &Inner, node: &str) -> Result<Self, ApiError> {
        let Some(kind) = find("", "v1", "nodes") else { return Err(ApiError::no_such_path()) };
        let found = server.read(kind, "", node).await?;
        let (object, _) = found.ok_or_else(|| ApiError::not_found(crate::admission::resource(kind), node))?;
        let unavailable = |text: String| ApiError::plain(503, "ServiceUnavailable", text);
        let address =
            address(&object).ok_or_else(|| unavailable(format!("node {node} {}", without_agent(&object))))?;
        let tls = server.config.agent_tls.clone().ok_or_else(|| {
            unavailable("this server has no certificate to speak to node agents with".to_string())
        })?;
        Ok(Self { address, tls })
    }

    /// Sends a request without a body and waits for the head of the answer.
    pub async fn ask(&self, mut request: http::Request<Empty<Bytes>>) -> Result<Answer, BodyError> {
        let host = HeaderValue::from_str(&self.address.to_string())?;
        request.headers_mut().insert(HOST, host);
        let answer = tokio::time::timeout(FIRST_BYTE, self.answer(request)).await;
        answer.map_err(|_| "net/http: timeout awaiting response headers")?
    }

    async fn answer(&self, request: http::Request<Empty<Bytes>>) -> Result<Answer, BodyError> {
        let address = self.address;
        let connect = async {
            let tcp =
                TcpStream::connect(address).await.map_err(|e| format!("dial tcp {address}: connect: {e}"))?;
            tcp.set_nodelay(true)?;
            let name = ServerName::IpAddress(address.ip().into());
            Ok::<_, BodyError>(tokio_rustls::TlsConnector::from(self.tls.clone()).connect(name, tcp).await?)
        };
        let stream = tokio::time::timeout(CONNECT, connect)
            .await
            .map_err(|_| format!("dial tcp {address}: i/o timeout"))??;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%address, %error, "a connection to a node agent ended");
            }
        }));
        Ok(Answer { response: sender.send_request(request).await?, connection })
    }
}

/// What the agent says in a refusal.
pub async fn refusal(body: Incoming) -> String {
    let bytes = Limited::new(body, REFUSAL_MAX).collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim().to_string()
}

fn address(node: &Value) -> Option<SocketAddr> {
    let addresses = node["status"]["addresses"].as_array()?;
    let internal = addresses.iter().find(|address| address["type"] == "InternalIP")?;
    let ip: IpAddr = internal["address"].as_str()?.parse().ok()?;
    let port = u16::try_from(node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64()?).ok()?;
    (port > 0).then(|| SocketAddr::new(ip, port))
}

/// Why a node has no agent that could be asked.
fn without_agent(node: &Value) -> &'static str {
    let runtime = node["status"]["nodeInfo"]["containerRuntimeVersion"].as_str().unwrap_or_default();
    match runtime.starts_with("simulated://") {
        true => "is simulated: no process runs in its containers",
        false => "has no InternalIP or no agent port in its status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_agent_is_where_its_node_says() {
        let node = json!({"status": {"addresses": [{"type": "Hostname", "address": "n"},
            {"type": "InternalIP", "address": "10.0.0.1"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}}});
        assert_eq!(address(&node), Some("10.0.0.1:10250".parse().unwrap()));
        assert_eq!(address(&json!({})), None);
        assert_eq!(without_agent(&json!({})), "has no InternalIP or no agent port in its status");
        let simulated = json!({"status": {"nodeInfo": {"containerRuntimeVersion": "simulated://0.1.0"}}});
        assert_eq!(without_agent(&simulated), "is simulated: no process runs in its containers");
    }
}
