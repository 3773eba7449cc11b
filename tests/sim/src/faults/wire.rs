//! One client's connection: a tower service around the server's, as which a `kube::Client` speaks.

use super::stream::disturbed;
use super::{Call, Fate, Faults, Moment, What};
use apiserver::UserService;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde_json::json;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::Service;

/// How often a call that stands still looks whether it may go on.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) type AnyBody = UnsyncBoxBody<Bytes, BodyError>;
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A client's way to the server.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) client: String,
    pub(crate) server: UserService,
    pub(crate) faults: Faults,
}

impl Service<Request<Body>> for Wire {
    type Response = Response<AnyBody>;
    type Error = io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().carry(request))
    }
}

impl Wire {
    async fn carry(mut self, request: Request<Body>) -> Result<Response<AnyBody>, io::Error> {
        let call = Call::of(&self.client, &request);
        let Fate { late, answer_late, what } = self.faults.fate(&call);
        self.delay(late).await;
        match what {
            What::LostBefore => return Err(reset()),
            What::Crash(Moment::Before) => return self.crash().await,
            What::Refused(code) => return Ok(refusal(code)),
            What::Served | What::LostAfter | What::TimeoutAfter | What::Crash(Moment::After) => {}
        }
        let streams = call.verb == "watch";
        let from_start =
            streams && request.uri().query().is_some_and(|q| q.contains("sendInitialEvents=true"));
        let whole = call.verb == "list" && is_whole(request.uri());
        self.faults.arrives(call.clone());
        let answer = match self.server.call(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        if streams {
            return Ok(answer.map(|body| disturbed(body, call, self.faults.clone(), from_start)));
        }
        self.delay(answer_late).await;
        match what {
            What::LostAfter => Err(reset()),
            What::TimeoutAfter => Ok(refusal(504)),
            What::Crash(_) => self.crash().await,
            _ if whole => self.listed(&call, answer).await,
            _ => Ok(answer.map(|body| body.map_err(BodyError::from).boxed_unsync())),
        }
    }

    /// Notes what a cache is shown by a list in place of a watch's begin.
    async fn listed(
        &self,
        call: &Call,
        answer: Response<apiserver::reply::Body>,
    ) -> Result<Response<AnyBody>, io::Error> {
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
        self.faults.shows(call, &bytes);
        let body = Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
        Ok(Response::from_parts(parts, body))
    }

    /// Waits, and longer if the client hangs. What is dead waits for ever.
    async fn delay(&self, time: Duration) {
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        while self.faults.is_hung(&self.client) {
            tokio::time::sleep(LOOK).await;
        }
        if self.faults.is_dead(&self.client) {
            std::future::pending::<()>().await;
        }
    }

    async fn crash(&self) -> Result<Response<AnyBody>, io::Error> {
        self.faults.crash(&self.client);
        std::future::pending().await
    }
}

/// Whether a list is of all that there is, as a cache asks for it.
fn is_whole(uri: &http::Uri) -> bool {
    !uri.path().contains("/namespaces/") && !uri.query().is_some_and(|query| query.contains("Selector="))
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by the simulation")
}

fn refusal(code: u16) -> Response<AnyBody> {
    let (reason, message) = match code {
        403 => ("Forbidden", "forbidden by the simulation"),
        409 => ("Conflict", "the object has been modified; please apply your changes to the latest version"),
        429 => ("TooManyRequests", "Too many requests, please try again later."),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
        504 => ("Timeout", "Timeout: request did not complete within requested timeout"),
        _ => ("InternalError", "Internal error occurred: the simulation says so"),
    };
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code});
    let body = Full::new(Bytes::from(status.to_string())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response
}

impl Call {
    pub(super) fn of<B>(client: &str, request: &Request<B>) -> Self {
        let path = request.uri().path();
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let root = if parts.first() == Some(&"api") { 2 } else { 3 };
        parts.drain(..root.min(parts.len()));
        let namespace = match parts.as_slice() {
            ["namespaces", namespace, _, ..] => Some((*namespace).to_string()),
            _ => None,
        };
        if namespace.is_some() {
            parts.drain(..2);
        }
        let part = |index: usize| parts.get(index).copied().unwrap_or_default().to_string();
        let (plural, name) = (part(0), part(1));
        let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let verb = match *request.method() {
            Method::GET if watches => "watch",
            Method::GET if name.is_empty() => "list",
            Method::POST => "post",
            Method::PUT => "put",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "get",
        };
        let key = match namespace {
            // A collection's ends with the slash.
            Some(namespace) if !name.is_empty() || verb == "delete" => format!("{namespace}/{name}"),
            _ => name,
        };
        Self { client: client.to_string(), verb, plural, key, at: Duration::ZERO }
    }
}
