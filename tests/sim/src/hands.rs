//! What users do with the cluster: plain requests, as an administrator, over a wire without faults.

use crate::faults::Faults;
use http::{Method, Request, header};
use kube::Client;
use serde_json::{Value, json};

/// An administrator's hands. Clones are the same person.
#[derive(Clone)]
pub(crate) struct Hands {
    client: Client,
    /// Users meet none, but what they do in the moment of somebody else's write is to be told from it.
    faults: Faults,
}

/// `kube::Error` is large, and here only its text matters.
pub(crate) type Outcome = Result<Value, String>;

/// Where DaemonSets are.
pub(crate) const SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
/// Where their revisions are.
pub(crate) const REVISIONS: &str = "/apis/apps/v1/namespaces/default/controllerrevisions";
/// Where pods are.
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";
/// Where namespaces are.
pub(crate) const NAMESPACES: &str = "/api/v1/namespaces";
/// Where nodes are.
pub(crate) const NODES: &str = "/api/v1/nodes";

/// Where the DaemonSets of a namespace are, its `controllerrevisions` or its `pods`.
pub(crate) fn path(namespace: &str, plural: &str) -> String {
    let root = if plural == "pods" { "/api/v1" } else { "/apis/apps/v1" };
    format!("{root}/namespaces/{namespace}/{plural}")
}

/// Where the quotas of a namespace are.
pub(crate) fn quotas(namespace: &str) -> String {
    format!("{NAMESPACES}/{namespace}/resourcequotas")
}

impl Hands {
    pub(crate) fn new(client: Client, faults: Faults) -> Self {
        Self { client, faults }
    }

    pub(crate) async fn get(&self, path: &str) -> Outcome {
        self.send(Method::GET, path, "application/json", Vec::new()).await
    }

    pub(crate) async fn create(&self, path: &str, object: &Value) -> Outcome {
        self.send(Method::POST, path, "application/json", object.to_string().into_bytes()).await
    }

    /// A strategic merge patch, as kubectl sends it.
    pub(crate) async fn patch(&self, path: &str, patch: &Value) -> Outcome {
        let kind = "application/strategic-merge-patch+json";
        self.send(Method::PATCH, path, kind, patch.to_string().into_bytes()).await
    }

    /// A merge patch: lists are replaced.
    pub(crate) async fn merge(&self, path: &str, patch: &Value) -> Outcome {
        self.send(Method::PATCH, path, "application/merge-patch+json", patch.to_string().into_bytes()).await
    }

    /// Deletes; `propagation` is `Background`, `Foreground` or `Orphan`.
    pub(crate) async fn delete(&self, path: &str, propagation: &str) -> Outcome {
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation});
        self.send(Method::DELETE, path, "application/json", options.to_string().into_bytes()).await
    }

    async fn send(&self, method: Method, path: &str, kind: &str, body: Vec<u8>) -> Outcome {
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
        let request = request.body(body).map_err(|error| error.to_string())?;
        self.faults.by_hand(&request);
        self.client.request(request).await.map_err(|error| match error {
            kube::Error::Api(status) => status.message,
            error => error.to_string(),
        })
    }
}
