//! Removes everything that a bench has made, also one that was killed.

use crate::hands::{Asked, HandsError, one};
use crate::manifests::{LABEL, NAMESPACE};
use crate::nodes::Nodes;
use http::Request;
use kube::Client;
use std::time::Duration;
use tokio::time::Instant;

/// How long hollow nodes have to end their pods, before they go themselves.
const PODS_END: Duration = Duration::from_secs(60);
/// How long the cluster has to remove the rest.
const REST_ENDS: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Why something is left.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// A request failed.
    #[error("the bench's objects could not be removed")]
    Hands(#[from] HandsError),
    /// The cluster does not get it done.
    #[error(
        "namespace {NAMESPACE} is still there after {} s: see `kubectl get namespace {NAMESPACE} -o yaml`",
        REST_ENDS.as_secs()
    )]
    Left,
}

/// Removes everything. `nodes` are those that still run: their pods end first.
pub async fn clean(client: &Client, nodes: Option<Nodes>) -> Result<(), CleanError> {
    let namespace = format!("/api/v1/namespaces/{NAMESPACE}");
    delete(client, &namespace).await?;
    if let Some(nodes) = nodes {
        is_gone(client, &namespace, PODS_END).await;
        nodes.end().await;
    }
    delete(client, &format!("/api/v1/nodes?labelSelector={LABEL}")).await?;
    if !is_gone(client, &namespace, Duration::ZERO).await {
        // Nobody is left who could end them.
        delete(client, &format!("{namespace}/pods?gracePeriodSeconds=0")).await?;
    }
    match is_gone(client, &namespace, REST_ENDS).await {
        true => Ok(()),
        false => Err(CleanError::Left),
    }
}

/// Whether an object is there. A server that does not say is asked again until then.
pub async fn exists(client: &Client, path: &str) -> bool {
    match Request::get(path).body(Vec::new()) {
        Ok(request) => match client.request_text(request).await {
            Err(kube::Error::Api(status)) => status.code != 404,
            _ => true,
        },
        Err(_) => false,
    }
}

/// Looks until it is gone, or the time is over.
async fn is_gone(client: &Client, path: &str, limit: Duration) -> bool {
    let began = Instant::now();
    loop {
        match exists(client, path).await {
            false => return true,
            true if began.elapsed() >= limit => return false,
            true => tokio::time::sleep(LOOK).await,
        }
    }
}

async fn delete(client: &Client, path: &str) -> Result<(), HandsError> {
    match one(client, &Asked::delete(path)).await {
        Err(HandsError::Refused { source, .. }) if matches!(*source, kube::Error::Api(ref status) if matches!(status.code, 404 | 409)) => {
            Ok(())
        }
        other => other,
    }
}
