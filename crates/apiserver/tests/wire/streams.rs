//! Exec, attach and port-forward: the connection goes to the node's agent, byte by byte (wire 6.22–6.26, A.9).

use crate::authority::Authority;
use crate::harness::{Harness, PATIENCE};
use crate::logs::cluster;
use apiserver::{User, serve};
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// An agent that switches protocols and gives everything back, behind what it was asked; `attach` it refuses.
async fn agent(authority: &Authority) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = tokio_rustls::TlsAcceptor::from(authority.server());
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let stream = tls.accept(tcp).await.unwrap();
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .with_upgrades();
            tokio::spawn(connection);
        }
    });
    address
}

async fn answer(
    mut request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    if request.uri().path().starts_with("/attach/") {
        let refusal = Full::from("container not found (\"c\")\n");
        return Ok(http::Response::builder().status(500).body(refusal).unwrap());
    }
    let mut names: Vec<&str> = request.headers().keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    let first = format!("{} {} {}\n", request.method(), request.uri(), names.join(" "));
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let (mut from, mut to) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
        to.write_all(first.as_bytes()).await.unwrap();
        tokio::io::copy(&mut from, &mut to).await
    });
    let response = http::Response::builder().status(101).header("connection", "Upgrade");
    let response =
        response.header("upgrade", "SPDY/3.1").header("x-stream-protocol-version", "v4.channel.k8s.io");
    Ok(response.body(Full::default()).unwrap())
}

/// Puts a server on a socket and connects to it.
async fn connected(api: &Harness, authority: &Authority) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (server, tls) = (api.server.clone(), authority.server());
    tokio::spawn(serve(server, listener, tls, std::future::pending()));
    let client = tokio_rustls::TlsConnector::from(authority.trusting_as("admin", "system:masters"));
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    client.connect(address.ip().into(), tcp).await.unwrap()
}

/// Sends a request; the head of the answer, and the first line behind it.
async fn begin(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), line: &str) -> (String, String) {
    let request = format!(
        "{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         X-Stream-Protocol-Version: v4.channel.k8s.io\r\nX-Stream-Protocol-Version: channel.k8s.io\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    (until(stream, "\r\n\r\n").await, until(stream, "\n").await)
}

async fn until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let byte = tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("an answer in time");
        text.push(char::from(byte.unwrap()));
    }
    text
}

const POD: &str = "/api/v1/namespaces/default/pods/p";

#[tokio::test]
async fn a_stream_passes_to_the_agent_and_back_until_the_server_closes() {
    let authority = Authority::new();
    let api = cluster(&authority, agent(&authority).await).await;
    let mut stream = connected(&api, &authority).await;
    let (head, asked) =
        begin(&mut stream, &format!("POST {POD}/exec?command=sh&command=a%20b&stdin=true")).await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("x-stream-protocol-version: v4.channel.k8s.io\r\n"), "{head}");
    assert_eq!(
        asked,
        "POST /exec/default/p/c?command=sh&command=a%20b&input=1 connection host upgrade x-stream-protocol-version\n",
        "no token goes to a node"
    );
    let sent: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
    let (mut from, mut to) = tokio::io::split(stream);
    let (expected, writing) =
        (sent.clone(), tokio::spawn(async move { to.write_all(&sent).await.map(|()| to) }));
    let mut got = vec![0; expected.len()];
    tokio::time::timeout(PATIENCE, from.read_exact(&mut got)).await.unwrap().unwrap();
    assert!(got == expected, "the bytes differ");
    let _to = writing.await.unwrap().unwrap();
    api.server.close();
    let end = tokio::time::timeout(PATIENCE, from.read_to_end(&mut got)).await.expect("it ends");
    assert!(end.is_err() || got == expected);
    tokio::time::timeout(PATIENCE, api.server.streams_ended()).await.expect("no stream is left");
}

#[tokio::test]
async fn a_refusal_of_the_agent_comes_in_its_own_words() {
    let authority = Authority::new();
    let api = cluster(&authority, agent(&authority).await).await;
    let mut stream = connected(&api, &authority).await;
    let (head, text) = begin(&mut stream, &format!("GET {POD}/attach?stdout=true")).await;
    assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
    assert_eq!(text, "container not found (\"c\")\n");
}

#[tokio::test]
async fn what_cannot_become_a_stream_is_a_status() {
    let authority = Authority::new();
    let api = cluster(&authority, agent(&authority).await).await;
    let check = async |api: &Harness, call: &str, code: u16, text: &str| {
        let answer = api.raw(call, &[], "").await;
        assert_eq!((answer.code, answer.message()), (code, text), "{call}");
    };
    check(&api, &format!("GET {POD}/exec?command=x&stdout=1"), 400, "Upgrade request required").await;
    check(&api, &format!("POST {POD}/portforward"), 400, "Upgrade request required").await;
    check(&api, "POST /api/v1/namespaces/default/pods/q/exec", 404, "pods \"q\" not found").await;
    check(&api, &format!("POST {POD}/exec?container=z"), 400, "container z is not valid for pod p").await;
    let put = api.raw(&format!("PUT {POD}/exec"), &[], "").await;
    assert_eq!(put.code, 405);
    // 7.3.2: POST is create, GET is get, as in 1.33.
    let alice = api.as_user(User::authenticated("alice", []));
    for (method, verb) in [("GET", "get"), ("POST", "create")] {
        let text = format!(
            "pods \"p\" is forbidden: User \"alice\" cannot {verb} resource \"pods/exec\" in API group \"\" in the namespace \"default\""
        );
        check(&alice, &format!("{method} {POD}/exec?command=x"), 403, &text).await;
    }
}
