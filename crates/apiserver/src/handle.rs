//! The life of one request, and the tower service for clients in this process.
//!
//! Order: route, authenticate, authorize, then read the body, so that nobody unknown makes us read megabytes. Every answer
//! passes [`finished`] and the access log, which has no query values and no headers.

use crate::audit::{Begun, Seen};
use crate::authn::{self, Credential, MASTERS, User};
use crate::authz::{self, Action, ResourceAction};
use crate::decode::MAX_BODY_BYTES;
use crate::error::ApiError;
use crate::finish::finished;
use crate::limits::Hold;
use crate::options::ListOptions;
use crate::reply::{self, Reply};
use crate::request::{Request, Route, Target, Verb};
use crate::resources::KindRef;
use crate::service_accounts::check::NoUser;
use crate::service_accounts::discovery as issuer;
use crate::traces::Span;
use crate::verbs::{self, Call};
use crate::{ApiServer, Inner, bearer, discovery, health, impersonation, openapi, resources, reviews, usage};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::{BodyExt as _, Limited};
use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// How long a request may take that is no stream (kube-apiserver: `--request-timeout`).
const DEADLINE: Duration = Duration::from_secs(60);

/// Who is at the other end.
#[derive(Debug, Clone)]
pub enum Identity {
    /// A client in this process.
    Known(User),
    /// A connection, with the user of its verified certificate.
    Connection(Option<User>),
}

/// The server as one user sees it.
#[derive(Clone)]
pub struct UserService {
    server: ApiServer,
    identity: Identity,
}

impl UserService {
    pub(crate) fn new(server: ApiServer, user: User) -> Self {
        Self { server, identity: Identity::Known(user) }
    }

    pub(crate) fn stranger(server: ApiServer) -> Self {
        Self { server, identity: Identity::Connection(None) }
    }
}

impl<B> tower::Service<http::Request<B>> for UserService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Reply;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Reply, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let Self { server, identity } = self.clone();
        Box::pin(async move { Ok(handle(&server, identity, request).await) })
    }
}

/// Answers one request.
pub async fn handle<B>(server: &ApiServer, identity: Identity, request: http::Request<B>) -> Reply
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let begun = Instant::now();
    let (head, body) = request.into_parts();
    let parsed = Request::parse(&head.method, head.uri.path(), head.uri.query().unwrap_or_default());
    let audited = Begun::new(&server.inner, matches!(identity, Identity::Known(_)));
    let span = Span::of(&server.inner.config.tracer, &parsed, &head.headers);
    let mut seen = Seen::default();
    let reply = {
        let work = span.around(answer(&server.inner, identity, &parsed, &head, body, &mut seen));
        match deadline(&parsed) {
            Err(error) => Err(error),
            Ok(None) => work.await,
            Ok(Some(limit)) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(too_late())),
        }
    };
    let (reply, error) = match reply {
        Ok(reply) => (reply, None),
        Err(error) => (reply::error(&error), Some(error)),
    };
    let mut reply = finished(reply, &parsed, &head.headers).await;
    if let Some(id) = audited.as_ref().and_then(|audited| HeaderValue::from_str(audited.id()).ok()) {
        reply.headers_mut().insert("audit-id", id);
    }
    let outcome = (reply.status().as_u16(), error.as_ref());
    let place = seen.place.take();
    let record = audited.and_then(|audited| audited.answered(&server.inner, &head, &parsed, seen, outcome));
    if streams(&parsed) && error.is_none() {
        reply = reply::holding(reply, (record, place));
    }
    span.answered(reply.status().as_u16());
    tracing::debug!(
        target: "access",
        method = %head.method, path = head.uri.path(), code = reply.status().as_u16(),
        ms = begun.elapsed().as_millis(), "request"
    );
    reply
}

async fn answer<B>(
    server: &Inner,
    identity: Identity,
    request: &Request,
    head: &Parts,
    body: B,
    seen: &mut Seen,
) -> Result<Reply, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let headers = &head.headers;
    let user = match identity {
        Identity::Known(user) => user,
        Identity::Connection(certificate) => match authn::credential(certificate.as_ref(), headers) {
            Credential::User(user) => user,
            Credential::Token(token) => of_token(server, token).await?,
        },
    };
    let shown = seen.user.insert(user).clone();
    let hold = if streams(request) { Hold::Stream } else { Hold::Short };
    seen.place = Some(server.limits.enter(&shown, hold)?);
    let user = impersonation::user(server, shown.clone(), headers).await?;
    seen.impersonated = (user != shown).then(|| user.clone());
    seen.reason = Some(authorize(server, &user, request).await?);
    match &request.route {
        Route::Resource(target) => resource(server, &user, request, target, head, body).await,
        route => {
            if !matches!(request.method, Method::GET | Method::HEAD) {
                return Err(ApiError::method_not_allowed());
            }
            path(server, request, route, headers).await
        }
    }
}

/// The user of a bearer token; the reason of a refusal is for the log alone (7.1.2).
async fn of_token(server: &Inner, token: &str) -> Result<User, ApiError> {
    match bearer::user(server, token, &bearer::audiences(server)).await {
        Ok(known) => Ok(known.user),
        Err(NoUser::Failed(error)) => Err(error),
        Err(NoUser::Refused(why)) => {
            tracing::debug!(target: "access", %why, "a token is not believed");
            Err(ApiError::unauthorized())
        }
    }
}

async fn resource<B>(
    server: &Inner,
    user: &User,
    request: &Request,
    target: &Target,
    head: &Parts,
    body: B,
) -> Result<Reply, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Some(kind) = kind(server, target).await? else {
        return match discovery::is_served(server, &target.group, &target.version) {
            true => Err(ApiError::no_such_path()),
            false => Ok(reply::text(404, "404 page not found\n")),
        };
    };
    let (headers, upgrade) = (&head.headers, head.extensions.get().cloned());
    let call = Call { server, kind: &kind, target, request, headers, user, upgrade };
    call.exists(request.verb())?;
    let body = read_body(body).await?;
    if reviews::is_review(&kind) {
        return reviews::answer(&call, &body).await;
    }
    if call.kind.group == resources::metrics::GROUP {
        return usage::answer(&call).await;
    }
    let reply = verbs::answer(&call, body).await;
    match kind.custom().and_then(|custom| custom.deprecation.clone()) {
        Some(warning) => reply.map(|reply| reply::with_warnings(reply, &[warning])),
        None => reply,
    }
}

/// The kind that is asked for. A definition may have been written just now, and at another server.
async fn kind(server: &Inner, target: &Target) -> Result<Option<KindRef>, ApiError> {
    let find = || server.cache.find(&target.group, &target.version, &target.plural);
    match find() {
        Some(known @ KindRef::Fixed(_)) => Ok(Some(known)),
        Some(KindRef::Custom(_)) | None => {
            server.consistent().await?;
            Ok(find())
        }
    }
}

async fn path(
    server: &Inner,
    request: &Request,
    route: &Route,
    headers: &HeaderMap,
) -> Result<Reply, ApiError> {
    match route {
        Route::Root => Ok(discovery::root(server)),
        Route::Version => Ok(discovery::version()),
        Route::Health { endpoint, check } => {
            Ok(health::answer(server, endpoint, check.as_deref(), request).await)
        }
        Route::Metrics => Ok(health::metrics(server)),
        Route::Authority => Ok(reply::with_type(200, "application/x-pem-file", server.config.ca_pem.clone())),
        Route::IssuerConfiguration => Ok(issuer::configuration(server)),
        Route::IssuerKeys => Ok(issuer::keys(server)),
        Route::CoreVersions | Route::Groups | Route::Group(_) | Route::Resources { .. } => {
            discovery::answer(server, route, headers)
        }
        Route::OpenApi(path) => openapi::answer(server.cache.catalog().documents(), path, request, headers),
        Route::Resource(_) | Route::Unknown => Ok(reply::text(404, "404 page not found\n")),
    }
}

/// Why the user may do it; 403 unless they may.
async fn authorize(server: &Inner, user: &User, request: &Request) -> Result<String, ApiError> {
    if user.is_in(MASTERS) {
        return Ok(String::new());
    }
    let method = request.method.as_str().to_ascii_lowercase();
    let (name, of_node);
    let action = match &request.route {
        Route::Resource(target) => {
            let verb = request.verb();
            (name, of_node) = selected(request, target, verb);
            Action::Resource(ResourceAction {
                verb: if verb == Verb::Other { &method } else { verb.as_str() },
                group: &target.group,
                resource: &target.plural,
                subresource: &target.subresource,
                // A namespace is in itself, as in Kubernetes.
                namespace: if target.plural == "namespaces" { &target.name } else { &target.namespace },
                name: &name,
                of_node: &of_node,
            })
        }
        _ => Action::Path { verb: if method == "head" { "get" } else { &method }, path: &request.path },
    };
    // The graph must know of what was written before this request.
    if matches!(action, Action::Resource(_)) {
        server.consistent().await?;
    }
    authz::reason(user, action, server)
}

/// The name and node that exact field selectors ask for (3.8.4, 7.5.2).
fn selected(request: &Request, target: &Target, verb: Verb) -> (String, String) {
    let collection = matches!(verb, Verb::List | Verb::Watch);
    let fields = match collection.then(|| ListOptions::parse(&request.query, verb == Verb::Watch)) {
        Some(Ok(options)) => options.fields,
        _ => return (target.name.clone(), String::new()),
    };
    let exact = |path: &str| {
        let found = fields.requirements().iter().find(|r| r.equal && r.path == path);
        found.map(|r| r.value.clone()).unwrap_or_default()
    };
    let name = if target.name.is_empty() { exact("metadata.name") } else { target.name.clone() };
    (name, exact("spec.nodeName"))
}

async fn read_body<B>(body: B) -> Result<Bytes, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Streams have no deadline of their own, but their bodies must come.
    let read = tokio::time::timeout(DEADLINE, Limited::new(body, MAX_BODY_BYTES).collect());
    match read.await.map_err(|_| too_late())? {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(ApiError::too_large(format!("Request entity too large: limit is {MAX_BODY_BYTES}")))
        }
        Err(error) => Err(ApiError::bad_request(format!("the body could not be read: {error}"))),
    }
}

/// Whether the answer lasts as long as the client listens.
fn streams(request: &Request) -> bool {
    match &request.route {
        Route::Resource(target) => {
            request.verb() == Verb::Watch || matches!(target.subresource.as_str(), "log" | "proxy")
        }
        _ => false,
    }
}

/// How long the request may take; none for streams (1.6.5).
fn deadline(request: &Request) -> Result<Option<Duration>, ApiError> {
    let asked = match request.query.get("timeout") {
        "" => DEADLINE,
        text => go_duration(text).ok_or_else(|| {
            ApiError::bad_request(format!(
                "invalid timeout specified in the request URL - time: invalid duration {text:?}"
            ))
        })?,
    };
    let limit = if asked.is_zero() { DEADLINE } else { asked.min(DEADLINE) };
    Ok((!streams(request)).then_some(limit))
}

fn too_late() -> ApiError {
    let text = "Timeout: request did not complete within requested timeout - context deadline exceeded";
    ApiError::plain(504, "Timeout", text)
}

/// `1h2m3.5s`, `300ms`; none when it is no duration of Go's.
fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        rest = tail;
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_as_go_reads_it() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(go_duration(text).map(|d| d.as_millis() as u64), expected, "{text}");
        };
        check("32s", Some(32_000));
        check("6m23s", Some(383_000));
        check("1.5h", Some(5_400_000));
        check("300ms", Some(300));
        check("0", Some(0));
        check("5", None);
        check("abc", None);
        check("", None);
        check("5x", None);
    }
}
