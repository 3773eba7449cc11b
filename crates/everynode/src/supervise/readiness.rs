//! Which nodes are Ready, as the API server says: one watch, for progress lines and for whoever waits for a node.

use super::Event;
use crate::compose;
use anyhow::Result;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use std::path::PathBuf;
use std::pin::pin;
use tokio::sync::mpsc::Sender;

/// Tells of every node that it is, or is not, Ready; until it is dropped. A server that is away is waited for.
pub async fn watch(kubeconfig: PathBuf, events: Sender<Event>) -> Result<()> {
    let client = compose::client(&kubeconfig).await?;
    let mut changes = pin!(watcher(Api::<Node>::all(client), watcher::Config::default()).default_backoff());
    while let Some(change) = changes.next().await {
        let (node, ready) = match change {
            Ok(watcher::Event::Apply(node) | watcher::Event::InitApply(node)) => {
                let ready = objects::node::is_ready(&node);
                (node, ready)
            }
            Ok(watcher::Event::Delete(node)) => (node, false),
            Ok(watcher::Event::Init | watcher::Event::InitDone) | Err(_) => continue,
        };
        let _ = events.send(Event::Ready { node: node.metadata.name.unwrap_or_default(), ready }).await;
    }
    Ok(())
}
