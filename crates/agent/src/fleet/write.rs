//! One write of a simulated pod. The answer is not decoded beyond its revision: at a thousand pods that is most of the
//! work.

use super::pod::Next;
use crate::runtime::PodKey;
use http::{Method, Request, header};
use serde::Deserialize;
use std::time::Duration;

/// A server that does not answer within this is asked again.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// What came of it.
#[derive(Debug)]
pub(super) enum Written {
    /// The status is written.
    Status { revision: Option<u64> },
    /// The object is gone, or belongs to another pod of that name.
    Gone,
    /// It is tried again.
    Failed,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default, rename = "resourceVersion")]
    resource_version: String,
}

pub(super) async fn write(client: &kube::Client, key: &PodKey, next: Next) -> Written {
    let path = format!("/api/v1/namespaces/{}/pods/{}", key.namespace, key.name);
    let deletes = matches!(next, Next::Delete);
    let (method, path, kind, body) = match next {
        Next::Status(patch) => {
            let body = serde_json::json!({"metadata": {"uid": key.uid}, "status": patch});
            (Method::PATCH, format!("{path}/status"), "application/merge-patch+json", body)
        }
        Next::Delete => {
            let body = serde_json::json!({
                "kind": "DeleteOptions", "apiVersion": "v1",
                "gracePeriodSeconds": 0, "preconditions": {"uid": key.uid},
            });
            (Method::DELETE, path, "application/json", body)
        }
    };
    let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
    let Ok(request) = request.body(body.to_string().into_bytes()) else { return Written::Failed };
    match tokio::time::timeout(ANSWER_LIMIT, client.request_text(request)).await {
        Ok(Ok(_)) if deletes => Written::Gone,
        Ok(Ok(text)) => {
            let answer: Option<Answer> = serde_json::from_str(&text).ok();
            let revision = answer.and_then(|answer| answer.metadata.resource_version.parse().ok());
            Written::Status { revision }
        }
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Written::Gone,
        Ok(Err(error)) => {
            tracing::debug!(pod = key.name, %error, "simulated pod not written");
            Written::Failed
        }
        Err(_) => Written::Failed,
    }
}
