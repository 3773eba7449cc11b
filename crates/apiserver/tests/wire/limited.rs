//! What the server bears, seen from outside: requests in flight, bodies, heads, connections, silence.

use crate::authority::Authority;
use crate::harness::{Harness, PATIENCE, config, masters};
use apiserver::{ApiServer, Bounds, User, serve_within};
use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use store::memory::MemoryStore;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::ServiceExt as _;

fn user(name: &str, group: &str) -> User {
    User::authenticated(name, [group.to_string()])
}

/// A request whose body never comes.
fn hanging(api: &Harness) -> tokio::task::JoinHandle<u16> {
    let body = StreamBody::new(futures::stream::pending::<Result<http_body::Frame<Bytes>, std::io::Error>>());
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let request = http::Request::post(path).body(body.boxed_unsync()).unwrap();
    let service = api.server.as_user(api.user.clone());
    tokio::spawn(async move { service.oneshot(request).await.unwrap().status().as_u16() })
}

#[tokio::test]
async fn who_floods_is_told_to_come_again_and_nobody_else_notices() {
    let api = Harness::new().await;
    let alice = api.as_user(user("alice", "devs"));
    let held: Vec<_> = (0..200).map(|_| hanging(&alice)).collect();
    let full = async {
        loop {
            let answer = alice.get("/version").await;
            if answer.code == 429 {
                break answer;
            }
            tokio::task::yield_now().await;
        }
    };
    let refused = tokio::time::timeout(PATIENCE, full).await.unwrap();
    assert_eq!(refused.headers["retry-after"], "1");
    let expected = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "Too many requests, please try again later.", "reason": "TooManyRequests",
        "details": {"retryAfterSeconds": 1}, "code": 429});
    assert_eq!(refused.json, expected);
    assert_eq!(api.as_user(user("bob", "devs")).get("/version").await.code, 200);
    assert_eq!(api.as_user(user("system:node:n1", "system:nodes")).get("/version").await.code, 200);
    assert_eq!(api.get("/version").await.code, 200);
    let metrics = api.get("/metrics").await.text;
    let figure = "apiserver_current_inflight_requests{priority_level=\"user\",request_kind=\"request\"} 200";
    assert!(metrics.contains(figure), "{metrics}");
    held.iter().for_each(|task| task.abort());
    for task in held {
        let _ = task.await;
    }
    assert_eq!(alice.get("/version").await.code, 200, "who has ended makes room");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let api = Harness::new().await;
    assert_eq!(hanging(&api).await.unwrap(), 504);
}

struct Outside {
    address: SocketAddr,
    connector: TlsConnector,
    _end: tokio::sync::oneshot::Sender<()>,
}

async fn outside(bounds: Bounds) -> Outside {
    let server = ApiServer::open(Arc::new(MemoryStore::new()), config()).await.unwrap();
    let account = Harness { server: server.clone(), user: masters() };
    account
        .create(
            "/api/v1/namespaces/default/configmaps",
            json!({"metadata": {"name": "x"},
        "data": {"long": "x".repeat(900_000)}}),
        )
        .await;
    let ca = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ended) = tokio::sync::oneshot::channel();
    let serving = serve_within(server, listener, ca.server(), bounds, async { drop(ended.await) });
    tokio::spawn(serving);
    Outside { address, connector: TlsConnector::from(ca.trusting()), _end: end }
}

impl Outside {
    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn tls(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
        self.connector.connect(name, self.tcp().await).await
    }
}

/// Reads to the end, which has to come.
async fn to_end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    // A cut connection ends with an error or without one.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("it ends");
    String::from_utf8_lossy(&all).into_owned()
}

const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn whoever_connects_and_says_nothing_is_cut() {
    let bounds = Bounds { handshake: SHORT, first_request: SHORT, headers: SHORT, ..Bounds::default() };
    let outside = outside(bounds).await;
    assert_eq!(to_end(&mut outside.tcp().await).await, "", "no handshake");
    assert_eq!(to_end(&mut outside.tls().await.unwrap()).await, "", "no request");
    let mut half = outside.tls().await.unwrap();
    half.write_all(b"GET /version HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
    let answer = to_end(&mut half).await;
    assert!(!answer.contains("200"), "half a head: {answer}");
    let mut idle = outside.tls().await.unwrap();
    idle.write_all(b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(to_end(&mut idle).await.contains("200 OK"), "and an idle connection ends");
}

#[tokio::test]
async fn a_head_or_a_body_that_is_too_large_is_refused() {
    let outside = outside(Bounds::default()).await;
    let mut head = outside.tls().await.unwrap();
    let long = "x".repeat(300_000);
    let text = format!("GET /version HTTP/1.1\r\nhost: x\r\nx-long: {long}\r\n\r\n");
    let _ = head.write_all(text.as_bytes()).await;
    assert!(to_end(&mut head).await.starts_with("HTTP/1.1 431"), "its head");
    let mut body = outside.tls().await.unwrap();
    let size = 4 << 20;
    let text = format!(
        "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         authorization: Bearer abcdef.0123456789abcdef\r\ncontent-length: {size}\r\n\r\n"
    );
    body.write_all(text.as_bytes()).await.unwrap();
    let _ = body.write_all(&vec![b' '; size]).await;
    let answer = to_end(&mut body).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("RequestEntityTooLarge"), "{answer}");
}

#[tokio::test]
async fn one_address_does_not_take_every_connection() {
    let outside = outside(Bounds { per_address: 2, ..Bounds::default() }).await;
    let (first, second) = (outside.tls().await.unwrap(), outside.tls().await.unwrap());
    assert!(outside.tls().await.is_err());
    drop((first, second));
    let again = async {
        while outside.tls().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut() {
    let outside = outside(Bounds { stall: SHORT, ..Bounds::default() }).await;
    let mut stream = outside.tls().await.unwrap();
    // More answers than the buffers of the system hold; none is read.
    let request =
        "GET /openapi/v3/api/v1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer abcdef.0123456789abcdef\r\n\r\n";
    let asking = async {
        loop {
            if stream.write_all(request.as_bytes()).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("the server closes the connection");
}
