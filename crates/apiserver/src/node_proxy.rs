//! Requests that a node agent answers: container logs, and plain GETs below `nodes/NAME/proxy` (wire 6.21, A.9).
//!
//! What is asked is checked here ([`log_path`] is pure), then the agent's bytes pass through as they come ([`agent`]).
//! Exec, attach and port-forward become streams: [`stream`].

mod agent;
pub mod stream;

use crate::Inner;
use crate::error::{ApiError, FieldError};
use crate::options::Query;
use crate::reply::{self, BodyError, Reply};
use crate::verbs::Call;
use agent::{Agent, Answer};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::{BodyExt as _, BodyStream, Empty, StreamBody};
use serde_json::Value;

/// A summary of 250 pods with 8 containers each has less than half of it.
const SUMMARY_MAX: usize = 2 * 1024 * 1024;

/// GET `pods/NAME/log`.
pub async fn logs(call: &Call<'_>) -> Result<Reply, ApiError> {
    let found = call.server.read(call.kind, &call.target.namespace, &call.target.name).await?;
    let (pod, _) = found.ok_or_else(|| call.not_found())?;
    let path = log_path(&pod, &call.request.query)?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Ok(reply::text(204, ""));
    }
    pass(call.server, node, &path, Some("text/plain")).await
}

/// GET `nodes/NAME/proxy/…`.
pub async fn node(call: &Call<'_>) -> Result<Reply, ApiError> {
    // The rest was decoded for routing; a blank or control character would end the request line.
    let rest: String = call.target.rest.chars().filter(|c| !c.is_control() && *c != ' ').collect();
    pass(call.server, &call.target.name, &format!("/{rest}"), None).await
}

/// What a node's agent says of what is used there: kubelet's summary, as JSON.
pub async fn summary(server: &Inner, node: &str) -> Result<Bytes, ApiError> {
    let reply = pass(server, node, "/stats/summary?only_cpu_and_memory=true", None).await?;
    let mut body = reply.into_body();
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::internal(format!("node {node}: {error}")))?;
        bytes.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
        if bytes.len() > SUMMARY_MAX {
            return Err(ApiError::internal(format!("node {node}: more than {SUMMARY_MAX} bytes")));
        }
    }
    Ok(bytes.freeze())
}

/// The agent's path for a log request, or what is wrong with the request.
fn log_path(pod: &Value, query: &Query) -> Result<String, ApiError> {
    let errors = broken_options(query);
    if !errors.is_empty() {
        return Err(ApiError::invalid("", "PodLogOptions", "", &errors));
    }
    let container = container(pod, query.get("container"))?;
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    let mut path = format!("/containerLogs/{}/{}/{container}", text("namespace"), text("name"));
    let known = ["follow", "tailLines", "previous", "sinceSeconds", "sinceTime", "timestamps", "limitBytes"];
    let given = known.iter().filter(|name| query.has(name)).map(|name| match *name {
        "follow" | "previous" | "timestamps" => format!("{name}={}", query.flag(name)),
        name => format!("{name}={}", query.get(name).replace('+', "%2B")),
    });
    let given: Vec<String> = given.collect();
    if !given.is_empty() {
        path = format!("{path}?{}", given.join("&"));
    }
    Ok(path)
}

/// Kubernetes: `apis/core/validation.ValidatePodLogOptions`.
fn broken_options(query: &Query) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (name, least, text) in [
        ("tailLines", 0, "must be greater than or equal to 0"),
        ("limitBytes", 1, "must be greater than 0"),
        ("sinceSeconds", 1, "must be greater than 0"),
    ] {
        let given = query.get(name);
        match given.parse::<i64>() {
            _ if given.is_empty() => {}
            Ok(number) if number >= least => {}
            Ok(number) => errors.push(FieldError::invalid(name, number, text)),
            Err(_) => errors.push(FieldError::invalid(name, given, "must be an integer")),
        }
    }
    if query.has("sinceSeconds") && query.has("sinceTime") {
        errors
            .push(FieldError::forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    let since = query.get("sinceTime");
    if !since.is_empty() && since.parse::<jiff::Timestamp>().is_err() {
        errors.push(FieldError::invalid("sinceTime", since, "must be a time like 2006-01-02T15:04:05Z"));
    }
    errors
}

/// The container that is meant.
fn container(pod: &Value, given: &str) -> Result<String, ApiError> {
    let names = |field: &str| -> Vec<&str> {
        let all = pod["spec"][field].as_array().into_iter().flatten();
        all.filter_map(|container| container["name"].as_str()).collect()
    };
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let (main, init, ephemeral) =
        (names("containers"), names("initContainers"), names("ephemeralContainers"));
    if !given.is_empty() {
        let known = [&main, &init, &ephemeral].iter().any(|names| names.contains(&given));
        let unknown = || ApiError::bad_request(format!("container {given} is not valid for pod {name}"));
        return if known { Ok(given.to_string()) } else { Err(unknown()) };
    }
    if let ([only], []) = (main.as_slice(), init.as_slice()) {
        return Ok(only.to_string());
    }
    if main.is_empty() && init.is_empty() {
        return Err(ApiError::bad_request(format!("container name must be specified for pod {name}")));
    }
    let mut text =
        format!("a container name must be specified for pod {name}, choose one of: [{}]", main.join(" "));
    if !init.is_empty() {
        text += &format!(" or one of the init containers: [{}]", init.join(" "));
    }
    Err(ApiError::bad_request(text))
}

/// Asks a node's agent, and passes its answer on.
async fn pass(
    server: &Inner,
    node: &str,
    path: &str,
    media: Option<&'static str>,
) -> Result<Reply, ApiError> {
    let agent = Agent::of(server, node).await?;
    let failed = |error: BodyError| ApiError {
        message: format!("Get \"https://{}{path}\": {error}", agent.address),
        ..ApiError::internal("")
    };
    let request = http::Request::get(path).body(Empty::<Bytes>::new()).map_err(|e| failed(e.into()))?;
    let Answer { response, connection } = agent.ask(request).await.map_err(failed)?;
    let (head, body) = response.into_parts();
    if !head.status.is_success() {
        return Err(refused(head.status.as_u16(), agent::refusal(body).await));
    }
    let mut reply = reply::text(head.status.as_u16(), "");
    let theirs = head.headers.get(CONTENT_TYPE).cloned();
    let media = media.map(HeaderValue::from_static).or(theirs);
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, media.unwrap_or(HeaderValue::from_static("application/octet-stream")));
    // The connection lives as long as the body is read, and ends when the client goes.
    let closing = server.closing.clone();
    let frames = BodyStream::new(body).map(move |frame| {
        let _connection = &connection;
        frame.map_err(BodyError::from)
    });
    let frames = frames.take_until(async move { closing.cancelled().await });
    *reply.body_mut() = StreamBody::new(frames.boxed()).boxed_unsync();
    Ok(reply)
}

/// What the agent said, with its code. Kubernetes: `rest.GenericHttpResponseChecker`.
fn refused(code: u16, text: String) -> ApiError {
    match code {
        400 => ApiError::bad_request(text),
        404 => ApiError::plain(404, "NotFound", text),
        500 => ApiError::internal(text),
        code => ApiError::plain(code, "Unknown", format!("unknown ({text})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn path(containers: &[&str], query: &str) -> Result<String, String> {
        let containers: Vec<Value> = containers.iter().map(|name| json!({ "name": name })).collect();
        let pod = json!({"metadata": {"name": "p", "namespace": "d"}, "spec": {"containers": containers}});
        log_path(&pod, &Query::parse(query)).map_err(|e| format!("{} {}", e.code, e.message))
    }

    #[test]
    fn a_log_request_becomes_the_agents_path_or_a_refusal() {
        let check = |containers: &[&str], query: &str, expected: Result<&str, &str>| {
            let expected = expected.map(str::to_string).map_err(str::to_string);
            assert_eq!(path(containers, query), expected, "{containers:?} {query}");
        };
        check(&["a"], "", Ok("/containerLogs/d/p/a"));
        check(&["a"], "follow=true&tailLines=10", Ok("/containerLogs/d/p/a?follow=true&tailLines=10"));
        check(&["a"], "container=zz", Err("400 container zz is not valid for pod p"));
        check(&["a", "b"], "container=b&previous=true", Ok("/containerLogs/d/p/b?previous=true"));
        check(&["a", "b"], "", Err("400 a container name must be specified for pod p, choose one of: [a b]"));
        check(
            &["a"],
            "tailLines=-1",
            Err(
                "422 PodLogOptions \"\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0",
            ),
        );
        let both = path(&["a"], "sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z").unwrap_err();
        assert!(both.contains("at most one of `sinceTime` or `sinceSeconds` may be specified"), "{both}");
        assert!(path(&["a"], "sinceTime=x%0d%0ay").is_err());
    }
}
