//! Exec, attach and port-forward: the connection itself is handed to the node's agent (wire 6.22–6.26, A.9).
//!
//! What is asked is checked here and becomes kubelet's path ([`path`] is pure); method and protocol headers go along, and
//! after the agent's 101 the bytes of both sides pass as they come. The server reads no frame of SPDY or WebSocket, so that
//! it serves whatever the agent serves; a real kubelet in its place, too. When one side ends, both do.
//!
//! Differs: Kubernetes from 1.30 on translates WebSocket to SPDY here (`apiserver/pkg/util/proxy`); ours does it in the
//! agent, beside the runtime. The right to open is `create` for POST and `get` for GET, as in 1.33 (7.3.2).
//! Kubernetes: `registry/core/pod/strategy.go` `streamLocation`, `apimachinery/pkg/util/proxy/upgradeaware.go`.

use super::agent::{Agent, refusal};
use super::container;
use crate::error::ApiError;
use crate::options::Query;
use crate::reply::{self, BodyError, Reply};
use crate::verbs::Call;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use http_body_util::Empty;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Most streams at once: a person has a few, and each costs two sockets and two buffers.
const STREAMS: usize = 2048;
/// Most of one user, whoever they are: a script that forgets its streams must not lock out everybody else.
const OF_ONE_USER: usize = 512;
/// Buffer of each direction; a `cp` of a large file moves in pieces of this.
const BUFFER: usize = 32 * 1024;

/// How long a side whose peer has ended may go on before its connection is closed.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What says which protocol is spoken; all that an agent is told of the user's headers.
const OF_PROTOCOL: [HeaderName; 6] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    PROTOCOLS,
];
/// What an agent's 101 says.
const OF_ANSWER: [HeaderName; 5] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_PROTOCOL,
    PROTOCOLS,
];
/// How SPDY clients negotiate. Kubernetes: `httpstream.HeaderProtocolVersion`.
const PROTOCOLS: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// The streams that are open.
pub struct Streams {
    places: Arc<Semaphore>,
    /// How many each user has; nobody who has none.
    users: Arc<Mutex<BTreeMap<String, usize>>>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Streams {
    /// None yet; all end when `closing` is cancelled.
    pub fn new(closing: CancellationToken) -> Self {
        let places = Arc::new(Semaphore::new(STREAMS));
        Self { places, users: Arc::default(), tasks: TaskTracker::new(), closing }
    }

    /// Waits until none is open any more.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn place(&self, user: &str) -> Result<Place, ApiError> {
        let full = || ApiError {
            retry_after: Some(1),
            ..ApiError::plain(429, "TooManyRequests", "Too many requests, please try again later.")
        };
        let permit = self.places.clone().try_acquire_owned().map_err(|_| full())?;
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let own = users.entry(user.to_string()).or_default();
        if *own >= OF_ONE_USER {
            return Err(full());
        }
        *own += 1;
        Ok(Place { _permit: permit, users: self.users.clone(), user: user.to_string() })
    }

    /// Passes bytes both ways, as soon as both ends have switched protocols.
    fn carry(&self, client: OnUpgrade, agent: OnUpgrade, place: Place) {
        let closing = self.closing.clone();
        self.tasks.spawn(async move {
            let _place = place;
            let work = async {
                let (client, agent) = tokio::try_join!(client, agent)?;
                join(client, agent).await.map_err(BodyError::from)
            };
            if let Some(Err(error)) = closing.run_until_cancelled(work).await {
                tracing::debug!(%error, "a stream to a node ended");
            }
        });
    }
}

/// One stream of a user; dropping it gives its place back.
struct Place {
    _permit: OwnedSemaphorePermit,
    users: Arc<Mutex<BTreeMap<String, usize>>>,
    user: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = users.get_mut(&self.user) {
            *own = own.saturating_sub(1);
        }
        users.retain(|_, own| *own > 0);
    }
}

/// GET or POST `pods/NAME/{exec,attach,portforward}`.
pub async fn open(call: &Call<'_>) -> Result<Reply, ApiError> {
    let found = call.server.read(call.kind, &call.target.namespace, &call.target.name).await?;
    let (pod, _) = found.ok_or_else(|| call.not_found())?;
    let path = path(&pod, &call.target.subresource, &call.request.query)?;
    let (Some(client), true) = (call.upgrade.clone(), wants_upgrade(call.headers)) else {
        return Err(ApiError::bad_request("Upgrade request required"));
    };
    let place = call.server.streams.place(&call.user.name)?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    let agent = Agent::of(call.server, node).await?;
    let broken = |error: BodyError| ApiError::plain(500, "", format!("error dialing backend: {error}"));
    let mut request = http::Request::builder().method(&call.request.method).uri(path);
    if let Some(headers) = request.headers_mut() {
        *headers = only(&OF_PROTOCOL, call.headers);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| broken(error.into()))?;
    let mut answer = agent.ask(request).await.map_err(broken)?;
    if answer.response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(refused(answer.response).await);
    }
    let upgraded = hyper::upgrade::on(&mut answer.response);
    // The end of the HTTP connection hands the stream over.
    answer.connection.detach();
    call.server.streams.carry(client, upgraded, place);
    let mut reply = http::Response::new(reply::full(Bytes::new()));
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *reply.headers_mut() = only(&OF_ANSWER, answer.response.headers());
    Ok(reply)
}

/// The agent's path for what is asked, or what is wrong with it.
fn path(pod: &Value, subresource: &str, query: &Query) -> Result<String, ApiError> {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    let mut path = match subresource {
        "portforward" => format!("/portForward/{namespace}/{name}"),
        subresource => {
            format!("/{subresource}/{namespace}/{name}/{}", container(pod, query.get("container"))?)
        }
    };
    if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        return Err(ApiError::bad_request(format!("pod {name} does not have a host assigned")));
    }
    let mut between = '?';
    let mut add = |name: &str, value: &str| {
        let _ = write!(path, "{between}{name}={}", encoded(value));
        between = '&';
    };
    match subresource {
        "portforward" => {
            let ports: Vec<&str> = query.all("ports").collect();
            if !ports.is_empty() {
                add("port", &ports.join(","));
            }
        }
        subresource => {
            query.all("command").filter(|_| subresource == "exec").for_each(|word| add("command", word));
            for (theirs, ours) in
                [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")]
            {
                if query.flag(theirs) {
                    add(ours, "1");
                }
            }
        }
    }
    Ok(path)
}

/// Everything but letters, digits and `-._~` is escaped.
fn encoded(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
}

fn only(names: &[HeaderName], headers: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::new();
    for name in names {
        for value in headers.get_all(name) {
            out.append(name, value.clone());
        }
    }
    out
}

/// The agent's refusal with its code and its words, which kubectl shows behind "unable to upgrade connection".
async fn refused(response: http::Response<hyper::body::Incoming>) -> Reply {
    let (head, body) = response.into_parts();
    // Without the switch of protocols that was asked for, a success is none.
    let code = if head.status.is_success() { 502 } else { head.status.as_u16() };
    let mut reply = reply::text(code, format!("{}\n", refusal(body).await));
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    let media = head.headers.get(header::CONTENT_TYPE).cloned().unwrap_or(plain);
    reply.headers_mut().insert(header::CONTENT_TYPE, media);
    reply
}

/// Until one side ends: what it had said has been passed on then.
async fn join(client: Upgraded, agent: Upgraded) -> std::io::Result<()> {
    let (mut client_in, mut client_out) = tokio::io::split(TokioIo::new(client));
    let (mut agent_in, mut agent_out) = tokio::io::split(TokioIo::new(agent));
    let ended = tokio::select! {
        ended = pass(&mut client_in, &mut agent_out) => ended,
        ended = pass(&mut agent_in, &mut client_out) => ended,
    };
    // A proper end of TLS. Closing while a peer sends would be a reset, which may overtake what it has not read yet.
    let _ = tokio::join!(client_out.shutdown(), agent_out.shutdown());
    let mut nowhere = (tokio::io::sink(), tokio::io::sink());
    let rest =
        async { tokio::join!(pass(&mut client_in, &mut nowhere.0), pass(&mut agent_in, &mut nowhere.1)) };
    let _ = tokio::time::timeout(LAST_WORDS, rest).await;
    ended
}

/// Piece by piece: nothing more is read before the last piece is on its way, so that a slow reader slows the writer. One
/// that hears nothing any more may have said something before, so what is said to it is dropped.
async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    let mut piece = vec![0; BUFFER];
    let mut heard = true;
    loop {
        let read = from.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        if heard {
            let piece = piece.get(..read).unwrap_or_default();
            heard = to.write_all(piece).await.is_ok() && to.flush().await.is_ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_user_cannot_hold_all_streams() {
        let streams = Streams::new(CancellationToken::new());
        let mut held: Vec<Place> = (0..OF_ONE_USER).map(|_| streams.place("a").ok().unwrap()).collect();
        assert_eq!(streams.place("a").err().map(|error| error.code), Some(429));
        assert!(streams.place("b").is_ok());
        held.pop();
        assert!(streams.place("a").is_ok());
        drop(held);
        assert!(streams.users.lock().unwrap().is_empty());
        assert_eq!(streams.places.available_permits(), STREAMS);
    }

    #[test]
    fn what_is_asked_becomes_kubelets_path_or_a_refusal() {
        let check = |subresource: &str, query: &str, expected: Result<&str, &str>| {
            let pod = json!({"metadata": {"name": "p", "namespace": "d"},
                "spec": {"nodeName": "n", "containers": [{"name": "a"}, {"name": "b"}]}});
            let found = path(&pod, subresource, &Query::parse(query))
                .map_err(|e| format!("{} {}", e.code, e.message));
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{subresource} {query}");
        };
        check(
            "exec",
            "command=sh&command=-c&command=echo+a%26b&container=b&stdin=true&stdout=true&stderr=false&tty=true",
            Ok("/exec/d/p/b?command=sh&command=-c&command=echo%20a%26b&input=1&output=1&tty=1"),
        );
        check("exec", "command=x&container=c", Err("400 container c is not valid for pod p"));
        check("exec", "", Err("400 a container name must be specified for pod p, choose one of: [a b]"));
        check("attach", "container=a&command=x&stdout=1&stderr=1", Ok("/attach/d/p/a?output=1&error=1"));
        check("portforward", "", Ok("/portForward/d/p"));
        check("portforward", "ports=80&ports=81", Ok("/portForward/d/p?port=80%2C81"));
        let waiting =
            json!({"metadata": {"name": "p", "namespace": "d"}, "spec": {"containers": [{"name": "a"}]}});
        let refused = path(&waiting, "exec", &Query::parse("command=x")).unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (400, "pod p does not have a host assigned"));
    }

    #[test]
    fn only_what_says_the_protocol_goes_to_the_agent() {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer secret"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.append(PROTOCOLS, HeaderValue::from_static("v4.channel.k8s.io"));
        headers.append(PROTOCOLS, HeaderValue::from_static("channel.k8s.io"));
        assert!(wants_upgrade(&headers));
        let passed = only(&OF_PROTOCOL, &headers);
        let names: Vec<&str> = passed.keys().map(HeaderName::as_str).collect();
        assert_eq!((names, passed.len()), (vec!["connection", "x-stream-protocol-version"], 3));
    }
}
