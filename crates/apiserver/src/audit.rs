//! Who did what, when, from where, and what was the answer: one event a request, when its answer is complete.
//!
//! 1. An event is a Kubernetes `audit.k8s.io/v1` Event at level Metadata: never a body, never what an object holds.
//! 2. Every refusal (401, 403, 429) is recorded, whoever it was.
//! 3. Not recorded ([`is_noise`]): health, version and discovery; reads of the loops and of nodes; heartbeats; events written by
//!    either. They would be nine lines of ten, and say nothing about people.
//! 4. The [`Sink`] never makes a request wait. What it cannot take it counts, and says so in the next event and in `/metrics`: a
//!    disk that is full or slow must not stop heartbeats, and with them every pod of the cluster.
//!
//! Kubernetes: `apiserver/pkg/audit`, `endpoints/filters/audit.go`.

use crate::Inner;
use crate::authn::User;
use crate::chance;
use crate::error::ApiError;
use crate::limits::Place;
use crate::request::{Request, Route, Target, Verb};
use http::request::Parts;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// Longest user agent and URI that is kept: clients choose them.
const TEXT_MAX: usize = 4096;

/// Takes events.
pub trait Sink: Send + Sync {
    /// Takes one, or counts it as lost. Never waits.
    fn record(&self, event: Value);
    /// How many were lost so far.
    fn lost(&self) -> u64;
}

/// The other end of the connection that a request came by; in the request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// What becomes known of a request on its way.
#[derive(Debug, Default)]
pub struct Seen {
    /// Who has shown a credential.
    pub user: Option<User>,
    /// For whom they spoke, if not for themselves.
    pub impersonated: Option<User>,
    /// Why it was allowed.
    pub reason: Option<String>,
    /// Its share of the limits.
    pub place: Option<Place>,
}

/// A request that will be recorded when its answer is complete: when this is dropped.
pub struct Record {
    sink: Arc<dyn Sink>,
    now: fn() -> Timestamp,
    begun: Instant,
    event: Value,
}

/// A begun request.
pub struct Begun {
    id: String,
    received: Timestamp,
    begun: Instant,
    in_process: bool,
}

impl Begun {
    /// At the arrival of a request; none when nothing is recorded.
    pub fn new(server: &Inner, in_process: bool) -> Option<Self> {
        server.config.audit.as_ref()?;
        let id = chance::uuid(server.config.sources.chance);
        Some(Self { id, received: server.now(), begun: Instant::now(), in_process })
    }

    /// The `Audit-Id` of the answer.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When the answer is known; none for what is not recorded.
    pub fn answered(
        self,
        server: &Inner,
        head: &Parts,
        request: &Request,
        seen: &Seen,
        (code, error): (u16, Option<&ApiError>),
    ) -> Option<Record> {
        let sink = server.config.audit.clone()?;
        if is_noise(request, seen, self.in_process) && !matches!(code, 401 | 403 | 429) {
            return None;
        }
        let event = event(&self, head, request, seen, (code, error));
        Some(Record { sink, now: server.config.sources.now, begun: self.begun, event })
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let mut event = std::mem::take(&mut self.event);
        event["stageTimestamp"] = time((self.now)()).into();
        let latency = format!("{:.3}ms", self.begun.elapsed().as_secs_f64() * 1e3);
        event["annotations"]["apiserver.latency.k8s.io/total"] = latency.into();
        self.sink.record(event);
    }
}

/// Rule 3 at the top.
fn is_noise(request: &Request, seen: &Seen, in_process: bool) -> bool {
    let Route::Resource(target) = &request.route else {
        return request.route != Route::Unknown;
    };
    let is_node = seen.user.as_ref().is_some_and(|user| user.node().is_some());
    if !(in_process || is_node) || seen.impersonated.is_some() {
        return false;
    }
    let reads = matches!(request.verb(), Verb::Get | Verb::List | Verb::Watch);
    let heartbeat = match (target.plural.as_str(), target.subresource.as_str()) {
        ("leases", _) => true,
        ("nodes", "status") => is_node,
        ("events", _) => true,
        _ => false,
    };
    // A node's log is read on behalf of somebody; loops read none.
    (reads && target.subresource.is_empty()) || (heartbeat && request.verb() != Verb::Delete)
}

fn event(
    begun: &Begun,
    head: &Parts,
    request: &Request,
    seen: &Seen,
    (code, error): (u16, Option<&ApiError>),
) -> Value {
    let agent = head.headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok());
    let uri = head.uri.path_and_query().map_or(request.path.as_str(), |uri| uri.as_str());
    let peer = head.extensions.get::<Peer>().map(|Peer(peer)| peer.ip().to_string());
    let verb = match request.verb() {
        Verb::Other => head.method.as_str().to_ascii_lowercase(),
        verb => verb.as_str().to_string(),
    };
    let mut event = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": begun.id,
        "stage": "ResponseComplete", "requestURI": cut(uri), "verb": verb,
        "user": seen.user.as_ref().map_or_else(|| json!({}), user),
        "sourceIPs": peer.into_iter().collect::<Vec<_>>(),
        "responseStatus": status(code, error),
        "requestReceivedTimestamp": time(begun.received), "annotations": annotations(seen, code, error),
    });
    if let Some(agent) = agent {
        event["userAgent"] = cut(agent).into();
    }
    if let Some(other) = &seen.impersonated {
        event["impersonatedUser"] = user(other);
    }
    if let Route::Resource(target) = &request.route {
        event["objectRef"] = object_ref(target);
    }
    event
}

fn user(user: &User) -> Value {
    let mut out = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        out["uid"] = user.uid.as_str().into();
    }
    if !user.extra.is_empty() {
        out["extra"] = json!(user.extra);
    }
    out
}

fn object_ref(target: &Target) -> Value {
    let fields = [
        ("resource", &target.plural),
        ("namespace", &target.namespace),
        ("name", &target.name),
        ("apiGroup", &target.group),
        ("apiVersion", &target.version),
        ("subresource", &target.subresource),
    ];
    let filled = fields.into_iter().filter(|(_, text)| !text.is_empty());
    filled.map(|(field, text)| (field.to_string(), Value::from(text.as_str()))).collect::<Map<_, _>>().into()
}

/// The reason of a refusal, but not its text: that of a validation repeats what the body held.
fn status(code: u16, error: Option<&ApiError>) -> Value {
    let mut status = json!({"metadata": {}, "code": code});
    if let Some(error) = error {
        status["status"] = "Failure".into();
        status["reason"] = error.reason.into();
        if matches!(code, 401 | 403 | 404 | 429) {
            status["message"] = cut(&error.message).into();
        }
    }
    status
}

fn annotations(seen: &Seen, code: u16, error: Option<&ApiError>) -> Value {
    match (&seen.reason, error) {
        (Some(reason), _) => {
            json!({"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": reason})
        }
        (None, Some(_)) if code == 403 => json!({"authorization.k8s.io/decision": "forbid"}),
        _ => json!({}),
    }
}

fn time(at: Timestamp) -> String {
    format!("{at:.6}")
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    #[test]
    fn heartbeats_and_reads_of_nodes_and_loops_are_noise_and_people_never() {
        let node = || User::authenticated("system:node:n1", ["system:nodes".to_string()]);
        let check = |user: User, in_process: bool, call: &str, expected: bool| {
            let (method, uri) = call.split_once(' ').unwrap();
            let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
            let request = Request::parse(&method.parse::<Method>().unwrap(), path, query);
            let seen = Seen { user: Some(user), ..Seen::default() };
            assert_eq!(is_noise(&request, &seen, in_process), expected, "{call}");
        };
        let lease = "PUT /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1";
        check(node(), false, lease, true);
        check(node(), false, "GET /api/v1/pods?watch=1", true);
        check(node(), false, "PATCH /api/v1/nodes/n1/status", true);
        check(node(), false, "PATCH /api/v1/nodes/n1", false);
        check(node(), false, "PATCH /api/v1/namespaces/a/pods/p/status", false);
        check(node(), false, "GET /api/v1/namespaces/a/secrets/s", true);
        check(User::default(), true, "GET /api/v1/pods", true);
        check(User::default(), true, "DELETE /api/v1/namespaces/a/pods/p", false);
        for call in ["GET /api/v1/pods?watch=1", "GET /api/v1/namespaces/a/secrets/s", lease] {
            check(User::authenticated("alice", []), false, call, false);
        }
        check(User::authenticated("alice", []), false, "GET /readyz", true);
        check(User::authenticated("alice", []), false, "GET /api", true);
        check(User::authenticated("alice", []), false, "GET /nothing", false);
    }
}
