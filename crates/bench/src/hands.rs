//! What the bench does to a cluster: plain requests, a bounded number at a time.

use crate::manifests;
use crate::steps::{Stage, Step};
use futures::{StreamExt as _, TryStreamExt as _};
use http::{Method, Request, header};
use kube::Client;
use serde_json::{Value, json};
use std::time::Duration;

/// More requests at once make a server no faster.
const AT_ONCE: usize = 64;
/// How often a request is tried that the server has no time for, and the pause between: a minute in sum.
const TRIES: u32 = 300;
const PAUSE: Duration = Duration::from_millis(200);
/// A server that does not answer within this is asked again.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A request that can be made.
#[derive(Debug, Clone)]
pub struct Asked {
    method: Method,
    path: String,
    kind: &'static str,
    body: Value,
}

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum HandsError {
    /// The server said no.
    #[error("{method} {path}")]
    Refused {
        /// What was to be done.
        method: Method,
        /// To what.
        path: String,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
    /// The server did not answer, or never had time.
    #[error("{method} {path}: no answer after {TRIES} tries")]
    NoAnswer {
        /// What was to be done.
        method: Method,
        /// To what.
        path: String,
    },
}

impl Asked {
    /// Makes an object.
    pub fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: Method::POST, path: path.into(), kind: "application/json", body }
    }

    /// Changes an object, by a merge patch.
    pub fn merge(path: impl Into<String>, body: Value) -> Self {
        Self { method: Method::PATCH, path: path.into(), kind: "application/merge-patch+json", body }
    }

    /// Changes an object, by a strategic merge patch.
    pub fn patch(path: impl Into<String>, body: Value) -> Self {
        let kind = "application/strategic-merge-patch+json";
        Self { method: Method::PATCH, path: path.into(), kind, body }
    }

    /// Deletes an object, or all of a collection.
    pub fn delete(path: impl Into<String>) -> Self {
        let body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
        Self { method: Method::DELETE, path: path.into(), kind: "application/json", body }
    }
}

/// What a step does by requests. Nodes that come, fall silent or return are not among it: [`crate::nodes`].
pub fn of(step: Step, stage: &Stage, names: &[String]) -> Vec<Asked> {
    let sets = 1..=stage.daemonsets;
    let change = |body: Value| move |number: u32| Asked::patch(set(number), body.clone());
    match step {
        Step::Nodes | Step::Join | Step::Kill | Step::Return => Vec::new(),
        Step::Create => sets.map(|number| Asked::post(sets_path(), manifests::daemonset(number))).collect(),
        Step::Rollout => sets.map(change(manifests::new_image(stage.image))).collect(),
        Step::Relabel => {
            let label = |name: &String| Asked::merge(format!("/api/v1/nodes/{name}"), manifests::new_label());
            let looked_at = sets.map(|number| Asked::merge(set(number), manifests::new_generation()));
            names.iter().map(label).chain(looked_at).collect()
        }
        Step::Delete => sets.map(|number| Asked::delete(set(number))).collect(),
    }
}

/// Where the DaemonSets are.
pub fn sets_path() -> String {
    format!("/apis/apps/v1/namespaces/{}/daemonsets", manifests::NAMESPACE)
}

fn set(number: u32) -> String {
    format!("{}/{}", sets_path(), manifests::name(number))
}

/// Makes all requests; those of a list that are before others begin before them.
pub async fn make(client: &Client, all: Vec<Asked>) -> Result<(), HandsError> {
    let made = all.into_iter().map(|asked| async move { one(client, &asked).await });
    futures::stream::iter(made).buffered(AT_ONCE).try_for_each(|()| async { Ok(()) }).await
}

/// Makes one request, again while the server has no time for it.
pub async fn one(client: &Client, asked: &Asked) -> Result<(), HandsError> {
    let Asked { method, path, kind, body } = asked;
    for _ in 0..TRIES {
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, *kind);
        let refused = |source| {
            let source = Box::new(source);
            HandsError::Refused { method: method.clone(), path: path.clone(), source }
        };
        let request = request.body(body.to_string().into_bytes());
        let request = request.map_err(|error| refused(kube::Error::HttpError(error)))?;
        match tokio::time::timeout(ANSWER_LIMIT, client.request_text(request)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(kube::Error::Api(status))) if status.code == 429 || status.code >= 500 => {}
            // It was done, and the answer was lost.
            Ok(Err(kube::Error::Api(status))) if status.code == 409 && *method == Method::POST => {
                return Ok(());
            }
            Ok(Err(source)) => return Err(refused(source)),
            Err(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(HandsError::NoAnswer { method: method.clone(), path: path.clone() })
}
