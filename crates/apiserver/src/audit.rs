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
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// Longest user agent and URI that is kept: clients choose them.
const TEXT_MAX: usize = 4096;

/// Takes events.
pub trait Sink: Send + Sync {
    /// Takes one, or counts it as lost. Never waits; what it costs to write is no request's time.
    fn record(&self, event: Event);
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
    event: Option<Event>,
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
        seen: Seen,
        (code, error): (u16, Option<&ApiError>),
    ) -> Option<Record> {
        let sink = server.config.audit.clone()?;
        if is_noise(request, &seen, self.in_process) && !matches!(code, 401 | 403 | 429) {
            return None;
        }
        let (now, begun) = (server.config.sources.now, self.begun);
        let event = Some(event(self, head, request, seen, (code, error)));
        Some(Record { sink, now, begun, event })
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Some(mut event) = self.event.take() else { return };
        event.stage_timestamp = Time((self.now)());
        let latency = format!("{:.3}ms", self.begun.elapsed().as_secs_f64() * 1e3);
        event.annotations.insert("apiserver.latency.k8s.io/total", latency);
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

/// What is recorded of a request. Made of what the request leaves behind, so that little is copied; the sink writes it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    kind: &'static str,
    api_version: &'static str,
    level: &'static str,
    #[serde(rename = "auditID")]
    audit_id: String,
    stage: &'static str,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: Cow<'static, str>,
    user: Option<Who>,
    #[serde(skip_serializing_if = "Option::is_none")]
    impersonated_user: Option<Who>,
    #[serde(rename = "sourceIPs")]
    source_ips: Vec<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<ObjectRef>,
    response_status: Status,
    request_received_timestamp: Time,
    stage_timestamp: Time,
    /// What else is known of it.
    pub annotations: BTreeMap<&'static str, String>,
}

#[derive(Debug, Default, Serialize)]
struct Who {
    username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uid: String,
    groups: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectRef {
    #[serde(skip_serializing_if = "String::is_empty")]
    resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    subresource: String,
}

#[derive(Debug, Default, Serialize)]
struct Status {
    metadata: Nothing,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    code: u16,
}

#[derive(Debug, Default, Serialize)]
struct Nothing {}

/// A moment, to the microsecond.
#[derive(Debug, Default)]
struct Time(Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{:.6}", self.0))
    }
}

fn event(
    begun: Begun,
    head: &Parts,
    request: &Request,
    seen: Seen,
    (code, error): (u16, Option<&ApiError>),
) -> Event {
    let agent = head.headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok());
    let uri = head.uri.path_and_query().map_or(request.path.as_str(), |uri| uri.as_str());
    Event {
        kind: "Event",
        api_version: "audit.k8s.io/v1",
        level: "Metadata",
        audit_id: begun.id,
        stage: "ResponseComplete",
        request_uri: cut(uri),
        verb: match request.verb() {
            Verb::Other => head.method.as_str().to_ascii_lowercase().into(),
            verb => verb.as_str().into(),
        },
        annotations: annotations(seen.reason, code, error),
        user: seen.user.map(Who::of),
        impersonated_user: seen.impersonated.map(Who::of),
        source_ips: head.extensions.get::<Peer>().map(|Peer(peer)| peer.ip()).into_iter().collect(),
        user_agent: agent.map(cut),
        object_ref: match &request.route {
            Route::Resource(target) => Some(ObjectRef::of(target)),
            _ => None,
        },
        response_status: Status::of(code, error),
        request_received_timestamp: Time(begun.received),
        stage_timestamp: Time(begun.received),
    }
}

impl Who {
    fn of(user: User) -> Self {
        Self { username: user.name, uid: user.uid, groups: user.groups, extra: user.extra }
    }
}

impl ObjectRef {
    fn of(target: &Target) -> Self {
        Self {
            resource: target.plural.clone(),
            namespace: target.namespace.clone(),
            name: target.name.clone(),
            api_group: target.group.clone(),
            api_version: target.version.clone(),
            subresource: target.subresource.clone(),
        }
    }
}

impl Status {
    /// The reason of a refusal, but not its text: that of a validation repeats what the body held.
    fn of(code: u16, error: Option<&ApiError>) -> Self {
        let told = error.filter(|_| matches!(code, 401 | 403 | 404 | 429));
        Self {
            metadata: Nothing {},
            status: error.map(|_| "Failure"),
            reason: error.map(|error| error.reason.into()),
            message: told.map(|error| cut(&error.message)),
            code,
        }
    }
}

fn annotations(
    reason: Option<String>,
    code: u16,
    error: Option<&ApiError>,
) -> BTreeMap<&'static str, String> {
    const DECISION: &str = "authorization.k8s.io/decision";
    match (reason, error) {
        (Some(reason), _) => {
            BTreeMap::from([(DECISION, "allow".into()), ("authorization.k8s.io/reason", reason)])
        }
        (None, Some(_)) if code == 403 => BTreeMap::from([(DECISION, "forbid".into())]),
        _ => BTreeMap::new(),
    }
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
